"""`load`: a sweep file, read, completed by its protocol and checked, ready to plan."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gga_sweep.algorithms import get_algorithm
from gga_sweep.annealing.options import option_faults, options_of
from gga_sweep.datasets import DatasetDescription, describe
from gga_sweep.datasets.files import expanded
from gga_sweep.datasets.registry import domain_aliases
from gga_sweep.errors import Fault, InputError
from gga_sweep.networks.choice import is_weights_file
from gga_sweep.selection.methods import needing_pairs
from gga_sweep.spec.arms import expand_arms
from gga_sweep.spec.check import check_sweep
from gga_sweep.spec.location import Location, as_location
from gga_sweep.spec.models import TRAINING, ArmConfig, SweepConfig
from gga_sweep.spec.plan import SweepSpec
from gga_sweep.spec.protocols import complete_training, deviations, get_protocol, with_available_network
from gga_sweep.spec.sweep_file import (
    assign,
    faults_with_lines,
    override,
    read_sweep_file,
    validate,
    with_named_parts,
)

DEFAULT_STORAGE = Path("gga-sweep-results")

MOST_ARMS = 1_000
MOST_RUNS = 1_000_000
"""A larger sweep is a mistake, and planning it would take hours."""


def load(
    source: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    storage: str | Location = DEFAULT_STORAGE,
    tracking_uri: str | None = None,
) -> SweepSpec:
    """Read and check a sweep. Starts nothing and writes nothing.

    Args:
        source: a file, the name of a shipped sweep such as "demo", or the content as a mapping.
        overrides: `key=value` assignments, as the command line's `--set`; or values by name, such as
            {"training.steps": 100}. In a mapping, an algorithm, a network or a dataset may be an object, if it stands
            at the top of a module.
        storage: folder of all sweeps; or of a bucket, as s3://BUCKET/FOLDER.
        tracking_uri: of MLflow (default: the environment's MLFLOW_TRACKING_URI, else a SQLite file in the storage).

    Raises:
        InputError: with every fault of the file.

    Example:
        >>> sweep = load("demo", overrides={"trial_seeds": [0, 1]})
        >>> sweep.name, [arm.name for arm in sweep.arms], sweep.test_domains
        ('demo', ['ERM', 'ERM + GGA'], (('0',), ('45',), ('75',)))
    """
    content, name = read_sweep_file(source)
    if isinstance(overrides, str):
        raise InputError([Fault("overrides", "must be a list of key=value texts, or a mapping", overrides)])
    if isinstance(overrides, Mapping):
        content, overrides = assign(content, overrides), ()
    config, faults = validate(override(with_named_parts(content), overrides))
    if config is None:
        raise InputError(faults_with_lines(faults, source, overrides), name)
    try:
        with suppress(InputError):  # of names that `complete` reports
            config = with_available_network(config, get_protocol(config.protocol))
        sweep = complete(config, name, as_location(storage), tracking_uri)
        faults.extend([fault for fault in check_sweep(sweep) if not _lies_around(fault, faults)])
    except InputError as error:
        faults.extend(error.faults)
    if faults:
        distinct = {str(fault): fault for fault in faults}.values()
        raise InputError(faults_with_lines(distinct, source, overrides), name)
    return sweep


def complete(
    config: SweepConfig,
    source: str,
    storage: Location,
    tracking_uri: str | None,
    description: DatasetDescription | None = None,
) -> SweepSpec:
    """The sweep of a typed file, not checked yet.

    Args:
        description: of the dataset, where it is known; if None, the images are inspected.

    Raises:
        InputError: unknown protocol, dataset or algorithm, too many arms or runs, an unknown home directory.
    """
    if isinstance(storage, Path):
        storage = expanded(storage, "--storage").absolute()
    config = _with_absolute_paths(config)
    if faults := _unknown_names(config, described=description is not None):
        raise InputError([*faults, *_option_faults(config)], source)  # without the names nothing else can be checked
    protocol = get_protocol(config.protocol)
    training = complete_training(config, protocol)
    description = description or describe(config.dataset)
    single = tuple((name,) for name in description.domain_names)
    test_domains = single if config.test_domains == "all" else _as_named(config, description.domain_names)
    validated = needing_pairs(config.selection or protocol.selection)
    pairs = _pairs(test_domains, description.domain_names) if validated else ()
    if faults := _size_faults(config, len(test_domains) + len(pairs)):
        raise InputError(faults, source)
    return SweepSpec(
        config=config,
        source=source,
        arms=expand_arms(config),
        test_domains=test_domains,
        pairs=pairs,
        protocol=protocol,
        training=training,
        deviations=tuple(deviations(config, protocol, training, description.image_shape, test_domains)),
        dataset=description,
        storage=storage,
        tracking_uri=tracking_uri,
    )


def _as_named(config: SweepConfig, domains: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Test domains as the dataset writes them: a macOS archive decomposes accents, a keyboard composes them."""
    known = {unicodedata.normalize("NFC", name): name for name in domains}
    known = {**domain_aliases(config.dataset.name), **known}
    return tuple(
        tuple(known.get(unicodedata.normalize("NFC", name), name) for name in held_out)
        for held_out in config.test_domains
    )


def _with_absolute_paths(config: SweepConfig) -> SweepConfig:
    """Of images and weights: a node's working directory is another one."""
    root, weights = config.dataset.root, config.training.weights
    arms = tuple(_with_absolute_factors(arm, f"arms[{index}]") for index, arm in enumerate(config.arms))
    config = config.model_copy(update={"arms": arms})
    if root is not None:
        root = expanded(root, "dataset.root").absolute()
        config = config.model_copy(update={"dataset": config.dataset.model_copy(update={"root": root})})
    if weights is not None and is_weights_file(weights):
        weights = _absolute(weights, "training.weights")
        config = config.model_copy(update={"training": config.training.model_copy(update={"weights": weights})})
    return config


def _with_absolute_factors(arm: ArmConfig, place: str) -> ArmConfig:
    name = f"{TRAINING}weights"
    if name not in arm.vary:
        return arm
    values = [
        _absolute(value, f"{place}.vary.{name}") if isinstance(value, str) and is_weights_file(value) else value
        for value in arm.vary[name]
    ]
    return arm.model_copy(update={"vary": {**arm.vary, name: values}})


def _absolute(path: str, field: str) -> str:
    return str(expanded(Path(path), field).absolute())


def _unknown_names(config: SweepConfig, described: bool) -> list[Fault]:
    """Of algorithms, of the protocol and, unless it is described, of the dataset."""
    faults: list[Fault] = []
    for index, arm in enumerate(config.arms):
        faults.extend(_faults_of(get_algorithm, arm.algorithm, f"arms[{index}].algorithm"))
    faults.extend(_faults_of(get_protocol, config.protocol))
    if not described:
        faults.extend(_faults_of(describe, config.dataset))
    return faults


def _option_faults(config: SweepConfig) -> Iterator[Fault]:
    """Values that the annealing blocks may not have."""
    for index, arm in enumerate(config.arms):
        if arm.annealing is not None:
            known = options_of(arm.annealing.kind)
            given = {name: value for name, value in arm.annealing.given.items() if name in known}
            for fault in option_faults(arm.annealing.kind, given):
                yield Fault(f"arms[{index}].annealing.{fault.field}", fault.rule, fault.got, fault.allowed)


def _size_faults(config: SweepConfig, held_out: int) -> list[Fault]:
    """Too many arms or runs; only counted, because expanding them would take too long.

    Args:
        held_out: how many sets of domains are held out.
    """
    points = math.prod(len(searched.choice or ()) for searched in config.search_space.values())
    arms = runs = 0
    for block in config.arms:
        of_block = math.prod(map(len, block.vary.values()))
        draws = 1 if config.chosen else points if config.search == "grid" else block.draws or config.draws
        arms += of_block
        runs += of_block * held_out * len(config.trial_seeds) * draws
    return [
        Fault("", f"a sweep may have {most:,} {what}", f"{found:,}" if found < 10**18 else "more than 10**18")
        for what, found, most in (("arms", arms, MOST_ARMS), ("runs", runs, MOST_RUNS))
        if found > most
    ]


def _pairs(test_domains: Sequence[tuple[str, ...]], domains: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Each single test domain with each other domain, in dataset order, less those that are held out anyway."""
    held_out = {frozenset(names) for names in test_domains}
    single = {names[0] for names in test_domains if len(names) == 1}
    return tuple(
        pair
        for pair in itertools.combinations(domains, 2)
        if single.intersection(pair) and frozenset(pair) not in held_out
    )


def _lies_around(fault: Fault, faults: Sequence[Fault]) -> bool:
    """Whether another fault lies inside its field: leaving that out may have caused this one."""
    return any(other.field.startswith((f"{fault.field}.", f"{fault.field}[")) for other in faults)


def _faults_of(look_up: Callable[..., object], *names: object) -> tuple[Fault, ...]:
    try:
        look_up(*names)
    except InputError as error:
        return error.faults
    return ()
