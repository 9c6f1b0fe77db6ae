"""CORAL: cross-entropy, and features whose mean and covariance are the same in every domain.

Sun & Saenko, "Deep CORAL", ECCV 2016 workshops, arXiv 1607.01719.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


class CORAL(Algorithm):
    """The loss is the mean cross-entropy of the domains + `mmd_gamma` times the mean, over pairs of domains, of

        |m_i - m_j|^2 / d + |C_i - C_j|^2 / d^2,

    with m the mean of a domain's features, (d,), and C their covariance, (d, d), of divisor n - 1; the norm is
    Frobenius'. The features are the input of the classifier, dropout included. If batch norm is not frozen, each domain
    has its own batch statistics.

    `mmd_gamma`: weight of the penalty; 0 is ERM.
    `paper_form`: the paper's |C_i - C_j|^2 / (4 d^2), without means. (It has one pair, source and target.)

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class CORAL.
    """

    def update(self, batch: Batch) -> Tensor:
        features = self.separate_features(batch)
        loss = F.cross_entropy(self.network.classifier(features), batch.labels)
        domains = torch.stack(batch.split(features))
        means = domains.mean(1, keepdim=True)
        centred = domains - means
        covariances = centred.mT @ centred / (domains.shape[1] - 1)
        if self.hyperparameters["paper_form"]:
            penalty = mean_squared_difference(covariances) / 4
        else:
            penalty = mean_squared_difference(means) + mean_squared_difference(covariances)
        return self.descend(loss + float(self.hyperparameters["mmd_gamma"]) * penalty)


def mean_squared_difference(statistics: Tensor) -> Tensor:
    """Mean over entries and unordered pairs of domains of statistics (domains, ...).

    Over all pairs of a sample, the mean squared difference is twice the variance (of divisor n - 1).
    """
    return 2 * statistics.var(0).mean()
