"""A dataset of two images a split and an algorithm that does not train: what is left is the overhead of a run."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from gga_sweep.algorithms import Hyperparameter
from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.datasets import Dataset, Domain, digest_of_tensors
from gga_sweep.datasets.config import DatasetConfig


def dataset(config: DatasetConfig) -> Dataset:
    """Three domains of ten 8 x 8 images."""
    labels = torch.arange(10) % 2
    domains = [
        Domain(name, torch.full((10, 1, 8, 8), value), labels, tuple(f"{name}-{index}" for index in range(10)))
        for name, value in (("a", 0.1), ("b", 0.2), ("c", 0.3))
    ]
    return Dataset("no-training", ("even", "odd"), tuple(domains), digest_of_tensors(domains), normalise=False)


class NoTraining(Algorithm):
    """An update that changes nothing."""

    HYPERPARAMETERS: Mapping[str, Hyperparameter] = {}
    NUMERICS = 1

    def update(self, batch: Batch) -> torch.Tensor:
        return torch.zeros(())
