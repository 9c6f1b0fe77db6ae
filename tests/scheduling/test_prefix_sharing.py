"""In any order of starts, each common step is trained once: launches are simulated slice by slice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from annealed_windows import CONFIGS, CONTENTS, STEPS, config, gga, planned, written_out
from hypothesis import given
from hypothesis import strategies as st
from ledger_in_memory import MemoryStore

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import PREFIXES, Branching
from gga_sweep.scheduling.planned_runs import PlannedRuns
from gga_sweep.scheduling.prefix_sharing import PrefixSharing
from gga_sweep.scheduling.shared_steps import prefix_name
from gga_sweep.spec import PlannedRun
from gga_sweep.spec.models import RunSpec

SWEEPS = st.lists(CONFIGS, min_size=1, max_size=7, unique_by=lambda run: tuple(written_out(run)))


@dataclass
class Actor:
    """A run in training, as its trial actor would train it."""

    run: PlannedRun
    branching: Branching
    steps: int


@dataclass
class Launch:
    """A launch on some devices, on which runs advance by chance. What a prefix holds is what its steps did.

    Args:
        fails_at: by key, after how many steps a run is lost for good.
    """

    runs: list[PlannedRun]
    random: Random
    devices: int
    fails_at: dict[str, int] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=lambda: Ledger(Path("nowhere"), MemoryStore()))
    trained: int = 0
    ended: set[str] = field(default_factory=set)
    training: list[Actor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sharing = PrefixSharing(CONTENTS, self.ledger.store.list(PREFIXES))
        for run in self.runs:
            self.sharing.add(run, waits=run.key not in self.ended)
        left = {run.key: run for run in self.runs if run.key not in self.ended}
        expected = {key: self.random.random() for key in left}
        self.source = PlannedRuns(left, expected, self.sharing, self.ledger)

    def go_on(self, slices: int = 10_000) -> None:
        for _ in range(slices):
            while len(self.training) < self.devices and (following := self.source.take()) is not None:
                self.training.append(Actor(following.run, following.branching, self.begin(following.branching)))
                self.check_prefixes(self.training[-1])
            if not self.training:
                assert self.source.exhausted, "nothing trains, and all that are left wait"
                return
            self.train_slice(self.random.choice(self.training))

    def begin(self, branching: Branching) -> int:
        return int(branching.start[0].rpartition("-")[2]) if branching.start else 0

    def check_prefixes(self, actor: Actor) -> None:
        for name in actor.branching.start:
            steps = int(name.rpartition("-")[2])
            assert self.ledger.store.read(f"{PREFIXES}/{name}") == repr(written_out(actor.run.config)[:steps]).encode()

    def train_slice(self, actor: Actor) -> None:
        key, bound = str(actor.run.key), min(STEPS, self.fails_at.get(str(actor.run.key), STEPS))
        for _ in range(self.random.randint(1, STEPS)):
            if actor.steps >= bound:
                break
            actor.steps += 1
            self.trained += 1
            if (name := actor.branching.left.get(actor.steps)) is not None:
                content = repr(written_out(actor.run.config)[: actor.steps]).encode()
                self.ledger.store.put_if_absent(f"{PREFIXES}/{name}", content)
                break
        self.source.reached(key, actor.steps)
        if actor.steps >= bound:
            self.training.remove(actor)
            self.ended.add(key)
            self.source.ended(key)


def runs_of(configs: list[RunSpec]) -> list[PlannedRun]:
    return [planned(each, number) for number, each in enumerate(configs)]


def key_of(run: PlannedRun) -> str:
    return run.key


def distinct_steps(configs: list[RunSpec]) -> int:
    """How many steps there are to train, those that runs have in common once."""
    return len({tuple(written_out(run)[: steps + 1]) for run in configs for steps in range(STEPS)})


@given(SWEEPS, st.integers(1, 4), st.randoms())
def test_every_common_step_is_trained_once_on_any_number_of_devices(
    configs: list[RunSpec], devices: int, random: Random
) -> None:
    launch = Launch(runs_of(configs), random, devices)
    launch.go_on()

    assert launch.ended == {run.key for run in launch.runs}
    assert launch.trained == distinct_steps(configs)
    assert launch.ledger.store.list(PREFIXES) == []


@given(SWEEPS, st.integers(1, 4), st.data(), st.randoms())
def test_lost_runs_do_not_block_others(
    configs: list[RunSpec], devices: int, data: st.DataObject, random: Random
) -> None:
    runs = runs_of(configs)
    lost = data.draw(st.dictionaries(st.sampled_from([run.key for run in runs]), st.integers(1, STEPS - 1)))
    launch = Launch(runs, random, devices, lost)
    launch.go_on()

    assert launch.ended == {run.key for run in runs}
    assert launch.trained <= STEPS * len(runs)


@given(SWEEPS, st.integers(1, 4), st.integers(1, 20), st.randoms())
def test_a_launch_that_was_stopped_leaves_its_prefixes_to_the_next(
    configs: list[RunSpec], devices: int, slices: int, random: Random
) -> None:
    first = Launch(runs_of(configs), random, devices)
    first.go_on(slices)
    second = Launch(first.runs, random, devices, ledger=first.ledger, ended=set(first.ended))
    second.go_on()

    assert second.ended == {run.key for run in first.runs}
    assert second.trained <= distinct_steps(configs)


def test_a_run_waits_for_no_prefix_that_is_shorter_than_one_that_is_there() -> None:
    plain, short, long = runs_of([config(None), gga(4, 2), gga(4, 6)])
    warm_up, window = prefix_name(long.config, 4, CONTENTS), prefix_name(long.config, 6, CONTENTS)
    sharing = PrefixSharing(CONTENTS, [])
    for run in (plain, short, long):
        sharing.add(run, waits=True)

    def blockers() -> tuple[str | None, ...]:
        return tuple(sharing.blocker(key_of(run)) for run in (plain, short))

    assert sharing.begin(key_of(long)).left == {4: warm_up, 6: window}
    assert blockers() == (long.key, long.key)
    sharing.reached(key_of(long), 4)
    assert blockers() == (None, long.key)
    sharing.reached(key_of(long), 6)
    assert blockers() == (None, None)
    assert sharing.begin(key_of(short)).start == (window, warm_up)


def test_runs_of_another_learning_rate_neither_wait_nor_leave_prefixes() -> None:
    one, other = runs_of([gga(4, 2), config(None, lr=0.5)])
    sharing = PrefixSharing(CONTENTS, [])
    for run in (one, other):
        sharing.add(run, waits=True)
    assert not sharing.has_shared
    assert sharing.begin(key_of(one)) == Branching()
    assert sharing.blocker(key_of(other)) is None


def test_an_open_ended_arm_leaves_a_prefix_for_runs_that_are_not_known_yet() -> None:
    first, later = runs_of([gga(4, 2, radius=1e-3), gga(4, 2, radius=1e-2)])
    sharing = PrefixSharing(CONTENTS, [], open_ended=[first.cell.arm, later.cell.arm])
    sharing.add(first, waits=True)
    assert sharing.has_shared
    assert list(sharing.begin(key_of(first)).left) == [4]
    sharing.reached(key_of(first), STEPS)
    assert sharing.ended(key_of(first)) == []
    sharing.add(later, waits=True)
    assert sharing.begin(key_of(later)).start == (prefix_name(later.config, 4, CONTENTS),)
