"""The work that a run has left, counted: evaluations, annealed steps, and the work of each phase."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from gga_sweep.algorithms.registry import get_algorithm
from gga_sweep.annealing.options import GGA, GGAL, encode
from gga_sweep.datasets import DatasetDescription
from gga_sweep.errors import InputError
from gga_sweep.spec.models import RunSpec, TrainingSettings

DIAGNOSTIC_SCORINGS = 10
"""Scorings that measure an annealed step: at both ends, under four fresh masks and on the next minibatches."""

PROBE_IMAGES = 32
"""Images of a split, at most, whose gradient an evaluation takes."""

_FORWARD = 1 / 3  # of a forward and a backward
_DIRECTION_PASSES = 6  # of a domain's minibatch: two products of a Hessian with a vector

Form = tuple[tuple[str, object], ...]


class Work(NamedTuple):
    """What a run has to do in one phase.

    Args:
        kind: how it is done; a unit takes the same time in all runs of one kind.
        units: images that pass forward and backward through the network.
    """

    kind: Hashable
    units: float


class MeasuredWork(NamedTuple):
    """Work that was done, and the device-seconds it took, by phase."""

    work: Mapping[str, Work]
    seconds: Mapping[str, float]


def evaluations(training: TrainingSettings, trained: int = 0) -> int:
    """Evaluations to come, of `TrainingSettings.evaluated_steps`: counted, not listed.

    Args:
        trained: steps done; those evaluations are behind.
    """
    every, last = training.evaluate_every, training.steps - 1
    following = -(-trained // every) * every  # the first that is divisible, from there on
    return len(range(following, last, every)) + (trained <= last)


def annealed_steps(config: RunSpec, trained: int = 0) -> int:
    """Steps to come that lie in the window; 0 where the run has none.

    Args:
        trained: steps done.
    """
    window = range(0) if config.annealing is None else config.annealing.window
    return len(range(max(window.start, trained), min(window.stop, config.training.steps)))


def form_of(config: RunSpec) -> Form:
    """How a run anneals: the choices of its annealing. Its numbers say only how much and how far. Empty without one."""
    if config.annealing is None:
        return ()
    values = encode(config.annealing)
    return tuple(item for item in sorted(values.items()) if isinstance(item[1], str | bool))


def step_images(config: RunSpec, n_domains: int) -> int:
    """Images of one step's minibatches.

    Args:
        n_domains: of the dataset.
    """
    return (n_domains - len(config.test_domains)) * int(config.hyperparameters["batch_size"])


def work_of(config: RunSpec, dataset: DatasetDescription, trained: int = 0) -> dict[str, Work]:
    """The work to come, by phase.

    Every annealed step counts with all its candidates, and as one that moved the weights.

    Args:
        trained: steps done.
    """
    annealing, form = config.annealing, form_of(config)
    images = step_images(config, len(dataset.domain_sizes))
    passes = _passes(config.algorithm)
    noise: Form = ()
    if isinstance(annealing, GGAL):
        noise = form
        passes += annealing.alpha == "adaptive"  # it scores once a step
    steps = max(0, config.training.steps - trained)
    evaluated = evaluations(config.training, trained) * _evaluation_units(config, dataset)
    work = {
        "training": Work((config.algorithm, noise), steps * passes * images),
        "evaluation": Work(config.algorithm, evaluated),
    }
    if isinstance(annealing, GGA):
        annealed = annealed_steps(config, trained)
        scored = images * (1 + annealing.num_candidates)
        if annealing.direction == "gradient":
            scored += _DIRECTION_PASSES * int(config.hyperparameters["batch_size"])
        work["search"] = Work(form, annealed * scored)
        work["diagnostics"] = Work(form, annealed * DIAGNOSTIC_SCORINGS * images)
    return work


def _passes(algorithm: str) -> float:
    """As ERM where a ledger is read without the code of its algorithm: only a time is estimated by it."""
    try:
        return get_algorithm(algorithm).passes
    except InputError:
        return 1.0


def _evaluation_units(config: RunSpec, dataset: DatasetDescription) -> float:
    """Of one evaluation: all images forward, and the probe batches, on test domains of the training split alone."""
    units, holdout = 0.0, config.training.holdout
    for domain, size in dataset.domain_sizes.items():
        units += _FORWARD * size + min(PROBE_IMAGES, (1 - holdout) * size)
        if domain not in config.test_domains:
            units += min(PROBE_IMAGES, holdout * size)
    return units
