"""The types of a sweep file and of a single run: frozen, validated field by field, no behaviour.

`spec.check` checks what crosses fields or needs a registry (does this domain exist, does the window fit).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    create_model,
)

from gga_sweep.annealing.options import GGA, GGAL, METHODS, VARIANTS, decode, encode, options_of
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.distributions import Distribution, Model, Number, Whole
from gga_sweep.metrics import DEFAULT_METRIC, SELECTING
from gga_sweep.records import Scalar
from gga_sweep.selection.methods import METHODS as SELECTION_METHODS
from gga_sweep.selection.view import SelectFrom

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ +-]{0,99}$")]
"""A name that becomes a folder's: letters, digits and `. _ + -`, no separators, so it cannot leave the storage."""

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]

if TYPE_CHECKING:
    SelectionMethod = str
else:
    SelectionMethod = Literal[tuple(SELECTION_METHODS)]
"""The name of a selection method."""

if TYPE_CHECKING:
    MetricName = str
else:
    MetricName = Literal[SELECTING]
"""The name of a metric by which runs can be selected."""


def _domain_name(value: object) -> object:
    """YAML reads the domain `75` as a number; names are text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _domain_set(value: object) -> object:
    """A single test domain may be written without a list."""
    value = _domain_name(value)
    return (value,) if isinstance(value, str) else value


def _annealing(value: object) -> GGA | GGAL:
    """From the typed object, or from what `encode` stored."""
    if isinstance(value, GGA | GGAL):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("must be a block of fields")
    return decode(value)


DomainName = Annotated[str, BeforeValidator(_domain_name), Field(min_length=1)]
DomainSet = Annotated[tuple[DomainName, ...], BeforeValidator(_domain_set), Field(min_length=1)]


class AnnealingConfig(Model):
    """The `annealing:` block of an arm: besides these fields, any option of its method, checked in `spec.check`.

    Args:
        method: `gga` searches within a window of steps, `gga-l` adds noise to every step's gradient; their options are
            those of `gga_sweep.annealing.GGA` and `GGAL`. What is left out is drawn, or has a default.
        variant: of `gga` alone (default: paper).
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar | None] = Field(init=False)

    method: Literal["gga", "gga-l"] = "gga"
    variant: Literal["paper", "paper-chained", "released", "guided"] | None = None

    @property
    def kind(self) -> type[GGA] | type[GGAL]:
        """The type of an annealing of this method."""
        return METHODS[self.method]

    @property
    def given(self) -> dict[str, Scalar]:
        """The options in the block: those of the method in the order of their declaration, then any other."""
        written = {name: value for name, value in self.__pydantic_extra__.items() if value is not None}
        ordered = [*(name for name in options_of(self.kind) if name in written), *written]
        return {name: written[name] for name in ordered}

    @property
    def of_variant(self) -> Mapping[str, Scalar]:
        """The defaults that the variant changes."""
        return VARIANTS[self.variant or "paper"] if self.kind is GGA else {}


class ArmConfig(Model):
    """One arm, or one arm per point of the product of `vary:`.

    Args:
        name: as it stands in tables (default: made of algorithm, annealing and factors).
        algorithm: a registered one, or `module:attribute`.
        annealing: absent for an un-annealed arm.
        vary: factors; dotted name of a hyperparameter, or one of `TRAINING_FACTORS` -> values. Never selected over.
        draws: this arm's number of draws (default: the sweep's).
        baseline: name of the arm this one is compared with.
    """

    name: Name | None = None
    algorithm: str = "ERM"
    annealing: AnnealingConfig | None = None
    vary: dict[str, Annotated[list[Scalar], Field(min_length=1)]] = Field(default_factory=dict)
    draws: Annotated[Whole, Field(ge=1)] | None = None
    baseline: str | None = None


class AveragingConfig(Model):
    """Stochastic weight averaging, densely, of the steps in a valley of the validation loss (`training.averaging`).

    Args:
        method: swad.
        n_converge: evaluations in a row, the first of them the lowest, that begin the valley.
        n_tolerance: evaluations in a row above the threshold that end it.
        tolerance_ratio: by how much the threshold lies above the mean loss of those that begin it; 0.3 is 30 %.
    """

    method: Literal["swad"]
    n_converge: Annotated[Whole, Field(ge=1)] = 3
    n_tolerance: Annotated[Whole, Field(ge=1)] = 6
    tolerance_ratio: Annotated[Number, Field(ge=0)] = 0.3


def _averaging(value: object) -> object:
    """The method may be written without a block."""
    return {"method": value} if isinstance(value, str) else value


Averaging = Annotated[AveragingConfig, BeforeValidator(_averaging)]


_TRAINABLE = r"all|head|last:[1-9][0-9]{0,3}"


def trainable_rule(value: object) -> str | None:
    """What is wrong with a value of `training.trainable`; None if nothing is."""
    if isinstance(value, str) and re.fullmatch(_TRAINABLE, value):
        return None
    return "must be all, head or last:N (N blocks, from 1 on)"


def _trainable(value: str) -> str:
    if rule := trainable_rule(value):
        raise ValueError(rule)
    return value


Trainable = Annotated[
    str, AfterValidator(_trainable), WithJsonSchema({"type": "string", "pattern": f"^({_TRAINABLE})$"})
]
"""Which part of a network is trained."""

TRAINING = "training."
"""What begins the dotted names of the fields of `training:`."""

TRAINING_FACTORS = tuple(TRAINING + name for name in ("network", "weights", "trainable"))
"""The fields of `training:` that an arm may vary."""


class TrainingSettings(Model):
    """How a run is trained: a `training:` block that its protocol has completed.

    Args:
        steps: optimiser steps, numbered 0 .. steps - 1.
        evaluate_every: an evaluation at each step divisible by this, and at the last.
        evaluate: what an evaluation measures: "all" splits of all domains and the agreement of gradients, or what
            "selection" needs: the validation splits of the training domains, and the test domains only at steps that
            can be selected. Selected runs, steps and their scores are the same.
        network: small-cnn, resnet18, resnet50, `timm/NAME`, or `module:attribute`.
        weights: "random" or None, "pretrained", "imagenet", a torchvision weight name, or the path of a state-dict
            file.
        trainable: "all"; "head", the classifier alone; or "last:N", it and the featurizer's last N blocks.
        freeze_batch_norm: batch norm stays in evaluation mode while training (its affine part is still trained).
        split: "stream" (ours) or "domainbed" (its seed_hash and RandomState).
        holdout: share of each domain that becomes its validation split.
        augmentation: of training images: DomainBed's, image by image in bytes; or the same for a minibatch at once, in
            float32 on the run's device, whose pixels differ a little.
        augment_validation: whether validation images are augmented too, as DomainBed does.
        precision: of the network's forwards and backwards in updates and evaluations: "float32"; "tf32", PyTorch's
            default, in which convolutions round to 10 bits of mantissa on GPUs that have TF32, and nothing does
            elsewhere; "bfloat16" under autocast. Weights, losses, penalties, optimisers, annealing and the agreement
            of gradients are float32 in each.
        threads: CPU threads of a run; other counts give other bits, so it is part of the key.
        averaging: averages the weights of each run beside its training, which it does not change.
    """

    steps: Annotated[Whole, Field(ge=1)]
    evaluate_every: Annotated[Whole, Field(ge=1)]
    evaluate: Literal["all", "selection"]
    network: str
    weights: str | None
    freeze_batch_norm: bool
    split: Literal["stream", "domainbed"]
    holdout: Annotated[Number, Field(gt=0, lt=1)]
    augmentation: Literal["none", "domainbed", "domainbed-batched"]
    augment_validation: bool
    precision: Literal["float32", "tf32", "bfloat16"]
    trainable: Trainable = "all"
    threads: Annotated[Whole, Field(ge=1, le=1024)] = 1
    averaging: Averaging | None = None

    def with_factors(self, factors: Mapping[str, Scalar]) -> TrainingSettings:
        """The settings of an arm.

        Args:
            factors: of the arm, by dotted name; those of `TRAINING_FACTORS` apply.
        """
        changes: dict[str, Any] = {
            name.removeprefix(TRAINING): value for name, value in factors.items() if name in TRAINING_FACTORS
        }
        if changes.get("weights") == "random":
            changes["weights"] = None
        return self.model_copy(update=changes) if changes else self

    @property
    def evaluated_steps(self) -> list[int]:
        """Ascending: each step divisible by `evaluate_every`, and the last."""
        last = self.steps - 1
        return [*range(0, last, self.evaluate_every), last]


if TYPE_CHECKING:

    class TrainingConfig(Model):
        def __init__(self, **given: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    _TYPES = get_type_hints(TrainingSettings, include_extras=True)
    TrainingConfig = create_model(
        "TrainingConfig",
        __base__=Model,
        __module__=__name__,
        **{
            name: (_TYPES[name] | None, None) if field.is_required() else (_TYPES[name], field.default)
            for name, field in TrainingSettings.model_fields.items()
        },
    )
"""The `training:` block of a sweep file: fields of `TrainingSettings`; the protocol completes them."""


class ResourcesConfig(Model):
    """What one run occupies. Runs that share a GPU share its memory, whatever their fractions.

    Args:
        cpus: Ray CPUs a run reserves.
        gpus: 0 trains on the CPU; 0.5 puts two runs on one GPU; at most 1. "auto" puts as many on one GPU as
            its memory has room for, measured before the first run (`scheduling.gpu_share`).
        max_concurrent: runs at once (default: what the resources allow).
        workers: processes of a run that read and augment the images of its next steps; they change no number (default:
            its CPUs minus one).
    """

    cpus: Annotated[Number, Field(gt=0)] = 1
    gpus: Literal["auto"] | Annotated[Number, Field(ge=0, le=1)] = 0.0
    max_concurrent: Annotated[Whole, Field(ge=1)] | None = None
    workers: Annotated[Whole, Field(ge=0)] | None = None

    @property
    def data_workers(self) -> int:
        """The workers of a run, the default resolved."""
        return max(0, int(self.cpus) - 1) if self.workers is None else self.workers

    @property
    def on_gpu(self) -> bool:
        """Whether runs train on a GPU."""
        return self.gpus == "auto" or self.gpus > 0


class TrackingConfig(Model):
    """What MLflow shows beyond the runs' results. Nothing here changes a number.

    Args:
        system_metrics: measure the machine of each run while it trains (`system/...`), with MLflow's own monitors.
    """

    system_metrics: bool = False


class ChosenCell(Model):
    """The hyperparameters chosen for a cell.

    Args:
        arm: its name.
        test_domains: the cell's.
        trial_seed: the cell's; None stands for every trial seed.
        values: the searched hyperparameters by dotted name.
    """

    arm: str
    test_domains: DomainSet
    trial_seed: Annotated[Whole, Field(ge=0)] | None = None
    values: dict[str, Scalar] = Field(default_factory=dict)


class ChosenConfig(Model):
    """Hyperparameters that another sweep chose: each cell trains its own and searches nothing.

    Args:
        search: which search chose them, in words; printed with every table.
        cells: one a cell; one that names the trial seed goes before one that does not.
    """

    search: Annotated[str, Field(min_length=1)]
    cells: Annotated[tuple[ChosenCell, ...], Field(min_length=1)]


SEARCHES = ("random", "grid", "tpe", "tpe-pooled")
_SAMPLER = r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*"


def _search(value: str) -> str:
    if value not in SEARCHES and not re.fullmatch(_SAMPLER, value):
        raise ValueError(f"must be one of {', '.join(SEARCHES)}, or module:attribute of an Optuna sampler")
    return value


Search = Annotated[
    str,
    AfterValidator(_search),
    WithJsonSchema({"anyOf": [{"enum": [*SEARCHES]}, {"type": "string", "pattern": f"^{_SAMPLER}$"}]}),
]
"""One of `SEARCHES`, or an Optuna sampler."""


class AdaptiveConfig(Model):
    """How `search: tpe`, `tpe-pooled` or a sampler searches.

    Args:
        objective: what a draw is judged by: the validation score of its run in one cell, or the mean over trial
            seeds, or (protocol shared-hp alone) over test domains. The runs of a mean share their draws.
        n_startup_trials: draws of random search before the first that is suggested.
        at_once: draws suggested from the same results, to be trained side by side.
        arguments: of a sampler, besides its `seed`.
    """

    objective: Literal["cell", "trial-seeds", "test-domains"] = "cell"
    n_startup_trials: Annotated[Whole, Field(ge=1)] = 8
    at_once: Annotated[Whole, Field(ge=1)] = 1
    arguments: dict[str, Scalar] = Field(default_factory=dict)


class EarlyStoppingConfig(Model):
    """Successive halving within each cell: ends runs that fall behind earlier runs of their cell.

    Args:
        reduction_factor: one in so many goes on at a rung.
        grace_period: steps that every run trains; past every annealing window (default: to the first evaluation there).
    """

    reduction_factor: Annotated[Whole, Field(ge=2)] = 3
    grace_period: Annotated[Whole, Field(ge=1)] | None = None


class SweepConfig(Model):
    """A sweep file.

    Args:
        search: one of `SEARCHES`; or `module:attribute`, an Optuna sampler's class or a function that returns one. Both
            have an argument `seed`.
        adaptive: of the searches that adapt.
        early_stopping: ends runs early, under any search.
        selection: the methods that tables are made by (default: the protocol's). The first makes the headline, and what
            MLflow and `chosen.yaml` call selected.
        metric: by which runs are selected, stopped early and compared, on whichever splits a method reads.
        select_from: the steps that may be selected.
        chosen: takes the place of `search_space` and `draws`.
    """

    name: FolderName
    dataset: DatasetConfig
    protocol: str = "quick"
    arms: Annotated[tuple[ArmConfig, ...], Field(min_length=1)]
    test_domains: Literal["all"] | Annotated[tuple[DomainSet, ...], Field(min_length=1)] = "all"
    trial_seeds: Annotated[tuple[Annotated[Whole, Field(ge=0)], ...], Field(min_length=1)] = (0, 1, 2)
    draws: Annotated[Whole, Field(ge=1)] = 1
    search: Search = "random"
    adaptive: AdaptiveConfig | None = None
    early_stopping: EarlyStoppingConfig | None = None
    defaults: dict[str, Scalar] = Field(default_factory=dict)
    search_space: dict[str, Distribution] = Field(default_factory=dict)
    chosen: ChosenConfig | None = None
    selection: Annotated[tuple[SelectionMethod, ...], Field(min_length=1)] | None = None
    metric: MetricName = DEFAULT_METRIC
    select_from: SelectFrom = "any"
    training: TrainingConfig = TrainingConfig()
    resources: ResourcesConfig = ResourcesConfig()
    tracking: TrackingConfig = TrackingConfig()


class RunSpec(Model):
    """One training job. Nothing else decides its numbers, except the machine's arithmetic.

    Args:
        hyperparameters: of the algorithm and its training, e.g. lr, batch_size (per training domain).
        annealing: None for an un-annealed run.
        selected_from: with `training.evaluate: selection`, the first step that may be selected. The test domains are
            evaluated at each new best validation score since then, too.
        metric: by which steps are selected: the run keeps the weights of its best validation step.
    """

    dataset: DatasetConfig
    algorithm: str
    hyperparameters: dict[str, Scalar]
    annealing: Annotated[GGA | GGAL, PlainValidator(_annealing), PlainSerializer(encode)] | None
    test_domains: tuple[str, ...]
    trial_seed: int
    training: TrainingSettings
    selected_from: Annotated[Whole, Field(ge=0)] = 0
    metric: MetricName = DEFAULT_METRIC

    @property
    def annealed_steps(self) -> range:
        """The steps that are annealed: those of the window, with GGA-L all, without annealing none."""
        return range(0) if self.annealing is None else self.annealing.steps(self.training.steps)
