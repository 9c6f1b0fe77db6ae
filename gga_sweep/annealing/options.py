"""Every option of the annealing, declared once, as a field of its method: `GGA` or `GGAL`.

Checks, messages, sweep files, defaults, run keys and the table of docs/annealing.md all follow from these fields. Needs
no torch: sweeps are planned and checked without it.
"""

# ruff: noqa: RUF009  # the call in a field's default declares it

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args, get_type_hints

Objective = Literal["alignment", "none", "anti", "loss"]
Origin = Literal["start", "current", "accepted"]
Perturbs = Literal["all", "featurizer"]
Mask = Literal["step", "forward"]
JointLoss = Literal["mean", "forward"]
LossGate = Literal["absolute", "relative"]
LossReference = Literal["start", "accepted"]
Direction = Literal["random", "gradient"]
GradientMethod = Literal["loop", "layerwise"]
Noise = Literal["gaussian", "uniform", "uniform-centred"]
Alpha = Literal["adaptive", "constant"]

OptionValue = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """The declaration of an option.

    Args:
        name: as in sweep files, under `annealing`.
        type: of its values; an int given for a float is converted.
        choices: every allowed value of a str.
        default: of the variant `paper`.
        meaning: for the docs, in one sentence.
        least: the smallest allowed number; None allows any, the infinities too.
        variants: the defaults of variants that have another.
        neutral: the value at which the option is left out of a run's key, so that it could be added without new keys
            for older runs. Never changes; the default may. None: always in the key.
        changes_numbers: False for an option of speed alone, which no key has.
        unused_where: another option and its value at which this one has no effect, and is in no key.
        requires: of a value of this option, the values that other options must then have.
        places_window: whether it only says which steps are annealed, not what an annealed step computes.
    """

    name: str
    type: type
    choices: tuple[str, ...]
    default: OptionValue
    meaning: str
    least: int | None = None
    variants: Mapping[str, OptionValue] = field(default_factory=dict)
    neutral: OptionValue | None = None
    changes_numbers: bool = True
    unused_where: tuple[str, OptionValue] | None = None
    requires: Mapping[OptionValue, Mapping[str, OptionValue]] = field(default_factory=dict)
    places_window: bool = False

    @property
    def rule(self) -> str:
        """The condition on a value, as in messages."""
        if self.choices:
            return "must be one of the choices"
        if self.type is bool:
            return "must be true or false"
        if self.type is int:
            return f"must be an integer of at least {self.least}"
        if self.least is None:
            return "must be a number, not NaN"
        return f"must be a finite number of at least {self.least}"

    def allows(self, value: object) -> bool:
        """Whether the option can have this value. True and false are no numbers."""
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or self.type is bool:
            return isinstance(value, bool) and self.type is bool
        if not isinstance(value, int if self.type is int else (int, float)):
            return False
        return not math.isnan(value) if self.least is None else self.least <= value < math.inf


class OptionFault(NamedTuple):
    """One value that an option cannot have; `allowed` lists the choices where there are any."""

    field: str
    rule: str
    got: object
    allowed: tuple[str, ...] = ()

    def __str__(self) -> str:
        choices = f" (allowed: {', '.join(self.allowed)})" if self.allowed else ""
        return f"{self.field} {self.rule}, got {self.got!r}{choices}"


def _option(default: OptionValue, meaning: str, **facts: Any) -> Any:
    """A field that declares an `Option`; its type and choices are the annotation's."""
    return field(default=default, metadata={"meaning": meaning, **facts})


class _Method:
    """Shared by both methods: checks, and access to the options by name."""

    __slots__ = ()

    method: ClassVar[str]

    def __post_init__(self) -> None:
        raise_any(option_faults(type(self), self.values()))
        for name, option in options_of(type(self)).items():
            object.__setattr__(self, name, option.type(getattr(self, name)))

    @classmethod
    def of_mapping(cls, values: Mapping[str, object]) -> Self:
        """Build from options by name; the others have their defaults.

        Raises:
            ValueError: if an option is unknown, or a value is outside its range; every fault is in the message.
        """
        raise_any(option_faults(cls, values))  # to call with an unknown name would be a TypeError
        return cls(**values)

    def values(self) -> dict[str, OptionValue]:
        """Every option by name."""
        return {name: getattr(self, name) for name in options_of(type(self))}

    def in_key(self) -> dict[str, OptionValue]:
        """The options in a run's key: all that change numbers, without neutral values. The method GGA is neutral."""
        found: dict[str, OptionValue] = {} if self.method == GGA.method else {"method": self.method}
        for name, option in options_of(type(self)).items():
            value = getattr(self, name)
            unused = option.unused_where is not None and getattr(self, option.unused_where[0]) == option.unused_where[1]
            if option.changes_numbers and not unused and value != option.neutral:
                found[name] = value
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class GGA(_Method):
    """Gradient-Guided Annealing: window, radius and rules of the candidate search.

    Source: Ballas & Diou, CVPR 2025, arXiv 2502.20162. Numbers: the paper's table as corrected in July 2025
    (aristotelisballas/GGA at 5450c2b, README image hp.png); `num_candidates` and `loss_tolerance` are literals of the
    released code (domainbed/algorithms.py). Variants: `paper` follows summaries of its text, which was not available,
    so it is partly our interpretation. `paper-chained` is the other way to read them: each candidate is drawn around
    the best point so far. `released` follows the authors' code (class ERM_GGA). `guided` is ours: instead of random
    candidates in the box, a step along the gradient of the alignment to its corner.

    Raises:
        ValueError: if any value is outside its range; every fault is in the message.

    Example:
        >>> settings = GGA.of_variant("guided", start_step=20, num_steps=5, radius=1e-3)
        >>> settings.window, settings.direction, settings.num_candidates
        (range(20, 25), 'gradient', 4)
    """

    method: ClassVar[str] = "gga"

    start_step: int = _option(100, "first annealed step, counted from 0", least=0, places_window=True)
    num_steps: int = _option(
        101, "number of annealed steps; with start_step 100: the paper's 100 to 200", least=1, places_window=True
    )
    radius: float = _option(
        1e-5, "rho: absolute noise U(-radius, radius) on every perturbed entry; 0 moves nothing", least=0
    )
    num_candidates: int = _option(
        250,
        "candidates scored at each annealed step; along the gradient: at most so many",
        least=1,
        variants={"guided": 4},
    )
    loss_tolerance: float = _option(
        0.1,
        "a candidate's joint loss may exceed the reference by less than this, in nats if `loss_gate` is `absolute`; "
        "-inf rejects all, inf none",
    )
    loss_gate: LossGate = _option(
        "absolute",
        "`loss_tolerance` in nats, or as a fraction of the reference: `relative` with 0.1 is 10 %",
        neutral="absolute",
    )
    objective: Objective = _option(
        "alignment",
        "the quantity by which candidates are compared; all but `alignment` are controls, see below",
        neutral="alignment",
    )
    direction: Direction = _option(
        "random",
        "`random`: uniform in the box; `gradient`: along the gradient of the objective to the box's corner, then "
        "half as far, a quarter, ... until one is accepted (needs origin `start`)",
        neutral="random",
        variants={"guided": "gradient"},
        requires={"gradient": {"origin": "start"}},
    )
    origin: Origin = _option(
        "start",
        "centre of the box of a candidate: the weights at the start of the step (`start`), the previous candidate "
        "(`current`: a random walk, back to the start on acceptance only) or the best point so far (`accepted`)",
        variants={"released": "current", "paper-chained": "accepted"},
    )
    perturbs: Perturbs = _option(
        "all",
        "perturbed parameters: all that prediction uses, or the featurizer's",
        variants={"released": "featurizer"},
    )
    mask: Mask = _option(
        "step",
        "dropout while scoring: the update's own mask for all scorings of a step, or a new mask at every forward",
        variants={"released": "forward"},
    )
    joint_loss: JointLoss = _option(
        "mean",
        "the mean of the domain losses, or the loss of a separate forward of the concatenated batch",
        variants={"released": "forward"},
    )
    loss_reference: LossReference = _option(
        "start", "the joint loss at the start, or of the last accepted candidate", variants={"released": "accepted"}
    )
    diagnose_every: int = _option(
        1,
        "one in so many annealed steps, beginning with the first, is diagnosed: scored again under fresh dropout masks "
        "and on the next minibatches; 0: none",
        least=0,
        neutral=1,
    )
    domain_gradients: GradientMethod = _option(
        "loop",
        "how the domains' gradients are computed, see below; in a sweep file the default follows from the network",
    )
    cuda_graph: bool = _option(
        False,
        "replay the scoring of a step as a CUDA graph; on a GPU, for models that draw no random numbers of their own, "
        "with direction `random` and mask `step`",
        changes_numbers=False,
        requires={True: {"direction": "random", "mask": "step"}},
    )

    @classmethod
    def of_variant(cls, variant: str, **values: object) -> GGA:
        """The options of a variant, any of them overridden: `of_variant("guided", radius=1e-4)`.

        Raises:
            ValueError: if the variant or an option is unknown, or a value is outside its range.
        """
        if variant not in VARIANTS:
            raise_any([OptionFault("variant", "must be known", variant, tuple(VARIANTS))])
        return cls.of_mapping({**VARIANTS[variant], **values})

    @property
    def window(self) -> range:
        """The annealed steps, wherever training ends."""
        return range(self.start_step, self.start_step + self.num_steps)

    @property
    def diagnosed(self) -> range:
        """The steps of the window that are diagnosed."""
        return self.window[:: self.diagnose_every] if self.diagnose_every else range(0)

    def steps(self, trained: int) -> range:
        """The annealed steps of a run of `trained` steps."""
        return range(min(self.start_step, trained), min(self.window.stop, trained))

    def up_to(self, steps: int) -> GGA | None:
        """The annealing of a run's first `steps` steps; None if none of them is annealed."""
        annealed = self.steps(steps)
        return replace(self, num_steps=len(annealed)) if annealed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GGAL(_Method):
    """GGA-L: every step adds alpha * xi to the joint gradient of all parameters, before the optimiser.

    Source: Ballas & Diou, CVPR 2025, arXiv 2502.20162; aristotelisballas/GGA at 5450c2b, class GGA_L, with its
    defaults.

    Raises:
        ValueError: if any value is outside its range; every fault is in the message.

    Example:
        >>> GGAL(gamma=1e-2).alpha
        'adaptive'
    """

    method: ClassVar[str] = "gga-l"

    gamma: float = _option(1e-3, "scale of the noise; 0 is training without annealing", least=0)
    noise: Noise = _option(
        "gaussian",
        "xi, entry by entry: N(0, 1), the release's; U(0, 1), the paper's, whose mean is not zero; or U(-1/2, 1/2)",
    )
    alpha: Alpha = _option(
        "adaptive", "gamma times (1 - mean cosine over pairs of domain gradients), or gamma (the control)"
    )
    domain_gradients: GradientMethod = _option(
        "loop", "as for gga; without effect if alpha is constant", unused_where=("alpha", "constant")
    )

    @property
    def window(self) -> range:
        """Empty: no step has a candidate search."""
        return range(0)

    def steps(self, trained: int) -> range:
        """All steps of a run of `trained` steps."""
        return range(trained)

    def up_to(self, steps: int) -> GGAL:
        """The annealing of a run's first `steps` steps: the same."""
        return self


Annealing = GGA | GGAL

METHODS: Mapping[str, type[GGA] | type[GGAL]] = MappingProxyType({kind.method: kind for kind in (GGA, GGAL)})
"""By the name that sweep files give them."""


def options_of(method: type[_Method]) -> Mapping[str, Option]:
    """The options of `GGA` or `GGAL` by name, in the order of their declaration."""
    return _OPTIONS[method]


def _declared(method: type[GGA] | type[GGAL]) -> Mapping[str, Option]:
    hints = get_type_hints(method)
    found = {}
    for item in fields(method):
        hint = hints[item.name]
        kind, choices = (hint, ()) if isinstance(hint, type) else (str, get_args(hint))
        assert isinstance(item.default, OptionValue)
        found[item.name] = Option(name=item.name, type=kind, choices=choices, default=item.default, **item.metadata)
    return MappingProxyType(found)


_OPTIONS: Mapping[type[_Method], Mapping[str, Option]] = {kind: _declared(kind) for kind in (GGA, GGAL)}

VARIANTS: Mapping[str, Mapping[str, OptionValue]] = MappingProxyType(
    {
        variant: MappingProxyType(
            {name: option.variants[variant] for name, option in options_of(GGA).items() if variant in option.variants}
        )
        for variant in ("paper", "paper-chained", "released", "guided")
    }
)
"""Of each variant of GGA, the defaults in which it differs from `paper`."""


WINDOW_OPTIONS = tuple(name for name, option in options_of(GGA).items() if option.places_window)
"""The options of GGA that say which steps are annealed."""

DEPENDENT_OPTIONS = tuple(
    name
    for name, option in options_of(GGA).items()
    if option.requires or any(name in needed for each in options_of(GGA).values() for needed in each.requires.values())
)
"""The options of GGA whose values may be valid one by one but not together."""


def option_faults(method: type[_Method], values: Mapping[str, object]) -> list[OptionFault]:
    """Every fault among the values given, by name; an option that is not given is no fault."""
    known = options_of(method)
    faults = []
    for name, got in values.items():
        if name not in known:
            faults.append(OptionFault(name, f"must be an option of the method {method.method}", got, tuple(known)))
        elif not known[name].allows(got):
            faults.append(OptionFault(name, known[name].rule, got, known[name].choices))
    for option in known.values():
        for value, required in option.requires.items():
            if values.get(option.name) != value or not option.allows(values[option.name]):
                continue
            for name, needed in required.items():
                if values.get(name, needed) != needed:
                    rule = f"must be {needed} where {option.name} is {str(value).lower()}"
                    faults.append(OptionFault(name, rule, values[name], (str(needed),)))
    return faults


def encode(annealing: Annealing) -> dict[str, OptionValue]:
    """Plain values: the method, and every option by name."""
    return {"method": annealing.method, **annealing.values()}


def decode(values: Mapping[str, object]) -> Annealing:
    """The annealing of plain values: the method, and any of its options; the others have their defaults.

    Raises:
        ValueError: if the method or an option is unknown or outside its range; every fault is in the message.
    """
    method = values.get("method")
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(str(OptionFault("method", "must be known", method, tuple(METHODS))))
    return METHODS[method].of_mapping({name: value for name, value in values.items() if name != "method"})


def raise_any(faults: list[OptionFault]) -> None:
    """Raise one ValueError of all faults, if there are any."""
    if faults:
        raise ValueError("; ".join(map(str, faults)))
