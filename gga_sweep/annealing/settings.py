"""What an annealing is made of. Needs no torch: a sweep is planned and checked without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar, get_args

Objective = Literal["alignment", "none", "anti", "loss"]
Origin = Literal["start", "current", "accepted"]
Perturbs = Literal["all", "featurizer"]
Mask = Literal["step", "forward"]
JointLoss = Literal["mean", "forward"]
LossReference = Literal["start", "accepted"]
Direction = Literal["random", "gradient"]
GradientMethod = Literal["loop", "layerwise"]
Noise = Literal["gaussian", "uniform", "uniform-centred"]
Alpha = Literal["adaptive", "constant"]
SettingValue = bool | int | float | str

VARIANTS: Mapping[str, Mapping[str, SettingValue]] = MappingProxyType(
    {
        "paper": MappingProxyType(
            {
                "direction": "random",
                "origin": "start",
                "perturbs": "all",
                "mask": "step",
                "joint_loss": "mean",
                "loss_reference": "start",
            }
        ),
        "released": MappingProxyType(
            {
                "direction": "random",
                "origin": "current",
                "perturbs": "featurizer",
                "mask": "forward",
                "joint_loss": "forward",
                "loss_reference": "accepted",
            }
        ),
        "guided": MappingProxyType(
            {
                "direction": "gradient",
                "origin": "start",
                "perturbs": "all",
                "mask": "step",
                "joint_loss": "mean",
                "loss_reference": "start",
                "num_candidates": 4,
            }
        ),
    }
)
"""The switches of each form of Gradient-Guided Annealing (Ballas & Diou, CVPR 2025, arXiv 2502.20162).

`paper` is the algorithm as its text is reported; the text itself could not be read, so this is partly our reading.
`released` is what the authors' code does (aristotelisballas/GGA at 5450c2b, class ERM_GGA of algorithms.py).
`guided` is ours: in place of a random search of the box, a step along the gradient of the alignment to its corner.
"""


_Settings = TypeVar("_Settings", "AnnealingSettings", "GradientNoiseSettings")


class SettingFault(NamedTuple):
    """One value that a setting cannot take; `allowed` lists the choices where there are any."""

    field: str
    rule: str
    got: object
    allowed: tuple[str, ...] = ()

    def __str__(self) -> str:
        choices = f" (allowed: {', '.join(self.allowed)})" if self.allowed else ""
        return f"{self.field} {self.rule}, got {self.got!r}{choices}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnealingSettings:
    """When to search, how far, how often, and by which rules. The switches default to the variant `paper`.

    Args:
        start_step: first annealed step, counted from 0.
        num_steps: annealed steps, at least 1. The paper's steps 100 to 200 are `start_step=100, num_steps=101`.
        radius: rho; every perturbed entry moves by U(-radius, radius), absolute, whatever its size. 0 moves nothing.
        num_candidates: candidates scored at each annealed step, at least 1; with direction `gradient` at most so many.
        loss_tolerance: a candidate's joint loss may exceed the reference by less than this (nats). Minus infinity
            rejects every candidate, infinity rejects none with a finite loss.
        objective: what makes a candidate better than the best so far. `alignment`: a higher one. Controls: `anti`: a
            lower one; `loss`: a lower joint loss; `none`: wherever `alignment` would have moved, a uniform choice
            among the same candidates that pass the loss gate.
        direction: where candidates lie. `random`: drawn uniformly from the box; `gradient`: the corner of the box along
            the gradient of the objective (of the smallest cosine), then half as far, a quarter, until one is accepted;
            needs origin `start`. Its control `none` goes as far, but along random signs.
        origin: around what a candidate is drawn. `start`: the weights the step began with; `current`: the previous
            candidate (a random walk, back to the start on acceptance only); `accepted`: the best point so far.
        perturbs: `all` parameters that prediction uses, or those of the `featurizer`; obeyed by whoever hands the
            perturbed parameters to the search.
        mask: one dropout mask for every scoring of a `step`, or a new one at every `forward`.
        joint_loss: the `mean` of the domain losses, or a `forward` of its own over the concatenated batch.
        loss_reference: the joint loss at the `start`, or of the last `accepted` candidate.
        domain_gradients: how the gradients of a scoring are computed. `loop`: a forward and a backward a domain, for
            any model; `layerwise`: one forward and backward of the concatenated batch, each layer's weight gradient
            split by domain, for models that can (see `layerwise`). Equal up to rounding.
        cuda_graph: replay the scoring of a step as a CUDA graph (see `graphs`); for models on a CUDA device that draw
            no random numbers of their own. Needs direction `random` and mask `step`. Changes no number.

    Raises:
        ValueError: if any value is outside its range; every fault is in the message.
    """

    start_step: int
    num_steps: int
    radius: float
    num_candidates: int
    loss_tolerance: float = 0.1
    objective: Objective = "alignment"
    direction: Direction = "random"
    origin: Origin = "start"
    perturbs: Perturbs = "all"
    mask: Mask = "step"
    joint_loss: JointLoss = "mean"
    loss_reference: LossReference = "start"
    domain_gradients: GradientMethod = "loop"
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        _raise_any(settings_faults(AnnealingSettings, **asdict(self)))

    @classmethod
    def of_mapping(cls, values: Mapping[str, object]) -> AnnealingSettings:
        """Settings from fields by name, as a configuration holds them.

        Raises:
            ValueError: if a field is unknown, missing or outside its range; every fault is in the message.
        """
        return _from_mapping(cls, values)

    @classmethod
    def of_variant(cls, variant: str, **values: object) -> AnnealingSettings:
        """The switches of a variant, any of them overridden, with the other fields: `of_variant("paper", radius=...)`.

        Raises:
            ValueError: if the variant or a field is unknown, or a field is missing or outside its range.
        """
        if variant not in VARIANTS:
            _raise_any([SettingFault("variant", "must be known", variant, tuple(VARIANTS))])
        return cls.of_mapping({**VARIANTS[variant], **values})

    def steps(self) -> range:
        """The annealed steps."""
        return range(self.start_step, self.start_step + self.num_steps)

    def anneals(self, step: int) -> bool:
        """Whether this step, counted from 0, is annealed."""
        return step in self.steps()


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientNoiseSettings:
    """GGA-L: at every step alpha * xi is added to the joint gradient, all parameters, before the optimiser.

    Source: Ballas & Diou, CVPR 2025, arXiv 2502.20162; aristotelisballas/GGA at 5450c2b, class ERM_GGA_L.

    Args:
        gamma: scale of the noise, at least 0; 1e-3 is the release's. 0 is training without annealing.
        noise: xi, entry by entry. `gaussian`: N(0, 1), the release's; `uniform`: U(0, 1), the paper's, whose mean is
            not zero; `uniform-centred`: U(-1/2, 1/2).
        alpha: `adaptive`: gamma * (1 - mean cosine over pairs of domain gradients); its control `constant`: gamma.
        domain_gradients: as in `AnnealingSettings`; without effect where alpha is constant.

    Raises:
        ValueError: if any value is outside its range; every fault is in the message.
    """

    gamma: float = 1e-3
    noise: Noise = "gaussian"
    alpha: Alpha = "adaptive"
    domain_gradients: GradientMethod = "loop"

    def __post_init__(self) -> None:
        _raise_any(settings_faults(GradientNoiseSettings, **asdict(self)))

    @classmethod
    def of_mapping(cls, values: Mapping[str, object]) -> GradientNoiseSettings:
        """Settings from fields by name, as a configuration holds them.

        Raises:
            ValueError: if a field is unknown or outside its range; every fault is in the message.
        """
        return _from_mapping(cls, values)


def settings_faults(settings: type = AnnealingSettings, /, **values: object) -> list[SettingFault]:
    """Every fault among the values given, by field; a field that is not given is no fault.

    Args:
        settings: `AnnealingSettings` or `GradientNoiseSettings`, whose fields these are.
    """
    known = tuple(field.name for field in fields(settings))
    faults = []
    for name, got in values.items():
        if name not in known:
            faults.append(SettingFault(name, "must be a setting of the annealing", got, known))
        elif name in _CHOICES:
            if got not in _CHOICES[name]:
                faults.append(SettingFault(name, "must be one of the choices", got, _CHOICES[name]))
        else:
            rule, holds = _RULES[name]
            if not holds(got):
                faults.append(SettingFault(name, rule, got))
    if values.get("direction") == "gradient" and values.get("origin", "start") != "start":
        faults.append(SettingFault("origin", "must be start where direction is gradient", values["origin"], ("start",)))
    if values.get("cuda_graph") is True:
        for name, needed in (("direction", "random"), ("mask", "step")):
            if values.get(name, needed) != needed:
                faults.append(SettingFault(name, f"must be {needed} where cuda_graph is true", values[name], (needed,)))
    return faults


def _from_mapping(settings: type[_Settings], values: Mapping[str, object]) -> _Settings:
    missing: list[SettingFault] = [
        SettingFault(field.name, "must be given", None)
        for field in fields(settings)
        if field.default is MISSING and field.name not in values
    ]
    _raise_any([*settings_faults(settings, **values), *missing])
    return settings(**values)  # type: ignore[arg-type]  # checked in the line above


def _raise_any(faults: list[SettingFault]) -> None:
    if faults:
        raise ValueError("; ".join(str(fault) for fault in faults))


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_finite_size(value: object) -> bool:
    return isinstance(value, int | float) and _is_number(value) and 0 <= value < math.inf


_RULES: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "start_step": ("must be an integer of at least 0", lambda value: _is_count(value, 0)),
    "num_steps": ("must be an integer of at least 1", lambda value: _is_count(value, 1)),
    "radius": ("must be a finite number of at least 0", _is_finite_size),
    "gamma": ("must be a finite number of at least 0", _is_finite_size),
    "num_candidates": ("must be an integer of at least 1", lambda value: _is_count(value, 1)),
    "loss_tolerance": ("must be a number, not NaN", _is_number),
    "cuda_graph": ("must be true or false", lambda value: isinstance(value, bool)),
}

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "objective": get_args(Objective),
    "origin": get_args(Origin),
    "perturbs": get_args(Perturbs),
    "mask": get_args(Mask),
    "joint_loss": get_args(JointLoss),
    "loss_reference": get_args(LossReference),
    "direction": get_args(Direction),
    "domain_gradients": get_args(GradientMethod),
    "noise": get_args(Noise),
    "alpha": get_args(Alpha),
}
