"""A run that is stopped, wherever and however, ends with the bits of an uninterrupted one."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
from ledger_in_memory import Killed, MemoryStore
from small_ledger import RUN, advance_to_the_end, kept_files, open_small_run
from small_runs import annealing_of, bits, make_dataset, run_config, trained

from gga_sweep.execution import recorded_run
from gga_sweep.execution.recorded_run import RecordedRun
from gga_sweep.ledger.json_codec import digest
from gga_sweep.ledger.run_folder import Kept, RunFolder
from gga_sweep.ledger.store import PosixStore
from gga_sweep.records import RunStatus, Scalar
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.checkpoint import dump_state, parse_state
from gga_sweep.training.fingerprint import fingerprint

DATASET = make_dataset()
ANNEALED = run_config(annealing_of("released"), network="small_runs:batch_norm_featurizer", averaging="swad")
ARMS: dict[str, Mapping[str, Scalar] | None] = {
    "ERM": None,
    "paper": annealing_of(),
    "released": annealing_of("released"),
}


@pytest.fixture(autouse=True)
def checkpoints_at_each_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs so short that by the clock they had one."""
    monkeypatch.setattr(recorded_run, "CHECKPOINT_SHARE", 1e9)


@cache
def never_stopped() -> Mapping[str, bytes | None]:
    store = MemoryStore()
    advance_to_the_end(open_small_run(store, ANNEALED, DATASET))
    return kept_files(store)


@cache
def final_bits() -> Mapping[str, str]:
    """Weights, batch-norm statistics, optimiser."""
    return bits(trained(ANNEALED, DATASET).state())


def bits_of(run: RecordedRun) -> Mapping[str, str]:
    return bits(run._training.trainer.state())


def test_uninterrupted_run_has_every_file() -> None:
    kept = never_stopped()

    assert kept["state"] == b"DONE 7 None"
    assert [len((kept[name] or b"").splitlines()) for name in ("records.jsonl", "annealing.jsonl")] == [4, 3]
    assert kept["selected"]
    assert kept["averaged"]
    assert len((kept["averaged.jsonl"] or b"").splitlines()) == 1
    assert kept["checkpoint"] is None


@pytest.mark.parametrize("annealing", ARMS.values(), ids=ARMS)
def test_slices_of_one_step_give_the_same_bytes(annealing: Mapping[str, Scalar] | None) -> None:
    stores = MemoryStore(), MemoryStore()
    for store, seconds in zip(stores, (0.0, 1e9), strict=True):
        advance_to_the_end(open_small_run(store, run_config(annealing), DATASET), seconds)

    assert kept_files(stores[0]) == kept_files(stores[1])


@pytest.mark.parametrize("stop", range(8))
def test_preempted_run_resumes_from_its_last_step(stop: int) -> None:
    store = MemoryStore()
    run = open_small_run(store, ANNEALED, DATASET)
    for _ in range(stop):
        run.advance(0)
    run.preempt("its trial was stopped")
    assert RunFolder(store, RUN).read_state().status is RunStatus.PREEMPTED
    assert run.advance(0).step == stop - 1  # and nothing more is trained

    resumed = open_small_run(store, ANNEALED, DATASET)
    assert resumed.progress.step == stop - 1
    advance_to_the_end(resumed)

    assert kept_files(store) == never_stopped()
    assert bits_of(resumed) == final_bits()
    assert RunFolder(store, RUN).read_state().environments == ()


def test_run_preempted_after_every_step_ends_the_same() -> None:
    store = MemoryStore()
    while (run := open_small_run(store, ANNEALED, DATASET)).advance(0).status is RunStatus.RUNNING:
        run.preempt("its trial was stopped")

    assert kept_files(store) == never_stopped()
    assert RunFolder(store, RUN).newest_attempt() == 8


@pytest.mark.parametrize("stop", range(1, 8))
def test_run_whose_process_crashed_resumes_from_its_checkpoint(stop: int) -> None:
    """Records and annealed lines may be ahead of the checkpoint."""
    store = MemoryStore()
    run = open_small_run(store, ANNEALED, DATASET)
    for _ in range(stop):
        run.advance(0)

    resumed = open_small_run(store, ANNEALED, DATASET)
    assert resumed.progress.step == {1: 0, 2: 0, 3: 0, 4: 3, 5: 3, 6: 3, 7: 6}[stop]
    advance_to_the_end(resumed)

    assert kept_files(store) == never_stopped()
    assert bits_of(resumed) == final_bits()


def count_writes(config: RunSpec, before: MemoryStore, seconds: float, from_checkpoint: bool) -> int:
    store = MemoryStore()
    store.files = dict(before.files)
    advance_to_the_end(open_small_run(store, config, DATASET, from_checkpoint), seconds)
    return store.writes


def end_after_dying_at_each_write(
    config: RunSpec, before: MemoryStore, seconds: float, from_checkpoint: bool = True
) -> list[dict[str, bytes | None]]:
    """For each write of a run: kill the process in its place, resume, and see how it ends."""
    ends = []
    for place in range(count_writes(config, before, seconds, from_checkpoint)):
        store = MemoryStore(dies_at=place)
        store.files = dict(before.files)
        with pytest.raises(Killed):
            advance_to_the_end(open_small_run(store, config, DATASET, from_checkpoint), seconds)
        store.dies_at = None
        if RunFolder(store, RUN).read_state().status is not RunStatus.DONE:
            advance_to_the_end(open_small_run(store, config, DATASET))
        ends.append(kept_files(store))
    return ends


@pytest.mark.parametrize("averaging", [None, "swad"])
def test_process_killed_at_any_write_changes_no_bit(averaging: str | None) -> None:
    annealing = annealing_of(start_step=2, num_steps=1, num_candidates=1)
    config = run_config(annealing, test_domains=("c", "d"), steps=5, averaging=averaging)
    store = MemoryStore()
    advance_to_the_end(open_small_run(store, config, DATASET))
    whole = kept_files(store)

    ends = end_after_dying_at_each_write(config, MemoryStore(), seconds=0)

    assert len(ends) > 20
    for end in ends:
        left_over = end.pop("checkpoint")  # killed between its status and this deletion, a run is DONE all the same
        assert end == {name: content for name, content in whole.items() if name != "checkpoint"}
        assert left_over is None or end is ends[-1]


def test_restarted_run_killed_at_any_write_never_resumes_from_its_old_checkpoint() -> None:
    """Its old checkpoint, far ahead of the new records, must not be taken up."""
    config = run_config(test_domains=("c", "d"), steps=6)
    store, old = MemoryStore(), MemoryStore()
    advance_to_the_end(open_small_run(store, config, DATASET))
    run = open_small_run(old, config, DATASET)
    for _ in range(5):
        run.advance(0)

    for end in end_after_dying_at_each_write(config, old, 1e9, from_checkpoint=False):
        assert {**end, "checkpoint": None} == kept_files(store)


DAMAGES: Mapping[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda content: None,
    "cut": lambda content: content[: len(content) // 2],
    "one bit": lambda content: content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[-1:],
    "one line less": lambda content: b"".join(content.splitlines(keepends=True)[:-1]),
}
FILES = (
    "checkpoint",
    "records.jsonl",
    "annealing.jsonl",
    "selected",
    "status.json",
    "run.json",
    "timings.jsonl",
)


def damage(store: MemoryStore, file: str, damaged: Callable[[bytes], bytes | None]) -> None:
    path = f"runs/{RUN}/{file}"
    content = damaged(store.files[path])
    if content is None:
        del store.files[path]
    else:
        store.files[path] = content


@cache
def stopped() -> MemoryStore:
    """The checkpoint is of step 3; an annealed line stands behind it."""
    store = MemoryStore()
    run = open_small_run(store, ANNEALED, DATASET)
    for _ in range(6):
        run.advance(0)
    return store


@cache
def ended() -> MemoryStore:
    store = MemoryStore()
    advance_to_the_end(open_small_run(store, ANNEALED, DATASET))
    return store


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damaged", DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_of_a_stopped_run_changes_no_bit(file: str, damaged: Callable[[bytes], bytes | None]) -> None:
    store = copy.deepcopy(stopped())
    damage(store, file, damaged)

    resumed = open_small_run(store, ANNEALED, DATASET)
    advance_to_the_end(resumed)

    assert kept_files(store) == never_stopped()
    assert bits_of(resumed) == final_bits()
    assert RunFolder(store, RUN).read_header() is not None


@pytest.mark.parametrize("file", ["records.jsonl", "annealing.jsonl", "status.json"])
@pytest.mark.parametrize("damaged", DAMAGES.values(), ids=DAMAGES)
def test_done_run_with_a_damaged_file_is_trained_again_to_the_same_bits(
    file: str, damaged: Callable[[bytes], bytes | None]
) -> None:
    store = copy.deepcopy(ended())
    damage(store, file, damaged)

    result = RunFolder(store, RUN).read_result()
    assert result.state.status is (
        RunStatus.QUEUED if (file, damaged(b"x")) == ("status.json", None) else RunStatus.FAILED
    )
    advance_to_the_end(open_small_run(store, ANNEALED, DATASET))

    assert kept_files(store) == never_stopped()


def test_damaged_checkpoint_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    open_small_run(store, ANNEALED, DATASET).advance(0)
    damage(store, "checkpoint", DAMAGES["one bit"])

    with caplog.at_level(logging.WARNING):
        resumed = open_small_run(store, ANNEALED, DATASET)

    assert resumed.progress.step == -1
    assert f"run {RUN}: its checkpoint cannot be used" in caplog.text


def test_checkpoint_without_digests_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    open_small_run(store, ANNEALED, DATASET).advance(0)
    state = parse_state(store.files[f"runs/{RUN}/checkpoint"])
    del state["recorded"]["selected"]
    store.files[f"runs/{RUN}/checkpoint"] = dump_state(state)

    assert open_small_run(store, ANNEALED, DATASET).progress.step == -1
    assert "it lacks selected" in caplog.text


def test_weights_ahead_of_the_checkpoint_are_written_again() -> None:
    """The process died between writing them and the next checkpoint: they are ahead, not damaged."""
    store = MemoryStore()
    config = run_config(hyperparameters={"lr": 0.03}, steps=12, evaluate_every=1)
    whole = MemoryStore()
    advance_to_the_end(open_small_run(whole, config, DATASET))
    best = max(range(12), key=lambda step: RunFolder(whole, RUN).read_records()[step].validation.accuracy)
    run = open_small_run(store, config, DATASET)
    for _ in range(best):
        run.advance(0)
    checkpoint = store.files[f"runs/{RUN}/checkpoint"]
    run.advance(0)
    store.files[f"runs/{RUN}/checkpoint"] = checkpoint

    resumed = open_small_run(store, config, DATASET)
    assert resumed.progress.step == best - 1
    advance_to_the_end(resumed)
    assert kept_files(store) == kept_files(whole)


def test_weights_ahead_of_the_checkpoint_are_not_used_in_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the later evaluation may not be the best again, so they might never be written again."""
    store = MemoryStore()
    config = run_config(hyperparameters={"lr": 0.03}, steps=12, evaluate_every=1)
    run = open_small_run(store, config, DATASET)
    run.advance(0)
    checkpoint = store.files[f"runs/{RUN}/checkpoint"]
    first = store.files[f"runs/{RUN}/selected"]
    while store.files[f"runs/{RUN}/selected"] == first:
        run.advance(0)
    store.files[f"runs/{RUN}/checkpoint"] = checkpoint

    assert open_small_run(store, config, DATASET).progress.step == 0
    store.files[f"runs/{RUN}/checkpoint"] = checkpoint
    moved_elsewhere(monkeypatch)
    assert open_small_run(store, config, DATASET).progress.step == -1


@pytest.mark.parametrize("stop", range(1, 7))
def test_run_with_a_reason_to_stop_resumes_from_its_last_step(stop: int) -> None:
    store = MemoryStore()
    asked = iter([None] * stop)
    run = open_small_run(store, ANNEALED, DATASET, reason_to_stop=lambda: next(asked, "told to"))
    advance_to_the_end(run)

    state = RunFolder(store, RUN).read_state()
    assert (state.status, state.reason) == (RunStatus.PREEMPTED, "told to")
    assert 0 <= state.step <= stop
    resumed = open_small_run(store, ANNEALED, DATASET)
    assert resumed.progress.step == state.step
    advance_to_the_end(resumed)
    assert kept_files(store) == never_stopped()


def moved_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_run, "fingerprint", lambda *run: {**fingerprint(*run), "torch": "99.0"})


def test_resuming_in_another_environment_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    open_small_run(store, ANNEALED, DATASET).advance(0)
    with monkeypatch.context() as patch:
        moved_elsewhere(patch)
        for _ in range(2):  # the second start finds its own environment
            run = open_small_run(store, ANNEALED, DATASET)
            run.advance(0)
            run.save_checkpoint()
    advance_to_the_end(open_small_run(store, ANNEALED, DATASET))

    changes = RunFolder(store, RUN).read_state().environments
    version = fingerprint(torch.device("cpu"))["torch"]
    assert changes == (f"from step 1: torch {version} -> 99.0", f"from step 3: torch 99.0 -> {version}")


def test_strict_environment_refuses_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    open_small_run(store, ANNEALED, DATASET).advance(0)
    checkpoint = store.files[f"runs/{RUN}/checkpoint"]
    with monkeypatch.context() as patch:
        moved_elsewhere(patch)
        run = open_small_run(store, ANNEALED, DATASET, strict_environment=True)
        assert run.progress.status is RunStatus.FAILED
        assert "torch" in str(run.progress.reason)
        assert "gga-sweep retry" in str(run.progress.reason)

    assert store.files[f"runs/{RUN}/checkpoint"] == checkpoint
    advance_to_the_end(open_small_run(store, ANNEALED, DATASET, strict_environment=True))  # back where it was trained
    assert kept_files(store) == never_stopped()


def test_run_restarted_in_another_environment_has_a_new_header(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    open_small_run(store, ANNEALED, DATASET).advance(0)
    first = RunFolder(store, RUN).read_header()
    again = open_small_run(store, ANNEALED, DATASET, from_checkpoint=False)
    assert (again.progress.step, again.progress.validation, kept_files(store)["checkpoint"]) == (-1, None, None)
    assert RunFolder(store, RUN).read_header() == first
    moved_elsewhere(monkeypatch)
    open_small_run(store, ANNEALED, DATASET, from_checkpoint=False)
    second = RunFolder(store, RUN).read_header()
    assert first is not None
    assert second is not None
    assert second.fingerprint["torch"] == "99.0"
    assert second.start_time > first.start_time


@pytest.mark.parametrize(
    ("kept", "files"), [("none", set()), ("selected", {"selected"}), ("all", {"selected", "checkpoint"})]
)
def test_final_run_keeps_the_files_of_its_option(kept: Kept, files: set[str]) -> None:
    store = MemoryStore()
    advance_to_the_end(open_small_run(store, ANNEALED, DATASET, kept=kept))

    folder = RunFolder(store, RUN)
    assert {name for name in ("selected", "checkpoint") if folder.read_file(name) is not None} == files
    assert folder.read_state().digests["selected"] == digest(never_stopped()["selected"] or b"")
    folder.check_digests()
    if kept == "all":  # and it can be gone on from
        assert parse_state(folder.read_checkpoint() or b"")["next_step"] == ANNEALED.training.steps


def test_requeued_run_begins_again_at_step_0() -> None:
    store = MemoryStore()
    advance_to_the_end(open_small_run(store, ANNEALED, DATASET))
    folder = RunFolder(store, RUN)
    header, seconds = folder.read_header(), folder.read_seconds()
    folder.requeue("asked for again")

    state = folder.read_state()
    assert (state.status, state.reason, state.step) == (RunStatus.QUEUED, "asked for again", -1)
    assert [name for name in FILES if folder.read_file(name) is not None] == ["status.json", "timings.jsonl"]
    advance_to_the_end(open_small_run(store, ANNEALED, DATASET))
    again = folder.read_header()
    assert header is not None
    assert again is not None
    assert again.start_time > header.start_time
    assert folder.read_seconds()["training"] > seconds["training"]
    assert kept_files(store) == never_stopped()


FIRST_HALF = """
import os, sys
from pathlib import Path
from small_runs import make_dataset, annealing_of, run_config
from small_ledger import open_small_run
from gga_sweep.ledger.store import PosixStore

config = run_config(annealing_of("released"), network="small_runs:batch_norm_featurizer")
run = open_small_run(PosixStore(Path(sys.argv[1])), config, make_dataset())
for _ in range(5):
    run.advance(0)
os._exit(9)
"""


def test_run_of_a_crashed_process_ends_with_the_same_bytes(tmp_path: Path) -> None:
    helpers = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(helpers), "PYTHONHASHSEED": "7"}
    died = subprocess.run([sys.executable, "-c", FIRST_HALF, str(tmp_path)], env=environment, timeout=100, check=False)
    assert died.returncode == 9

    store = PosixStore(tmp_path)
    assert RunFolder(store, RUN).read_state().step == 4
    run = advance_to_the_end(open_small_run(store, ANNEALED, DATASET))

    assert kept_files(store) == never_stopped()
    assert bits_of(run) == final_bits()
