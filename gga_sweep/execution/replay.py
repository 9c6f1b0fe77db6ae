"""Trains one run of a plan alone, without Ray or MLflow, to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gga_sweep.errors import Fault, InputError
from gga_sweep.execution.network_check import require_networks
from gga_sweep.execution.open_run import open_run
from gga_sweep.execution.prepare import decode_images, require_writable
from gga_sweep.execution.recorded_run import Progress, RecordingOptions
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_reader import AVERAGED, DETERMINISTIC
from gga_sweep.ledger.suggested_draws import read_suggested
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan, PlannedRun, SweepSpec, plan_sweep, read_contents
from gga_sweep.spec.location import as_location


def replay(
    sweep: SweepSpec, key: str, output: Path | None, show: Callable[[Progress], None]
) -> tuple[RunFolder, Progress]:
    """Train one run from step 0 in a folder of its own; the sweep's ledger is not touched.

    Args:
        key: of a run of the plan: its folder's name, or the start of its key.
        output: folder to train in (default: `STORAGE/SWEEP/replays`); not the sweep's own.
        show: called with the progress after each slice.

    Returns:
        Its folder, and how it ended.

    Raises:
        InputError: no such run, the images are not there, or the folder cannot be trained in.
    """
    contents = read_contents(sweep)
    run = find_run(plan_sweep(sweep, contents, read_suggested(Ledger(sweep.folder))), key)
    target = as_location(output or sweep.folder / "replays", "--output")
    if target.resolve() == sweep.folder.resolve():
        raise InputError([Fault("--output", "must be another folder than the sweep's own", str(target))])
    require_networks(sweep)
    require_writable(target)
    decode_images(sweep)
    ledger = Ledger(target)
    training = open_run(
        run,
        ledger,
        sweep.storage,
        contents.dataset,
        sweep.config.resources.on_gpu,
        RecordingOptions(from_checkpoint=False),
        workers=sweep.config.resources.data_workers,
    )
    progress = training.progress
    while progress.status is RunStatus.RUNNING:
        progress = training.advance()
        show(progress)
    return ledger.run(run.folder), progress


def compare(replayed: RunFolder, sweep: SweepSpec) -> dict[str, bool] | None:
    """Whether the deterministic files equal those of the sweep's own run, by name; None if that run is not done.

    Files that were removed from it are compared by their digests.
    """
    run = Ledger(sweep.folder).run(replayed.name)
    state = run.read_state()
    if state.status is not RunStatus.DONE:
        return None
    removed = {name: state.digests.get(name) for name in state.removed}
    own, theirs = {**removed, **run.digests()}, replayed.digests()
    present = (name for name in DETERMINISTIC if name not in AVERAGED or name in own or name in theirs)
    return {name: own.get(name) == theirs.get(name) for name in present}


def find_run(plan: Plan, key: str) -> PlannedRun:
    """The run with this folder name, or with a key that starts so.

    Raises:
        InputError: none, or more than one.
    """
    found = {run.key: run for run in plan.runs if run.folder == key or run.key.startswith(key)}
    if len(found) != 1:
        folders = tuple(dict.fromkeys(run.folder for run in (found.values() or plan.runs)))
        listed = folders if len(folders) <= 20 else (*folders[:20], f"... {len(folders) - 20} more")
        raise InputError([Fault("--run", "must name one run of the plan", key, listed)], plan.sweep.source)
    return next(iter(found.values()))
