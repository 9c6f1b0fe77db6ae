"""Runs of a sweep made by hand, as selection and reports read them, and changed field by field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from gga_sweep.records import (
    AnnealedStep,
    AnnealingLine,
    Cell,
    DomainScores,
    NoisyStep,
    Record,
    RunPlace,
    RunRecords,
    RunResult,
    RunState,
    Scalar,
    Score,
)
from gga_sweep.selection import SweepView


def made_run(
    key: str, folder: str, cell: Cell, draws: tuple[int, ...], hyperparameters: Mapping[str, Scalar], **left: Any
) -> RunRecords:
    """A run with what it left: any field of its result or its state, and `annealed`."""
    return changed_run(RunRecords(RunPlace(key, cell, draws, hyperparameters), RunResult(folder)), **left)


def changed_run(run: RunRecords, **values: Any) -> RunRecords:
    """The run with other values of any field of its place, its state or its result; `annealed` is either kind."""
    if "annealed" in values:
        values |= by_method(values.pop("annealed"))
    state = replace(run.result.state, **_taken(values, RunState))
    result = replace(run.result, state=state, **_taken(values, RunResult))
    changed = RunRecords(replace(run.place, **_taken(values, RunPlace)), result)
    assert not values, f"no fields of a run: {list(values)}"
    return changed


def measured_by(view: SweepView, metric: str) -> SweepView:
    """The sweep with all its accuracies as this metric instead, and undefined where they are NaN."""

    def moved(score: Score | None) -> Score | None:
        if score is None:
            return None
        return replace(score, accuracy=0.5, **{metric: None if math.isnan(score.accuracy) else score.accuracy})

    def of_domains(domains: Mapping[str, DomainScores]) -> dict[str, DomainScores]:
        return {name: DomainScores(moved(one.train), moved(one.validation)) for name, one in domains.items()}

    def measured(run: RunRecords) -> RunRecords:
        records = tuple(
            Record(
                replace(one.validation, domains=of_domains(one.validation.domains)),
                replace(one.test, domains=of_domains(one.test.domains)),
            )
            for one in run.records
        )
        return changed_run(run, records=records)

    return replace(
        view,
        metric=metric,
        records=tuple(map(measured, view.records)),
        pair_records=tuple(map(measured, view.pair_records)),
    )


def by_method(annealed: Sequence[AnnealingLine]) -> dict[str, Any]:
    """Annealed steps as the fields of a result: those of GGA and those of GGA-L."""
    return {
        "searches": tuple(line for line in annealed if isinstance(line, AnnealedStep)),
        "noisy_steps": tuple(line for line in annealed if isinstance(line, NoisyStep)),
    }


def _taken(values: dict[str, Any], kind: type) -> dict[str, Any]:
    return {field.name: values.pop(field.name) for field in fields(kind) if field.name in values}
