"""An invented sweep that looks like a real one: nothing in it was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from made_runs import changed_run, made_run

from gga_sweep.records import (
    Agreement,
    AnnealedStep,
    AnnealingLine,
    Cell,
    DomainScores,
    NoisyStep,
    Record,
    RunRecords,
    RunStatus,
    Score,
    TestRecord,
    ValidationRecord,
)
from gga_sweep.report.document import Footnote, Section, Sheet
from gga_sweep.report.make_report import Report
from gga_sweep.selection import Comparison, SweepView, build_table, compare

DOMAINS = ("0", "15", "30", "45", "60", "75")
ARMS = ("ERM", "ERM + GGA, radius 1e-5", "ERM + GGA, radius 1e-4")
LEVEL = {"0": 0.83, "15": 0.94, "30": 0.96, "45": 0.95, "60": 0.93, "75": 0.86}
STEPS = (0, 50, 100, 150, 200, 250, 299)
WINDOW = range(40, 60)
NOISY = "ERM + GGA-L"
PLAIN_AND_ANNEALED = ("ERM", "ERM + GGA", "CORAL", "CORAL + GGA")
BASELINES = dict.fromkeys((*ARMS[1:], NOISY), "ERM")


def invented_sweep(
    *,
    arms: Sequence[str] = ARMS,
    test_domains: Sequence[str] = ("0", "45", "75"),
    trial_seeds: Sequence[int] = (0, 1, 2),
    draws: int = 4,
    searched: Sequence[str] = (),
    name: str = "demo",
    troubled: bool = True,
) -> SweepView:
    """A sweep on rotated digits. `troubled`: one draw missing, one failed, one diverged, one out of memory."""
    records = [
        _run(arm, i, (domain,), seed, draw)
        for i, arm in enumerate(arms)
        for domain in test_domains
        for seed in trial_seeds
        for draw in range(draws)
    ]
    if troubled:
        records = _with_troubles(records)
    return SweepView(
        name=name,
        dataset="RotatedDigits",
        protocol="quick",
        deviations=("evaluated every 50 steps, not 100", "augmentation: none"),
        arms=tuple(arms),
        test_domains=tuple((domain,) for domain in test_domains),
        trial_seeds=tuple(trial_seeds),
        draws={arm: tuple(range(draws)) for arm in arms},
        records=tuple(records),
        baselines={arm: BASELINES[arm] for arm in arms if arm in BASELINES},
        searched=frozenset(searched),
    )


def _with_troubles(records: list[RunRecords]) -> list[RunRecords]:
    records = list(records)
    failed = changed_run(records[5], status=RunStatus.FAILED, reason="FileNotFoundError: no image 0045.png", records=())
    records[5] = failed
    records[17] = changed_run(
        records[17],
        status=RunStatus.DIVERGED,
        reason="the joint loss became NaN at step 212",
        records=records[17].records[:5],
    )
    records[-2] = changed_run(
        records[-2], status=RunStatus.OUT_OF_MEMORY, reason="CUDA out of memory: tried to allocate 512 MiB", records=()
    )
    del records[-6]
    return records


def _run(arm: str, arm_index: int, test_domains: tuple[str, ...], seed: int, draw: int) -> RunRecords:
    rng = np.random.default_rng([arm_index, DOMAINS.index(test_domains[0]), seed, draw])
    shared = np.random.default_rng([seed, draw])
    lr = 10 ** shared.uniform(-3.5, -2.5)
    hyperparameters: dict[str, bool | int | float | str] = {
        "lr": float(lr),
        "weight_decay": float(10 ** shared.uniform(-6, -3)),
        "dropout": float(shared.choice([0.0, 0.1, 0.5])),
        "optimizer": str(shared.choice(["adam", "sgd"])),
    }
    annealed = arm_index > 0
    if annealed:
        hyperparameters["annealing.num_candidates"] = int(shared.choice([4, 8, 16]))
    quality = -0.03 * abs(math.log10(lr) + 3) + 0.008 * arm_index
    return made_run(
        key=f"{arm_index}{test_domains[0]:0>2}{seed}{draw}".ljust(40, "e"),
        folder=f"rotateddigits-{arm_index}-test{test_domains[0]}-seed{seed}-{arm_index}{seed}{draw}e4f2a",
        cell=Cell("RotatedDigits", arm, test_domains, seed),
        draws=(draw,),
        hyperparameters=hyperparameters,
        status=RunStatus.DONE,
        records=tuple(_record(step, test_domains, quality, annealed, rng) for step in STEPS),
        annealed=_annealed_steps(arm, arm_index, rng),
        seconds=_seconds(arm, arm_index, rng),
    )


def _record(
    step: int, test_domains: tuple[str, ...], quality: float, annealed: bool, rng: np.random.Generator
) -> Record:
    learned = 1 - math.exp(-(step + 4) / 60)
    scores = {name: _scores(LEVEL[name] + quality, learned, rng) for name in DOMAINS}
    cosine = 0.85 * math.exp(-step / 90) + 0.08 + 0.06 * annealed * (step >= WINDOW.start) + rng.normal(0, 0.03)
    agreement = Agreement(((1.0, cosine), (cosine, 1.0)), (1.0, 1.2), cosine, cosine + 0.05)
    return Record(
        ValidationRecord(
            step=step,
            domains={name: score for name, score in scores.items() if name not in test_domains},
            batch_loss=2.3 * (1 - learned) + 0.05,
            agreement=agreement,
            validation_agreement=agreement,
        ),
        TestRecord({name: scores[name] for name in test_domains}, dict.fromkeys(test_domains, cosine - 0.1)),
    )


def _scores(ceiling: float, learned: float, rng: np.random.Generator) -> DomainScores:
    accuracy = 0.1 + (ceiling - 0.1) * learned
    loss = 2.3 * (1 - learned) + 0.15
    return DomainScores(
        train=Score(round(240 * min(1, accuracy + rng.normal(0, 0.02))) / 240, loss),
        validation=Score(round(60 * min(1, accuracy + rng.normal(0, 0.03))) / 60, loss + 0.02),
    )


def invented_comparison(view: SweepView) -> Comparison:
    """The arms of such a sweep against ERM."""
    return compare(view, build_table(view))


def _annealed_steps(arm: str, arm_index: int, rng: np.random.Generator) -> tuple[AnnealingLine, ...]:
    if arm == NOISY:
        return tuple(_noisy_step(step, rng) for step in range(STEPS[-1] + 1))
    return tuple(_annealed_step(step, arm_index, rng) for step in WINDOW) if arm_index else ()


def _seconds(arm: str, arm_index: int, rng: np.random.Generator) -> dict[str, float]:
    shared = {"training": 20.0 + 4 * (arm == NOISY) + rng.normal(0, 0.5), "evaluation": 5.0 + rng.normal(0, 0.1)}
    searched = {"search": 8.0 + rng.normal(0, 0.4), "diagnostics": 1.5} if arm_index and arm != NOISY else {}
    return {**shared, **searched}


def _noisy_step(step: int, rng: np.random.Generator) -> NoisyStep:
    cosine = 0.85 * math.exp(-step / 90) + 0.1 + rng.normal(0, 0.03)
    alpha = 1e-3 * (1 - cosine)
    return NoisyStep(step, cosine, alpha, noise_norm=alpha * 130, gradient_norm=0.4 + abs(rng.normal(0, 0.1)))


def _annealed_step(step: int, arm_index: int, rng: np.random.Generator) -> AnnealedStep:
    before = 0.5 - 0.004 * (step - WINDOW.start) + rng.normal(0, 0.05)
    gain = abs(rng.normal(0.004, 0.003)) * (1 + 4 * (arm_index - 1))
    return AnnealedStep(
        step=step,
        tried=8,
        accepted=int(rng.integers(0, 4)),
        chosen=3,
        alignment_before=before,
        alignment_after=before + gain,
        loss_before=0.8,
        loss_after=0.81,
        fresh_alignment_before=before,
        fresh_alignment_after=before + 0.5 * gain + rng.normal(0, 0.002),
        next_alignment_before=before,
        next_alignment_after=before + 0.15 * gain + rng.normal(0, 0.002),
        moved_radii=0.57,
        moved_updates=0.02,
    )


def several_algorithms() -> SweepView:
    """The invented sweep of ERM and CORAL, each plain and annealed."""
    sweep = invented_sweep(arms=PLAIN_AND_ANNEALED, troubled=False)
    algorithms = {"ERM + GGA": "ERM", "CORAL + GGA": "CORAL"}
    return replace(sweep, baselines={**algorithms, "CORAL": "ERM"}, algorithms=algorithms)


PUBLISHED = Section(
    "published", "Theirs", (Sheet("", ("Arm", "0"), (("GGA", "81.5"),)),), (Footnote("Beware", "of it."),)
)


def invented_report(view: SweepView, **parts: Any) -> Report:
    """A report of the sweep."""
    return Report(view, build_table(view), invented_comparison(view), **parts)


def whole_report() -> Report:
    """A report with every kind of section."""
    view = invented_sweep(arms=(*ARMS, NOISY))
    algorithms = invented_comparison(several_algorithms()).algorithms
    report = invented_report(view, others=(build_table(view, "oracle"),), published=PUBLISHED)
    return replace(report, comparison=replace(report.comparison, algorithms=algorithms))
