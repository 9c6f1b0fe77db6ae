"""Runs of a sweep made by hand, as selection and reports read them, and changed field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from gga_sweep.records import (
    AnnealedStep,
    AnnealingLine,
    Cell,
    NoisyStep,
    RunPlace,
    RunRecords,
    RunResult,
    RunState,
    Scalar,
)


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


def by_method(annealed: Sequence[AnnealingLine]) -> dict[str, Any]:
    """Annealed steps as the fields of a result: those of GGA and those of GGA-L."""
    return {
        "searches": tuple(line for line in annealed if isinstance(line, AnnealedStep)),
        "noisy_steps": tuple(line for line in annealed if isinstance(line, NoisyStep)),
    }


def _taken(values: dict[str, Any], kind: type) -> dict[str, Any]:
    return {field.name: values.pop(field.name) for field in fields(kind) if field.name in values}
