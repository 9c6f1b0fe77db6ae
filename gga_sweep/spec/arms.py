"""Arms: the factors of each block multiplied out, their names and baselines."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gga_sweep.algorithms import AlgorithmSpec, get_algorithm
from gga_sweep.annealing.options import options_of
from gga_sweep.networks.choice import is_weights_file
from gga_sweep.records import Scalar
from gga_sweep.spec.models import TRAINING, AnnealingConfig, ArmConfig, SweepConfig

PREFIX = "annealing."


def annealing_name(option: str) -> str:
    """The hyperparameter that an option of the annealing is."""
    return PREFIX + option


@dataclass(frozen=True, slots=True)
class Arm:
    """What is compared: an algorithm, annealed or not, at one setting of its factors.

    Args:
        name: unique in the sweep.
        block: the name without the factors, which the arms of a block share.
        factors: dotted name of a hyperparameter, or one of `TRAINING_FACTORS` -> value; fixed in this arm, never
            selected over.
        baseline: name of the arm it is compared with; None for an arm that is a baseline itself.
        index: of its block in the file's `arms:`, for error messages.
        declared: the algorithm's declaration.
    """

    name: str
    block: str
    algorithm: str
    annealing: AnnealingConfig | None
    factors: Mapping[str, Scalar]
    draws: int
    baseline: str | None
    index: int
    declared: AlgorithmSpec = field(repr=False)

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """Every name that can be set, searched or varied in this arm."""
        own = tuple(self.declared.hyperparameters)
        return own if self.annealing is None else (*own, *map(annealing_name, options_of(self.annealing.kind)))

    def field_of(self, name: str) -> str:
        """Where in the sweep file a field stands that may be a factor of the arm."""
        return f"arms[{self.index}].vary.{name}" if name in self.factors else name

    @property
    def fixed(self) -> dict[str, Scalar]:
        """The values that the arm sets itself, so that no draw changes them."""
        given = {} if self.annealing is None else self.annealing.given
        return {**{annealing_name(name): value for name, value in given.items()}, **self.factors}


def expand_arms(config: SweepConfig) -> tuple[Arm, ...]:
    """One arm a point of each block's factors, in file order; names are unique unless the file repeats itself.

    Raises:
        InputError: unknown algorithm.
    """
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
                    declared=get_algorithm(block.algorithm),
                )
            )
    return tuple(replace(arm, baseline=_baseline(arm, arms)) for arm in arms)


def listed(values: Mapping[str, Scalar]) -> str:
    """Values as arms' names put them: ", radius 1e-5, num steps 5"; empty without one. Of a path the last part."""
    return "".join(f", {label_of(name)} {_shown(name, value)}" for name, value in values.items())


def _shown(name: str, value: Scalar) -> str:
    is_path = name == f"{TRAINING}weights" and isinstance(value, str) and is_weights_file(value)
    return Path(str(value)).name if is_path else short(value)


def _block_name(block: ArmConfig) -> str:
    if block.name is not None:
        return block.name
    if block.annealing is None:
        return block.algorithm
    variant = block.annealing.variant or "paper"
    method = block.annealing.method.upper() + ("" if variant == "paper" else f" {variant}")
    return f"{block.algorithm} + {method}{listed(block.annealing.given)}"


def label_of(name: str) -> str:
    """A setting's name as arms' names put it: "num steps"."""
    return name.removeprefix(PREFIX).removeprefix(TRAINING).replace("_", " ")


def short(value: Scalar) -> str:
    """A value as people write it: 1e-5 and not 1e-05."""
    if not isinstance(value, float):
        return str(value)
    if value and not 1e-2 <= abs(value) < 1e5:
        mantissa, _, power = f"{value:e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    return f"{value:g}"


def _baseline(arm: Arm, arms: list[Arm]) -> str | None:
    """The arm it is compared with: the one named, else one of its algorithm without annealing, else of the first block.

    Of several it is the first whose factors it has too, so that an arm is compared on its own network. The arms of the
    first block are compared with the first arm.
    """
    if arm.baseline is not None:
        return arm.baseline
    plain = [other for other in arms if other.algorithm == arm.algorithm and other.annealing is None]
    first = arms[:1] if arm.index == arms[0].index else [other for other in arms if other.index == arms[0].index]
    fitting = plain if plain and arm.annealing is not None else first
    alike = [other for other in fitting if other.factors.items() <= arm.factors.items()]
    chosen = (alike or fitting)[0].name
    return None if chosen == arm.name else chosen
