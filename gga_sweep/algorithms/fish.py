"""Fish: go part of the way that steps along one domain after the other lead, which favours gradients that agree.

Shi, Seely, Torr, Siddharth, Hannun, Usunier & Synnaeve, "Gradient Matching for Domain Generalization", ICLR 2022, arXiv
2104.09937.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


class Fish(Algorithm):
    """From the weights theta, one step of Adam a domain, each along the gradient of that domain's mean cross-entropy
    where the one before led, to theta_inner; then

        theta <- theta + fish_meta_lr (theta_inner - theta).

    To second order in the inner steps, that raises the inner products of the domains' gradients. Buffers go the same
    way where they are floating-point numbers, such as the statistics of batch norm. Adam's moments stay from step to
    step.

    `fish_meta_lr`: share of the way; 1 is Adam on single domains in turn, 0 moves nothing.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class Fish; as there, domains come in the
    dataset's order. The paper's inner steps are plain gradient descent, over the domains in a random order.

    Returns of `update`: the mean of the domains' losses, each before its own inner step.
    """

    def update(self, batch: Batch) -> Tensor:
        state = [each for each in self.network.state_dict().values() if each.is_floating_point()]
        before = [each.clone() for each in state]
        losses = [
            self.descend(F.cross_entropy(self.predict(minibatch.images, mask), minibatch.labels))
            for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True)
        ]
        with torch.no_grad():
            torch._foreach_lerp_(state, before, 1 - float(self.hyperparameters["fish_meta_lr"]))
        return torch.stack(losses).mean()
