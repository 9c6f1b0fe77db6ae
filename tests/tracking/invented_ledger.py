"""A small sweep whose ledger is invented: nothing in it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gga_sweep.annealing import GGAL
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.records import (
    Agreement,
    AnnealedStep,
    DomainScores,
    NoisyStep,
    Record,
    RunStatus,
    Score,
    TestRecord,
    ValidationRecord,
)
from gga_sweep.report.make_report import Report, make_report
from gga_sweep.spec import Contents, Plan, PlannedRun, load, plan_sweep
from gga_sweep.tracking.projection import Projection

DOMAINS = ("0", "15", "30", "45", "60", "75")
STEPS = (0, 2, 4)
WINDOW = (1, 2, 3)
CONTENTS = Contents(dataset="0" * 64)
START_TIME = 1_700_000_000.25

ANNEALED_ARM = {"name": "ERM + GGA", "algorithm": "ERM", "annealing": {"method": "gga", "radius": 1e-4}}
GGA_L_ARM = {"algorithm": "ERM", "annealing": {"method": "gga-l", "gamma": 1e-2}}


def invented_plan(storage: Path, **changes: Any) -> Plan:
    """ERM and an annealed arm on two test domains of the digits, one trial seed, two draws."""
    content = {
        "name": "demo",
        "dataset": {"name": "RotatedDigits"},
        "arms": [{"algorithm": "ERM"}, ANNEALED_ARM],
        "test_domains": ["0", "75"],
        "trial_seeds": [0],
        "draws": 2,
        "defaults": {"annealing.start_step": 1, "annealing.num_steps": 3, "annealing.num_candidates": 4},
        "search_space": {"lr": {"loguniform": [3e-4, 3e-3]}},
        "training": {"steps": 5, "evaluate_every": 2},
    }
    return plan_sweep(load({**content, **changes}, storage=storage), CONTENTS)


def start(ledger: Ledger, run: PlannedRun, start_time: float = START_TIME) -> RunFolder:
    """A run that has begun."""
    assert run.folder is not None
    assert run.key is not None
    folder = ledger.run(run.folder)
    folder.claim({"owner": "a test"})
    folder.write_header(
        RunHeader(
            key=run.key,
            config=run.config,
            dataset_digest=CONTENTS.dataset,
            classes=tuple("0123456789"),
            input_shape=(1, 28, 28),
            normalise=False,
            fingerprint={"torch": "2"},
            start_time=start_time,
            split_digests={domain: (f"{domain} 80 %", f"{domain} 20 %") for domain in DOMAINS},
        )
    )
    folder.write_state(RunStatus.RUNNING, -1)
    return folder


def progress(folder: RunFolder, run: PlannedRun, evaluations: int) -> None:
    """Its first evaluations, the annealed steps before them, and the time they took."""
    records = [invented_record(run, step) for step in STEPS[:evaluations]]
    if run.config.annealing is not None:
        last = STEPS[evaluations - 1]
        if isinstance(run.config.annealing, GGAL):
            folder.write_annealed([invented_noisy_step(step) for step in range(last + 1)])
        else:
            folder.write_annealed([invented_annealed_step(step) for step in WINDOW if step <= last])
    folder.write_records(records)
    folder.add_timing(STEPS[evaluations - 1], {"training": 1.5, "evaluation": 0.5})
    folder.write_state(RunStatus.RUNNING, STEPS[evaluations - 1])


def finish(
    ledger: Ledger, run: PlannedRun, status: RunStatus = RunStatus.DONE, evaluations: int = 3, reason: str | None = None
) -> RunFolder:
    """A run from its start to its end."""
    folder = start(ledger, run)
    if evaluations:
        progress(folder, run, evaluations)
    folder.write_selected(b"weights of " + run.key.encode())
    folder.write_state(status, STEPS[evaluations - 1] if evaluations else -1, reason)
    return folder


def invented_record(run: PlannedRun, step: int) -> Record:
    """Best at step 2, and for the later draw; every number differs from every other."""
    level = 0.5 + 0.01 * step - 0.02 * (step > 2) + 0.001 * max(run.draws)
    domains = [domain for domain in DOMAINS if domain not in run.cell.test_domains]
    return Record(
        ValidationRecord(
            step=step,
            domains={domain: _scores(level + 0.0001 * i) for i, domain in enumerate(domains)},
            batch_loss=1.0 - level,
            agreement=_agreement(0.3, 0.4),
            validation_agreement=_agreement(0.1, 0.2),
        ),
        TestRecord(
            domains={domain: _scores(level - 0.1) for domain in run.cell.test_domains},
            gradient_cosine=dict.fromkeys(run.cell.test_domains, 0.6),
        ),
    )


def _scores(level: float) -> DomainScores:
    return DomainScores(train=Score(level + 0.05, 0.9 - level), validation=Score(level, 1.1 - level))


def _agreement(minimum: float, mean: float) -> Agreement:
    return Agreement(cosines=((1.0,),), norms=(2.0,), minimum=minimum, mean=mean)


def invented_annealed_step(step: int) -> AnnealedStep:
    return AnnealedStep(
        step=step,
        tried=4,
        accepted=2,
        chosen=3,
        alignment_before=0.1,
        alignment_after=0.3,
        loss_before=2.0,
        loss_after=1.9,
        fresh_alignment_before=0.1,
        fresh_alignment_after=0.15,
        next_alignment_before=0.2,
        next_alignment_after=0.1,
        moved_radii=0.57,
        moved_updates=3.0,
    )


def invented_noisy_step(step: int) -> NoisyStep:
    return NoisyStep(
        step=step, mean_cosine=0.1 * step, alpha=0.01 * (1 - 0.1 * step), noise_norm=0.5, gradient_norm=2.0
    )


def invented_report(plan: Plan, ledger: Ledger) -> Report:
    """The report as the sweep would make it."""
    return make_report(plan, ledger)


def show(projection: Projection, run: PlannedRun, ledger: Ledger) -> None:
    """Project what the ledger holds of a run, as the projector does."""
    folder = ledger.run(run.folder)
    header = folder.readable_header()
    projection.project(run, folder.read_result(), header)
