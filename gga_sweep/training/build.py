"""A run's algorithm, made from its configuration."""

from __future__ import annotations

import torch

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.registry import get_algorithm
from gga_sweep.networks.network import build_network
from gga_sweep.seeding import tensor_stream
from gga_sweep.spec.models import RunSpec


def build_algorithm(
    config: RunSpec,
    setting: Setting,
    device: torch.device | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
    weights: str | None = None,
) -> Algorithm:
    """Build the algorithm in its state before the first step.

    Args:
        config: the resolved run.
        setting: the facts of the run that the algorithm receives.
        device: where it trains; None is the CPU.
        memory_format: of its images.
        weights: what the featurizer starts from, as `build_network` takes it.

    Raises:
        InputError: weights that do not fit the network, or a network that does not fit the algorithm.
    """
    algorithm = get_algorithm(config.algorithm).load()
    channels, height, width = setting.input_shape
    network = build_network(
        config.training.network,
        (channels + algorithm.EXTRA_CHANNELS, height, width),
        setting.n_classes,
        weights,
        tensor_stream(setting.dataset, setting.trial_seed, "initialisation"),
        config.training.trainable,
    )
    network.to(device or torch.device("cpu"), memory_format=memory_format)  # type: ignore[call-overload]
    built = algorithm(network, config.hyperparameters, setting)
    built.precision = config.training.precision
    return built
