"""A small network with its own minibatches, for the tests: what a training loop hands to the search."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.annealing import Draw, DrawOf


class ToyNetwork(nn.Module):
    def __init__(self, seed: int, dtype: torch.dtype, batch_norm: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm1d(7) if batch_norm else nn.Identity()
        self.featurizer = nn.Sequential(nn.Linear(5, 7, bias=not batch_norm), norm, nn.Tanh())
        self.classifier = nn.Linear(7, 3)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)
        self.to(dtype).train()


class ToyModel:
    """Domains of random images and labels. Every dropout mask is a function of (model, draw, domain).

    Args:
        seed: of the weights and minibatches.
        one_domain: every domain gets the first one's minibatch.
        loss_scales: each domain's loss is multiplied by its own.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        n_domains: int = 3,
        batch_size: int = 6,
        dtype: torch.dtype = torch.float64,
        dropout: float = 0.5,
        batch_norm: bool = False,
        one_domain: bool = False,
        loss_scales: tuple[float, ...] = (1.0, 1.0, 1.0),
    ) -> None:
        self.n_domains = n_domains
        self.seed, self.dropout, self.loss_scales = seed, dropout, loss_scales
        self.module = self.network = ToyNetwork(seed, dtype, batch_norm)
        self.rows = [batch_size] * n_domains
        generator = torch.Generator().manual_seed(1000 + seed)
        self.batches = []
        for _ in range(n_domains):
            images = torch.randn(batch_size, 5, generator=generator, dtype=dtype)
            self.batches.append((images, torch.randint(3, (batch_size,), generator=generator)))
        if one_domain:
            self.batches = [self.batches[0]] * n_domains

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    @property
    def featurizer_parameters(self) -> list[nn.Parameter]:
        return list(self.network.featurizer.parameters())

    @property
    def buffers(self) -> list[Tensor]:
        return list(self.network.buffers())

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        images, labels = self.batches[domain]
        return self.loss_scales[domain] * self._loss(images, labels, self._mask(domain, draw))

    def domain_losses(self, draw_of: DrawOf) -> Tensor:
        images = torch.cat([images for images, _ in self.batches])
        mask = torch.cat([self._mask(domain, draw_of(domain)) for domain in range(self.n_domains)])
        logits = torch.split(self._logits(images, mask), self.rows)
        return torch.stack(
            [
                self.loss_scales[domain] * F.cross_entropy(part, labels)
                for domain, (part, (_, labels)) in enumerate(zip(logits, self.batches, strict=True))
            ]
        )

    def joint_loss(self, draw: Draw) -> Tensor:
        images, labels = (torch.cat(column) for column in zip(*self.batches, strict=True))
        return self._loss(images, labels, torch.cat([self._mask(domain, draw) for domain in range(self.n_domains)]))

    def _loss(self, images: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return F.cross_entropy(self._logits(images, mask), labels)

    def _logits(self, images: Tensor, mask: Tensor) -> Tensor:
        return self.network.classifier(self.network.featurizer(images) * mask)

    def _mask(self, domain: int, draw: Draw) -> Tensor:
        images = self.batches[domain][0]
        generator = torch.Generator().manual_seed(zlib.crc32(repr((self.seed, draw, domain)).encode()))
        kept = torch.rand(len(images), 7, generator=generator) >= self.dropout
        return kept.to(images.dtype) / (1 - self.dropout)


def generator_of(seed: int) -> Callable[[int], torch.Generator]:
    """The noise generator of each candidate."""
    return lambda candidate: torch.Generator().manual_seed(10_000 * seed + candidate)


def fixed_choice(seed: int = 0) -> Callable[[], torch.Generator]:
    return lambda: torch.Generator().manual_seed(seed)
