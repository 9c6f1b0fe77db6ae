"""Fish: interpolate towards the weights after one step along each domain in turn, which favours aligned gradients.

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
    at the weights after the previous step, to theta_inner; then

        theta <- theta + fish_meta_lr (theta_inner - theta).

    To second order in the inner steps, that raises the inner products of the domains' gradients. Floating-point
    buffers, such as the statistics of batch norm, are interpolated too. Adam's moments are kept from step to step.

    `fish_meta_lr`: weight of theta_inner; 1 is Adam on single domains in turn, 0 moves nothing.

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
