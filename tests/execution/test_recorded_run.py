"""A run in its folder: what is written when, how it ends, which weights are kept."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from data_workers import runs, started
from ledger_in_memory import MemoryStore
from small_ledger import KEY, RUN, advance_to_the_end, kept_files, open_small_run
from small_runs import CPU, FOREVER, annealing_of, make_dataset, run_config, train, watch_updates

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.erm import ERM
from gga_sweep.datasets import Domain, split_domain
from gga_sweep.errors import AttemptSupersededError, GGASweepError
from gga_sweep.execution import checkpoint, recorded_run
from gga_sweep.execution.recorded_run import RecordedRun, RecordingOptions
from gga_sweep.execution.run_check import check_run
from gga_sweep.ledger.json_codec import dump, parse_measurements
from gga_sweep.ledger.run_folder import Kept, RunFolder
from gga_sweep.records import RunStatus, ValidationRecord
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.checkpoint import dump_state, dump_weights, parse_state
from gga_sweep.training.fingerprint import fingerprint
from gga_sweep.training.trainer import Trainer

DATASET = make_dataset()
CONFIG = run_config(annealing_of())


def break_at_step(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException | None = None) -> None:
    """The update of a step raises the error, or, without one, tells a loss that is NaN."""
    update, updates = ERM.update, iter(range(1_000_000))

    def breaking(self: ERM, batch: Batch) -> torch.Tensor:
        broken = next(updates) == step
        if broken and error is not None:
            raise error
        loss = update(self, batch)
        return loss * float("nan") if broken else loss

    monkeypatch.setattr(ERM, "update", breaking)


def recorded(store: MemoryStore) -> list[int]:
    return [record.step for record in RunFolder(store, RUN).read_records()]


def annealed(store: MemoryStore) -> list[int]:
    return [line.step for line in RunFolder(store, RUN).read_annealed()]


def test_folder_describes_the_run_from_its_start() -> None:
    store = MemoryStore()
    run = open_small_run(store, CONFIG, DATASET)
    header, state = RunFolder(store, RUN).read_header(), RunFolder(store, RUN).read_state()

    assert header is not None
    assert (header.key, header.config, header.dataset_digest) == (KEY, CONFIG, DATASET.digest)
    assert (header.classes, header.input_shape) == (("x", "y", "z"), (1, 8, 8))
    assert header.fingerprint == fingerprint(CPU)
    assert (state.status, state.step, state.attempt) == (RunStatus.RUNNING, -1, 1)
    assert (run.progress.status, run.progress.step, run.progress.validation) == (RunStatus.RUNNING, -1, None)


@pytest.mark.parametrize("ends_by", ["finishing", "preempt", "error", "superseded"])
def test_data_workers_end_with_their_run(ends_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    run = open_small_run(store, CONFIG, DATASET, workers=2)
    assert isinstance(run, RecordedRun)
    processes = started(run._training.trainer._reader).processes
    assert all(map(runs, processes))
    if ends_by == "preempt":
        run.advance()
        run.preempt("a test")
    elif ends_by == "superseded":
        RunFolder(store, RUN).claim({"somebody": "else"})
        with pytest.raises(AttemptSupersededError):
            run.advance()
    else:
        if ends_by == "error":
            break_at_step(monkeypatch, 2, RuntimeError("broken"))
        advance_to_the_end(run)
    assert not any(map(runs, processes))


def test_a_lost_data_worker_is_a_remark_of_the_run_and_changes_no_file() -> None:
    lost, plain = MemoryStore(), MemoryStore()
    run = open_small_run(lost, CONFIG, DATASET, workers=1)
    assert isinstance(run, RecordedRun)
    started(run._training.trainer._reader)._workers[0].process.kill()
    advance_to_the_end(run)
    advance_to_the_end(open_small_run(plain, CONFIG, DATASET))
    assert run.progress.remarks == (
        f"run {RUN}: its images are read by the process that trains it, not ahead of the steps: a data worker ended "
        "with status -9. The numbers are the same.",
    )
    assert RunFolder(lost, RUN).digests() == RunFolder(plain, RUN).digests() != {}


def test_a_machine_is_measured_at_most_every_ten_seconds_and_no_bit_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, measured, values = MemoryStore(), MemoryStore(), iter(range(1000))
    advance_to_the_end(open_small_run(plain, CONFIG, DATASET))

    def measure() -> dict[str, float]:
        return {"system/load": float(next(values))}

    advance_to_the_end(open_small_run(measured, CONFIG, DATASET, measure=measure))
    found, without = kept_files(measured), kept_files(plain)
    assert found == without
    [line] = parse_measurements(RunFolder(measured, RUN).read_file("system.jsonl"))  # all slices within ten seconds
    assert line.values == {"system/load": 0.0}
    assert RunFolder(plain, RUN).read_file("system.jsonl") is None

    monkeypatch.setattr(recorded_run, "MEASUREMENT_SECONDS", 0.0)
    every = MemoryStore()
    advance_to_the_end(open_small_run(every, CONFIG, DATASET, measure=measure))
    lines = parse_measurements(RunFolder(every, RUN).read_file("system.jsonl"))
    assert [line.values["system/load"] for line in lines] == [float(number) for number in range(1, len(lines) + 1)]
    assert len(lines) > 1


def test_a_measurement_that_fails_costs_a_line_and_not_the_run(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> dict[str, float]:
        raise RuntimeError("the driver is gone")

    store = MemoryStore()
    run = open_small_run(store, CONFIG, DATASET, measure=fail)
    assert advance_to_the_end(run).progress.status is RunStatus.DONE
    assert "its machine was not measured: the driver is gone" in caplog.text
    assert RunFolder(store, RUN).read_file("system.jsonl") is None


def header_digests(config: RunSpec) -> dict[str, tuple[str, str]]:
    store = MemoryStore()
    open_small_run(store, config, DATASET)
    header = RunFolder(store, RUN).read_header()
    assert header is not None
    return dict(header.split_digests)


@pytest.mark.parametrize("scheme", ["stream", "domainbed"])
def test_header_has_the_digest_of_each_split(scheme: Literal["stream", "domainbed"]) -> None:
    def digest(name: str, indices: Iterable[int]) -> str:
        ids = [f"{name}-{index}" for index in indices]
        return hashlib.blake2b(json.dumps(ids).encode(), digest_size=8).hexdigest()

    expected = {}
    for index, name in enumerate("abcd"):
        split = split_domain(30, "Small", 5, name, index, scheme, 0.3)
        expected[name] = digest(name, split.train), digest(name, split.validation)
    assert header_digests(run_config(split=scheme, trial_seed=5, holdout=0.3)) == expected


def test_arms_and_draws_share_their_splits_and_trial_seeds_do_not() -> None:
    plain = header_digests(run_config())
    assert header_digests(run_config(annealing_of(), test_domains=("a",), hyperparameters={"lr": 1.0})) == plain
    other = header_digests(run_config(trial_seed=1))
    assert all(other[name] != plain[name] for name in plain)


def test_run_whose_domains_cannot_be_split_fails_with_the_reason() -> None:
    store = MemoryStore()
    run = open_small_run(store, run_config(holdout=0.01), DATASET)
    header = RunFolder(store, RUN).read_header()

    assert run.progress.status is RunStatus.FAILED
    assert "training.holdout: must leave an image in each split of domain 'a'" in (run.progress.reason or "")
    assert header is not None
    assert header.split_digests == {}


def test_folder_holds_the_records_of_the_trainer() -> None:
    store = MemoryStore()
    advance_to_the_end(open_small_run(store, CONFIG, DATASET))
    records, lines = train(Trainer(CONFIG, DATASET, CPU))
    stored = RunFolder(store, RUN).read_result()

    assert list(stored.records) == records
    assert list(stored.annealed) == lines
    assert (stored.state.status, stored.state.step) == (RunStatus.DONE, 7)
    assert set(stored.seconds) == {"training", "search", "diagnostics", "evaluation"}


def test_progress_repeats_the_last_evaluation() -> None:
    run = open_small_run(MemoryStore(), CONFIG, DATASET)
    seen: list[tuple[int, int]] = []
    while (progress := run.advance(0)).status is RunStatus.RUNNING:
        assert isinstance(progress.validation, ValidationRecord)  # and not a record that knows the test domain
        seen.append((progress.step, progress.validation.step))

    assert seen == [(0, 0), (1, 0), (2, 0), (3, 3), (4, 3), (5, 3), (6, 6)]
    assert (progress.step, progress.validation.step if progress.validation else None) == (7, 7)


def test_resumed_run_repeats_the_last_evaluation() -> None:
    store = MemoryStore()
    run = open_small_run(store, CONFIG, DATASET)
    for _ in range(5):
        before = run.advance(0)
    run.preempt("its trial was stopped")

    assert open_small_run(store, CONFIG, DATASET).progress == before


def test_ended_run_does_nothing_more() -> None:
    store = MemoryStore()
    run = advance_to_the_end(open_small_run(store, CONFIG, DATASET))
    files = dict(store.files)
    run.save_checkpoint()
    run.preempt("too late")

    assert run.advance() == run.progress
    assert run.progress.status is RunStatus.DONE
    assert store.files == files


def checkpointed_step(store: MemoryStore) -> int:
    step: int = parse_state(store.files[f"runs/{RUN}/checkpoint"])["next_step"]
    return step


def test_checkpoint_between_evaluations_is_written_after_150_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step takes 60 seconds of this clock."""
    steps_made: list[object] = []
    watch_updates(monkeypatch, lambda batch: steps_made.append(batch.mask))
    clock = SimpleNamespace(monotonic=lambda: 60.0 * len(steps_made), time=lambda: 0.0)
    monkeypatch.setattr(recorded_run, "time", clock)
    store = MemoryStore()
    run = open_small_run(store, run_config(evaluate_every=100, steps=100), DATASET)
    steps = []
    for _ in range(8):
        run.advance(0)
        steps.append(checkpointed_step(store))

    assert recorded_run.CHECKPOINT_SECONDS == 150
    assert steps == [1, 1, 1, 4, 4, 4, 7, 7]  # after the evaluation, then at 180 s, then 180 s later


def test_checkpoints_at_evaluations_take_half_a_percent_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 10 seconds of this clock, and a checkpoint an eighth of a second: one after 25 seconds."""
    seconds = 0.0

    def step_made() -> None:
        nonlocal seconds
        seconds += 10

    def dumped(state: dict[str, Any]) -> bytes:
        nonlocal seconds
        seconds += 0.125
        return dump_state(state)

    watch_updates(monkeypatch, lambda batch: step_made())
    monkeypatch.setattr(checkpoint, "dump_state", dumped)
    monkeypatch.setattr(recorded_run, "time", SimpleNamespace(monotonic=lambda: seconds, time=lambda: 0.0))
    store = MemoryStore()
    run = open_small_run(store, run_config(evaluate_every=1, steps=9), DATASET)
    steps = []
    for _ in range(8):
        run.advance(0)
        steps.append(checkpointed_step(store))

    assert recorded_run.CHECKPOINT_SHARE == 1 / 200
    assert steps == [1, 1, 1, 4, 4, 4, 7, 7]


def test_checkpoint_can_be_requested() -> None:
    store = MemoryStore()
    run = open_small_run(store, CONFIG, DATASET)
    run.advance(0)
    run.advance(0)
    assert checkpointed_step(store) == 1
    run.save_checkpoint()

    assert checkpointed_step(store) == 2
    assert run.progress.status is RunStatus.RUNNING


def behind_at_step_3(validations: Sequence[ValidationRecord]) -> str | None:
    return "behind" if validations and validations[-1].step >= 3 else None


def ending_early(store: MemoryStore, kept: Kept = "selected") -> RecordedRun:
    return RecordedRun.open(
        RunFolder(store, RUN), KEY, CONFIG, DATASET, CPU, RecordingOptions(kept=kept), reason_to_end=behind_at_step_3
    )


def test_early_stopped_run_keeps_its_records() -> None:
    store, whole = MemoryStore(), MemoryStore()
    run = ending_early(store)
    assert advance_to_the_end(run).progress.status is RunStatus.STOPPED
    state = RunFolder(store, RUN).read_state()
    assert (state.reason, state.step) == ("behind", 3)
    assert recorded(store) == [0, 3]
    RunFolder(store, RUN).check_digests()
    assert RunFolder(store, RUN).read_checkpoint() is None
    advance_to_the_end(open_small_run(whole, CONFIG, DATASET))
    assert RunFolder(whole, RUN).read_records()[:2] == RunFolder(store, RUN).read_records()


def test_run_that_crashed_before_its_early_stop_trains_no_further_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()
    run = ending_early(store, kept="all")
    with monkeypatch.context() as lost:
        lost.setattr(RecordedRun, "_end", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            advance_to_the_end(run)
    assert RunFolder(store, RUN).read_state().status is RunStatus.RUNNING
    watch_updates(monkeypatch, lambda batch: pytest.fail("trained on"))
    assert ending_early(store).advance(FOREVER).status is RunStatus.STOPPED
    assert recorded(store) == [0, 3]


def test_diverged_run_keeps_its_finite_records() -> None:
    store = MemoryStore()
    config = run_config(hyperparameters={"lr": 1e37})
    run = advance_to_the_end(open_small_run(store, config, DATASET))
    folder = RunFolder(store, RUN)

    assert run.progress.status is folder.read_state().status is RunStatus.DIVERGED
    assert run.progress.reason == folder.read_state().reason
    assert re.fullmatch("the joint loss is (inf|nan) at step 1", run.progress.reason or "")
    assert recorded(store) == [0]
    assert folder.read_selected() is not None
    assert kept_files(store)["checkpoint"] is None


@pytest.mark.parametrize("seconds", [0.0, FOREVER])
def test_diverged_run_keeps_every_annealed_step_before(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    break_at_step(monkeypatch, 5)
    run = advance_to_the_end(open_small_run(store, CONFIG, DATASET), seconds)

    assert run.progress.status is RunStatus.DIVERGED
    assert run.progress.reason == "the joint loss is nan at step 5"
    assert (recorded(store), annealed(store)) == ([0, 3], [3, 4])
    assert run.progress.validation == RunFolder(store, RUN).read_records()[-1].validation


ERRORS = {
    "failed": (RuntimeError("no such kernel"), RunStatus.FAILED, "RuntimeError: no such kernel"),
    "memory": (MemoryError(), RunStatus.OUT_OF_MEMORY, "out of memory"),
    "device memory": (torch.OutOfMemoryError("CUDA: 3 GiB"), RunStatus.OUT_OF_MEMORY, "CUDA: 3 GiB"),
}


@pytest.mark.parametrize(("error", "status", "reason"), ERRORS.values(), ids=ERRORS)
def test_error_of_the_run_ends_it_with_a_status(
    error: Exception, status: RunStatus, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        break_at_step(patch, 5, error)
        run = advance_to_the_end(open_small_run(store, CONFIG, DATASET))
    state = RunFolder(store, RUN).read_state()

    assert (state.status, state.reason, state.step) == (status, reason, 4)
    assert (run.progress.status, run.progress.reason) == (status, reason)
    assert recorded(store) == [0, 3]
    assert ("Traceback" in caplog.text) == (status is RunStatus.FAILED)  # where to look

    advance_to_the_end(open_small_run(store, CONFIG, DATASET))  # tried once more, from its checkpoint
    whole = MemoryStore()
    advance_to_the_end(open_small_run(whole, CONFIG, DATASET))
    assert kept_files(store) == kept_files(whole)


def test_run_that_cannot_start_fails_with_the_reason() -> None:
    store = MemoryStore()
    run = open_small_run(store, run_config(network="small_runs:no_such_network"), DATASET)

    assert run.progress.status is RunStatus.FAILED
    assert "no_such_network" in (run.progress.reason or "")
    assert run.advance().step == -1
    before = dict(store.files)
    run.save_checkpoint()
    run.preempt("its trial was stopped")
    assert (run.progress.status, store.files) == (RunStatus.FAILED, before)
    assert RunFolder(store, RUN).read_state().status is RunStatus.FAILED


def test_interrupt_is_not_a_failure_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    break_at_step(monkeypatch, 1, KeyboardInterrupt())
    run = open_small_run(store, CONFIG, DATASET)
    run.advance(0)
    with pytest.raises(KeyboardInterrupt):
        run.advance(0)

    assert RunFolder(store, RUN).read_state().status is RunStatus.RUNNING


OUTDATE: dict[str, Callable[[RunFolder], object]] = {
    "a second start": lambda folder: folder.claim({"host": "elsewhere"}),
    "the driver's mark": lambda folder: folder.mark(RunStatus.STOPPED, "its scheduler"),
}


@pytest.mark.parametrize("outdate", OUTDATE.values(), ids=OUTDATE)
@pytest.mark.parametrize("action", ["advance", "checkpoint", "preempt"])
def test_superseded_run_raises_and_writes_nothing(outdate: Callable[[RunFolder], object], action: str) -> None:
    store = MemoryStore()
    run = open_small_run(store, CONFIG, DATASET)
    run.advance(0)
    outdate(RunFolder(store, RUN))
    files = dict(store.files)
    actions: dict[str, Callable[[], object]] = {
        "advance": lambda: run.advance(0),
        "checkpoint": run.save_checkpoint,
        "preempt": lambda: run.preempt("its trial was stopped"),
    }

    for _ in range(2):
        with pytest.raises(AttemptSupersededError, match="attempt 1 may not write any more, the newest is 2"):
            actions[action]()
    assert store.files == files


LATE = {
    "records.jsonl": b"",
    "annealing.jsonl": b"",
    "selected": b"of an earlier step",
    "averaged": b"of an earlier attempt",
}


@pytest.mark.parametrize("file", LATE)
def test_file_that_an_older_attempt_wrote_late_never_becomes_official(file: str) -> None:
    """In a bucket, which cannot refuse a request that was on its way when a newer attempt began."""
    whole, store = MemoryStore(), MemoryStore()
    advance_to_the_end(open_small_run(whole, CONFIG, DATASET))
    run = open_small_run(store, CONFIG, DATASET)
    while run.progress.step < CONFIG.training.steps - 2:
        run.advance(0)
    store.replace(f"runs/{RUN}/{file}", LATE[file])
    ended = advance_to_the_end(run).progress

    if file.endswith(".jsonl"):  # the attempt has it in memory
        assert ended.status is RunStatus.DONE
    elif kept_files(store) != kept_files(whole):  # the last step was not the best
        assert ended.status is RunStatus.FAILED
        assert (ended.reason or "").startswith(f"another process wrote its {file} meanwhile; the next launch trains it")
        advance_to_the_end(open_small_run(store, CONFIG, DATASET))
    assert kept_files(store) == kept_files(whole)
    RunFolder(store, RUN).check_digests()

    store.replace(f"runs/{RUN}/{file}", LATE[file])  # still later
    assert file in {finding.file for finding in check_run(store, RUN, None).findings}


def test_superseded_run_that_fails_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    break_at_step(monkeypatch, 0, RuntimeError("no such kernel"))
    run = open_small_run(store, CONFIG, DATASET)
    RunFolder(store, RUN).claim({})
    files = dict(store.files)

    with pytest.raises(AttemptSupersededError, match="attempt 1"):
        run.advance(0)
    assert store.files == files


def test_folder_of_another_run_is_refused() -> None:
    store = MemoryStore()
    open_small_run(store, CONFIG, DATASET)

    with pytest.raises(GGASweepError, match=f"two runs have the same folder {RUN}: {KEY} and other"):
        RecordedRun.open(RunFolder(store, RUN), "other", CONFIG, DATASET, CPU)


def weights_at_evaluations(config: RunSpec) -> list[tuple[float, bytes]]:
    """Validation accuracy and weights at each evaluation, from a trainer that knows no folder."""
    trainer, found = Trainer(config, DATASET, CPU), []
    while not trainer.finished:
        record = trainer.advance(FOREVER).record
        assert record is not None
        found.append((record.validation.accuracy, dump_weights(trainer.network)))
    return found


@pytest.mark.parametrize(("lr", "tied"), [(0.03, False), (0.01, True)])
def test_selected_weights_are_of_the_first_best_validation_step(lr: float, tied: bool) -> None:
    config = run_config(hyperparameters={"lr": lr}, steps=12, evaluate_every=1)
    evaluations = weights_at_evaluations(config)
    accuracies = [accuracy for accuracy, _ in evaluations]
    store = MemoryStore()
    advance_to_the_end(open_small_run(store, config, DATASET))

    assert kept_files(store)["selected"] == evaluations[accuracies.index(max(accuracies))][1]
    assert 0 < accuracies.index(max(accuracies)) < 11
    assert (accuracies.count(max(accuracies)) > 1) == tied


def test_the_metric_decides_which_weights_are_kept_and_changes_no_record() -> None:
    accuracy = run_config(hyperparameters={"lr": 0.03}, steps=12, evaluate_every=1)
    auroc = accuracy.model_copy(update={"metric": "auroc"})
    stores = MemoryStore(), MemoryStore()
    for store, config in zip(stores, (accuracy, auroc), strict=True):
        while (run := open_small_run(store, config, DATASET)).advance(0).status is RunStatus.RUNNING:
            run.preempt("its trial was stopped")  # each attempt resumes from the checkpoint

    by_accuracy, by_auroc = map(kept_files, stores)
    assert by_auroc["records.jsonl"] == by_accuracy["records.jsonl"]
    assert by_auroc["selected"] != by_accuracy["selected"]
    folder = RunFolder(stores[1], RUN)
    aurocs = [record.validation.validation_mean("auroc") for record in folder.read_records()]
    best = aurocs.index(max(aurocs))
    assert by_auroc["selected"] == weights_at_evaluations(accuracy)[best][1]
    selected = folder.selected_record()
    assert selected is not None
    assert selected.step == best


def test_later_equal_step_does_not_replace_the_selected_weights_after_resuming() -> None:
    config = run_config(hyperparameters={"lr": 1e-6}, evaluate_every=1)  # accuracies do not move
    store = MemoryStore()
    while (run := open_small_run(store, config, DATASET)).advance(0).status is RunStatus.RUNNING:
        run.preempt("its trial was stopped")

    assert kept_files(store)["selected"] == weights_at_evaluations(config)[0][1]


def test_test_domain_influences_only_its_own_numbers() -> None:
    def noisy(domain: Domain) -> Domain:
        return replace(domain, images=torch.rand(domain.images.shape), labels=domain.labels.flip(0))

    noise = replace(DATASET, domains=tuple(noisy(d) if d.name == "c" else d for d in DATASET.domains), digest="noise")
    stores = MemoryStore(), MemoryStore()
    progress = [
        advance_to_the_end(open_small_run(store, CONFIG, dataset)).progress
        for store, dataset in zip(stores, (DATASET, noise), strict=True)
    ]
    records = [RunFolder(store, RUN).read_records() for store in stores]

    assert progress[0] == progress[1]
    for name in ("selected", "annealing.jsonl", "state"):
        assert kept_files(stores[0])[name] == kept_files(stores[1])[name]
    assert [dump(record.validation) for record in records[0]] == [dump(record.validation) for record in records[1]]
    assert [record.test for record in records[0]] != [record.test for record in records[1]]
