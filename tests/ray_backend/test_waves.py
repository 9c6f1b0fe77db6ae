"""What becomes of the runs of a wave that did not come to its end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import pytest
import ray.exceptions
from rich.console import Console
from small_sweep import small_sweep

import gga_sweep
from gga_sweep.errors import GGASweepError
from gga_sweep.execution.prepare import prepare_ledger
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ray_backend import waves
from gga_sweep.ray_backend.callbacks import Launch
from gga_sweep.ray_backend.options import LaunchOptions
from gga_sweep.ray_backend.progress import LaunchProgress
from gga_sweep.ray_backend.signals import StopSignals
from gga_sweep.records import RunStatus
from gga_sweep.scheduling.cost_model import learned_costs
from gga_sweep.spec import PlannedRun, plan_sweep
from gga_sweep.tracking.projector import Projector

ACTORS = ("0431d6299506843054b4653d01000000", "37e4ed2bc8be1750ac8c7b1f01000000")
KILLED = "1 worker(s) were killed due to the node running low on memory.\nSelected to kill: (Actor({}): job ID=01)"


class Wave:
    """A sweep of four runs, of which the first two train, each in an actor; the third waits, the last is done."""

    def __init__(self, storage: Path, until_the_end: ExitStack) -> None:
        self.sweep = gga_sweep.load(small_sweep(trial_seeds=[0, 1]), storage=storage)
        self.contents = prepare_ledger(self.sweep)
        self.plan = plan_sweep(self.sweep, self.contents)
        self.runs: dict[str, PlannedRun] = {str(run.key): run for run in self.plan.runs}
        self.keys = tuple(self.runs)
        self.ledger = Ledger(self.sweep.folder)
        self.lease = until_the_end.enter_context(held(self.ledger.store))
        self.launch = Launch(
            self.lease, cast(Projector, None), LaunchProgress(self.runs, {}), StopSignals(self.lease), LaunchOptions()
        )

    def begin(self) -> None:
        statuses = (RunStatus.RUNNING, RunStatus.RUNNING, None, RunStatus.DONE)
        for key, status in zip(self.keys, statuses, strict=True):
            if status is not None:
                folder = self.ledger.run(str(self.runs[key].folder))
                folder.claim({})
                folder.write_state(status, 3)
        for key, actor in zip(self.keys, ACTORS, strict=False):
            self.launch.progress.started(key)
            self.launch.actors[actor] = key

    def statuses(self) -> list[RunStatus]:
        return [self.ledger.run(str(run.folder)).read_state().status for run in self.runs.values()]

    def train(self) -> tuple[dict[str, PlannedRun], dict[str, PlannedRun]]:
        costs = learned_costs(self.plan, {})
        return waves._wave(self.sweep, self.plan, self.contents, self.runs, costs, self.launch)


@pytest.fixture
def wave(tmp_path: Path) -> Iterator[Wave]:
    with ExitStack() as until_the_end:
        yield Wave(tmp_path, until_the_end)


def breaks_off(wave: Wave, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    """As Tune does when Ray's memory monitor kills an actor in the middle of a slice."""

    def fit(*_: object) -> None:
        wave.begin()
        error = ray.exceptions.OutOfMemoryError(message)
        raise RuntimeError(f"Caught unexpected exception: {error}") from error

    monkeypatch.setattr(waves, "_fit", fit)


def test_a_run_that_ray_killed_for_its_memory_is_tried_alone_and_the_others_go_on(
    wave: Wave, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_off(wave, monkeypatch, KILLED.format(ACTORS[1]))
    again, curable = wave.train()
    assert tuple(again) == (wave.keys[0], wave.keys[2])
    assert tuple(curable) == (wave.keys[1],)
    assert wave.statuses()[1] is RunStatus.OUT_OF_MEMORY
    assert not wave.launch.progress.training


def test_where_ray_does_not_say_whom_it_killed_all_in_training_are_tried_alone(
    wave: Wave, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_off(wave, monkeypatch, "in other words")
    again, curable = wave.train()
    assert tuple(again) == (wave.keys[2],)
    assert tuple(curable) == wave.keys[:2]


def test_memory_that_no_run_used_ends_the_launch_in_words(wave: Wave, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks_off(wave, monkeypatch, "the node is running low on memory\nand more")
    monkeypatch.setattr(wave, "begin", lambda: None)
    with pytest.raises(GGASweepError, match=r"no run in training: the node is running low on memory$"):
        wave.train()


def test_an_error_that_is_none_of_ours_is_not_swallowed(wave: Wave, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object) -> None:
        raise RuntimeError("a fault in Tune")

    monkeypatch.setattr(waves, "_fit", fit)
    with pytest.raises(RuntimeError, match="a fault in Tune"):
        wave.train()


@pytest.mark.parametrize(
    ("asked", "overtaken", "expected"),
    [
        (True, False, RunStatus.PREEMPTED),
        (True, True, RunStatus.RUNNING),  # it is the newer launch's
        (False, False, RunStatus.RUNNING),  # the next wave takes it up
    ],
)
def test_no_run_of_a_launch_that_stopped_stays_running(
    wave: Wave, monkeypatch: pytest.MonkeyPatch, asked: bool, overtaken: bool, expected: RunStatus
) -> None:
    monkeypatch.setattr(waves, "_fit", lambda *_: wave.begin())
    if asked:
        wave.lease.ask("enough")
    if overtaken:
        (wave.ledger.folder / "launches" / "000002.json").write_text("{}")
    wave.train()
    assert wave.statuses() == [expected, expected, RunStatus.QUEUED, RunStatus.DONE]


def test_a_wave_begins_with_the_runs_that_take_longest_of_those_begun_what_is_left(
    wave: Wave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds of ERM, two of GGA; one of these has its window behind it, and takes less than a whole run of ERM."""
    begun: list[str] = []
    monkeypatch.setattr(waves, "_fit", lambda sweep, plan, contents, keys, *_: begun.extend(keys))
    plain, other_plain, annealed, other_annealed = wave.keys
    wave.train()
    assert begun == [annealed, other_annealed, plain, other_plain]
    folder = wave.ledger.run(str(wave.runs[annealed].folder))
    folder.claim({})
    folder.write_state(RunStatus.PREEMPTED, 4)
    begun.clear()
    wave.train()
    assert begun == [other_annealed, plain, other_plain, annealed]


@pytest.mark.parametrize("found", ["http://127.0.0.1:8265 (asks for the token: [here])", None])
def test_a_launch_says_where_rays_dashboard_is_before_anything_else(
    found: str | None, wave: Wave, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    @contextmanager
    def joined(*arguments: object) -> Iterator[str | None]:
        asked.extend(arguments)
        yield found

    monkeypatch.setattr(waves, "joined_cluster", joined)
    monkeypatch.setattr(waves, "_concurrency", lambda sweep, options: 1)
    monkeypatch.setattr(waves, "require_ready", lambda sweep: None)
    console = Console(file=io.StringIO(), width=200)
    launch, options = wave.launch, LaunchOptions(address="auto", dashboard=True)
    costs = learned_costs(wave.plan, {})
    with console.capture() as capture:
        waves.train(
            wave.plan, wave.contents, {}, {}, {}, costs, launch.projector, wave.lease, launch.signals, options, console
        )
    first = capture.get().splitlines()[0]
    assert first == f"Ray:     {found}" if found else first.startswith("How long it takes is not known yet")
    assert asked == ["auto", True]
