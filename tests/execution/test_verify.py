"""verify finds each fault of a damaged ledger and no other, and none in a whole one, whenever its writer crashed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_in_memory import MemoryStore
from small_runs import CPU, annealing_of, make_dataset, run_config

from gga_sweep.annealing import GGAL
from gga_sweep.errors import InputError
from gga_sweep.execution import verify as verification
from gga_sweep.execution.recorded_run import RecordedRun, RecordingOptions
from gga_sweep.execution.verify import Verification, verify
from gga_sweep.ledger.json_codec import dump, dump_lines
from gga_sweep.ledger.lease import Holder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import Kept, RunFolder
from gga_sweep.ledger.run_reader import AVERAGED, DETERMINISTIC
from gga_sweep.ledger.searched_runs import SearchedRun
from gga_sweep.ledger.store import PosixStore
from gga_sweep.records import AnnealingLine, Cell, Record, RunPlace, RunStatus
from gga_sweep.spec.key import run_key
from gga_sweep.spec.models import RunSpec

DATASET = make_dataset(per_domain=15)
GGA = run_config(annealing_of())
NOISY = run_config(GGAL(alpha="constant"))  # its lines hold NaN
TOO_FAST = run_config(GGAL(), hyperparameters={"lr": 1e37})
ERM = run_config()
SWAD = run_config(averaging="swad")


def key_of(config: RunSpec) -> str:
    return run_key(config, DATASET.digest, algorithm_numerics=1)


def name_of(config: RunSpec) -> str:
    return f"run-{key_of(config)[:8]}"


def begin(store: MemoryStore, config: RunSpec, kept: Kept = "selected") -> RecordedRun:
    folder = RunFolder(store, name_of(config))
    return RecordedRun.open(folder, key_of(config), config, DATASET, CPU, RecordingOptions(kept=kept))


def train(store: MemoryStore, config: RunSpec, seconds: float = 1e9, kept: Kept = "selected") -> None:
    run = begin(store, config, kept)
    while run.progress.status is RunStatus.RUNNING:
        run.advance(seconds)


PLACE = RunPlace("0123abcd" * 8, Cell("Small", "ERM", ("c",), 0), (0,), {"lr": 0.01})


@cache
def whole_files() -> Mapping[str, bytes]:
    """A sweep of five runs: three done, one diverged, one preempted after its second evaluation."""
    store = MemoryStore()
    train(store, GGA)
    train(store, SWAD)
    train(store, NOISY, kept="all")
    train(store, TOO_FAST)
    halfway = begin(store, ERM)
    halfway.advance(1e9)
    halfway.advance(1e9)
    halfway.preempt("stopped by a test")
    store.files["sweep.json"] = b'{"contents":{"dataset":"d","weights":null}}'
    store.files["launches/000001.json"] = dump(Holder("elsewhere", 42, 1.0, 2.0, 3.0)).encode()
    store.files["launches/000001.stop"] = b"stopped by a test"
    store.files["searched/some-run-0123abcd.json"] = dump(SearchedRun("some-run", PLACE)).encode()
    return store.files


def whole() -> MemoryStore:
    """A copy of it, indexed. Bytes that a test changes keep their stamps, as those that a disk loses."""
    store = MemoryStore()
    for path, content in whole_files().items():
        store.replace(path, content)
    ledger_in(store).read_results(ledger_in(store).run_names())
    return store


def index_of(config: RunSpec) -> str:
    """The index file that holds the run."""
    files = whole().files
    return next(path for path in files if path.startswith("index/") and name_of(config).encode() in files[path])


def ledger_in(store: MemoryStore) -> Ledger:
    return Ledger(Path("nowhere"), store)


def verified(store: MemoryStore) -> Verification:
    return verify(ledger_in(store))


def found(store: MemoryStore) -> list[tuple[str | None, str]]:
    return [(finding.run, finding.file) for finding in verified(store).findings]


def in_run(config: RunSpec, file: str) -> str:
    return f"runs/{name_of(config)}/{file}"


def test_whole_ledger_has_no_finding_and_is_counted() -> None:
    configs = (GGA, SWAD, NOISY, TOO_FAST, ERM)
    statuses = [RunFolder(whole(), name_of(config)).read_state().status for config in configs]
    assert statuses == [RunStatus.DONE, RunStatus.DONE, RunStatus.DONE, RunStatus.DIVERGED, RunStatus.PREEMPTED]
    seen = verified(whole())
    assert seen.findings == ()
    records = sum(content.count(b"\n") for path, content in whole_files().items() if path.endswith("/records.jsonl"))
    annealed = sum(content.count(b"\n") for path, content in whole_files().items() if path.endswith("annealing.jsonl"))
    assert seen.checked == {
        "run": 5,
        "evaluation": records + 1,  # of averaged weights
        "annealed step": annealed,
        "selected model": sum(path.endswith("/selected") for path in whole_files()),
        "averaged model": sum(path.endswith("/averaged") for path in whole_files()),
        "checkpoint": 2,
        "indexed run": 4,
        "launch file": 1,
        "prefix": 0,
    }
    assert records > 8
    assert annealed > 10


def test_verify_writes_nothing() -> None:
    """Not even the index, for runs that are missing in it or damaged."""
    store = whole()
    del store.files[index_of(GGA)]
    store.files[in_run(NOISY, "records.jsonl")] = b"{"
    before, writes = dict(store.files), store.writes
    assert verified(store).findings
    assert (store.files, store.writes) == (before, writes)


# Files that are not read, or can be made again.
HARMLESS = ("timings.jsonl", "attempts/", "index/", ".stop")


@pytest.mark.parametrize("damage", ["cut", "emptied"])
def test_each_truncated_file_is_found(damage: str) -> None:
    for path, content in whole().files.items():
        store = whole()
        store.files[path] = content[: len(content) // 2 if damage == "cut" else 0]
        if path.endswith("timings.jsonl") and not path.startswith(f"runs/{name_of(ERM)}/"):
            assert found(store) == [(path.split("/")[1], "index")], path  # which still tells what they were
        elif store.files[path] == content or any(part in path for part in HARMLESS):
            assert found(store) == [], path
        else:
            assert found(store) == [place_of(path)], path


def test_each_missing_file_is_found() -> None:
    """Except files that need not exist: an index, a finished launch, a checkpoint."""
    may_go = ("timings.jsonl", "index/", "launches/", "searched/", "checkpoint")
    for path in whole().files:
        store = whole()
        del store.files[path]
        if path.startswith(f"runs/{name_of(ERM)}/") and path.endswith(("selected", "records.jsonl")):
            # For a run that is not final, only the checkpoint says which files must exist.
            assert found(store) == [place_of(path)], path
        elif any(part in path for part in may_go):
            assert found(store) == [], path
        else:
            assert found(store) == [place_of(path)], path


def place_of(path: str) -> tuple[str | None, str]:
    """The run and the file of a path, as a finding names them."""
    if not path.startswith("runs/"):
        return None, path
    _, run, file, *_ = path.split("/")
    return run, file


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([GGA, SWAD, NOISY, TOO_FAST]), st.data())
def test_any_flipped_bit_of_a_final_run_is_found(config: RunSpec, data: st.DataObject) -> None:
    store = whole()
    file = data.draw(st.sampled_from([name for name in DETERMINISTIC if in_run(config, name) in store.files]))
    path = in_run(config, file)
    content = bytearray(store.files[path])
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    store.files[path] = bytes(content)
    seen = verified(store)
    assert [(finding.run, finding.file) for finding in seen.findings] == [(name_of(config), file)]
    assert seen.runs("retry") == (name_of(config),)
    assert seen.runs("launch") == ()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["run.json", "status.json", "records.jsonl", "annealing.jsonl", "averaged.jsonl"]),
    ANYTHING,
    st.data(),
)
def test_verify_never_crashes_on_any_json_value(file: str, value: object, data: st.DataObject) -> None:
    store, config = whole(), SWAD if file == "averaged.jsonl" else GGA
    without_digests(store, config)
    lines = store.files[in_run(config, file)].splitlines()
    content = block = json.loads(lines[0])
    for _ in range(data.draw(st.integers(0, 2))):
        inner = [part for part in block.values() if isinstance(part, dict) and part]
        block = data.draw(st.sampled_from(inner)) if inner else block
    block[data.draw(st.sampled_from(sorted(block)))] = value
    store.files[in_run(config, file)] = b"\n".join([json.dumps(content).encode(), *lines[1:], b""])
    verified(store)


def test_averaged_weights_belong_to_done_runs_that_average() -> None:
    averaged = {name: whole_files()[in_run(SWAD, name)] for name in AVERAGED}

    def found_in(config: RunSpec, files: Mapping[str, bytes | None]) -> list[str]:
        store = whole()
        without_digests(store, config)
        for name, content in files.items():
            store.files.pop(in_run(config, name), None)
            if content is not None:
                store.replace(in_run(config, name), content)
        return [str(finding).partition(": ")[2] for finding in verified(store).findings if finding.file != "index"]

    assert found_in(SWAD, {}) == []
    missing = {"averaged.jsonl": None}
    assert found_in(SWAD, missing) == ["averaged.jsonl is missing, although the run averaged its weights"]
    assert found_in(GGA, averaged) == ["averaged.jsonl is of a run that averages no weights"]
    early = {"averaged.jsonl": averaged["averaged.jsonl"].replace(b'"step":7', b'"step":6')}
    assert found_in(SWAD, early) == ["averaged.jsonl is of step 6, not 7"]
    twice = {"averaged.jsonl": 2 * averaged["averaged.jsonl"]}
    assert "averaged.jsonl is damaged" in found_in(SWAD, twice)[0]
    assert found_in(SWAD, {"averaged": b"no weights"})[0].startswith("averaged holds no weights")


def test_last_checkpoint_is_checked_against_the_averaged_weights() -> None:
    store = MemoryStore()
    train(store, SWAD, kept="all")
    store.files["sweep.json"] = b"{}"
    assert verified(store).findings == ()
    without_digests(store, SWAD)
    store.files[in_run(SWAD, "averaged")] = store.files[in_run(SWAD, "selected")]
    assert found(store) == [(name_of(SWAD), "averaged")]


@pytest.mark.parametrize(("field", "value"), [("key", 7), ("fingerprint", 7), ("evaluate_every", 0)])
def test_header_with_impossible_values_is_damaged(field: str, value: int) -> None:
    store = whole()
    header = json.loads(store.files[in_run(GGA, "run.json")])
    header["fingerprint"]["gga-sweep"] = "0.0.1"  # so that its key is not made again
    block = header["config"]["training"] if field == "evaluate_every" else header
    block[field] = value
    store.files[in_run(GGA, "run.json")] = json.dumps(header).encode()
    [finding] = verified(store).findings
    assert (finding.run, finding.file, finding.remedy) == (name_of(GGA), "run.json", "retry")
    assert finding.what.startswith("is damaged: ")


def test_file_added_to_a_final_run_is_found() -> None:
    """Weights of a run whose evaluations were all NaN, say."""
    store = whole()
    weights = store.files.pop(in_run(GGA, "selected"))
    folder = RunFolder(store, name_of(GGA))
    folder.mark(RunStatus.STOPPED, "by a scheduler")
    assert found(store) == []
    store.replace(in_run(GGA, "selected"), weights)
    assert found(store) == [(name_of(GGA), "selected")]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_flipped_bit_of_a_checkpoint_or_its_files_is_found(data: st.DataObject) -> None:
    store = whole()
    file = data.draw(st.sampled_from(["checkpoint", "records.jsonl", "selected"]))
    content = bytearray(store.files[in_run(ERM, file)])
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    store.files[in_run(ERM, file)] = bytes(content)
    seen = verified(store)
    assert [(finding.run, finding.file) for finding in seen.findings] == [(name_of(ERM), file)]
    assert (seen.runs("retry"), seen.runs("launch")) == ((), (name_of(ERM),))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (("config", "trial_seed"), 1),
        (("config", "hyperparameters", "lr"), 2e-2),
        (("config", "annealing", "radius"), 0.06),
        (("config", "training", "steps"), 9),
        (("config", "test_domains"), ["a"]),
        (("dataset_digest",), "d" * 32),
        (("key",), "0123abcd" * 8),
    ],
)
def test_header_that_does_not_fit_its_key_is_repaired_by_retry(field: tuple[str, ...], value: object) -> None:
    for config in (GGA, ERM) if field[1:2] != ("annealing",) else (GGA,):
        store = whole()
        path = in_run(config, "run.json")
        header = json.loads(store.files[path])
        block = header
        for part in field[:-1]:
            block = block[part]
        block[field[-1]] = value
        store.files[path] = json.dumps(header).encode()
        seen = verified(store)
        assert [(finding.run, finding.file) for finding in seen.findings] == [(name_of(config), "run.json")]
        assert seen.runs("retry") == (name_of(config),)


@pytest.mark.parametrize("stranger", ["version", "algorithm", "weights file"])
def test_key_that_cannot_be_computed_here_is_not_checked(stranger: str) -> None:
    """For another version, an algorithm of another package, or a weights file."""
    store = whole()
    path = in_run(GGA, "run.json")
    header = json.loads(store.files[path])
    if stranger == "version":
        header["fingerprint"]["gga-sweep"] = "0.0.1"
    elif stranger == "algorithm":
        header["config"]["algorithm"] = "nowhere:Algorithm"
    else:
        header["config"]["training"]["weights"] = "elsewhere.pt"
    store.files[path] = json.dumps(header).encode()
    assert found(store) == []
    header["config"]["trial_seed"] = 7
    store.files[path] = json.dumps(header).encode()
    assert found(store) == []


class Snapshots(MemoryStore):
    """Keeps the files after each write, as a reader would find them had the writer crashed there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, bytes]] = []

    def replace(self, path: str, content: bytes, writer: int | None = None) -> None:
        super().replace(path, content, writer)
        self.seen.append(dict(self.files))

    def delete(self, path: str, writer: int | None = None) -> None:
        super().delete(path, writer)
        self.seen.append(dict(self.files))


@pytest.mark.parametrize(("config", "kept"), [(GGA, "selected"), (TOO_FAST, "all"), (NOISY, "none")])
def test_writer_that_crashes_after_any_write_leaves_a_whole_ledger(config: RunSpec, kept: Kept) -> None:
    store = Snapshots()
    store.files["sweep.json"] = b"{}"
    run = begin(store, config, kept)
    run.advance(0.0)
    run.advance(1e9)
    run.preempt("stopped by a test")
    train(store, config, seconds=0.0, kept=kept)  # it goes on
    folder = RunFolder(store, name_of(config))
    store.delete(in_run(config, "checkpoint"))
    folder.discard_weights()
    folder.mark(RunStatus.PREEMPTED, "by a test")
    begin(store, config).advance(1e9)  # anew, since there is no checkpoint
    assert len(store.seen) > 20
    for files in store.seen:
        died = MemoryStore()
        died.files = files
        died._written = dict.fromkeys(files, 0)
        assert verified(died).findings == ()


def test_marked_and_requeued_runs_have_no_finding() -> None:
    store = whole()
    folder = RunFolder(store, name_of(ERM))
    folder.mark(RunStatus.FAILED, "its actor was lost")
    RunFolder(store, "run-00000000").mark(RunStatus.FAILED, "the images are not those that were planned")
    assert found(store) == []
    folder.requeue("by a test")
    assert found(store) == []


def without_digests(store: MemoryStore, config: RunSpec, **changes: object) -> None:
    """Remove the digests, so that only the steps show what is missing."""
    path = in_run(config, "status.json")
    store.files[path] = json.dumps({**json.loads(store.files[path]), "digests": {}, **changes}).encode()


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("records.jsonl", 0, "has step 3, where step 0 was due"),
        ("records.jsonl", 1, "has step 6, where step 3 was due"),
        ("records.jsonl", 3, "ends before step 7, although the run went on to step 7"),
        ("annealing.jsonl", 0, "has step 4, where step 3 was due"),
        ("annealing.jsonl", 2, "ends before step 5, although the run went on to step 7"),
    ],
)
def test_missing_line_is_found_by_its_step(file: str, line: int, words: str) -> None:
    store = whole()
    without_digests(store, GGA)
    del store.files[index_of(GGA)]
    assert found(store) == []
    lines = store.files[in_run(GGA, file)].splitlines(keepends=True)
    store.files[in_run(GGA, file)] = b"".join(lines[:line] + lines[line + 1 :])
    [finding] = verified(store).findings
    assert (finding.file, finding.what) == (file, words)


def test_diverging_evaluation_may_be_missing() -> None:
    store = whole()
    del store.files[index_of(GGA)]
    records = store.files[in_run(GGA, "records.jsonl")].splitlines(keepends=True)
    store.files[in_run(GGA, "records.jsonl")] = b"".join(records[:2])  # steps 0 and 3
    without_digests(store, GGA, status="DIVERGED", step=6)
    assert found(store) == []
    without_digests(store, GGA, status="DIVERGED", step=7)
    assert found(store) == [(name_of(GGA), "records.jsonl")]


def test_steps_of_another_configuration_are_found() -> None:
    def finding_after(file: str, lines: list[Record] | list[AnnealingLine]) -> str:
        store = whole()
        without_digests(store, GGA)
        del store.files[index_of(GGA)]
        store.files[in_run(GGA, file)] = dump_lines(lines)
        [finding] = verified(store).findings
        return finding.what

    records = list(RunFolder(whole(), name_of(GGA)).read_records())
    late = replace(records[-1], validation=replace(records[-1].validation, step=9))
    assert finding_after("records.jsonl", [*records, late]) == "has step 9, which should have none"
    noisy = [line for line in RunFolder(whole(), name_of(NOISY)).read_annealed() if 3 <= line.step < 6]
    expected = "holds steps of another method than the configuration's"
    assert finding_after("annealing.jsonl", noisy) == expected


def test_run_done_before_its_last_step_is_found() -> None:
    store = whole()
    without_digests(store, GGA, step=6)
    del store.files[index_of(GGA)]
    assert found(store) == [(name_of(GGA), "status.json")]


def test_current_index_entry_unlike_the_files_is_found() -> None:
    store = whole()
    path = in_run(GGA, "timings.jsonl")  # no digest guards it
    store.files[path] += dump_lines([{"seconds": {"training": 1000.0}}])
    assert found(store) == [(name_of(GGA), "index")]
    assert not verified(store).runs("retry")
    store.replace(path, store.files[path])  # its stamp moves: the entry is no longer current, which is no fault
    assert found(store) == []


def test_removed_weights_are_not_missing() -> None:
    store = whole()
    RunFolder(store, name_of(GGA)).discard_weights()
    RunFolder(store, name_of(NOISY)).discard_weights()  # whose checkpoint has their digests
    assert found(store) == []


def test_sweep_that_planning_cannot_read_is_damaged() -> None:
    def refuse() -> None:
        raise InputError([])

    [finding] = verify(ledger_in(whole()), refuse).findings
    assert (finding.run, finding.file) == (None, "sweep.json")


def test_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="DIR: must be a sweep's folder"):
        verify(Ledger(tmp_path))


def test_progress_is_reported_after_each_run() -> None:
    told: list[tuple[int, int]] = []
    verify(ledger_in(whole()), show=lambda looked, of: told.append((looked, of)))
    assert told == [(n, 5) for n in range(1, 6)]


class Busy(MemoryStore):
    """A run that is written while it is read: at the first reads of its weights."""

    def __init__(self, moves: int, repair: Callable[[Busy], None] = lambda store: None) -> None:
        super().__init__()
        self.moves, self.repair = moves, repair

    def read(self, path: str) -> bytes | None:
        content = super().read(path)
        if path == in_run(GGA, "selected") and self.moves:
            self.moves -= 1
            self.replace(in_run(GGA, "timings.jsonl"), b"")
            self.repair(self)
        return content


def busy(moves: int, repair: Callable[[Busy], None] = lambda store: None) -> Busy:
    store = Busy(0, repair)
    for path, content in whole_files().items():
        store.replace(path, content)
    store.files[in_run(GGA, "records.jsonl")] = b"{"
    store.moves = moves
    return store


def test_run_written_meanwhile_is_checked_again() -> None:
    records = whole_files()[in_run(GGA, "records.jsonl")]
    assert found(busy(1, lambda store: store.replace(in_run(GGA, "records.jsonl"), records))) == []
    assert found(busy(1)) == [(name_of(GGA), "records.jsonl")]  # not repaired
    assert found(busy(1_000_000)) == []  # written all the time


def test_damaged_run_of_a_live_launch_is_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    records = whole_files()[in_run(GGA, "records.jsonl")]
    store = whole()
    live = Holder("another-host", 1, time.time(), time.time())
    store.files["launches/000002.json"] = dump(live).encode()
    monkeypatch.setattr(verification, "_SETTLING_SECONDS", 0.0)
    store.files[in_run(GGA, "records.jsonl")] = b"{"
    assert found(store) == [(name_of(GGA), "records.jsonl")]

    def repaired(seconds: float) -> None:
        store.replace(in_run(GGA, "records.jsonl"), records)

    monkeypatch.setattr(verification.time, "sleep", repaired)
    assert found(store) == []


def test_partly_written_files_are_listed_and_are_no_fault(tmp_path: Path) -> None:
    store = PosixStore(tmp_path)
    store.replace("sweep.json", b"{}")
    (tmp_path / "runs" / "a-run").mkdir(parents=True)
    (tmp_path / "runs" / "a-run" / ".new-0123").write_bytes(b"half")
    seen = verify(Ledger(tmp_path))
    assert (seen.findings, seen.unfinished) == ((), {"runs/a-run/.new-0123": 4})
