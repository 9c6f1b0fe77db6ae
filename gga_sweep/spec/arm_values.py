"""What is searched in an arm, and the values that a draw gives to each hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gga_sweep.algorithms import declared
from gga_sweep.annealing.options import options_of
from gga_sweep.distributions import Distribution
from gga_sweep.networks.choice import default_domain_gradients
from gga_sweep.records import Scalar
from gga_sweep.spec.arms import PREFIX, Arm, annealing_name
from gga_sweep.spec.plan import SweepSpec


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


def searched_space(sweep: SweepSpec, arm: Arm) -> dict[str, Distribution]:
    """The search space of this arm: the file's, else the protocol's, less what the arm lacks or fixes."""
    if sweep.config.chosen is not None:
        return {}
    with declared({arm.algorithm: arm.declared}):
        space = sweep.config.search_space or sweep.protocol.search_space(arm.algorithm, sweep.config.dataset.name)
    names, fixed = arm.hyperparameters, arm.fixed
    return {name: searched for name, searched in space.items() if name in names and name not in fixed}


def arm_values(sweep: SweepSpec, arm: Arm, drawn: Mapping[str, Scalar], place: str = "search_space.") -> Values:
    """Every hyperparameter of a run of this arm.

    The first that has it wins: the arm's factors, its annealing block, the draw, the file's defaults, the variant's,
    the protocol's, the registry's.

    Args:
        drawn: the draw, or what was chosen for the cell.
        place: where in the file that stands, for messages.
    """
    protocol = sweep.protocol
    layers: list[tuple[str, Mapping[str, Scalar]]] = [
        (f"arms[{arm.index}].vary.", arm.factors),
        (f"arms[{arm.index}].", arm.fixed),
        (place, drawn),
        ("defaults.", sweep.config.defaults),
        ("variant, ", _of_variant(arm)),
        (f"protocol {protocol.name}, default ", protocol.defaults(arm.algorithm, sweep.config.dataset.name)),
        ("default ", _registered(arm)),
    ]
    values: dict[str, Scalar] = {}
    origins: dict[str, str] = {}
    for name in arm.hyperparameters:
        origin, layer = next(((origin, layer) for origin, layer in layers if name in layer), ("rule, ", None))
        values[name] = _domain_gradients(sweep, arm, values["batch_size"]) if layer is None else layer[name]
        origins[name] = origin + name
    return Values(values, origins)


def arm_settings(sweep: SweepSpec, arm: Arm) -> dict[str, Scalar]:
    """All that distinguishes an arm from the others, by name: what it is, and its values that no draw sets."""
    searched = searched_space(sweep, arm)
    options = {} if arm.annealing is None else options_of(arm.annealing.kind)
    of_speed = {annealing_name(name) for name, option in options.items() if not option.changes_numbers}
    values = arm_values(sweep, arm, {}).values
    return {
        "algorithm": arm.algorithm,
        "annealing": "" if arm.annealing is None else arm.annealing.method,
        "draws": arm.draws,
        **{name: value for name, value in values.items() if name not in searched and name not in of_speed},
        **arm.factors,
    }


def _of_variant(arm: Arm) -> dict[str, Scalar]:
    defaults = {} if arm.annealing is None else arm.annealing.of_variant
    return {annealing_name(name): value for name, value in defaults.items()}


def _registered(arm: Arm) -> dict[str, Scalar]:
    """The defaults of the algorithm and of the annealing; `domain_gradients` follows a rule instead."""
    found = {name: item.default for name, item in arm.declared.hyperparameters.items()}
    options = {} if arm.annealing is None else options_of(arm.annealing.kind)
    return found | {annealing_name(name): item.default for name, item in options.items() if name != "domain_gradients"}


def _domain_gradients(sweep: SweepSpec, arm: Arm, batch_size: Scalar) -> Scalar:
    """The rule for `annealing.domain_gradients`, where nothing sets it."""
    if not arm.declared.splits_by_layer:
        return "loop"
    training, on_gpu = sweep.training_of(arm), sweep.config.resources.on_gpu
    n_domains = len(sweep.dataset.domain_names) - 1  # not of the sweep's test domains: equal runs must have equal keys
    return default_domain_gradients(training.network, training.freeze_batch_norm, batch_size, n_domains, on_gpu)
