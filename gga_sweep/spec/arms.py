"""Arms: the factors multiplied out, names, baselines, and the values a draw gives to each hyperparameter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gga_sweep.algorithms import get_algorithm
from gga_sweep.annealing.options import options_of
from gga_sweep.distributions import Distribution
from gga_sweep.networks.choice import default_domain_gradients
from gga_sweep.records import Scalar
from gga_sweep.spec.models import ArmConfig, SweepConfig
from gga_sweep.spec.plan import Arm
from gga_sweep.spec.protocols import Protocol, complete_training

PREFIX = "annealing."


@dataclass(frozen=True, slots=True)
class Values:
    """The hyperparameters of a run by dotted name, and where in the file each came from, for error messages."""

    values: Mapping[str, Scalar]
    origins: Mapping[str, str]

    @property
    def annealing(self) -> dict[str, Scalar]:
        return {name.removeprefix(PREFIX): value for name, value in self.values.items() if name.startswith(PREFIX)}

    @property
    def training(self) -> dict[str, Scalar]:
        return {name: value for name, value in self.values.items() if not name.startswith(PREFIX)}


def expand_arms(config: SweepConfig) -> tuple[Arm, ...]:
    """One arm a point of each block's factors, in file order; names are unique unless the file repeats itself."""
    arms = []
    for index, block in enumerate(config.arms):
        for point in itertools.product(*block.vary.values()):
            factors = dict(zip(block.vary, point, strict=True))
            arms.append(
                Arm(
                    name=_block_name(block) + listed(factors),
                    block=_block_name(block),
                    algorithm=block.algorithm,
                    annealing=block.annealing,
                    factors=factors,
                    draws=block.draws or config.draws,
                    baseline=block.baseline,
                    index=index,
                )
            )
    return tuple(replace(arm, baseline=_baseline(arm, arms)) for arm in arms)


def hyperparameter_names(arm: Arm) -> tuple[str, ...]:
    """Every name that can be set, searched or varied in this arm.

    Raises:
        InputError: unknown algorithm.
    """
    own = tuple(get_algorithm(arm.algorithm).hyperparameters)
    return own if arm.annealing is None else (*own, *(PREFIX + name for name in options_of(arm.annealing.kind)))


def searched_space(arm: Arm, config: SweepConfig, protocol: Protocol) -> dict[str, Distribution]:
    """What is drawn in this arm: the file's search space, else the protocol's, less what the arm lacks or fixes."""
    if config.chosen is not None:
        return {}
    space = config.search_space or protocol.search_space(arm.algorithm, config.dataset.name)
    fixed = fixed_values(arm)
    return {name: space[name] for name in space if name in hyperparameter_names(arm) and name not in fixed}


def arm_values(
    arm: Arm, config: SweepConfig, protocol: Protocol, drawn: Mapping[str, Scalar], place: str = "search_space."
) -> Values:
    """Every hyperparameter of a run of this arm.

    The first that has it wins: the arm's factors, its annealing block, the draw, the file's defaults, the variant's,
    the protocol's, the registry's.

    Args:
        drawn: the draw, or what was chosen for the cell.
        place: where in the file that stands, for messages.
    """
    registered = {name: item.default for name, item in get_algorithm(arm.algorithm).hyperparameters.items()}
    layers: list[tuple[str, Mapping[str, Scalar]]] = [
        (f"arms[{arm.index}].vary.", arm.factors),
        (f"arms[{arm.index}].", fixed_values(arm)),
        (place, drawn),
        ("defaults.", config.defaults),
        ("variant, ", {} if arm.annealing is None else _prefixed(arm.annealing.of_variant)),
        (f"protocol {protocol.name}, default ", protocol.defaults(arm.algorithm, config.dataset.name)),
        ("default ", {**registered, **_annealing_defaults(arm)}),
    ]
    values: dict[str, Scalar] = {}
    origins: dict[str, str] = {}
    for name in hyperparameter_names(arm):
        origin, layer = next(((origin, layer) for origin, layer in layers if name in layer), ("rule, ", {}))
        values[name] = layer[name] if layer else _domain_gradients_by_rule(arm, config, protocol, values["batch_size"])
        origins[name] = origin + name
    return Values(values, origins)


def _annealing_defaults(arm: Arm) -> dict[str, Scalar]:
    """All but `domain_gradients`, which follows from the network."""
    declared = {} if arm.annealing is None else options_of(arm.annealing.kind)
    return _prefixed({name: option.default for name, option in declared.items() if name != "domain_gradients"})


def _domain_gradients_by_rule(arm: Arm, config: SweepConfig, protocol: Protocol, batch_size: Scalar) -> Scalar:
    """The one hyperparameter that follows from others where no layer has it."""
    if not get_algorithm(arm.algorithm).splits_by_layer:
        return "loop"
    training = complete_training(config, protocol)
    return default_domain_gradients(training.network, training.freeze_batch_norm, batch_size, config.resources.on_gpu)


def fixed_values(arm: Arm) -> dict[str, Scalar]:
    """What the arm sets itself, so that no draw changes it."""
    return {**({} if arm.annealing is None else _prefixed(arm.annealing.given)), **arm.factors}


def _prefixed(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {PREFIX + name: value for name, value in values.items()}


def listed(values: Mapping[str, Scalar]) -> str:
    """Values as arms' names put them: ", radius 1e-5, num steps 5"; empty without one."""
    return "".join(f", {_label(name)} {_short(value)}" for name, value in values.items())


def _block_name(block: ArmConfig) -> str:
    if block.name is not None:
        return block.name
    if block.annealing is None:
        return block.algorithm
    variant = block.annealing.variant or "paper"
    method = block.annealing.method.upper() + ("" if variant == "paper" else f" {variant}")
    return f"{block.algorithm} + {method}{listed(block.annealing.given)}"


def _label(name: str) -> str:
    return name.removeprefix(PREFIX).replace("_", " ")


def _short(value: Scalar) -> str:
    """1e-5 and not 1e-05: as people write it."""
    if not isinstance(value, float):
        return str(value)
    if value and not 1e-2 <= abs(value) < 1e5:
        mantissa, _, power = f"{value:e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    return f"{value:g}"


def _baseline(arm: Arm, arms: list[Arm]) -> str | None:
    """The arm it is compared with: the one named, else the un-annealed arm of its algorithm, else the first."""
    if arm.baseline is not None:
        return arm.baseline
    plain = (other.name for other in arms if other.algorithm == arm.algorithm and other.annealing is None)
    chosen = next(plain, arms[0].name) if arm.annealing is not None else arms[0].name
    return None if chosen == arm.name else chosen
