"""What is known only at the end: winners, summaries, tables and plots, the state of the whole sweep."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gga_sweep.execution.private_folder import private_folder
from gga_sweep.metrics import METRICS, SELECTING
from gga_sweep.records import FINAL, RunStatus
from gga_sweep.selection import Entry, Selected, Table, Verdict, domain_label
from gga_sweep.spec.plan import PlannedRun
from gga_sweep.tracking import names
from gga_sweep.tracking.changes import Place
from gga_sweep.tracking.descriptions import summary_tags
from gga_sweep.tracking.mlflow_api import Metric, Run
from gga_sweep.tracking.notes import summary_note
from gga_sweep.tracking.projection import Projection
from gga_sweep.tracking.tracked_run import create_run, search_runs, update_run
from gga_sweep.tracking.winning_models import log_models

if TYPE_CHECKING:
    from gga_sweep.report.make_report import Report


def publish_outcome(
    projection: Projection,
    runs: Iterable[PlannedRun],
    report: Report | None,
    artifacts: Sequence[str] = (),
    progressed: Callable[[], None] = lambda: None,
) -> None:
    """Write the outcome of a sweep whose runs have been projected. Repeating it changes nothing.

    Args:
        projection: of the sweep; while it is live, its parent stays RUNNING.
        runs: of the plan. The parent is FINISHED if all are final, FAILED if one failed, else KILLED.
        report: winners, summaries and descriptions are made from it; None: there is none yet.
        artifacts: names of files in the sweep's folder, attached to the parent if they exist.
        progressed: called after each winner: a large sweep has thousands.
    """
    if report is not None:
        _mark_winners(projection, report.table.selected, progressed)
        _write_summaries(projection, report.table, report.comparison.verdicts)
        _write_results(projection, report)
        projection.describe(report)
    if artifacts:
        _attach(projection, projection.parent.run_id, {name: projection.ledger.store.read(name) for name in artifacts})
    if not projection.live:
        update_run(projection.client, projection.parent, status=_sweep_status(projection, runs))


def _mark_winners(projection: Projection, selected: Sequence[Selected], progressed: Callable[[], None]) -> None:
    winners = {(one.cell.arm, one.key): one for one in selected}
    for place, run in projection.runs.items():
        if place in winners:
            update_run(projection.client, run, tags={names.SELECTED: "true"})
            progressed()
        elif names.SELECTED in run.tags:
            update_run(projection.client, run, tags={names.SELECTED: "false"})
    shown = [(projection.runs[place], one) for place, one in winners.items() if place in projection.runs]
    log_models(projection, {run.run_id: (run, one) for run, one in shown}, progressed)


def _attach(projection: Projection, run_id: str, contents: Mapping[str, bytes | None]) -> None:
    """Attach the files that exist to a run of MLflow."""
    with private_folder() as above:
        folder = Path(above) / "artifacts"
        folder.mkdir()
        for name, content in contents.items():
            if content is not None:
                (folder / name).write_bytes(content)
        projection.client.log_artifacts(run_id, str(folder))


def _write_summaries(projection: Projection, table: Table, verdicts: Sequence[Verdict]) -> None:
    """One run for each arm and test domain, and one for each arm's average. A summary that differs from the table is
    deleted and logged anew; so is one that an interrupted request left."""
    entries: dict[Place, Entry] = {}
    judged: dict[Place, Verdict] = {(one.contrast.arm, names.AVERAGE): one for one in verdicts}
    for row in table.rows:
        for column, entry in zip(table.columns, row.entries, strict=True):
            entries[row.arm, names.value_of(domain_label(column))] = entry
        entries[row.arm, names.AVERAGE] = row.average
    correct: set[Place] = set()
    for run in list(search_runs(projection.client, projection.experiment_id, projection.tags_of("summary"))):
        place = (run.data.tags[names.ARM], run.data.tags[names.TEST_DOMAINS])
        known = place in entries and place not in correct
        if known and _shows(projection, run, place, entries[place], judged.get(place)):
            correct.add(place)
        else:
            projection.client.delete_run(run.info.run_id)
    for place, entry in entries.items():
        if place not in correct:
            _log_summary(projection, place, entry, judged.get(place))


def _shows(projection: Projection, run: Run, place: Place, entry: Entry, verdict: Verdict | None) -> bool:
    values = _values(entry, verdict)
    return (
        run.info.status == "FINISHED"
        and run.data.metrics.keys() == values.keys()
        and all(_equal(run.data.metrics[name], value) for name, value in values.items())
        and _tags(projection, place, entry).items() <= run.data.tags.items()
    )


def _log_summary(projection: Projection, place: Place, entry: Entry, verdict: Verdict | None) -> None:
    arm, test_domains = place
    metric = METRICS[projection.sweep.config.metric].label
    note = summary_note(arm, test_domains, metric, entry, verdict)
    tags = {**_tags(projection, place, entry), **projection.provenance, names.NOTE: note}
    run = create_run(projection.client, projection.experiment_id, tags, time.time_ns() // 1_000_000)
    update_run(
        projection.client,
        run,
        points=[Metric(name, value, run.start_time, 0) for name, value in _values(entry, verdict).items()],
        params={names.PARAM_ARM: arm, names.PARAM_TEST_DOMAINS: test_domains},
        status="FINISHED",
    )


def _write_results(projection: Projection, report: Report) -> None:
    """The score and the difference of each arm as metrics of the parent. A metric of an arm that is gone is NaN."""
    keys = names.arm_keys(row.arm for row in report.table.rows)
    values = {f"{report.table.metric}/{keys[row.arm]}": row.average.mean for row in report.table.rows}
    for verdict in report.comparison.verdicts:
        of_arm = _differences(verdict).items()
        values |= {f"{name}/{keys[verdict.contrast.arm]}": value for name, value in of_arm}
    [shown] = [
        run.data.metrics
        for run in search_runs(projection.client, projection.experiment_id, projection.tags_of("sweep"))
        if run.info.run_id == projection.parent.run_id
    ]
    ours = tuple(f"{name}/" for name in (*SELECTING, *names.DIFFERENCES))
    values = {name: math.nan for name in shown if name.startswith(ours)} | values
    now = time.time_ns() // 1_000_000
    points = [
        Metric(name, value, now, 0)
        for name, value in values.items()
        if name not in shown or not _equal(shown[name], value)
    ]
    update_run(projection.client, projection.parent, points=points)


def _differences(verdict: Verdict) -> dict[str, float]:
    difference = verdict.contrast.difference
    values = (difference.mean, difference.low, difference.high, verdict.contrast.holm_p)
    return dict(zip(names.DIFFERENCES, values, strict=True))


def _values(entry: Entry, verdict: Verdict | None) -> dict[str, float]:
    return {
        **({} if verdict is None else _differences(verdict)),
        names.SUMMARY_MEAN: entry.mean,
        names.SUMMARY_STANDARD_ERROR: entry.standard_error,
        names.SUMMARY_N: float(entry.n),
    }


def _tags(projection: Projection, place: Place, entry: Entry) -> dict[str, str]:
    return {
        **summary_tags(projection.sweep, *place),
        **projection.common_tags,
        names.INCOMPLETE: str(entry.incomplete).lower(),
    }


def _equal(shown: float, value: float) -> bool:
    """Two NaN are equal."""
    return shown == value or (math.isnan(shown) and math.isnan(value))


def _sweep_status(projection: Projection, runs: Iterable[PlannedRun]) -> str:
    children = [projection.runs.get((run.cell.arm, run.key)) for run in runs]
    statuses = {child and child.tags.get(names.STATUS) for child in children}
    if statuses & {RunStatus.FAILED, RunStatus.OUT_OF_MEMORY}:
        return "FAILED"
    return "FINISHED" if statuses <= FINAL else "KILLED"
