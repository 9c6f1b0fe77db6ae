"""What is known only at the end: winners, summaries, tables and plots, the state of the sweep as a whole."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from gga_sweep.records import FINAL, RunStatus
from gga_sweep.selection import Entry, Selected, Table, domain_label
from gga_sweep.spec.plan import PlannedRun
from gga_sweep.tracking import names
from gga_sweep.tracking.descriptions import summary_tags
from gga_sweep.tracking.mlflow_api import Metric
from gga_sweep.tracking.projection import Projection
from gga_sweep.tracking.tracked_run import TrackedRun, Update, create_run, update_run


def publish_outcome(
    projection: Projection,
    runs: Iterable[PlannedRun],
    table: Table | None,
    artifacts: Sequence[str] = (),
    headway: Callable[[], None] = lambda: None,
) -> None:
    """Write the outcome of a sweep whose runs have been projected. Repeating it changes nothing.

    Args:
        projection: of the sweep; while it is live, its parent goes on RUNNING.
        runs: of the plan: FINISHED needs all of them final, FAILED one that failed; else the sweep counts as KILLED.
        table: winners and summaries are taken from it; None when there is none yet.
        artifacts: names of files in the sweep's folder, to hang on the parent where they are there.
        headway: called after each winner: a large sweep has thousands.
    """
    if table is not None:
        _mark_winners(projection, table.selected, headway)
        _write_summaries(projection, table)
    if artifacts:
        _attach(projection, projection.parent.run_id, {name: projection.ledger.store.read(name) for name in artifacts})
    if not projection.live:
        update_run(projection.client, projection.parent, Update(status=_sweep_status(projection, runs)))


def _mark_winners(projection: Projection, selected: Sequence[Selected], headway: Callable[[], None]) -> None:
    winners = {(one.cell.arm, one.key): one for one in selected}
    for place, run in projection.runs.items():
        if place in winners:
            _attach_weights(projection, run, winners[place])
            update_run(projection.client, run, Update(tags={names.SELECTED: "true"}))
            headway()
        elif names.SELECTED in run.tags:
            update_run(projection.client, run, Update(tags={names.SELECTED: "false"}))


def _attach_weights(projection: Projection, run: TrackedRun, winner: Selected) -> None:
    """The winner's configuration and, where the run kept them, the weights of the selected step; each once."""
    if run.tags.get(names.WEIGHTS_STEP) == str(winner.step):
        return
    stored = projection.ledger.run(winner.folder)
    kept = stored.selected_record()
    contents = {
        names.CONFIG_FILE: stored.read_file("run.json"),
        names.WEIGHTS_FILE: stored.intact_selected() if kept is not None and kept.step == winner.step else None,
    }
    _attach(projection, run.run_id, contents)
    if contents[names.WEIGHTS_FILE] is not None:
        update_run(projection.client, run, Update(tags={names.WEIGHTS_STEP: str(winner.step)}))


def _attach(projection: Projection, run_id: str, contents: Mapping[str, bytes | None]) -> None:
    """Hang the files that are there on a run of MLflow."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            if content is not None:
                (Path(folder) / name).write_bytes(content)
        projection.client.log_artifacts(run_id, folder)


def _write_summaries(projection: Projection, table: Table) -> None:
    """One run an arm and test domain, one an arm's average; those of arms that are gone are deleted."""
    entries: dict[tuple[str, str], Entry] = {}
    for row in table.rows:
        for column, entry in zip(table.columns, row.entries, strict=True):
            entries[row.arm, domain_label(column)] = entry
        entries[row.arm, names.AVERAGE] = row.average
    for place, entry in entries.items():
        _write_summary(projection, place, entry)
    for place in projection.summaries.keys() - entries.keys():
        _delete_summary(projection, place)


def _write_summary(projection: Projection, place: tuple[str, str], entry: Entry) -> None:
    """A summary that changed is made anew: its metrics belong to no step, and a later value beside an earlier one could
    not be told from a point written twice."""
    arm, test_domains = place
    values = {
        names.SUMMARY_MEAN: entry.mean,
        names.SUMMARY_STANDARD_ERROR: entry.standard_error,
        names.SUMMARY_N: float(entry.n),
    }
    run = projection.summaries.get(place)
    if run is not None and any(_differs(run.metrics[name], values[name]) for name in values.keys() & run.metrics):
        _delete_summary(projection, place)
        run = None
    tags = summary_tags(projection.sweep, arm, test_domains, projection.parent.run_id)
    if run is None:
        run = create_run(projection.client, projection.experiment_id, tags, time.time_ns() // 1_000_000)
        projection.summaries[place] = run
    update = Update(
        metrics=[Metric(name, value, run.start_time, 0) for name, value in values.items() if name not in run.metrics],
        params={names.PARAM_ARM: arm, names.PARAM_TEST_DOMAINS: test_domains},
        tags={**tags, names.INCOMPLETE: str(entry.incomplete).lower()},
        status="FINISHED",
    )
    update_run(projection.client, run, update)


def _delete_summary(projection: Projection, place: tuple[str, str]) -> None:
    projection.client.delete_run(projection.summaries[place].run_id)
    del projection.summaries[place]


def _differs(shown: float, value: float) -> bool:
    """Two NaN are the same."""
    return shown != value and not (math.isnan(shown) and math.isnan(value))


def _sweep_status(projection: Projection, runs: Iterable[PlannedRun]) -> str:
    children = [projection.find(run.cell.arm, run.key) for run in runs]
    statuses = {child and child.tags.get(names.STATUS) for child in children}
    if statuses & {RunStatus.FAILED, RunStatus.OUT_OF_MEMORY}:
        return "FAILED"
    return "FINISHED" if statuses <= FINAL else "KILLED"
