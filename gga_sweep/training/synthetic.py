"""Short runs to measure with: a few steps of the real trainer on random images of a dataset's shape."""

from __future__ import annotations

from dataclasses import replace

import torch

from gga_sweep.annealing import GGA
from gga_sweep.datasets import Dataset, DatasetDescription, Domain
from gga_sweep.datasets.registry import holds_photographs
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.trainer import Trainer

_FOREVER = 10**9  # steps


def short_run(
    config: RunSpec, dataset: DatasetDescription, device: torch.device, steps: int, images: int, candidates: int
) -> tuple[Trainer, DatasetDescription]:
    """A run of so many steps, from random weights that hardly move. Reads no image.

    Evaluated are the first step and the last; annealed, where the run anneals in a window, all but the first.

    Args:
        dataset: of the run.
        images: of each domain, half of which validate.
        candidates: of an annealed step, at most.

    Returns:
        The trainer, and the dataset that it trains on.
    """
    annealing = config.annealing
    if isinstance(annealing, GGA):
        candidates = min(candidates, annealing.num_candidates)
        annealing = replace(annealing, start_step=1, num_steps=steps, num_candidates=candidates)
    training = {"steps": steps, "evaluate_every": _FOREVER, "weights": None, "split": "stream", "holdout": 0.5}
    short = config.model_copy(
        update={
            "hyperparameters": {**config.hyperparameters, "lr": 1e-6},
            "annealing": annealing,
            "training": config.training.model_copy(update=training),
        }
    )
    small = replace(dataset, domain_sizes=dict.fromkeys(dataset.domain_sizes, images))
    photographs = holds_photographs(config.dataset.name)
    return Trainer(short, synthetic_dataset(small, photographs=photographs), device), small


def synthetic_dataset(description: DatasetDescription, *, photographs: bool) -> Dataset:
    """Random images of a description, the same at each call.

    Args:
        photographs: whether its images are bytes that are normalised, rather than numbers in [0, 1].
    """
    generator = torch.Generator().manual_seed(0)
    domains = []
    for name, size in description.domain_sizes.items():
        shape = (size, *description.image_shape)
        images = (
            torch.randint(256, shape, generator=generator, dtype=torch.uint8)
            if photographs
            else torch.rand(shape, generator=generator)
        )
        domains.append(Domain(name, images, torch.arange(size) % description.n_classes, tuple(map(str, range(size)))))
    classes = tuple(map(str, range(description.n_classes)))
    return Dataset(description.name, classes, tuple(domains), "synthetic", normalise=photographs)
