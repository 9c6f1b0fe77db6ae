"""Host algorithms: one file each, and the registry."""

from gga_sweep.algorithms.registry import (
    ALGORITHMS,
    TRAINING_HYPERPARAMETERS,
    AlgorithmSpec,
    Hyperparameter,
    get_algorithm,
)

__all__ = ["ALGORITHMS", "TRAINING_HYPERPARAMETERS", "AlgorithmSpec", "Hyperparameter", "get_algorithm"]
