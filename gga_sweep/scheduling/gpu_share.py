"""`resources: {gpus: auto}`: how many runs fit on a GPU, by the memory of the most demanding ones. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gga_sweep.spec.counted_work import form_of, model_of, step_images
from gga_sweep.spec.models import RunSpec

if TYPE_CHECKING:  # it loads torch
    from gga_sweep.training.gpu_memory import GPUMemory

MOST_RUNS = 8
"""Runs on one GPU, at most: more are rarely faster together than one after the other."""

USED_SHARE = 0.9
"""The share of a GPU's memory that runs may fill: the measurement may miss a run's peak."""

_RESOLUTION = 10_000  # Ray counts ten thousandths of a GPU


def most_demanding(configs: Iterable[RunSpec], n_domains: int) -> tuple[RunSpec, ...]:
    """For each algorithm, network and form of annealing, the run with the most images in a step.

    Args:
        configs: of one sweep.
        n_domains: of its dataset.
    """
    found: dict[tuple[object, ...], RunSpec] = {}
    for config in configs:
        kind = (model_of(config), form_of(config))
        if kind not in found or step_images(config, n_domains) > step_images(found[kind], n_domains):
            found[kind] = config
    return tuple(found.values())


def runs_a_gpu(memory: GPUMemory, cpus: float) -> int:
    """How many runs to put on one GPU, 1 .. `MOST_RUNS`. A run that needs more memory still gets a whole GPU.

    Args:
        cpus: runs for which there are CPUs beside each GPU.
    """
    fit = USED_SHARE * memory.total / memory.needed
    return max(1, math.floor(min(fit, cpus, MOST_RUNS)))


def gpu_share(runs: int) -> float:
    """The share that each of so many runs reserves, so that exactly so many fit by Ray's counting."""
    return math.floor(_RESOLUTION / runs) / _RESOLUTION
