"""Requeued runs start again, to the same bits; others are not changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gga_sweep.errors import InputError, SweepOwnedError
from gga_sweep.execution.open_run import open_run
from gga_sweep.execution.prepare import prepare_ledger
from gga_sweep.execution.retry import requeue
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.spec import Contents, Plan, SweepSpec, load, plan_sweep


@pytest.fixture
def troubled(plan: Plan, ledger: Ledger) -> dict[RunStatus, str]:
    """Of each status that may be retried the folder of one run; the others are done."""
    statuses = (RunStatus.FAILED, RunStatus.OUT_OF_MEMORY, RunStatus.DIVERGED, RunStatus.PREEMPTED, RunStatus.STOPPED)
    folders = {status: run.folder for status, run in zip(statuses, plan.runs, strict=False)}
    for status, folder in folders.items():
        ledger.run(folder).mark(status, "by a test")
    return folders


def again(plan: Plan, ledger: Ledger, *keys: str, failed: bool = False, diverged: bool = False) -> list[str]:
    return [run.folder for run in requeue(plan, ledger, failed=failed, diverged=diverged, keys=keys)]


def bytes_of(ledger: Ledger) -> dict[str, bytes]:
    runs = (path for path in (ledger.folder / "runs").rglob("*") if path.is_file())
    return {path.relative_to(ledger.folder).as_posix(): path.read_bytes() for path in runs}


def test_failed_runs_start_again_and_others_are_not_changed(
    plan: Plan, ledger: Ledger, troubled: dict[RunStatus, str]
) -> None:
    before = bytes_of(ledger)
    failed = [troubled[RunStatus.FAILED], troubled[RunStatus.OUT_OF_MEMORY]]
    assert again(plan, ledger, failed=True) == failed
    for folder in failed:
        stored = ledger.run(folder).read_result()
        assert (stored.state.status, stored.state.step) == (RunStatus.QUEUED, -1)
        assert (stored.records, stored.annealed, ledger.run(folder).read_header()) == ((), (), None)
        assert ledger.run(folder).read_checkpoint() is ledger.run(folder).read_selected() is None
        assert stored.seconds  # time spent still counts
    after = bytes_of(ledger)
    assert {path.split("/")[1] for path in before.keys() | after if before.get(path) != after.get(path)} == set(failed)


def test_diverged_runs_are_requeued_on_request(plan: Plan, ledger: Ledger, troubled: dict[RunStatus, str]) -> None:
    assert again(plan, ledger, diverged=True) == [troubled[RunStatus.DIVERGED]]
    assert again(plan, ledger, diverged=True) == []
    assert len(again(plan, ledger, diverged=True, failed=True)) == 2


def test_a_named_run_is_requeued_whatever_its_status(
    plan: Plan, ledger: Ledger, troubled: dict[RunStatus, str]
) -> None:
    done, stopped = str(plan.runs[-1].folder), troubled[RunStatus.STOPPED]
    key = next(run.key for run in plan.runs if run.folder == stopped)
    assert again(plan, ledger, done, key[:8], done) == [stopped, done]
    assert {ledger.run(name).read_state().status for name in (done, stopped)} == {RunStatus.QUEUED}
    assert ledger.run(troubled[RunStatus.FAILED]).read_state().status is RunStatus.FAILED


def test_a_run_with_a_damaged_file_counts_as_failed(plan: Plan, ledger: Ledger) -> None:
    name = str(plan.runs[2].folder)
    ledger.store.replace(f"runs/{name}/records.jsonl", b"{")
    assert again(plan, ledger, failed=True) == [name]


def test_a_requeued_run_is_trained_to_the_same_bits_with_a_new_start_time(
    sweep: SweepSpec, plan: Plan, ledger: Ledger
) -> None:
    run = plan.runs[-1]
    folder = ledger.run(run.folder)
    before, header = folder.digests(), folder.read_header()
    assert header is not None
    assert again(plan, ledger, run.folder) == [run.folder]
    training = open_run(run, ledger, sweep.storage, header.dataset_digest, on_gpu=False)
    while training.progress.status is RunStatus.RUNNING:
        training.advance()
    assert folder.digests() == before
    anew = folder.read_header()
    assert anew is not None
    assert anew.start_time > header.start_time


def test_all_bad_keys_are_named_at_once_and_nothing_is_discarded(plan: Plan, ledger: Ledger) -> None:
    before = bytes_of(ledger)
    with pytest.raises(InputError) as refused:
        requeue(plan, ledger, keys=[str(plan.runs[0].folder), "nowhere", ""])
    assert [(fault.field, fault.got) for fault in refused.value.faults] == [("KEY", "nowhere"), ("KEY", "")]
    assert refused.value.faults[0].allowed
    assert bytes_of(ledger) == before


def test_a_run_that_two_arms_share_is_requeued_once(trained: SweepSpec, tmp_path: Path) -> None:
    content = trained.config.model_dump(mode="json", exclude_none=True)
    sweep = load({**content, "arms": [{"name": "one"}, {"name": "two"}], "draws": 1}, storage=tmp_path)
    plan, ledger = plan_sweep(sweep, prepare_ledger(sweep)), Ledger(sweep.folder)
    assert again(plan, ledger, failed=True) == []
    ledger.run(str(plan.runs[0].folder)).mark(RunStatus.FAILED, "by a test")
    assert again(plan, ledger, failed=True) == [plan.runs[0].folder]


def test_nothing_is_discarded_during_a_launch(plan: Plan, ledger: Ledger, troubled: dict[RunStatus, str]) -> None:
    before = bytes_of(ledger)
    with held(ledger.store), pytest.raises(SweepOwnedError):
        requeue(plan, ledger, failed=True)
    assert bytes_of(ledger) == before


def refused(plan: Plan, ledger: Ledger, words: str) -> None:
    before = bytes_of(ledger)
    with pytest.raises(InputError, match=words):
        requeue(plan, ledger, failed=True)
    assert bytes_of(ledger) == before


def test_nothing_is_discarded_if_the_launch_would_be_refused(
    plan: Plan, ledger: Ledger, troubled: dict[RunStatus, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Ledger(ledger.folder.rename(ledger.folder.with_name("renamed")))
    refused(plan, other, r"DIR: must have its sweep's name.*allowed: digits")
    other.folder.rename(ledger.folder)
    monkeypatch.setattr("gga_sweep.execution.prepare.read_contents", lambda sweep: Contents("d" * 32))
    refused(plan, ledger, "dataset: its images")
