"""The metric values of a run, each at its step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gga_sweep.ledger.json_codec import Measurement
from gga_sweep.records import FINAL, AnnealedStep, AnnealingLine, RunResult
from gga_sweep.selection.methods.training_validation import best_step
from gga_sweep.selection.tested import score_on_test_domains
from gga_sweep.spec.models import TrainingSettings
from gga_sweep.spec.plan import PlannedRun
from gga_sweep.tracking import names
from gga_sweep.tracking.mlflow_api import Metric


def run_points(run: PlannedRun, result: RunResult, start_time: float, after: tuple[int, int] = (0, 0)) -> list[Metric]:
    """All points of a run, in the order of steps.

    Args:
        start_time: seconds since the epoch.
        after: how many evaluations and annealed steps to leave out.
    """
    points: list[Metric] = []
    records, annealed = after
    metric = run.config.metric
    for record in result.records[records:]:
        values = names.validation_metrics(record.validation, metric) | names.test_metrics(record.test, metric)
        points += points_at(values, record.step, start_time)
    for line in result.annealed[annealed:]:
        points += points_at(_annealing_metrics(line, run.config.training), line.step, start_time)
    if result.state.status in FINAL:
        points += _final_points(run, result, start_time)
    return points


def system_points(lines: Sequence[Measurement]) -> list[Metric]:
    """The measurements of a run's machine, numbered as MLflow numbers them, at their own times."""
    return [
        Metric(name, value, int(line.time * 1000), number)
        for number, line in enumerate(lines)
        for name, value in line.values.items()
    ]


def points_at(values: Mapping[str, float], step: int, start_time: float) -> list[Metric]:
    """Points at a step. Their timestamp is the run's start plus one second a step, so that logging them again stores
    nothing twice.

    Args:
        values: infinite ones become NaN: MLflow would store them as 1.8e308.
        start_time: seconds since the epoch.
    """
    timestamp = int((start_time + step) * 1000)
    return [
        Metric(key, float(value) if math.isfinite(value) else math.nan, timestamp, step)
        for key, value in values.items()
    ]


def _annealing_metrics(line: AnnealingLine, training: TrainingSettings) -> dict[str, float]:
    """GGA-L has a line at every step: too many for a tracking store, so only evaluated steps are logged."""
    if isinstance(line, AnnealedStep):
        return names.search_metrics(line)
    evaluated = line.step % training.evaluate_every == 0 or line.step == training.steps - 1
    return names.noise_metrics(line) if evaluated else {}


def _final_points(run: PlannedRun, result: RunResult, start_time: float) -> list[Metric]:
    """The values at the run's own best step, those of its averaged weights, and its device seconds."""
    seconds = {names.seconds_key(phase): value for phase, value in result.seconds.items()}
    points = points_at(seconds, max(result.state.step, 0), start_time)
    metric = run.config.metric
    if best := best_step((record.validation for record in result.records), metric):
        record = next(record for record in result.records if record.step == best.step)
        scores = best.score, score_on_test_domains(record, run.cell, metric)
        selected = dict(zip(names.selected_keys(metric), scores, strict=True))
        points += points_at({names.SELECTED_STEP: best.step, **selected}, best.step, start_time)
    if averaged := result.averaged:
        record = averaged.record
        scores = record.validation.validation_mean(metric), score_on_test_domains(record, run.cell, metric)
        values = {
            **dict(zip(names.averaged_keys(metric), scores, strict=True)),
            names.AVERAGED_VAL_LOSS: record.validation.loss,
            names.AVERAGED_FIRST_STEP: averaged.first_step,
            names.AVERAGED_LAST_STEP: averaged.last_step,
        }
        points += points_at(values, record.step, start_time)
    return points
