"""The work that a run has left, counted: evaluations, annealed steps, and the work of each phase."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from gga_sweep.algorithms.declaration import AlgorithmSpec
from gga_sweep.algorithms.registry import get_algorithm
from gga_sweep.annealing.options import GGA, GGAL, encode
from gga_sweep.datasets import DatasetDescription
from gga_sweep.errors import InputError
from gga_sweep.networks.builtin import NETWORKS
from gga_sweep.networks.declaration import POLAR_PIXELS
from gga_sweep.spec.models import RunSpec, TrainingSettings

DIAGNOSTIC_SCORINGS = 10
"""Scorings that diagnose an annealed step: at both ends, under four fresh masks and on the next minibatches."""

SCORINGS_WITHOUT_DROPOUT = 2
"""The same where all masks are alike: the score under fresh ones is known."""

TYPICAL_NEW_BESTS = 5
"""Evaluations of a run that are the best so far: 5.0 on average in the 36 runs of the demo, of 6 evaluations each."""

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


def diagnosed_steps(config: RunSpec, trained: int = 0) -> int:
    """Annealed steps to come that are diagnosed.

    Args:
        trained: steps done.
    """
    if not isinstance(config.annealing, GGA):
        return 0
    return sum(trained <= step < config.training.steps for step in config.annealing.diagnosed)


def evaluated_images(
    config: RunSpec, dataset: DatasetDescription, trained: int = 0, new_bests: float = TYPICAL_NEW_BESTS
) -> float:
    """Images that the evaluations to come forward, without those of the probes for gradients.

    Args:
        trained: steps done.
        new_bests: with `training.evaluate: selection`, evaluations of a whole run, before its last, that are the best
            so far; of those to come the same share.
    """
    count, sizes, holdout = evaluations(config.training, trained), dataset.domain_sizes, config.training.holdout
    if config.training.evaluate == "all":
        return float(count * sum(sizes.values()))
    if not count:
        return 0.0
    tests = sum(size for domain, size in sizes.items() if domain in config.test_domains)
    validation = sum(int(holdout * size) for domain, size in sizes.items() if domain not in config.test_domains)
    reported = sum(size - int(holdout * size) for domain, size in sizes.items() if domain in config.test_domains)
    before_last = max(1, evaluations(config.training) - 1)
    return count * validation + min(1.0, new_bests / before_last) * (count - 1) * reported + tests


def form_of(config: RunSpec) -> Form:
    """How a run anneals: the choices of its annealing. Its numbers say only how much and how far. Empty without one."""
    if config.annealing is None:
        return ()
    values = encode(config.annealing)
    return tuple(item for item in sorted(values.items()) if isinstance(item[1], str | bool))


def model_of(config: RunSpec) -> tuple[str, str, str]:
    """What decides the time of an image: the algorithm, the network, and which part of it is trained."""
    return config.algorithm, config.training.network, config.training.trainable


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
    annealing, form, model = config.annealing, form_of(config), model_of(config)
    images = step_images(config, len(dataset.domain_sizes))
    host = _algorithm(config.algorithm)
    passes = 1.0 if host is None else host.passes
    noise: Form = ()
    if isinstance(annealing, GGAL):
        noise = form
        passes += annealing.alpha == "adaptive"  # it scores once a step
    of_step = passes * images
    if host is not None and host.polar_factors and config.training.trainable == "all":
        of_step += _polar_images(config, dataset)
    steps = max(0, config.training.steps - trained)
    evaluated = _FORWARD * evaluated_images(config, dataset, trained)
    if config.training.evaluate == "all":
        evaluated += evaluations(config.training, trained) * _probe_images(config, dataset)
    work = {
        "training": Work((model, noise), steps * of_step),
        "evaluation": Work(model, evaluated),
    }
    if isinstance(annealing, GGA):
        annealed = annealed_steps(config, trained)
        scored = images * (1 + annealing.num_candidates)
        if annealing.direction == "gradient":
            scored += _DIRECTION_PASSES * int(config.hyperparameters["batch_size"])
        scoring = (model[1:], form)
        work["search"] = Work(scoring, annealed * scored)
        work["diagnostics"] = Work(scoring, diagnosed_steps(config, trained) * _scorings(config) * images)
    return work


def _algorithm(name: str) -> AlgorithmSpec | None:
    """None where a ledger is read without the code of its algorithm: only a time is estimated by it."""
    try:
        return get_algorithm(name)
    except InputError:
        return None


def _polar_images(config: RunSpec, dataset: DatasetDescription) -> float:
    """Images that take as long as the polar factors of all weights; their time depends on no image."""
    network = NETWORKS.get(config.training.network)
    _, height, width = dataset.image_shape
    return (POLAR_PIXELS if network is None else network.polar_pixels) / (height * width)


def _scorings(config: RunSpec) -> int:
    """Of a diagnosed step; a network of the user's own may have dropout layers of its own."""
    draws = float(config.hyperparameters["dropout"]) > 0 or config.training.network not in NETWORKS
    return DIAGNOSTIC_SCORINGS if draws else SCORINGS_WITHOUT_DROPOUT


def _probe_images(config: RunSpec, dataset: DatasetDescription) -> float:
    """Of one evaluation: the probe batches, on test domains of the training split alone."""
    units, holdout = 0.0, config.training.holdout
    for domain, size in dataset.domain_sizes.items():
        units += min(PROBE_IMAGES, (1 - holdout) * size)
        if domain not in config.test_domains:
            units += min(PROBE_IMAGES, holdout * size)
    return units
