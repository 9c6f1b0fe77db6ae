"""A planned sweep of the six rotated digits' domains, with a ledger whose runs are invented."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from begun_run import CONTENTS, begin_run

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import write_sweep
from gga_sweep.records import Agreement, DomainScores, Record, RunStatus, Score, TestRecord, ValidationRecord
from gga_sweep.spec import Plan, PlannedRun, load, plan_sweep

DOMAINS = ("0", "15", "30", "45", "60", "75")
STEPS = (0, 2, 4)
GGA = {"algorithm": "ERM", "annealing": {"start_step": 1, "num_steps": 1, "radius": 1e-4, "num_candidates": 3}}

Accuracy = Callable[[int, bool], float]
"""Of a step, on a training domain or (True) a test domain."""


class Mine:
    """What a sweep file may name as an installed algorithm, as far as planning looks."""

    HYPERPARAMETERS: Mapping[str, object] = MappingProxyType({})
    NUMERICS = 1


def planned(storage: Path, **changes: Any) -> Plan:
    """ERM and an annealed arm on two test domains, one trial seed, two draws: eight runs. Kept as if launched."""
    content = {
        "name": "invented",
        "dataset": {"name": "RotatedDigits"},
        "arms": [{"algorithm": "ERM"}, GGA],
        "test_domains": ["0", "75"],
        "trial_seeds": [0],
        "draws": 2,
        "search_space": {"lr": {"loguniform": [3e-4, 3e-3]}},
        "training": {"steps": 5, "evaluate_every": 2},
    }
    sweep = load({**content, **changes}, storage=storage)
    write_sweep(Ledger(sweep.folder), sweep, CONTENTS)
    return plan_sweep(sweep, CONTENTS)


def invented_records(
    run: PlannedRun,
    accuracy: Accuracy,
    steps: Sequence[int] = STEPS,
    batch_loss: float = 1.5,
    domains: Sequence[str] = DOMAINS,
) -> tuple[Record, ...]:
    """One record a step; `accuracy` is called for every split of every domain."""

    def scores(step: int, tested: bool) -> dict[str, DomainScores]:
        chosen = [name for name in domains if (name in run.cell.test_domains) == tested]
        return {
            name: DomainScores(Score(accuracy(step, tested), 1.0), Score(accuracy(step, tested), 1.0))
            for name in chosen
        }

    agreement = Agreement(((1.0,),), (1.0,), 0.5, 0.5)
    return tuple(
        Record(
            ValidationRecord(step, scores(step, tested=False), batch_loss, agreement, agreement),
            TestRecord(scores(step, tested=True), dict.fromkeys(run.cell.test_domains, 0.5)),
        )
        for step in steps
    )


def write_run(
    ledger: Ledger,
    run: PlannedRun,
    records: Sequence[Record],
    status: RunStatus = RunStatus.DONE,
    seconds: dict[str, float] | None = None,
    input_shape: tuple[int, int, int] = (1, 28, 28),
) -> None:
    """A run from its start to its end."""
    folder = begin_run(ledger, run, input_shape=input_shape)
    if records:
        folder.write_records(records)
    if seconds is not None:
        folder.add_timing(4, seconds)
    folder.write_state(status, 4, None if status is RunStatus.DONE else "told so")


def write_all(plan: Plan, seed: int = 0, values: Sequence[float] | None = None) -> Ledger:
    """Every run of the plan, DONE. Accuracies are drawn from `values`, so that few of them make ties."""
    generator = random.Random(seed)
    ledger = Ledger(plan.sweep.folder)
    for run in plan.runs:
        records = invented_records(run, lambda *_: generator.choice(values) if values else generator.random())
        write_run(ledger, run, records)
    return ledger


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
