"""A small planned sweep with a ledger whose runs are invented."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from begun_run import CONTENTS, FINGERPRINT, begin_run

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import (
    Agreement,
    AnnealedStep,
    DomainScores,
    Record,
    RunStatus,
    Score,
    TestRecord,
    ValidationRecord,
)
from gga_sweep.spec import Plan, PlannedRun, load, plan_sweep

ANNEALED = AnnealedStep(1, 4, 2, 3, 0.1, 0.3, 2.0, 1.9, 0.1, 0.15, 0.2, 0.1, 0.57, 3.0)


def planned(storage: Path, **changes: Any) -> Plan:
    """ERM and an annealed arm on two test domains, one trial seed, two draws: eight runs."""
    content = {
        "name": "demo",
        "dataset": {"name": "RotatedDigits"},
        "arms": [{"algorithm": "ERM"}, {"annealing": {"start_step": 1, "num_steps": 1}}],
        "test_domains": ["0", "75"],
        "trial_seeds": [0],
        "draws": 2,
        "search_space": {"lr": {"loguniform": [3e-4, 3e-3]}},
        "training": {"steps": 5, "evaluate_every": 4},
    }
    return plan_sweep(load({**content, **changes}, storage=storage), CONTENTS)


def invented_records(run: PlannedRun) -> tuple[Record, ...]:
    scores = DomainScores(Score(0.5, 1.0), Score(0.5 + 0.01 * run.draws[0] % 1, 1.0))
    agreement = Agreement(((1.0,),), (1.0,), 0.5, 0.5)
    trained = [name for name in ("0", "15", "30", "45", "60", "75") if name not in run.cell.test_domains]
    test = TestRecord(dict.fromkeys(run.cell.test_domains, scores), dict.fromkeys(run.cell.test_domains, 0.5))
    return tuple(
        Record(ValidationRecord(step, dict.fromkeys(trained, scores), 1.0, agreement, agreement), test)
        for step in (0, 4)
    )


def write_run(
    ledger: Ledger,
    run: PlannedRun,
    status: RunStatus = RunStatus.DONE,
    reason: str | None = None,
    fingerprint: Mapping[str, str] = FINGERPRINT,
) -> None:
    """A run from its start to its end."""
    folder = begin_run(ledger, run, fingerprint)
    folder.write_records(invented_records(run))
    if run.config.annealing is not None:
        folder.write_annealed([ANNEALED])
    folder.add_timing(4, {"training": 2.0, "search": 1.0})
    folder.write_state(status, 4, reason)
