"""MLDG: descend on some domains so that the step helps on others too.

Li, Yang, Song & Hospedales, "Learning to Generalize: Meta-Learning for Domain Generalization", AAAI 2018, arXiv
1710.03463.
"""

from __future__ import annotations

from itertools import cycle
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


class MLDG(Algorithm):
    """At each step `mldg_n_meta_test` of the S domains, drawn at random, are held out for meta-test, and every other
    domain i is paired with one of them, j, in turn. With L the mean cross-entropy, the step is along

        1/S sum over pairs (i, j) of   grad L_i(theta) + mldg_beta grad L_j(theta_i),
        theta_i = theta - lr g / (|g| + 1e-8),   g = grad L_i(theta) + weight_decay theta,

    theta_i being the result of the first step of a new Adam. The gradient of L_j is taken at theta_i, and not through
    it (first order).

    `mldg_beta`: weight of meta-test.
    `mldg_n_meta_test`: held-out domains, fewer than S. Those beyond the number of the others are in no pair. At 0 none
        is held out: the domains stand in a ring of random order, and each is paired with its successor.

    Each side of a pair has its own forward, with its own dropout mask.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class MLDG. It divides by S although there
    are S - `mldg_n_meta_test` pairs. At 7df6f06 it has the ring, in the GGA release one domain is held out, in
    DomainBed's later versions two. The paper takes the mean loss of each side, one inner step of plain gradient
    descent, and the gradient through it. DomainBed's forwards are on copies: there the running statistics of batch norm
    never change, even if it is not frozen. Here they do, so that training from random weights can be evaluated.
    """

    def update(self, batch: Batch) -> Tensor:
        trained: dict[str, Tensor] = {
            name: each for name, each in self.network.named_parameters() if each.requires_grad
        }
        parameters = list(trained.values())
        beta = float(self.hyperparameters["mldg_beta"])
        gradients: tuple[Tensor, ...] = ()
        losses = []
        for number, (train, test) in enumerate(self._pairs(batch)):
            train_loss = self._loss(batch, train, trained, forward=0)
            slopes = _slopes(train_loss, parameters)
            moved = dict(zip(trained, self._after_a_step(parameters, slopes), strict=True))
            test_loss = self._loss(batch, test, moved, forward=1 + number)  # several pairs may have one test domain
            of_pair = torch._foreach_add(slopes, _slopes(test_loss, list(moved.values())), alpha=beta)
            gradients = torch._foreach_add(gradients, of_pair) if gradients else of_pair
            losses.append((train_loss + beta * test_loss).detach())
        torch._foreach_div_(gradients, len(batch))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        return torch.stack(losses).sum() / len(batch)

    def _pairs(self, batch: Batch) -> list[tuple[int, int]]:
        """(meta-train, meta-test) domains."""
        order = batch.numbers("meta-test domains").permutation(len(batch)).tolist()
        held_out = int(self.hyperparameters["mldg_n_meta_test"])
        if held_out == 0:
            return list(zip(order, order[1:] + order[:1], strict=True))
        kept = len(batch) - held_out
        return list(zip(order[:kept], cycle(order[kept:]), strict=False))

    def _loss(self, batch: Batch, domain: int, weights: dict[str, Tensor], forward: int) -> Tensor:
        minibatch, mask = batch.minibatches[domain], batch.mask_of_forward(forward, domain)
        logits = cast(Tensor, functional_call(self.network, weights, (minibatch.images, mask)))
        return F.cross_entropy(logits, minibatch.labels)

    @torch.no_grad()
    def _after_a_step(self, parameters: list[Tensor], slopes: tuple[Tensor, ...]) -> list[Tensor]:
        """The first step of Adam in closed form: its corrected moments are g and g^2."""
        lr, weight_decay = (float(self.hyperparameters[name]) for name in ("lr", "weight_decay"))
        if weight_decay:
            slopes = torch._foreach_add(slopes, parameters, alpha=weight_decay)
        sizes = torch._foreach_abs(slopes)
        torch._foreach_add_(sizes, 1e-8)
        moved = torch._foreach_addcdiv(parameters, slopes, sizes, value=-lr)
        return [each.requires_grad_() for each in moved]


def _slopes(loss: Tensor, parameters: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
