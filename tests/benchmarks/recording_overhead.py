"""What checkpoints and the ledger cost of a run's time: `make bench`.

Runs of the demo are trained into a ledger on this disk, as a trial actor trains them, in slices. What is not training
(opening the folder, records, weights, checkpoints, statuses, each synced to the disk) is given as a share of what is.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gga_sweep.execution.open_run import open_run
from gga_sweep.execution.prepare import decode_images, prepare_ledger, require_writable
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.spec import PlannedRun, load, plan_sweep
from gga_sweep.training.trainer import Slice, Trainer

AIM = 0.03


@dataclass
class Clock:
    """Seconds within `Trainer`: its making, and its training."""

    seconds: float = 0.0


def main() -> None:
    clock = Clock()
    _time_the_trainer(clock)
    with tempfile.TemporaryDirectory() as folder:
        sweep = load("demo", storage=folder)
        require_writable(sweep.storage)
        contents = prepare_ledger(sweep)
        decode_images(sweep)
        runs = [run for run in plan_sweep(sweep, contents).runs if run.cell.trial_seed == 0]

        def train(run: PlannedRun) -> tuple[float, float]:
            """Seconds in all, and of training."""
            clock.seconds, began = 0.0, time.perf_counter()
            recorded = open_run(run, Ledger(Path(folder) / "demo"), sweep.storage, contents.dataset, on_gpu=False)
            while recorded.advance().status is RunStatus.RUNNING:
                pass
            return time.perf_counter() - began, clock.seconds

        train(runs[0])  # warms up
        heading = f"runs of the demo, {os.cpu_count()} CPUs"
        print(f"{heading:44}{'runs':>6}{'training, s':>13}{'recording, s':>14}{'share':>8}")
        totals = [0.0, 0.0]
        for arm in dict.fromkeys(run.cell.arm for run in runs):
            times = [train(run) for run in runs[1:] if run.cell.arm == arm]
            training = sum(of_training for _, of_training in times)
            recording = sum(whole for whole, _ in times) - training
            totals = [totals[0] + training, totals[1] + recording]
            _print(arm, len(times), training, recording)
        _print(f"all (aim: at most {AIM:.0%})", len(runs) - 1, *totals)


def _print(name: str, runs: int, training: float, recording: float) -> None:
    print(f"{name:44}{runs:6}{training:13.2f}{recording:14.2f}{recording / training:8.1%}")


def _time_the_trainer(clock: Clock) -> None:
    make, advance = Trainer.__init__, Trainer.advance

    def timed_make(self: Trainer, *arguments: object) -> None:
        began = time.perf_counter()
        make(self, *arguments)  # type: ignore[arg-type]
        clock.seconds += time.perf_counter() - began

    def timed_advance(self: Trainer, *arguments: object) -> Slice:
        began = time.perf_counter()
        done = advance(self, *arguments)  # type: ignore[arg-type]
        clock.seconds += time.perf_counter() - began
        return done

    Trainer.__init__ = timed_make  # type: ignore[method-assign]
    Trainer.advance = timed_advance  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
