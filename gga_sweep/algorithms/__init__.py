"""Algorithms: one file each, and the catalogue of them."""

from gga_sweep.algorithms.catalogue import ALGORITHMS
from gga_sweep.algorithms.declaration import TRAINING_HYPERPARAMETERS, AlgorithmSpec, Hyperparameter
from gga_sweep.algorithms.registry import declared, get_algorithm

__all__ = ["ALGORITHMS", "TRAINING_HYPERPARAMETERS", "AlgorithmSpec", "Hyperparameter", "declared", "get_algorithm"]
