"""A sweep as its ledger keeps it, so that it can be looked at where its images are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gga_sweep.config import SweepConfig
from gga_sweep.domains import DatasetDescription
from gga_sweep.errors import Fault, InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.planning.loading import complete
from gga_sweep.planning.plan import Contents, Plan, Sweep
from gga_sweep.planning.runs import plan_sweep

_EXTENDABLE = ("arms", "test_domains", "trial_seeds", "draws", "resources", "selection", "select_from")
"""What may change under one name: it adds runs, moves them or chooses among them, and changes none."""


def write_sweep(ledger: Ledger, sweep: Sweep, contents: Contents) -> None:
    """Keep the sweep as now launched."""
    ledger.write_sweep(
        {
            "config": _plain(sweep.config),
            "source": sweep.source,
            "dataset": asdict(sweep.dataset),
            "contents": asdict(contents),
        }
    )


def read_plan(folder: Path) -> Plan:
    """The plan of the sweep last launched in this folder.

    Raises:
        InputError: the folder holds no sweep.
    """
    stored = Ledger(folder).read_sweep()
    if stored is None:
        rule = "must be a sweep's folder (STORAGE/SWEEP), as `gga-sweep run` makes it"
        raise InputError([Fault("DIR", rule, str(folder))])
    dataset = stored["dataset"]
    description = DatasetDescription(
        **{
            **dataset,
            "classes": None if dataset["classes"] is None else tuple(dataset["classes"]),
            "image_shape": tuple(dataset["image_shape"]),
            "remarks": tuple(dataset["remarks"]),
        }
    )
    config = SweepConfig.model_validate(stored["config"])
    sweep = complete(config, stored["source"], folder.absolute().parent, None, description)
    return plan_sweep(sweep, Contents(**stored["contents"]))


def check_unchanged(ledger: Ledger, sweep: Sweep, contents: Contents) -> None:
    """Refuse a file that changed under its name in more than what it adds.

    Raises:
        InputError: naming each field that changed.
    """
    stored = ledger.read_sweep()
    if stored is None:
        return
    before = _without_paths(stored["config"], Contents(**stored["contents"]))
    now = _without_paths(_plain(sweep.config), contents)
    rule = "changed since this sweep was launched; give it a new name, or allow it with --allow-change. It was {}"
    faults = [
        Fault(field, rule.format(_short(before.get(field))), _short(now.get(field)))
        for field in SweepConfig.model_fields
        if field not in _EXTENDABLE and before.get(field) != now.get(field)
    ]
    if stored["contents"] != asdict(contents):
        faults.append(Fault("dataset", "its images, or the weights file, are not those this sweep was launched with"))
    if faults:
        raise InputError(faults, sweep.source)


def _plain(config: SweepConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude_none=True)


def _without_paths(config: Mapping[str, Any], contents: Contents) -> dict[str, Any]:
    """Images and weights may move: their digests say what they are."""
    dataset = {name: value for name, value in config["dataset"].items() if name != "root"}
    training = {
        name: value for name, value in config["training"].items() if name != "weights" or contents.weights is None
    }
    return {**config, "dataset": dataset, "training": training}


def _short(value: Mapping[str, Any] | object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:197] + "..."
