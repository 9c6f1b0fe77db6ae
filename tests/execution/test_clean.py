"""Cleaning removes what is not needed, and nothing else: tables, winners and open cells stay as they were."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small_sweep import small_sweep, train_without_ray

from gga_sweep.errors import InputError, SweepOwnedError
from gga_sweep.execution.clean import CHECKPOINTS, PARTIAL, SHARED, WEIGHTS, Unneeded, clean, unneeded
from gga_sweep.execution.model import load_model
from gga_sweep.execution.replay import replay
from gga_sweep.execution.verify import verify
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import PREFIXES
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.records import Record, RunStatus, Score
from gga_sweep.report.collect import fingerprint_of
from gga_sweep.report.files import FORMATS, render
from gga_sweep.report.make_report import make_report
from gga_sweep.report.unselected import unselected_runs
from gga_sweep.spec import Plan, SweepSpec, load, plan_sweep, read_contents


def changed(sweep: SweepSpec, **fields: Any) -> SweepSpec:
    content = sweep.config.model_dump(mode="json", exclude_none=True)
    return load({**content, **fields}, storage=sweep.storage)


def folders(files: Iterable[str]) -> set[str]:
    return {path.split("/")[1] for path in files}


def found(plan: Plan, ledger: Ledger) -> tuple[Unneeded, ...]:
    return unneeded(plan, ledger, unselected_runs)


def removed(plan: Plan, ledger: Ledger) -> tuple[Unneeded, ...]:
    return clean(plan, ledger, unselected_runs)


def paths(plan: Plan, ledger: Ledger, kind: str) -> set[str]:
    return {one.path for one in found(plan, ledger) if one.kind == kind}


def winners(plan: Plan, ledger: Ledger) -> set[str]:
    report = make_report(plan, ledger)
    return {one.folder for table in (report.table, *report.others) for one in table.selected}


def files(ledger: Ledger) -> dict[str, bytes]:
    """All but the index, which any reader may add to, the leases, and the claims of runs."""
    found = (path for path in ledger.folder.rglob("*") if path.is_file())
    named = {path.relative_to(ledger.folder).as_posix(): path.read_bytes() for path in found}
    claims = ("index/", "launches/")
    return {name: file for name, file in named.items() if not name.startswith(claims) and "/attempts/" not in name}


def test_weights_of_unselected_runs_are_removed_and_nothing_else(plan: Plan, ledger: Ledger) -> None:
    before = files(ledger)
    losers = set(ledger.run_names()) - winners(plan, ledger)
    assert len(losers) == 4
    weights = found(plan, ledger)
    assert folders(one.path for one in weights) == losers
    assert {(one.kind, one.size) for one in weights} == {(WEIGHTS, len(before[weights[0].path]))}
    assert files(ledger) == before  # nothing is removed yet
    assert removed(plan, ledger) == weights
    after = files(ledger)
    assert before.keys() - after.keys() == {f"runs/{name}/selected" for name in losers}
    changed = {path for path in after if after[path] != before[path]}
    assert changed == {f"runs/{name}/status.json" for name in losers}  # which remember it
    assert removed(plan, ledger) == ()


def test_a_cleaned_sweep_verifies_and_has_the_same_tables_and_page(plan: Plan, ledger: Ledger) -> None:
    def contents() -> list[str]:
        report = make_report(plan, ledger)
        headers = [header for header in ledger.read_headers(run.folder for run in report.view.records) if header]
        page = replace(report, fingerprint=fingerprint_of(headers))
        shown = re.sub(r"removed=\(.*?\)", "", repr(page))  # the page does not show which weights were removed
        return [shown, *(render(name, report, ledger) for name in FORMATS if name != "html")]

    before = contents()
    assert removed(plan, ledger)
    assert contents() == before
    assert verify(ledger, partial(read_plan, ledger.folder)).findings == ()


def test_a_removed_model_can_be_trained_again_as_its_error_says(plan: Plan, ledger: Ledger) -> None:
    [name, *_] = folders(one.path for one in removed(plan, ledger))
    run = next(run for run in plan.runs if run.folder == name)
    key = run.key[:8]
    with pytest.raises(InputError, match=rf"this run's were removed.*`gga-sweep train FILE --run {key}`"):
        load_model(ledger.run(name))
    again, _ = replay(plan.sweep, key, None, lambda progress: None)
    assert again.digests()["selected"] == ledger.run(name).read_state().digests["selected"]
    load_model(again)


def test_weights_of_an_incomplete_cell_stay(plan: Plan, ledger: Ledger) -> None:
    """Another run of it may still be selected."""
    cell = plan.runs[0].cell
    in_cell = {run.folder for run in plan.runs if run.cell == cell}
    others = folders(paths(plan, ledger, WEIGHTS)) - in_cell
    ledger.run(str(plan.runs[0].folder)).mark(RunStatus.FAILED, "by a test")
    assert folders(paths(plan, ledger, WEIGHTS)) == others


def test_a_run_that_was_never_started_makes_its_cell_incomplete(sweep: SweepSpec, ledger: Ledger) -> None:
    larger = changed(sweep, draws=3)
    assert paths(plan_sweep(larger, read_contents(larger)), ledger, WEIGHTS) == set()


def test_weights_selected_by_any_method_stay(sweep: SweepSpec, plan: Plan, ledger: Ledger) -> None:
    [name, *others] = sorted(folders(paths(plan, ledger, WEIGHTS)))
    perfect_on_its_test_domain(ledger, name)
    assert name in folders(paths(plan, ledger, WEIGHTS))
    both = changed(sweep, selection=["training-domain-validation", "oracle"])
    peeking = plan_sweep(both, read_contents(both))
    assert name in winners(peeking, ledger)
    left = folders(paths(peeking, ledger, WEIGHTS))
    assert left == set(ledger.run_names()) - winners(peeking, ledger)
    assert left <= set(others)


def perfect_on_its_test_domain(ledger: Ledger, name: str) -> None:
    folder = ledger.run(name)

    def perfect(record: Record) -> Record:
        domains = {
            domain: replace(scores, validation=Score(1.0, 0.0)) for domain, scores in record.test.domains.items()
        }
        return replace(record, test=replace(record.test, domains=domains))

    records = [perfect(record) for record in folder.read_records()]
    folder.claim({})
    folder.write_records(records)
    folder.write_state(RunStatus.DONE, records[-1].step)


def test_runs_that_only_validate_others_need_no_weights(tmp_path: Path) -> None:
    content = small_sweep(
        arms=[{"algorithm": "ERM"}],
        draws=2,
        search_space={"lr": {"loguniform": [1e-3, 1e-1]}},
        selection=["leave-one-domain-out"],
        training={"steps": 2, "evaluate_every": 1},
    )
    sweep = load(content, storage=tmp_path)
    train_without_ray(sweep)
    plan, ledger = plan_sweep(sweep, read_contents(sweep)), Ledger(sweep.folder)
    assert len(ledger.run_names()) == 6
    [winner] = winners(plan, ledger)
    assert folders(paths(plan, ledger, WEIGHTS)) == set(ledger.run_names()) - {winner}
    pair = next(run for run in plan.runs if len(run.cell.test_domains) == 2)
    ledger.run(str(pair.folder)).mark(RunStatus.PREEMPTED, "by a test")
    single = {run.folder for run in plan.runs if len(run.cell.test_domains) == 1}
    assert folders(paths(plan, ledger, WEIGHTS)) == set(ledger.run_names()) - single - {pair.folder}


def test_runs_outside_the_plan_keep_their_weights_but_no_checkpoint(sweep: SweepSpec, ledger: Ledger) -> None:
    for name in ledger.run_names():
        ledger.store.replace(f"runs/{name}/checkpoint", b"of a final run")
    smaller = changed(sweep, test_domains=["0"])
    plan = plan_sweep(smaller, read_contents(smaller))
    assert folders(paths(plan, ledger, WEIGHTS)) < {run.folder for run in plan.runs}
    assert paths(plan, ledger, CHECKPOINTS) == {f"runs/{name}/checkpoint" for name in ledger.run_names()}


def test_a_run_that_can_resume_keeps_its_checkpoint(plan: Plan, ledger: Ledger) -> None:
    name = ledger.run_names()[0]
    ledger.store.replace(f"runs/{name}/checkpoint", b"to go on from")
    ledger.run(name).mark(RunStatus.PREEMPTED, "by a test")
    assert paths(plan, ledger, CHECKPOINTS) == set()
    removed(plan, ledger)
    assert ledger.run(name).read_checkpoint() == b"to go on from"


def test_prefixes_are_removed_once_every_run_is_final(plan: Plan, ledger: Ledger) -> None:
    ledger.store.replace(f"{PREFIXES}/0123-4", b"a prefix")
    folder = ledger.run(str(plan.runs[0].folder))
    state = folder.read_state()
    folder.mark(RunStatus.PREEMPTED, "stopped")
    assert paths(plan, ledger, SHARED) == set()
    folder.mark(state.status)
    assert paths(plan, ledger, SHARED) == {f"{PREFIXES}/0123-4"}
    removed(plan, ledger)
    assert ledger.store.list(PREFIXES) == []


def test_an_interrupted_removal_is_completed(plan: Plan, ledger: Ledger) -> None:
    [winner, *_] = sorted(winners(plan, ledger))  # as --keep-checkpoints none removes them
    weights = ledger.run(winner).read_selected()
    assert weights is not None
    ledger.run(winner).discard_weights()
    ledger.store.replace(f"runs/{winner}/selected", weights)
    assert winner in folders(paths(plan, ledger, WEIGHTS))


def test_partly_written_files_are_removed_once_they_are_old(plan: Plan, ledger: Ledger) -> None:
    young, old = ledger.folder / ".new-young", ledger.folder / "runs" / ".new-old"
    for path, age in ((young, 3000), (old, 4000)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    assert paths(plan, ledger, PARTIAL) == {"runs/.new-old"}
    removed(plan, ledger)
    assert (young.exists(), old.exists()) == (True, False)


def test_nothing_is_removed_during_a_launch(plan: Plan, ledger: Ledger) -> None:
    before = files(ledger)
    with held(ledger.store), pytest.raises(SweepOwnedError):
        removed(plan, ledger)
    assert files(ledger) == before
