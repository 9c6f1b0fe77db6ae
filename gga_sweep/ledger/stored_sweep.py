"""A sweep as its ledger stores it, so that it can be read on machines without its images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
from pydantic import TypeAdapter

from gga_sweep.algorithms import AlgorithmSpec, declared
from gga_sweep.datasets import DatasetDescription
from gga_sweep.errors import Fault, InputError, shortened
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.origin import Origin, find_origin
from gga_sweep.ledger.searched_runs import read_searched
from gga_sweep.ledger.suggested_draws import read_suggested
from gga_sweep.records import RunResult
from gga_sweep.spec.loading import complete
from gga_sweep.spec.location import Location
from gga_sweep.spec.models import SweepConfig
from gga_sweep.spec.own_code import own_parts
from gga_sweep.spec.plan import Contents, Plan, SweepSpec
from gga_sweep.spec.runs import plan_sweep, suggested_run

_CHANGED = "changed since this sweep was launched; give it a new name, or allow it with --allow-change"
_EXTENDABLE = ("arms", "test_domains", "trial_seeds", "draws", "resources", "tracking", "selection", "select_from")
"""The fields that may change under one name: they add runs, move them or select among them, but change none."""

_DECLARATIONS = TypeAdapter(dict[str, AlgorithmSpec])


def write_sweep(ledger: Ledger, sweep: SweepSpec, contents: Contents) -> None:
    """Store the sweep as it is launched now."""
    ledger.write_sweep(
        {
            "config": _plain(sweep.config),
            "source": sweep.source,
            "dataset": asdict(sweep.dataset),
            "contents": asdict(contents),
            "algorithms": _DECLARATIONS.dump_python(_own_algorithms(sweep), mode="json", exclude_none=True),
            "origin": asdict(find_origin()),
        }
    )


def read_plan(folder: str | Location) -> Plan:
    """The plan of the sweep last launched in this folder.

    Raises:
        InputError: the folder holds no sweep, or one that was altered since.
    """
    ledger = Ledger(folder)
    with _as_written(ledger):
        stored = _read(ledger)
        if stored is not None:
            with declared(stored.algorithms):
                sweep = complete(stored.config, stored.source, ledger.folder.parent, None, stored.dataset)
                return plan_sweep(sweep, stored.contents, read_suggested(ledger))
    rule = "must be a sweep's folder (STORAGE/SWEEP), as `gga-sweep run` makes it"
    raise InputError([Fault("DIR", rule, str(folder))])


def read_present_plan(folder: str | Location) -> Plan:
    """As `read_plan`, with the runs that a user's own Tuner added; without those that no launch has begun then.

    Raises:
        InputError: as `read_plan`.
    """
    plan, ledger = read_plan(folder), Ledger(folder)
    entries, _ = read_searched(ledger)
    stored = _read(ledger) if entries else None
    if stored is None:
        return plan
    ours, begun = {entry.folder for entry in entries}, set(ledger.run_names())
    launched = {run.cell.arm for run in plan.runs if run.folder in begun - ours}
    planned = {(run.cell, run.key): run for run in plan.runs if run.folder in begun or run.cell.arm in launched}
    arms, held_out = {arm.name for arm in plan.sweep.arms}, set(plan.sweep.test_domains)
    for place in (entry.place for entry in entries):
        if (place.cell, place.key) in planned or place.cell.arm not in arms or place.cell.test_domains not in held_out:
            continue
        with suppress(InputError, TypeError, ValueError):  # of values that were altered since
            run = suggested_run(plan.sweep, stored.contents, place.cell, place.draws[0], place.hyperparameters)
            planned[place.cell, place.key] = replace(run, key=place.key, hyperparameters=place.hyperparameters)
    return replace(plan, runs=tuple(planned.values()))


def read_results(plan: Plan, ledger: Ledger) -> dict[str, RunResult]:
    """The results of a plan's runs that were started, by folder."""
    files = ledger.list_runs()
    return ledger.read_results({run.folder for run in plan.runs if run.folder in files}, files)


def read_origin(ledger: Ledger) -> Origin | None:
    """What the last launch of a sweep ran; None if it was never launched.

    Raises:
        InputError: `sweep.json` was altered.
    """
    with _as_written(ledger):
        stored = _read(ledger)
    return None if stored is None else stored.origin


def check_unchanged(ledger: Ledger, sweep: SweepSpec, contents: Contents) -> None:
    """Check that a sweep file changed only in what may change under one name.

    Raises:
        InputError: naming each other field that changed; or `sweep.json` was altered.
    """
    with _as_written(ledger):
        stored = _read(ledger)
    if stored is None:
        return
    before = _without_paths(stored.config, stored.contents)
    now = _without_paths(sweep.config, contents)
    rule = _CHANGED + ". It was {}"
    faults = [
        Fault(field, rule.format(_short(before.get(field))), _short(now.get(field)))
        for field in SweepConfig.model_fields
        if field not in _EXTENDABLE and before.get(field) != now.get(field)
    ]
    if stored.contents.dataset != contents.dataset:
        faults.append(Fault("dataset", "its images are not those this sweep was launched with"))
    faults += [
        Fault("", f"the source of {part} {_CHANGED}, which keeps the runs of the earlier source and trains new ones")
        for part, digest in contents.code.items()
        if stored.contents.code.get(part, digest) != digest
    ]
    if faults:
        raise InputError(faults, sweep.source)


@dataclass(frozen=True, slots=True)
class _Stored:
    """The content of `sweep.json`."""

    config: SweepConfig
    source: str
    dataset: DatasetDescription
    contents: Contents
    algorithms: Mapping[str, AlgorithmSpec]
    origin: Origin


def _read(ledger: Ledger) -> _Stored | None:
    stored = ledger.read_sweep()
    if stored is None:
        return None
    return _Stored(
        config=SweepConfig.model_validate(stored["config"]),
        source=msgspec.convert(stored["source"], str),
        dataset=msgspec.convert(stored["dataset"], DatasetDescription),
        contents=msgspec.convert(stored["contents"], Contents),
        algorithms=_DECLARATIONS.validate_python(stored["algorithms"]),
        origin=msgspec.convert(stored["origin"], Origin),
    )


def _own_algorithms(sweep: SweepSpec) -> dict[str, AlgorithmSpec]:
    """The declarations of the user's own algorithms: tables and keys can be made without their code."""
    of_arms = {arm.algorithm: arm.declared for arm in sweep.arms}
    return {name: of_arms[name] for name in own_parts(of_arms)}


@contextmanager
def _as_written(ledger: Ledger) -> Iterator[None]:
    """Turn any error into one that names `sweep.json`: it was valid when it was written, so it was altered since."""
    file = str(ledger.folder / "sweep.json")
    try:
        yield
    except InputError as error:
        raise InputError(error.faults, file) from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        rule = "must be as it was written; restore it, or delete it and launch the sweep again, whose runs are kept"
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError([Fault("", rule, _short(found))], file) from error


def _plain(config: SweepConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude_none=True)


def _without_paths(config: SweepConfig, contents: Contents) -> dict[str, Any]:
    """Images and weights may move: their digests are compared instead of their paths."""
    plain = _plain(config)
    plain["dataset"].pop("root", None)
    path = plain["training"].get("weights")
    if path in contents.weights:
        plain["training"]["weights"] = contents.weights[path]
    return plain


def _short(value: object) -> str:
    return shortened(str(value), 200)
