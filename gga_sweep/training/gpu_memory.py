"""What a run needs of a GPU's memory: a warm step, an annealed one and two evaluations of it, on synthetic images."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import replace

import torch

from gga_sweep.annealing import GGA
from gga_sweep.datasets import DatasetDescription
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.evaluation import EVALUATION_BATCH, PROBE_IMAGES
from gga_sweep.training.synthetic import synthetic_dataset
from gga_sweep.training.trainer import Trainer
from gga_sweep.training.unit_costs import GPUMemory, holds_photographs

_CANDIDATES = 2  # one after the other; more take no more memory
_FOREVER = 10**9  # steps


def measure_gpu_memory(configs: Iterable[RunSpec], dataset: DatasetDescription) -> GPUMemory:
    """The most that any of these runs reserves, and what the process takes beside it: CUDA's context, the kernels.

    Whatever else lies on the GPU counts as the process's own. A run that does not fit needs the whole GPU.

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
    run = _shortened(config)
    images = 2 * max(EVALUATION_BATCH, PROBE_IMAGES, int(config.hyperparameters["batch_size"]))  # half of it validates
    photographs = holds_photographs(config.dataset.name)
    trainer = Trainer(run, synthetic_dataset(dataset, images, photographs=photographs), device)
    while not trainer.finished:
        if trainer.advance(_FOREVER).diverged:
            break
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


def _shortened(config: RunSpec) -> RunSpec:
    """Two steps, of which the second is annealed, from random weights that hardly move."""
    training = {"steps": 2, "evaluate_every": _FOREVER, "weights": None, "split": "stream", "holdout": 0.5}
    annealing = config.annealing
    if isinstance(annealing, GGA):
        candidates = min(_CANDIDATES, annealing.num_candidates)
        annealing = replace(annealing, start_step=1, num_steps=1, num_candidates=candidates)
    return config.model_copy(
        update={
            "hyperparameters": {**config.hyperparameters, "lr": 1e-6},
            "annealing": annealing,
            "training": config.training.model_copy(update=training),
        }
    )
