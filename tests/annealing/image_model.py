"""A small convolutional network with its own minibatches, for the tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.annealing import Draw, DrawOf
from gga_sweep.networks.builtin.small_cnn import small_cnn
from gga_sweep.networks.network import Network


class ImageModel:
    """A SmallCNN without dropout on random images, unequal numbers of them from two domains."""

    n_domains = 2
    rows = (3, 5)

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = Network(*small_cnn((1, 8, 8)), 3).double()
            self.images = torch.rand(8, 1, 8, 8, dtype=torch.float64)
            self.labels = torch.randint(3, (8,))

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.module.parameters())

    @property
    def featurizer_parameters(self) -> list[nn.Parameter]:
        return list(self.module.featurizer.parameters())

    @property
    def buffers(self) -> list[Tensor]:
        return []

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        images, labels = (tensor.split(self.rows)[domain] for tensor in (self.images, self.labels))
        return F.cross_entropy(self.module(images), labels)

    def domain_losses(self, draw_of: DrawOf) -> Tensor:
        logits, labels = self.module(self.images).split(self.rows), self.labels.split(self.rows)
        return torch.stack([F.cross_entropy(part, label) for part, label in zip(logits, labels, strict=True)])

    def joint_loss(self, draw: Draw) -> Tensor:
        return F.cross_entropy(self.module(self.images), self.labels)
