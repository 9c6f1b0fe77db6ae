"""Protocols: named bundles of choices, printed with every table that was made under them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from gga_sweep.algorithms import get_algorithm
from gga_sweep.datasets import traits_of
from gga_sweep.distributions import Distribution
from gga_sweep.errors import Fault, InputError
from gga_sweep.metrics import DEFAULT_METRIC, METRICS
from gga_sweep.networks.published import PRETRAINED
from gga_sweep.networks.timm_models import is_installed, is_timm
from gga_sweep.records import Scalar
from gga_sweep.selection.methods import reading_more_tests
from gga_sweep.spec.models import (
    TRAINING,
    TRAINING_FACTORS,
    SelectionMethod,
    SweepConfig,
    TrainingConfig,
    TrainingSettings,
)

Sampler = Literal["by-name", "domainbed", "domainbed-head"]
"""How a draw number becomes values; see `spec.draws.draw_hyperparameters`."""

DOMAINBED_SIDE = 224
"""Of DomainBed's photographs in pixels (domainbed/datasets.py), whatever their size on disk."""

DOMAINBED_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "dropout": "resnet_dropout",
        "andmask_tau": "tau",
        "fish_meta_lr": "meta_lr",
        "mldg_n_meta_test": "n_meta_test",
        "fishr_lambda": "lambda",
        "fishr_penalty_anneal_iters": "penalty_anneal_iters",
        "fishr_ema": "ema",
        "ermpp_linear_steps": "linear_steps",
        "ermpp_linear_lr": "linear_lr",
        "sam_rho": "rho",
        "gsam_alpha": "alpha",
        "sagm_alpha": "alpha",
    }
)
"""Hyperparameters that DomainBed (of sharpness methods: the GGA release) has under another name than ours."""

DIAGNOSE_EVERY = 10
"""Of how many annealed steps one is diagnosed in trainings of full size."""

_ARM_BATCH = 8
"""Of the algorithm ARM on photographs, where DomainBed searches no batch size."""

_DOMAINBED_STEPS = 5001
"""Of every dataset (domainbed/datasets.py, `N_STEPS`)."""

_FORMS_AT_7DF6F06: Mapping[str, Mapping[str, Scalar]] = MappingProxyType(
    {"GroupDRO": {"groupdro_mean": True}, "MLDG": {"mldg_n_meta_test": 0}}
)
"""Where an algorithm differs between DomainBed at 7df6f06 and at b93c22a (domainbed/algorithms.py)."""

_FORMS_OF_THE_GGA_RELEASE: Mapping[str, Mapping[str, Scalar]] = MappingProxyType(
    {"GroupDRO": {"groupdro_mean": True}, "MLDG": {"mldg_n_meta_test": 1}}
)
"""The same for the GGA release."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A named bundle of choices. A field that a sweep file sets overrides it and is printed as a deviation.

    Args:
        name: as sweep files write it.
        summary: one sentence.
        sampler: how draws are made.
        selection: the methods that tables are made by.
        deviations: where this implementation departs from the protocol's source, as sentences.
        training: dataset name -> every field of `training:` (`threads` apart, which no protocol decides).
        defaults: (algorithm, dataset) -> hyperparameter defaults that replace the registry's, by dotted name; those of
            the annealing are for annealed arms whose method has them.
        search_space: (algorithm, dataset) -> what is searched when the sweep file names nothing.
        accuracy_alone: whether another `metric` is a fault.
    """

    name: str
    summary: str
    sampler: Sampler
    selection: tuple[SelectionMethod, ...]
    deviations: tuple[str, ...]
    training: Callable[[str], TrainingConfig]
    defaults: Callable[[str, str], Mapping[str, Scalar]]
    search_space: Callable[[str, str], Mapping[str, Distribution]]
    accuracy_alone: bool = False


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        InputError: unknown name; the known ones are listed.
    """
    if name not in PROTOCOLS:
        raise InputError([Fault("protocol", "must be a known protocol", name, tuple(PROTOCOLS))])
    return PROTOCOLS[name]


def complete_training(config: SweepConfig, protocol: Protocol) -> TrainingSettings:
    """A file's `training:` block, completed by its protocol."""
    given = config.training.model_dump(exclude_none=True)
    whole = {**protocol.training(config.dataset.name).model_dump(), **given}
    methods, stops_early = config.selection or protocol.selection, config.early_stopping is not None
    if "evaluate" not in given and reading_more_tests(methods, stops_early):
        whole["evaluate"] = "all"
    if whole["weights"] == "random":
        whole["weights"] = None
    return TrainingSettings.model_validate(whole)


def with_available_network(config: SweepConfig, protocol: Protocol) -> SweepConfig:
    """The file, with torchvision's weights in place of timm's where its protocol chooses these and timm is missing.

    The choice stands in the file from then on, as a deviation: results keep it wherever they are read.
    """
    theirs, given = protocol.training(config.dataset.name), config.training
    varied = {name for arm in config.arms for name in arm.vary}
    if not is_timm(theirs.network) or is_installed() or given.network or f"{TRAINING}network" in varied:
        return config
    changes = {"network": "resnet50", "weights": given.weights or "IMAGENET1K_V1"}
    return config.model_copy(update={"training": given.model_copy(update=changes)})


def deviations(
    config: SweepConfig,
    protocol: Protocol,
    training: TrainingSettings,
    image_shape: tuple[int, int, int],
    test_domains: tuple[tuple[str, ...], ...],
) -> Iterator[str]:
    """What the file overrides of its protocol, and how the images differ from DomainBed's, as sentences.

    Args:
        training: completed by the protocol.
        image_shape: (channels, height, width) as stored.
        test_domains: each set that is held out.
    """
    traits = traits_of(config.dataset.name)
    of_protocol = protocol.training(config.dataset.name)
    for name in TRAINING_FACTORS:
        if values := dict.fromkeys(str(value) for arm in config.arms for value in arm.vary.get(name, ())):
            field = name.removeprefix(TRAINING)
            theirs = _in_words(field, getattr(of_protocol, field))
            yield f"{field} differs between arms: {', '.join(values)} (the protocol's: {theirs})"
    for name in config.training.model_dump(exclude_unset=True, exclude_none=True):
        value, theirs = getattr(training, name), getattr(of_protocol, name)
        if value != theirs and name not in ("threads", "averaging", "evaluate"):  # none changes the training
            yield f"{name} is {_in_words(name, value)} (the protocol's: {_in_words(name, theirs)})"
    if protocol.sampler != "by-name" and config.metric != DEFAULT_METRIC:  # ours prescribe none
        yield f"runs are selected and compared by {METRICS[config.metric].label} (the protocol's: accuracy)"
    if config.training.precision == "tf32" and not config.resources.on_gpu:
        yield "precision is float32 in effect: these runs train on CPUs, which have no TF32"
    stored = f"{image_shape[1]} x {image_shape[2]}"
    as_domainbed = protocol.sampler != "by-name"
    if as_domainbed:
        yield from traits.deviations
    meant = traits.test_domains
    if meant and any(held_out != meant for held_out in test_domains):
        yield f"{config.dataset.name} was made to be tested on {'+'.join(meant)} alone"
    if (
        protocol.sampler != "by-name"
        and not traits.small_images
        and image_shape[1:] != (DOMAINBED_SIDE, DOMAINBED_SIDE)
    ):
        yield f"images are {stored} (DomainBed's: {DOMAINBED_SIDE} x {DOMAINBED_SIDE})"
    if training.augmentation == "domainbed-batched":
        yield (
            "the augmentation works on whole minibatches in float32 (DomainBed's: image by image, in bytes), so pixels "
            "differ by about 1.5 of 256 levels on average"
        )
    if training.augmentation != "none" and traits.crops:
        yield f"crops are taken from images stored at {stored} (DomainBed's: from photographs as they lie on disk)"


def _in_words(name: str, value: object) -> str:
    """As in a sweep file, where no weights are called random."""
    return "random" if name == "weights" and value is None else str(value)


@lru_cache
def domainbed_space(dataset: str) -> dict[str, Distribution]:
    """What DomainBed searches for ERM, and for every algorithm beside its own, in the order it draws them.

    Source: facebookresearch/DomainBed, domainbed/hparams_registry.py at 7df6f06; our `dropout` is its
    `resnet_dropout`. Small images search no weight decay: there it is 0 in every draw. A batch of the embedded digits
    stays below 128, since a domain of theirs has as few as 240 training images.
    """
    traits = traits_of(dataset)
    space = {
        "dropout": Distribution(choice=(0.0, 0.1, 0.5)),
        "lr": Distribution(loguniform=(10**-4.5, 10**-2.5) if traits.small_images else (10**-5, 10**-3.5)),
        "batch_size": Distribution(logintegers=(2**3, traits.largest_batch)),
    }
    return space if traits.small_images else {**space, "weight_decay": Distribution(loguniform=(10**-6, 10**-2))}


def domainbed_row(algorithm: str, dataset: str) -> dict[str, Distribution]:
    """What DomainBed at 7df6f06 draws for an algorithm, in its order: what all search, then the algorithm's own.

    It draws ARM's batch size too, and throws it away. It draws Mixup's alpha as 10**U(-1, -1) and has no `n_meta_test`.
    """
    row = _head_row(algorithm, dataset)
    row.pop("mldg_n_meta_test", None)
    return row if algorithm != "Mixup" else {**row, "mixup_alpha": Distribution(choice=(0.1,))}


def _head_row(algorithm: str, dataset: str) -> dict[str, Distribution]:
    """The same of DomainBed at b93c22a, where the order does not matter."""
    own = get_algorithm(algorithm).own.items()
    return {**domainbed_space(dataset), **{name: item.random for name, item in own if item.random is not None}}


def _domainbed_defaults(algorithm: str, dataset: str) -> dict[str, Scalar]:
    return {**_domainbed_head_defaults(algorithm, dataset), **_FORMS_AT_7DF6F06.get(algorithm, {})}


def _domainbed_head_defaults(algorithm: str, dataset: str) -> dict[str, Scalar]:
    small = traits_of(dataset).small_images
    return {
        "lr": 1e-3 if small else 5e-5,
        "batch_size": 64 if small else _ARM_BATCH if algorithm == "ARM" else 32,
        "weight_decay": 0.0,
        "dropout": 0.0,
        "annealing.diagnose_every": DIAGNOSE_EVERY,
    }


def _domainbed_search_space(algorithm: str, dataset: str) -> dict[str, Distribution]:
    return _without_batch_of_arm(domainbed_row(algorithm, dataset), algorithm, dataset)


def _domainbed_head_search_space(algorithm: str, dataset: str) -> dict[str, Distribution]:
    return _without_batch_of_arm(_head_row(algorithm, dataset), algorithm, dataset)


def _without_batch_of_arm(row: dict[str, Distribution], algorithm: str, dataset: str) -> dict[str, Distribution]:
    if algorithm == "ARM" and not traits_of(dataset).small_images:
        del row["batch_size"]
    return row


def _domainbed_training(dataset: str) -> TrainingConfig:
    """7df6f06 evaluates at multiples of its interval alone: steps after the last one change no result."""
    interval = traits_of(dataset).evaluate_every
    return _domainbed_style(
        dataset,
        steps=(_DOMAINBED_STEPS - 1) // interval * interval + 1,
        evaluate_every=interval,
        augment_validation=True,
    )


def _domainbed_head_training(dataset: str) -> TrainingConfig:
    changed: dict[str, object] = {"steps": _DOMAINBED_STEPS, "freeze_batch_norm": False}
    if not traits_of(dataset).small_images:
        changed |= {"network": "timm/resnet50.ram_in1k", "weights": PRETRAINED}
    return _domainbed_training(dataset).model_copy(update=changed)


def _domainbed_style(dataset: str, steps: int, evaluate_every: int, augment_validation: bool) -> TrainingConfig:
    """What DomainBed and everything built on it share: ImageNet's ResNet-50, or a small network on small images."""
    small = traits_of(dataset).small_images
    return TrainingConfig(
        steps=steps,
        evaluate_every=evaluate_every,
        evaluate="selection",
        network="small-cnn" if small else "resnet50",
        weights=None if small else "IMAGENET1K_V1",
        freeze_batch_norm=True,
        split="domainbed",
        holdout=0.2,
        augmentation="none" if small else "domainbed",
        augment_validation=augment_validation and not small,
        precision="tf32",
    )


def _gga_defaults(algorithm: str, dataset: str) -> dict[str, Scalar]:
    # The release's table. Its README commands disagree with it: lr 1e-5 for OfficeHome and TerraIncognita, weight decay
    # 1e-6 for DomainNet.
    traits = traits_of(dataset)
    return {
        "lr": traits.gga_lr,
        "batch_size": 32,  # the command line's default; not in the table
        "weight_decay": 1e-4,
        "dropout": 0.5,
        "annealing.diagnose_every": DIAGNOSE_EVERY,
        "annealing.radius": traits.gga_radius,
        **_FORMS_OF_THE_GGA_RELEASE.get(algorithm, {}),
    }


def _gga_training(dataset: str) -> TrainingConfig:
    return _domainbed_style(dataset, steps=traits_of(dataset).gga_steps, evaluate_every=100, augment_validation=False)


def _quick_training(dataset: str) -> TrainingConfig:
    return TrainingConfig(
        steps=300,
        evaluate_every=50,
        evaluate="all",
        network="small-cnn",
        weights=None,
        freeze_batch_norm=True,
        split="stream",
        holdout=0.2,
        augmentation="none",
        augment_validation=False,
        precision="float32",
    )


def _no_defaults(algorithm: str, dataset: str) -> dict[str, Scalar]:
    return {}


def _no_search_space(algorithm: str, dataset: str) -> dict[str, Distribution]:
    return {}


_SHARED_DEVIATIONS = (
    "Minibatches, augmentation, initial weights and dropout take their random numbers from this project's streams.",
    "Small images use SmallCNN instead of DomainBed's MNIST network.",
)

QUICK = Protocol(
    name="quick",
    summary="Ours, for a first look: SmallCNN from random weights, 300 steps, no augmentation, 80/20 splits.",
    sampler="by-name",
    selection=("training-domain-validation",),
    deviations=(),
    training=_quick_training,
    defaults=_no_defaults,
    search_space=_no_search_space,
)

GGA_PAPER = Protocol(
    name="gga-paper",
    summary="The GGA paper's: fixed hyperparameters, ImageNet's ResNet-50 with frozen batch norm, 5001 steps "
    "(DomainNet 15001), an evaluation every 100, validation on plain images.",
    sampler="domainbed",
    selection=("training-domain-validation",),
    deviations=(
        *_SHARED_DEVIATIONS,
        "Every run is seeded; the release seeds its splits only.",
        "Where the release's table and its README commands disagree (lr of OfficeHome and TerraIncognita, weight decay "
        "of DomainNet) the table is followed; the batch size is its command line's.",
        "Datasets that the paper does not report take the hyperparameters of PACS.",
        "The release gives no hyperparameters of the algorithms that GGA is put on: their own keep their defaults, "
        "except that GroupDRO divides its loss by the number of domains and MLDG holds out one, as in its code.",
    ),
    training=_gga_training,
    defaults=_gga_defaults,
    search_space=_no_search_space,
)

_DOMAINBED_DEVIATIONS = (
    *_SHARED_DEVIATIONS,
    "Runs of one trial seed share those numbers whatever their arm, draw and test domains; DomainBed seeds each run by "
    "itself.",
    "The embedded digits search batches of 8 to 127 instead of 8 to 511.",
    "Steps of a warm-up: int(10**U) of IRM and VREx is drawn as int(2**U'), equal but for rounding.",
    "What DomainBed lacks, then or still, is searched as in its later versions (AND-mask, Fish, Fishr, SD, EQRM, "
    "ERM++), in the GGA release (SAM, GSAM, SAGM) or by its authors (GENIE); MixStyle, PCGrad, AgrSum, MIRO and SAGE "
    "search nothing of their own.",
    "EQRM's burn-in is a whole number of steps, so that its own learning rate follows; with DomainBed's fractions it "
    "never does.",
)

DOMAINBED = Protocol(
    name="domainbed",
    summary="DomainBed's as in its paper (7df6f06): ImageNet's ResNet-50 with frozen batch norm, an evaluation every "
    "300 steps (DomainNet 1000), the last at step 4800 (5000), validation on augmented images, random search.",
    sampler="domainbed",
    selection=("training-domain-validation",),
    deviations=(
        *_DOMAINBED_DEVIATIONS,
        "Training ends with the last evaluation; DomainBed's goes on to step 5000, after which it evaluates nothing.",
    ),
    training=_domainbed_training,
    defaults=_domainbed_defaults,
    search_space=_domainbed_search_space,
    accuracy_alone=True,
)

DOMAINBED_HEAD = Protocol(
    name="domainbed-head",
    summary="DomainBed's as its code stands today (b93c22a): as its paper's, but batch norm is not frozen, each "
    "hyperparameter is drawn by its own name, and the last of 5001 steps is evaluated too.",
    sampler="domainbed-head",
    selection=("training-domain-validation",),
    deviations=(
        *_DOMAINBED_DEVIATIONS,
        "MLDG updates the running statistics of batch norm; DomainBed's does not, because it trains on copies.",
    ),
    training=_domainbed_head_training,
    defaults=_domainbed_head_defaults,
    search_space=_domainbed_head_search_space,
    accuracy_alone=True,
)

SHARED_HP = Protocol(
    name="shared-hp",
    summary="Ours, as quick, but one draw for all test domains: of each arm and trial seed that with the highest mean "
    "validation score over them.",
    sampler="by-name",
    selection=("shared-draw",),
    deviations=(),
    training=_quick_training,
    defaults=_no_defaults,
    search_space=_no_search_space,
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {protocol.name: protocol for protocol in (QUICK, SHARED_HP, GGA_PAPER, DOMAINBED, DOMAINBED_HEAD)}
)
"""Every protocol by name."""
