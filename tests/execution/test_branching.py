"""A run that begins with what another left is, to the bit, the run that was trained from step 0."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from ledger_in_memory import Killed, MemoryStore
from small_ledger import KEY, advance_to_the_end
from small_runs import CPU, annealing_of, make_dataset, run_config

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.algorithms.erm import ERM
from gga_sweep.errors import StorageError
from gga_sweep.execution import recorded_run
from gga_sweep.execution.recorded_run import RecordedRun
from gga_sweep.execution.verify import verify
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import PREFIXES, UNBRANCHED, Branching, delete_prefixes
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_reader import DETERMINISTIC
from gga_sweep.records import RunStatus
from gga_sweep.scheduling.shared_steps import steps_alike
from gga_sweep.spec.models import RunSpec

DATASET = make_dataset()
SWAD = {"network": "small_runs:batch_norm_featurizer", "averaging": "swad"}
ERM_RUN = run_config(None, **SWAD)
SHORT = run_config(annealing_of(num_steps=1), **SWAD)
LONG = run_config(annealing_of(num_steps=4), **SWAD)
LATE = run_config(annealing_of("released", start_step=5), **SWAD)
PAIRS: Mapping[str, tuple[RunSpec, RunSpec, int]] = {
    "an annealed run begins with an un-annealed one": (ERM_RUN, LONG, 3),
    "an un-annealed run begins with an annealed one": (LONG, ERM_RUN, 3),
    "a shorter window begins within a longer one": (LONG, SHORT, 4),
    "a longer window begins within a shorter one": (SHORT, LONG, 4),
    "a later window begins before an earlier one": (SHORT, LATE, 3),
}
every_pair = pytest.mark.parametrize(("leader", "branch", "steps"), PAIRS.values(), ids=PAIRS)


@pytest.fixture(autouse=True)
def checkpoints_at_each_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_run, "CHECKPOINT_SHARE", 1e9)


def opened(store: MemoryStore, name: str, config: RunSpec, branching: Branching = UNBRANCHED) -> RecordedRun:
    return RecordedRun.open(RunFolder(store, name), KEY, config, DATASET, CPU, branching=branching)


def trained(store: MemoryStore, name: str, config: RunSpec, branching: Branching = UNBRANCHED) -> RecordedRun:
    return advance_to_the_end(opened(store, name, config, branching))


def leaving(steps: int) -> Branching:
    return Branching(left={steps: "shared"})


BEGINNING = Branching(start=("shared",))


def kept(store: MemoryStore, name: str) -> dict[str, bytes | None]:
    state = RunFolder(store, name).read_state()
    files = {file: store.read(f"runs/{name}/{file}") for file in DETERMINISTIC}
    return {**files, "state": f"{state.status} {state.step} {state.reason} {sorted(state.digests.items())}".encode()}


def alone(config: RunSpec) -> dict[str, bytes | None]:
    store = MemoryStore()
    trained(store, "alone", config)
    return kept(store, "alone")


def own_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry for each update of any ERM."""
    updates: list[int] = []
    update = ERM.update
    monkeypatch.setattr(ERM, "update", lambda self, batch: updates.append(1) or update(self, batch))
    return updates


@every_pair
def test_branch_leaves_the_bytes_of_a_run_trained_from_step_0(
    leader: RunSpec, branch: RunSpec, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert steps_alike(leader, branch) == steps
    expected = alone(leader), alone(branch)
    store, updates = MemoryStore(), own_steps(monkeypatch)

    trained(store, "leader", leader, leaving(steps))
    trained(store, "branch", branch, BEGINNING)

    assert (kept(store, "leader"), kept(store, "branch")) == expected
    assert expected[0] != expected[1]
    assert len(updates) == 8 + (8 - steps)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_branch_of_any_algorithm_ends_as_if_trained_alone(name: str) -> None:
    own = {key: item.default for key, item in ALGORITHMS[name].own.items()}
    steps: dict[str, Any] = {"steps": 5, "evaluate_every": 4}
    common = {"algorithm": name, "hyperparameters": {**own, "batch_size": 4}, "network": "small-cnn", **steps}
    branch = run_config(None, **common)
    store = MemoryStore()

    leader = opened(store, "leader", run_config(annealing_of(num_steps=2), **common), leaving(3))
    while not store.list(PREFIXES):
        leader.advance(0)
    trained(store, "branch", branch, BEGINNING)

    assert kept(store, "branch") == alone(branch)


def test_branch_counts_inherited_seconds() -> None:
    store = MemoryStore()
    trained(store, "leader", LONG, leaving(4))
    trained(store, "branch", SHORT, BEGINNING)

    leader, branch = (RunFolder(store, name).read_result() for name in ("leader", "branch"))
    assert leader.inherited_seconds == 0
    assert 0 < branch.inherited_seconds < min(sum(leader.seconds.values()), sum(branch.seconds.values()))
    assert branch.seconds["search"] > 0  # the one annealed step of the prefix


def test_longest_existing_prefix_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    store, updates = MemoryStore(), own_steps(monkeypatch)
    trained(store, "leader", LONG, Branching(left={3: "three", 4: "four"}))
    del updates[:]
    trained(store, "branch", SHORT, Branching(start=("five, which is gone", "four", "three")))

    assert len(updates) == 4
    assert kept(store, "branch") == alone(SHORT)


def test_branch_writes_prefixes_too() -> None:
    store = MemoryStore()
    trained(store, "leader", ERM_RUN, Branching(left={3: "three"}))
    trained(store, "next", LONG, Branching(start=("three",), left={4: "four"}))
    trained(store, "last", SHORT, Branching(start=("four", "three")))

    assert store.list(PREFIXES) == ["four", "three"]
    assert kept(store, "last") == alone(SHORT)


def flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize(
    "harm",
    [lambda content: None, flipped, lambda content: content[:100], lambda content: b""],
    ids=["lost", "a bit flipped", "cut short", "empty"],
)
def test_lost_or_damaged_prefix_is_trained_again(harm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store, updates = MemoryStore(), own_steps(monkeypatch)
    trained(store, "leader", LONG, leaving(4))
    harmed = harm(store.files.pop(f"{PREFIXES}/shared"))
    if harmed is not None:
        store.files[f"{PREFIXES}/shared"] = harmed
    del updates[:]

    trained(store, "branch", SHORT, BEGINNING)

    assert len(updates) == 8
    assert kept(store, "branch") == alone(SHORT)
    assert RunFolder(store, "branch").read_result().inherited_seconds == 0


def test_prefix_of_another_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    store, updates = MemoryStore(), own_steps(monkeypatch)
    trained(store, "leader", LONG, leaving(4))
    elsewhere = {**recorded_run.fingerprint(CPU), "torch": "9.9"}
    monkeypatch.setattr(recorded_run, "fingerprint", lambda *run: elsewhere)
    del updates[:]

    trained(store, "branch", SHORT, BEGINNING)

    assert len(updates) == 8


def test_run_whose_environment_changed_writes_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    first = opened(store, "leader", LONG, leaving(4))
    first.advance()
    first.preempt("moved")
    elsewhere = {**recorded_run.fingerprint(CPU), "torch": "9.9"}
    monkeypatch.setattr(recorded_run, "fingerprint", lambda *run: elsewhere)

    assert trained(store, "leader", LONG, leaving(4)).progress.status is RunStatus.DONE
    assert store.list(PREFIXES) == []


@pytest.mark.parametrize("victim", ["leader", "branch"])
def test_leader_and_branch_killed_at_any_write_end_with_the_same_bytes(victim: str) -> None:
    window = {"start_step": 1, "num_candidates": 1, "diagnose_every": 0}
    long, short = (
        run_config(annealing_of(num_steps=steps, **window), steps=4, evaluate_every=2, **SWAD) for steps in (2, 1)
    )
    assert steps_alike(long, short) == 2
    expected = {"leader": alone(long), "branch": alone(short)}
    configs, branchings = {"leader": long, "branch": short}, {"leader": leaving(2), "branch": BEGINNING}
    begun = MemoryStore()
    if victim == "branch":
        trained(begun, "leader", long, leaving(2))
    killed = 0
    for dies_at in range(200):
        store = copy.deepcopy(begun)
        store.dies_at = store.writes + dies_at
        try:
            trained(store, victim, configs[victim], branchings[victim])
        except Killed:
            killed += 1
        store.dies_at = None
        for name in dict.fromkeys((victim, "branch")):
            trained(store, name, configs[name], branchings[name])
            assert kept(store, name) == expected[name]
        if killed == dies_at:
            break
    assert killed > 10


def test_resumed_run_writes_the_prefix_of_its_step() -> None:
    store = MemoryStore()
    first = opened(store, "leader", LONG)
    while first.progress.step < 3:
        first.advance(0.0)
    first.preempt("stopped")

    trained(store, "leader", LONG, leaving(4))
    trained(store, "branch", SHORT, BEGINNING)

    assert store.list(PREFIXES) == ["shared"]
    assert kept(store, "branch") == alone(SHORT)


def test_diverged_run_writes_no_prefix_of_its_last_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    update, updates = ERM.update, own_steps(monkeypatch)

    def diverging(self: ERM, batch: Any) -> torch.Tensor:
        loss = update(self, batch)
        updates.append(1)
        return loss * float("nan") if len(updates) == 5 else loss

    monkeypatch.setattr(ERM, "update", diverging)
    store = MemoryStore()

    assert trained(store, "leader", LONG, Branching(left={5: "five"})).progress.status is RunStatus.DIVERGED
    assert store.list(PREFIXES) == []


def test_algorithm_without_checkpoints_trains_without_prefixes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected, state_dict = (alone(LONG), alone(SHORT)), ERM.state_dict
    monkeypatch.setattr(ERM, "state_dict", lambda self: {**state_dict(self), "rule": logging.getLogger()})
    store = MemoryStore()

    leader = trained(store, "leader", LONG, leaving(4))
    trained(store, "branch", SHORT, BEGINNING)

    assert (kept(store, "leader"), kept(store, "branch")) == expected
    assert store.list(PREFIXES) == []
    assert "wrote no prefix, so runs that share its steps train them again" in caplog.text
    assert [remark.partition(":")[0] for remark in leader.progress.remarks] == ["run leader"]


def test_refused_prefix_changes_no_bit(caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryStore):
        def put_if_absent(self, path: str, content: bytes) -> bool:
            if path.startswith(PREFIXES):
                raise StorageError("the storage cannot write: No space left on device")
            return super().put_if_absent(path, content)

    store = Full()
    trained(store, "leader", LONG, leaving(4))
    assert kept(store, "leader") == alone(LONG)
    assert "No space left on device" in caplog.text


def test_verify_counts_prefixes_and_finds_damaged_ones() -> None:
    store = MemoryStore()
    trained(store, "leader", LONG, Branching(left={3: "three", 4: "four"}))
    ledger = Ledger("nowhere", store)
    assert verify(ledger).checked["prefix"] == 2
    store.files[f"{PREFIXES}/four"] = flipped(store.files[f"{PREFIXES}/four"])
    [finding] = [one for one in verify(ledger).findings if one.file.startswith(PREFIXES)]
    assert "prefixes/four is damaged" in str(finding)
    assert "start at step 0" in str(finding)


def test_all_prefixes_are_deleted() -> None:
    store = MemoryStore()
    trained(store, "leader", LONG, Branching(left={3: "three", 4: "four"}))
    delete_prefixes(store)
    assert store.list(PREFIXES) == []
    assert store.list("runs") == ["leader"]
