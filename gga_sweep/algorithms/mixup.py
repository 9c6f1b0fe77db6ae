"""Mixup between domains: train on convex combinations of the images of two domains.

Zhang, Cisse, Dauphin & Lopez-Paz, ICLR 2018, arXiv 1710.09412; between domains: Yan, Song, Li, Zou & Ren, 2020, arXiv
2001.00677, and Wang, Li & Kot, ICASSP 2020, arXiv 2009.05448.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


class Mixup(Algorithm):
    """The domains stand in a ring of random order; each is mixed, image by image, with its successor:

        x = lam x_i + (1 - lam) x_j,   y = lam y_i + (1 - lam) y_j,   lam ~ Beta(mixup_alpha, mixup_alpha),

    one lam a pair, y one-hot. The loss is the cross-entropy of x and y, its mean over all mixed images. Cross-entropy
    is linear in y: that is lam CE(x, y_i) + (1 - lam) CE(x, y_j), the mean over pairs.

    A mixed image has the dropout mask of its first part. If batch norm is not frozen, each pair has its own batch
    statistics.

    `mixup_alpha`: near 0, lam is nearly always 0 or 1 and nothing is mixed; at 1 it is uniform; large, near a half.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class Mixup. Zhang et al. mix images of one
    minibatch, whatever their domain.
    """

    def update(self, batch: Batch) -> Tensor:
        ring = batch.numbers("pairs").permutation(len(batch)).tolist()
        alpha = float(self.hyperparameters["mixup_alpha"])
        weights = batch.numbers("mixing").beta(alpha, alpha, len(batch)).tolist()
        pairs = list(zip(ring, ring[1:] + ring[:1], weights, strict=True))

        def mixed(rows: Tensor) -> list[Tensor]:
            parts = batch.split(rows)
            return [weight * parts[i] + (1 - weight) * parts[j] for i, j, weight in pairs]

        features = self.network.featurize_separately(mixed(batch.images), [batch.masks[i] for i in ring])
        logits = self.network.classifier(features)
        labels = torch.cat(mixed(F.one_hot(batch.labels, self.setting.n_classes).to(logits)))
        return self.descend(F.cross_entropy(logits, labels))
