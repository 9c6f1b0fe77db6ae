"""MMD: cross-entropy, and features whose distribution is the same in every domain.

Li, Pan, Wang & Kot, "Domain Generalization with Adversarial Feature Learning", CVPR 2018; the maximum mean discrepancy
is that of Gretton et al., JMLR 2012.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


class MMD(Algorithm):
    """The loss is the mean cross-entropy of the domains + `mmd_gamma` times the mean, over pairs of domains, of

        MMD^2(i, j) = mean k(x_i, x_i') + mean k(x_j, x_j') - 2 mean k(x_i, x_j),
        k(x, y) = sum of exp(-g |x - y|^2) over g = 0.001, 0.01, ..., 1000,

    means over all pairs of features, those of a feature with itself included (the biased estimate). The features are
    the input of the classifier, dropout included. If batch norm is not frozen, each domain has its own batch
    statistics.

    `mmd_gamma`: weight of the discrepancy; 0 is ERM. (It is not a kernel width; the widths g are fixed.)

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class MMD. The paper has besides an
    autoencoder, whose code an adversary pulls towards a Laplace prior; both are left out there and here.
    """

    def update(self, batch: Batch) -> Tensor:
        features = self.separate_features(batch)
        loss = F.cross_entropy(self.network.classifier(features), batch.labels)
        penalty = mean_discrepancy(features, len(batch))
        return self.descend(loss + float(self.hyperparameters["mmd_gamma"]) * penalty)


def mean_discrepancy(features: Tensor, n_domains: int) -> Tensor:
    """MMD^2, the mean over unordered pairs of domains; the features' rows, (n, d), are n / n_domains each, in order."""
    kernels = gaussian_kernels(features).view(n_domains, -1, n_domains, len(features) // n_domains).mean((1, 3))
    within, everything = kernels.diagonal().sum(), kernels.sum()
    return 2 * (within / n_domains - (everything - within) / (n_domains * (n_domains - 1)))


def gaussian_kernels(features: Tensor) -> Tensor:
    """The sum of the kernels, (n, n), between features (n, d)."""
    squares = features.square().sum(1)
    distances = (squares[:, None] + squares - 2 * features @ features.T).clamp_min(0)
    same = torch.eye(len(features), dtype=torch.bool, device=features.device)
    distances = distances.masked_fill(same, 0)  # rounding errors have a gradient there, which g = 1000 would magnify
    widths = torch.logspace(-3, 3, 7, dtype=features.dtype, device=features.device)
    return torch.exp(-widths * distances[:, :, None]).sum(2)
