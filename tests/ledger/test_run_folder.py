"""One run's folder: what is written is read, and only the newest attempt writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from run_configs import run_config

from gga_sweep.errors import AttemptSupersededError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.store import PosixStore
from gga_sweep.records import (
    Agreement,
    AnnealedStep,
    Averaged,
    DomainScores,
    NoisyStep,
    Record,
    RunResult,
    RunState,
    RunStatus,
    Score,
    TestRecord,
    ValidationRecord,
)

HEADER = RunHeader(
    key="k" * 64,
    config=run_config(),
    dataset_digest="d" * 32,
    classes=("cat", "dog"),
    input_shape=(3, 8, 8),
    normalise=True,
    fingerprint={"torch": "2.0"},
    start_time=1_700_000_000.125,
    split_digests={"photo": ("0" * 16, "1" * 16), "sketch": ("2" * 16, "3" * 16)},
)


def record(step: int) -> Record:
    scores = {"photo": DomainScores(Score(0.5 + step / 100, 1.0), Score(0.25, 2.0))}
    agreement = Agreement(((1.0, 0.5), (0.5, 1.0)), (3.0, 4.0), 0.5, 0.5)
    return Record(ValidationRecord(step, scores, 0.75, agreement, agreement), TestRecord(scores, {"photo": 0.25}))


def annealed(step: int) -> AnnealedStep:
    return AnnealedStep(step, 8, 2, 3, 0.1, 0.2, 1.0, 1.1, 0.1, 0.15, 0.1, 0.12, 0.6, 2.0)


NOISY_STEPS = (NoisyStep(0, 0.25, 7.5e-4, 0.5, 2.0), NoisyStep(1, -0.5, 1.5e-3, 1.0, 2.0))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "sweep")


@pytest.fixture
def folder(ledger: Ledger) -> RunFolder:
    """A run whose first attempt has begun."""
    folder = ledger.run("a-run")
    folder.claim({"pid": 1})
    return folder


def test_run_never_started_is_queued_and_empty(ledger: Ledger) -> None:
    folder = ledger.run("a-run")
    assert folder.read_result() == RunResult("a-run", RunState(RunStatus.QUEUED, None, -1, 0), (), (), (), {})
    assert folder.read_header() is None
    assert folder.newest_attempt() == 0
    assert ledger.run_names() == []


@pytest.mark.parametrize("lines", [(annealed(20), annealed(21)), NOISY_STEPS], ids=["GGA", "GGA-L"])
def test_everything_written_is_read(
    ledger: Ledger, folder: RunFolder, lines: tuple[AnnealedStep, ...] | tuple[NoisyStep, ...]
) -> None:
    folder.write_header(HEADER)
    folder.write_records([record(0), record(50)])
    folder.write_annealed(lines)
    folder.write_checkpoint(b"state")
    folder.write_selected(b"weights")
    folder.write_state(RunStatus.STOPPED, 50, "a scheduler ended it")

    read = ledger.run("a-run")
    stored = read.read_result()
    assert ledger.run_names() == ["a-run"]
    assert read.read_header() == HEADER
    assert stored.records == (record(0), record(50))
    assert stored.annealed == lines
    assert (read.read_checkpoint(), read.read_selected()) == (b"state", b"weights")
    assert stored.state == RunState(RunStatus.STOPPED, "a scheduler ended it", 50, 1, digests=stored.state.digests)
    assert stored.state.digests.keys() == {"records.jsonl", "annealing.jsonl", "selected"}


def test_seconds_add_up_over_slices_and_attempts(ledger: Ledger, folder: RunFolder) -> None:
    folder.add_timing(10, {"training": 1.5, "evaluation": 0.5})
    folder.add_timing(20, {"training": 2.0})
    later = ledger.run("a-run")
    later.claim({})
    later.add_timing(30, {"training": 0.25, "search": 4.0})
    assert later.read_result().seconds == {"training": 3.75, "evaluation": 0.5, "search": 4.0}


def test_the_header_is_written_once(ledger: Ledger, folder: RunFolder) -> None:
    folder.write_header(HEADER)
    later = ledger.run("a-run")
    later.claim({})
    later.write_header(dataclasses.replace(HEADER, start_time=1.0, fingerprint={"torch": "3.0"}))
    assert later.read_header() == HEADER


AVERAGED = Averaged(1, 2, None, record(0))
WRITES: dict[str, Callable[[RunFolder], object]] = {
    "header": lambda folder: folder.write_header(HEADER),
    "records": lambda folder: folder.write_records([]),
    "annealed": lambda folder: folder.write_annealed([]),
    "timing": lambda folder: folder.add_timing(0, {}),
    "checkpoint": lambda folder: folder.write_checkpoint(b""),
    "selected": lambda folder: folder.write_selected(b""),
    "averaged": lambda folder: folder.write_averaged(AVERAGED, b""),
    "no checkpoint": lambda folder: folder.delete_checkpoint(),
    "no training": lambda folder: folder.delete_training(),
    "state": lambda folder: folder.write_state(RunStatus.DONE, 0),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_older_attempt_may_not_write(ledger: Ledger, folder: RunFolder, write: Callable[[RunFolder], object]) -> None:
    folder.write_checkpoint(b"old")
    assert ledger.run("a-run").claim({}) == 2
    with pytest.raises(AttemptSupersededError, match="a-run: attempt 1 may not write any more, the newest is 2"):
        write(folder)
    assert folder.read_checkpoint() == b"old"
    assert folder.read_state() == RunState()
    assert folder.read_header() is None


class PausingStore(PosixStore):
    """Its next write or removal stands still before its last system call, and `meanwhile` happens."""

    meanwhile: Callable[[], object] | None = None

    def _write_beside(self, target: Path, content: bytes, writer: int | None = None) -> Path:
        beside = super()._write_beside(target, content, writer)
        self._stand_still()
        return beside

    def delete(self, path: str, writer: int | None = None) -> None:
        self._stand_still()
        super().delete(path, writer)

    def _stand_still(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()


ALL_WRITES = WRITES | {
    "no averaged": lambda folder: folder.delete_averaged(),  # writes nothing where there are none
    "no weights": lambda folder: folder.discard_weights(),  # claims by itself
}


@pytest.mark.parametrize("write", ALL_WRITES.values(), ids=ALL_WRITES)
def test_write_that_stood_still_while_a_newer_attempt_began_changes_no_file(
    ledger: Ledger, write: Callable[[RunFolder], object]
) -> None:
    store = PausingStore(Path(ledger.folder))
    stale = RunFolder(store, "a-run")
    stale.claim({})
    stale.write_averaged(AVERAGED, b"older")
    stale.write_state(RunStatus.RUNNING, 4)

    def a_whole_attempt() -> None:
        newer = ledger.run("a-run")
        newer.claim({})
        newer.write_header(dataclasses.replace(HEADER, start_time=1.0))
        newer.write_records([record(0), record(50)])
        newer.write_annealed([annealed(20)])
        newer.write_selected(b"newer")
        newer.write_averaged(dataclasses.replace(AVERAGED, record=record(50)), b"newer")
        newer.write_checkpoint(b"newer")
        newer.write_state(RunStatus.DONE, 50)

    store.meanwhile = a_whole_attempt
    with pytest.raises(AttemptSupersededError, match="attempt 1 may not write any more, the newest is 2"):
        write(stale)
    assert store.meanwhile is None
    after = {path: stat.stamp for path, stat in ledger.store.stats("runs/a-run").items()}
    kept = ledger.run("a-run")
    kept.check_digests()
    assert (kept.read_state().status, kept.read_state().attempt) == (RunStatus.DONE, 2)
    assert (kept.read_checkpoint(), kept.read_selected()) == (b"newer", b"newer")
    assert kept.readable_header() == dataclasses.replace(HEADER, start_time=1.0)
    assert kept.read_file("timings.jsonl") is None
    assert after.keys() >= {"run.json", "records.jsonl", "annealing.jsonl", "averaged", "averaged.jsonl"}
    assert ledger.store.unfinished_writes() == {}


def test_weights_are_not_removed_by_a_command_that_stood_still(ledger: Ledger, folder: RunFolder) -> None:
    """`gga-sweep clean`, of a run that is queued and trained again meanwhile."""
    folder.write_selected(b"old")
    folder.write_state(RunStatus.DONE, 50)
    store = PausingStore(Path(ledger.folder))

    def trained_again() -> None:
        newer = ledger.run("a-run")
        newer.requeue("by a test")
        newer.write_selected(b"new")

    store.meanwhile = lambda: setattr(store, "meanwhile", trained_again)  # in its claim, before its first write
    with pytest.raises(AttemptSupersededError):
        RunFolder(store, "a-run").discard_weights()
    assert folder.read_selected() == b"new"
    assert folder.read_state().status is RunStatus.QUEUED


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writing_requires_a_claim(ledger: Ledger, write: Callable[[RunFolder], object]) -> None:
    with pytest.raises(AttemptSupersededError, match="attempt None"):
        write(ledger.run("a-run"))
    assert ledger.run_names() == []


def test_concurrent_claims_get_different_numbers_and_the_highest_writes(ledger: Ledger) -> None:
    folders = [ledger.run("a-run") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda folder: folder.claim({}), folders))
    assert sorted(numbers) == list(range(1, 9))
    for number, folder in zip(numbers, folders, strict=True):
        if number == 8:
            folder.write_state(RunStatus.RUNNING, 0)
        else:
            with pytest.raises(AttemptSupersededError, match=f"attempt {number}"):
                folder.write_state(RunStatus.RUNNING, 0)


def test_attempts_are_counted_beyond_the_width_of_their_names(ledger: Ledger, folder: RunFolder) -> None:
    ledger.store.replace("runs/a-run/attempts/999999", b"{}")
    assert ledger.run("a-run").claim({}) == 1_000_000
    assert folder.newest_attempt() == 1_000_000


def test_marked_run_can_no_longer_be_written_by_its_actor(ledger: Ledger, folder: RunFolder) -> None:
    folder.write_state(RunStatus.RUNNING, 40)
    ledger.run("a-run").mark(RunStatus.PREEMPTED, "its node was lost")
    with pytest.raises(AttemptSupersededError, match="attempt 1"):
        folder.write_state(RunStatus.RUNNING, 50)
    assert folder.read_state() == RunState(RunStatus.PREEMPTED, "its node was lost", 40, 2)


def test_removing_weights_keeps_the_time_of_the_state(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.5)
    folder.write_state(RunStatus.DONE, 40)
    monkeypatch.setattr("time.time", lambda: 2000.5)
    folder.discard_weights()
    assert folder.read_state().removed == ("selected",)
    assert folder.read_state().written == 1000.5


@pytest.mark.parametrize(
    ("content", "host"),
    [(b'{"host":"node-7","pid":1}', "node-7"), (b'{"marked":"FAILED"}', None), (b"{", None), (b'{"host":1}', None)],
)
def test_host_of_an_attempt_is_read_if_its_file_has_one(
    content: bytes, host: str | None, ledger: Ledger, folder: RunFolder
) -> None:
    ledger.store.replace("runs/a-run/attempts/000002", content)
    assert folder.read_host(2) == host
    assert folder.read_host(3) is None


def test_sweep_is_stored_as_last_launched(ledger: Ledger) -> None:
    assert ledger.read_sweep() is None
    ledger.write_sweep({"config": {"draws": 1}})
    ledger.write_sweep({"config": {"draws": 2, "lr": 1e-5}})
    assert ledger.read_sweep() == {"config": {"draws": 2, "lr": 1e-5}}
