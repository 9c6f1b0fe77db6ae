"""One run of a plan trained alone: found by its name, trained beside the sweep, compared with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gga_sweep.errors import InputError
from gga_sweep.execution.recorded_run import Progress
from gga_sweep.execution.replay import compare, find_run, replay
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan, SweepSpec, load, plan_sweep, read_contents

EQUAL = {"records.jsonl": True, "annealing.jsonl": True, "selected": True}


def ignored(progress: Progress) -> None:
    """A remark that is not passed on."""


@pytest.fixture(scope="module")
def plan(trained: SweepSpec) -> Plan:
    return plan_sweep(trained, read_contents(trained))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_run_is_found_by_folder_or_start_of_key(plan: Plan) -> None:
    for run in plan.runs:
        assert find_run(plan, run.folder) == run
        assert find_run(plan, run.key) == run
        assert find_run(plan, run.key[:8]) == run


def test_run_shared_by_two_arms_is_found_once(plan: Plan) -> None:
    arms = [{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "the same again"}]
    content = {**plan.sweep.config.model_dump(exclude_none=True), "arms": arms}
    shared = plan_sweep(load(content), read_contents(plan.sweep))
    assert len(shared.runs) == 8
    assert find_run(shared, str(shared.runs[0].key)).key == shared.runs[0].key


def test_unknown_run_is_refused_with_the_list(plan: Plan) -> None:
    with pytest.raises(InputError, match="must name one run of the plan, got 'no-such-run'") as error:
        find_run(plan, "no-such-run")
    assert error.value.faults[0].allowed == tuple(run.folder for run in plan.runs)


def test_ambiguous_start_of_key_is_refused_with_its_runs(plan: Plan) -> None:
    digit = next(digit for digit in "0123456789abcdef" if sum(run.key[0] == digit for run in plan.runs) > 1)
    with pytest.raises(InputError, match=f"got '{digit}'") as error:
        find_run(plan, digit)
    fitting = [run.folder for run in plan.runs if run.key.startswith(digit)]
    assert 1 < len(fitting) < len(plan.runs)
    assert error.value.faults[0].allowed == tuple(fitting)


def test_at_most_twenty_runs_are_listed(plan: Plan) -> None:
    content = {**plan.sweep.config.model_dump(exclude_none=True), "trial_seeds": [0, 1, 2]}
    large = plan_sweep(load(content), read_contents(plan.sweep))
    with pytest.raises(InputError, match=re.escape("... 4 more)")) as error:
        find_run(large, "no-such-run")
    assert len(error.value.faults[0].allowed) == 21


@pytest.mark.parametrize("position", [1, 5], ids=["ERM", "ERM + GGA"])
def test_replay_has_the_bytes_of_the_sweep(trained: SweepSpec, plan: Plan, tmp_path: Path, position: int) -> None:
    run, told, before = plan.runs[position], list[Progress](), files_of(trained.folder)
    folder, progress = replay(trained, run.folder, tmp_path / "alone", told.append)
    assert progress.status is RunStatus.DONE
    assert told[-1] == progress
    assert [one.step for one in told] == [0, 2, 4]
    assert compare(folder, trained) == EQUAL
    assert files_of(trained.folder) == before
    own = files_of(trained.folder / "runs" / folder.name)
    replayed = files_of(tmp_path / "alone" / "runs" / folder.name)
    assert replayed["records.jsonl"] == own["records.jsonl"] != b""
    assert ("annealing.jsonl" in replayed) == (run.config.annealing is not None)


def test_replay_is_written_to_replays_by_default(own_copy: Callable[[], SweepSpec]) -> None:
    sweep = own_copy()
    runs = files_of(sweep.folder / "runs")
    folder, _ = replay(sweep, Ledger(sweep.folder).run_names()[0], None, ignored)
    assert Ledger(sweep.folder / "replays").run_names() == [folder.name]
    assert files_of(sweep.folder / "runs") == runs


def test_replay_in_the_sweeps_own_folder_is_refused(trained: SweepSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would train over the sweep's run."""
    name, before = Ledger(trained.folder).run_names()[0], files_of(trained.folder)
    monkeypatch.chdir(trained.storage)
    for output in (trained.folder, Path("digits"), trained.folder / "runs" / ".."):
        with pytest.raises(InputError, match=r"--output: must be another folder than the sweep's own, got '.*'"):
            replay(trained, name, output, ignored)
    assert files_of(trained.folder) == before


def test_replay_begins_at_step_0(trained: SweepSpec, plan: Plan, tmp_path: Path) -> None:
    name = str(plan.runs[0].folder)
    left = Ledger(tmp_path).run(name)
    left.claim({})
    left.write_checkpoint(b"of another time")
    told = list[Progress]()
    folder, _ = replay(trained, name, tmp_path, told.append)
    assert [one.step for one in told] == [0, 2, 4]
    assert compare(folder, trained) == EQUAL


def test_failing_run_ends_with_the_reason(
    trained: SweepSpec, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("told to fail")

    monkeypatch.setattr("gga_sweep.algorithms.erm.ERM.update", fail)
    _, progress = replay(trained, str(plan.runs[0].folder), tmp_path, ignored)
    assert (progress.status, progress.reason) == (RunStatus.FAILED, "RuntimeError: told to fail")


def test_file_with_one_changed_byte_is_named(own_copy: Callable[[], SweepSpec], trained: SweepSpec) -> None:
    sweep = own_copy()
    ours, theirs = Ledger(trained.folder), Ledger(sweep.folder)
    name = ours.run_names()[0]
    assert compare(ours.run(name), sweep) == EQUAL
    records = theirs.folder / "runs" / name / "records.jsonl"
    records.write_bytes(records.read_bytes().replace(b"0", b"1", 1))
    assert compare(ours.run(name), sweep) == {**EQUAL, "records.jsonl": False}


def test_run_not_done_in_the_sweep_is_not_compared(own_copy: Callable[[], SweepSpec], trained: SweepSpec) -> None:
    sweep = own_copy()
    name = Ledger(sweep.folder).run_names()[0]
    Ledger(sweep.folder).run(name).mark(RunStatus.PREEMPTED, "told to stop")
    assert compare(Ledger(trained.folder).run(name), sweep) is None
