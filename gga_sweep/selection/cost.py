"""The cost of an arm: device-seconds by phase, beside its baseline's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.selection.contrasts import check_baselines
from gga_sweep.selection.view import SweepView

PHASES = ("training", "search", "diagnostics", "evaluation")
DIAGNOSTICS = "diagnostics"


@dataclass(frozen=True, slots=True)
class Cost:
    """One arm.

    Args:
        arm: its name.
        baseline: the arm it is compared with; None for a baseline.
        runs: its runs that took any time, whatever their status, including those of pairs of test domains.
        of_pairs: those of them with a pair of test domains.
        seconds: total device-seconds of these, by each of `PHASES`. A run that two arms share counts in both, and steps
            that runs share count in each.
        inherited: device-seconds among them that other runs spent on shared steps.
        done: its DONE runs without pairs: only they completed all their steps, so they can be compared.
        seconds_a_run: mean over the DONE runs, by phase; empty without one.
        ratio: of a DONE run of this arm to one of its baseline; NaN if either has none, or there is no baseline.
        ratio_without_diagnostics: the same without the time of diagnostics.
    """

    arm: str
    baseline: str | None
    runs: int
    of_pairs: int
    seconds: Mapping[str, float]
    inherited: float
    done: int
    seconds_a_run: Mapping[str, float]
    ratio: float
    ratio_without_diagnostics: float

    @property
    def total(self) -> float:
        """Device-seconds of all its runs."""
        return math.fsum(self.seconds.values())

    @property
    def a_run(self) -> float:
        """Device-seconds of a DONE run; NaN without one."""
        return math.fsum(self.seconds_a_run.values()) if self.done else math.nan


def costs(view: SweepView, baselines: Mapping[str, str]) -> tuple[Cost, ...]:
    """Every arm that is trained, in order. Averaged weights cost nothing beside their arm's runs.

    Args:
        baselines: arm -> the arm it is compared with; an arm that is a baseline itself is absent.

    Raises:
        InputError: an arm or a baseline is not in the view, or an arm is its own baseline.
    """
    check_baselines(baselines, view.arms)
    every_run = (*view.records, *view.pair_records)
    timed = {arm: [run for run in every_run if run.cell.arm == arm and run.seconds] for arm in view.arms}
    done = {
        arm: [run for run in runs if run.status is RunStatus.DONE and run.cell.test_domains not in view.pairs]
        for arm, runs in timed.items()
    }
    each = {arm: _mean_by_phase(runs) for arm, runs in done.items()}
    return tuple(
        Cost(
            arm=arm,
            baseline=baselines.get(arm),
            runs=len(timed[arm]),
            of_pairs=sum(run.cell.test_domains in view.pairs for run in timed[arm]),
            seconds=_total_by_phase(timed[arm]),
            inherited=math.fsum(run.inherited_seconds for run in timed[arm]),
            done=len(done[arm]),
            seconds_a_run=each[arm],
            ratio=_ratio(each[arm], each.get(baselines.get(arm, ""), {})),
            ratio_without_diagnostics=_ratio(
                _without_diagnostics(each[arm]), _without_diagnostics(each.get(baselines.get(arm, ""), {}))
            ),
        )
        for arm in view.trained_arms
    )


def _total_by_phase(runs: Sequence[RunRecords]) -> dict[str, float]:
    return {phase: math.fsum(run.seconds.get(phase, 0.0) for run in runs) for phase in PHASES}


def _mean_by_phase(runs: Sequence[RunRecords]) -> dict[str, float]:
    return {phase: seconds / len(runs) for phase, seconds in _total_by_phase(runs).items()} if runs else {}


def _without_diagnostics(seconds: Mapping[str, float]) -> dict[str, float]:
    return {phase: value for phase, value in seconds.items() if phase != DIAGNOSTICS}


def _ratio(seconds: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    spent, against = math.fsum(seconds.values()), math.fsum(baseline.values())
    return spent / against if seconds and against else math.nan
