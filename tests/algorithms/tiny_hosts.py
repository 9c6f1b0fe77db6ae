"""Hosts on a problem so small that a test can work their step out by hand, in double precision."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from gga_sweep.algorithms import get_algorithm
from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.datasets import Minibatch
from gga_sweep.networks.builtin.small_cnn import small_cnn
from gga_sweep.networks.network import Network, dropout_mask
from gga_sweep.records import Scalar
from gga_sweep.seeding import stream, tensor_stream

CLASSES = 3
FEATURES = 5
CPU = torch.device("cpu")


def linear_network(extra_channels: int = 0, seed: int = 0) -> Network:
    """Images (1 + extra, 4, 4) -> 5 features -> 3 classes, both linear, in double precision."""
    return _made(seed, lambda: Network(nn.Sequential(nn.Flatten(), nn.Linear(16 * (1 + extra_channels), 5)), 5, 3))


def convolutional_network(extra_channels: int = 0, seed: int = 0) -> Network:
    """SmallCNN on images (1 + extra, 8, 8), in double precision."""
    return _made(seed, lambda: Network(*small_cnn((1 + extra_channels, 8, 8)), CLASSES))


def tiny_host(name: str, network: Network | None = None, n_domains: int = 3, **hyperparameters: Scalar) -> Algorithm:
    """An algorithm at the catalogue's hyperparameters, save those given: without dropout, lr 0.01, batches of 4.

    Args:
        network: default: `linear_network`.
    """
    spec = get_algorithm(name)
    algorithm = spec.load()
    values: dict[str, Scalar] = {key: item.default for key, item in spec.hyperparameters.items()}
    values |= {"lr": 1e-2, "batch_size": 4, **hyperparameters}
    network = network or linear_network(algorithm.EXTRA_CHANNELS)
    host = algorithm(network, values, Setting(n_domains, CLASSES, (1, 4, 4), "Tiny", 0)).double()
    return host.train()


def tiny_batch(step: int = 0, n_domains: int = 3, rows: int = 4, side: int = 4, dropout: float = 0.0) -> Batch:
    """Random images (rows, 1, side, side) and labels of each domain, a function of the step."""
    numbers = torch.Generator().manual_seed(step)
    minibatches = [
        Minibatch(
            torch.rand(rows, 1, side, side, generator=numbers, dtype=torch.float64) + domain / 4,
            torch.randint(CLASSES, (rows,), generator=numbers),
        )
        for domain in range(n_domains)
    ]

    def draw_mask(domain: int, forward: int) -> torch.Tensor | None:
        generator = tensor_stream("Tiny", 0, "dropout", step, str(domain), forward)
        mask = dropout_mask(generator, rows, FEATURES, dropout, CPU)
        return None if mask is None else mask.double()

    return Batch(minibatches, draw_mask, lambda purpose: stream("Tiny", 0, "host", step, purpose))


def weights_of(host: Algorithm) -> dict[str, Any]:
    """Copies of all that is in its state, by name."""
    return {name: copy.deepcopy(value) for name, value in host.state_dict().items()}


def adam_after(parameter: torch.Tensor, gradient: torch.Tensor, lr: float = 1e-2) -> torch.Tensor:
    """Where Adam's first step leads (Kingma & Ba 2015, algorithm 1), without weight decay."""
    mean, variance = 0.1 * gradient / (1 - 0.9), 0.001 * gradient**2 / (1 - 0.999)
    return parameter - lr * mean / (variance.sqrt() + 1e-8)


def _made(seed: int, make) -> Network:  # type: ignore[no-untyped-def]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Network = make()
    return network.double()
