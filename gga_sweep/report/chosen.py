"""The selected hyperparameters as a sweep file: of each cell, or of one trial seed for others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gga_sweep.errors import Fault, InputError
from gga_sweep.report.wording import count, incomplete_in_words
from gga_sweep.selection import IncompleteCell, Selected, SweepView, Table
from gga_sweep.spec import SweepSpec
from gga_sweep.spec.models import FolderName, SweepConfig
from gga_sweep.spec.yaml_text import write_yaml

_OF_SEARCH = {"draws", "search", "search_space", "adaptive", "early_stopping", "selection"}
_REPLACED = {"name", "arms", "trial_seeds", "chosen", *_OF_SEARCH}
_LONGEST_NAME = 100


def chosen_sweep(sweep: SweepSpec, view: SweepView, table: Table) -> str | None:
    """A sweep file that trains the selected run of every cell again, each with its own hyperparameters.

    Averaged weights are not selected here: a cell trains one draw, that of its arm. None if a cell is incomplete or
    nothing was searched.
    """
    selected, incomplete = _of_trained_arms(view, table)
    if sweep.config.chosen is not None or incomplete:
        return None
    values = _values(view, selected)
    if not any(values):
        return None
    cells = [_entry(one, of_one, with_seed=True) for one, of_one in zip(selected, values, strict=True)]
    search = f"{table.method_label} in sweep {sweep.name}, {_draws(view)}"
    return _as_yaml(_content(sweep.config, f"{sweep.name}-chosen", sweep.config.trial_seeds, search, cells))


def reseeded_sweep(
    sweep: SweepSpec,
    view: SweepView,
    table: Table,
    trial_seeds: Sequence[int],
    *,
    from_seed: int | None = None,
    name: str | None = None,
) -> str:
    """A sweep file that trains the winners of one trial seed on others.

    Args:
        sweep, view, table: of the finished sweep.
        trial_seeds: to train them on.
        from_seed: the trial seed of the winners; None: the sweep's only one.
        name: of the new sweep (default: the old one's with `-reseeded`).

    Raises:
        InputError: no trial seed, a duplicate, or that of the winners; several trial seeds and none is named; nothing
            was searched; an invalid name; or an incomplete cell.
    """
    faults = []
    if name is not None and not _is_name(name):
        faults.append(Fault("--name", "must begin with a letter or digit and hold only those and . _ -", name))
    if not trial_seeds or len(set(trial_seeds)) < len(trial_seeds) or min(trial_seeds) < 0:
        faults.append(Fault("--trial-seeds", "must name trial seeds from 0 on, each once", list(trial_seeds)))
    searched = sweep.config.trial_seeds
    if from_seed is None and len(searched) > 1:
        rule = "must name the trial seed whose winners are trained again"
        faults.append(Fault("--from-seed", rule, None, tuple(map(str, searched))))
    seed = searched[0] if from_seed is None else from_seed
    selected, incomplete = _of_trained_arms(view, table)
    if seed in trial_seeds:
        faults.append(Fault("--trial-seeds", "must leave out the trial seed that searched", seed))
    if seed not in searched:
        faults.append(Fault("--from-seed", "must be a trial seed of the sweep", seed, tuple(map(str, searched))))
    if sweep.config.chosen is not None:
        faults.append(Fault("DIR", "must hold a search; its hyperparameters were chosen before", sweep.name))
    faults += [
        Fault("DIR", "must have every run of the winners' trial seed; incomplete", incomplete_in_words(cell))
        for cell in incomplete
        if cell.cell.trial_seed == seed
    ]
    winners = [one for one in selected if one.cell.trial_seed == seed]
    values = _values(view, winners)
    if winners and not any(values):
        faults.append(Fault("DIR", "must hold a search; with fixed hyperparameters, add trial seeds to its file"))
    if faults:
        raise InputError(faults, str(sweep.folder))
    cells = [_entry(one, of_one) for one, of_one in zip(winners, values, strict=True)]
    search = f"{table.method_label} on trial seed {seed} alone of sweep {sweep.name}, {_draws(view)}"
    return _as_yaml(_content(sweep.config, name or reseeded_name(sweep), trial_seeds, search, cells))


def reseeded_name(sweep: SweepSpec) -> str:
    """The default name of a sweep of another's winners."""
    return f"{sweep.name}-reseeded"[-_LONGEST_NAME:]


def _of_trained_arms(view: SweepView, table: Table) -> tuple[list[Selected], list[IncompleteCell]]:
    """The table's selected and incomplete cells, without those of averaged weights."""
    return (
        [one for one in table.selected if one.cell.arm not in view.averaged],
        [one for one in table.incomplete if one.cell.arm not in view.averaged],
    )


def _is_name(text: str) -> bool:
    try:
        TypeAdapter(FolderName).validate_python(text)
    except ValidationError:
        return False
    return True


def _values(view: SweepView, selected: Iterable[Selected]) -> list[dict[str, Any]]:
    runs = {(run.cell, run.key): run for run in view.records}
    return [dict(runs[one.cell, one.key].hyperparameters) for one in selected]


def _entry(one: Selected, values: dict[str, Any], *, with_seed: bool = False) -> dict[str, Any]:
    cell = one.cell
    seed = {"trial_seed": cell.trial_seed} if with_seed else {}
    return {"arm": cell.arm, "test_domains": [*cell.test_domains], **seed, "values": values}


def _content(
    config: SweepConfig, name: str, trial_seeds: Sequence[int], search: str, cells: list[dict[str, Any]]
) -> dict[str, Any]:
    """The sweep's file with the chosen hyperparameters instead of a search."""
    kept = config.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude=_REPLACED)
    arms = [arm.model_dump(mode="json", exclude_none=True, exclude={"draws"}) for arm in config.arms]
    return {
        "name": name[-_LONGEST_NAME:],
        **kept,
        "arms": [{field: value for field, value in arm.items() if value != {}} for arm in arms],
        "trial_seeds": [*trial_seeds],
        "chosen": {"search": search, "cells": cells},
    }


def _draws(view: SweepView) -> str:
    numbers = {len(draws) for draws in view.draws.values()}
    if not numbers:
        return "draws by a searcher"
    return f"{'at most ' * (len(numbers) > 1)}{count(max(numbers), 'draw')} a cell"


def _as_yaml(content: dict[str, Any]) -> str:
    return (
        f"# gga-sweep run FILE\n#\n# Hyperparameters chosen by {content['chosen']['search']}.\n"
        f"# The step of each run is selected again, by training-domain validation.\n{write_yaml(content)}"
    )
