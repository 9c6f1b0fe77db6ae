"""`resources: {gpus: auto}`: how many runs a GPU has room for, from what the most demanding of them need. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gga_sweep.spec.models import RunSpec
from gga_sweep.training.unit_costs import GPUMemory, form_of, host_of

MOST_RUNS = 8
"""Runs on one GPU: more rarely train faster together than one after the other."""

USED_SHARE = 0.9
"""Of a GPU's memory: what runs may fill, as none is measured in its worst moment for certain."""

_RESOLUTION = 10_000  # Ray counts ten thousandths of a GPU


def most_demanding(configs: Iterable[RunSpec], n_domains: int) -> tuple[RunSpec, ...]:
    """Of each algorithm and form of annealing the run with the most images in a step.

    Args:
        configs: of one sweep, so of one network.
        n_domains: of its dataset.
    """
    found: dict[tuple[object, ...], RunSpec] = {}
    for config in configs:
        kind = (config.algorithm, form_of(config.annealing))
        if kind not in found or _images(config, n_domains) > _images(found[kind], n_domains):
            found[kind] = config
    return tuple(found.values())


def runs_a_gpu(memory: GPUMemory, cpus: float) -> int:
    """How many runs to put on one GPU, 1 .. `MOST_RUNS`. One that needs more than it should still gets a whole one.

    Args:
        cpus: for how many runs there are CPUs beside each GPU.
    """
    fit = USED_SHARE * memory.total / memory.needed
    return max(1, math.floor(min(fit, cpus, MOST_RUNS)))


def gpu_share(runs: int) -> float:
    """What each of so many runs on a GPU reserves of it: so many fit in Ray's counting, and no more."""
    return math.floor(_RESOLUTION / runs) / _RESOLUTION


def _images(config: RunSpec, n_domains: int) -> int:
    return int(config.hyperparameters["batch_size"]) * host_of(config, n_domains).training_domains
