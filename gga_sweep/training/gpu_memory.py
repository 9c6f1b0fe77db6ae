"""The GPU memory that a run needs, measured in two short steps of it on synthetic images."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import NamedTuple

import torch

from gga_sweep.datasets import DatasetDescription
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.evaluation import EVALUATION_BATCH, PROBE_IMAGES
from gga_sweep.training.synthetic import short_run
from gga_sweep.training.trainer import Trainer

_CANDIDATES = 2  # one after the other; more take no more memory


class GPUMemory(NamedTuple):
    """What was measured on one kind of GPU, in bytes.

    Args:
        needed: by a run and its process.
        total: the GPU's.
    """

    needed: int
    total: int


def measure_gpu_memory(configs: Iterable[RunSpec], dataset: DatasetDescription) -> GPUMemory:
    """The most that any of these runs reserves, and what the process itself takes: CUDA's context, the kernels.

    Memory of other processes on the GPU counts as the process's own. A run that does not fit needs the whole GPU.

    Args:
        configs: of one sweep.
        dataset: theirs; its images are not read.
    """
    device = torch.device("cuda")
    needed = 0
    try:
        for config in configs:
            needed = max(needed, _reserved(config, dataset, device))
    except torch.OutOfMemoryError:
        needed = torch.cuda.mem_get_info(device)[1]
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    return GPUMemory(min(total, needed + total - free - torch.cuda.memory_reserved(device)), total)


def two_steps(config: RunSpec, dataset: DatasetDescription, device: torch.device) -> Trainer:
    """Train a step without annealing and, if the run anneals, one with it; evaluate after each.

    Returns:
        The trainer, which holds what a run holds.
    """
    images = 2 * max(EVALUATION_BATCH, PROBE_IMAGES, int(config.hyperparameters["batch_size"]))  # half of it validates
    trainer, _ = short_run(config, dataset, device, 2, images, _CANDIDATES)
    while not trainer.finished and trainer.advance(0.0).diverged is None:
        pass
    return trainer


def _reserved(config: RunSpec, dataset: DatasetDescription, device: torch.device) -> int:
    """Bytes, at most."""
    torch.cuda.init()  # type: ignore[no-untyped-call]  # before it there is nothing to reset
    gc.collect()  # the run before, whose parts refer to one another
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    trainer = two_steps(config, dataset, device)
    del trainer
    return torch.cuda.max_memory_reserved(device)
