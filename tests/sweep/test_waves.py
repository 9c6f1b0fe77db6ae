"""What becomes of the runs of a wave that did not come to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sweep import small_sweep

import gga_sweep
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.planning import plan_sweep
from gga_sweep.planning.prepare import prepare_ledger
from gga_sweep.records import RunStatus
from gga_sweep.sweep.waves import _settle


@pytest.mark.parametrize(
    ("asked", "overtaken", "expected"),
    [
        (True, False, RunStatus.PREEMPTED),
        (True, True, RunStatus.RUNNING),  # it is the newer launch's
        (False, False, RunStatus.RUNNING),  # the next wave takes it up
    ],
)
def test_no_run_of_a_launch_that_stopped_stays_running(
    tmp_path: Path, asked: bool, overtaken: bool, expected: RunStatus
) -> None:
    sweep = gga_sweep.load(small_sweep(), storage=tmp_path)
    runs = {str(run.key): run for run in plan_sweep(sweep, prepare_ledger(sweep)).runs}
    ledger = Ledger(sweep.folder)
    folders = [ledger.run(str(run.folder)) for run in runs.values()]
    for folder, status in zip(folders, (RunStatus.RUNNING, RunStatus.DONE), strict=True):
        folder.claim({})
        folder.write_state(status, 3)
    with held(ledger.store) as lease:
        if asked:
            lease.ask("enough")
        if overtaken:
            (ledger.folder / "launches" / "000002.json").write_text("{}")
        _settle(ledger, runs, lease)
    assert [folder.read_state().status for folder in folders] == [expected, RunStatus.DONE]
