"""`load`: a sweep file, read, completed by its protocol and checked, ready to plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gga_sweep.algorithms import get_algorithm
from gga_sweep.config import SweepConfig, TrainingConfig
from gga_sweep.domains import DatasetDescription, describe
from gga_sweep.errors import Fault, InputError
from gga_sweep.planning.arms import expand_arms
from gga_sweep.planning.check import check_sweep
from gga_sweep.planning.plan import Sweep
from gga_sweep.planning.protocols import Protocol, get_protocol
from gga_sweep.planning.sweep_file import override, read_sweep_file, validate

DEFAULT_STORAGE = Path("gga-sweep-results")


def load(
    source: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    storage: str | Path = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
) -> Sweep:
    """Read and check a sweep. Starts nothing and writes nothing.

    Args:
        source: a file, the name of a shipped sweep such as "demo", or the content as a mapping.
        overrides: `key=value` assignments, as the command line's `--set`.
        storage: folder of all sweeps.
        tracking_uri: of MLflow (default: the environment's MLFLOW_TRACKING_URI, else a SQLite file in the storage).

    Raises:
        InputError: with every fault of the file.
    """
    content, name = read_sweep_file(source)
    config, faults = validate(override(content, overrides))
    if config is None:
        raise InputError(faults, name)
    sweep = _complete(config, name, Path(storage), tracking_uri, faults)
    if sweep is not None:
        faults.extend(check_sweep(sweep))
    if faults or sweep is None:
        raise InputError(dict.fromkeys(faults), name)
    return sweep


def _complete(
    config: SweepConfig, source: str, storage: Path, tracking_uri: str | None, faults: list[Fault]
) -> Sweep | None:
    """The sweep; None, with the faults added, where protocol, dataset or an algorithm is unknown."""

    def attempt(function: Any, *args: object) -> Any:
        try:
            return function(*args)
        except InputError as error:
            faults.extend(error.faults)
            return None

    root = config.dataset.root
    if root is not None:
        dataset = config.dataset.model_copy(update={"root": root.expanduser().absolute()})
        config = config.model_copy(update={"dataset": dataset})
    protocol: Protocol | None = attempt(get_protocol, config.protocol)
    description: DatasetDescription | None = attempt(describe, config.dataset)
    algorithms = [
        attempt(get_algorithm, arm.algorithm, f"arms[{index}].algorithm") for index, arm in enumerate(config.arms)
    ]
    if protocol is None or description is None or None in algorithms:
        return None
    single = tuple((name,) for name in description.domain_names)
    return Sweep(
        config=config,
        source=source,
        arms=expand_arms(config),
        test_domains=single if config.test_domains == "all" else config.test_domains,
        protocol=protocol,
        deviations=_deviations(config.training, protocol.training(config.dataset.name)),
        dataset=description,
        storage=storage.expanduser().absolute(),
        tracking_uri=tracking_uri,
    )


def _deviations(given: TrainingConfig, protocol: TrainingConfig) -> tuple[str, ...]:
    """What the file overrides of its protocol."""
    return tuple(
        f"{name} is {value} (the protocol's: {getattr(protocol, name)})"
        for name, value in given.model_dump(exclude_unset=True, exclude_none=True).items()
        if value != getattr(protocol, name) and name != "threads"
    )
