"""Fishr: gradients of single images that vary in the same way in every domain.

Rame, Dancette & Cord, ICML 2022, arXiv 2109.02934.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.base import Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.penalties import PenalisedAlgorithm
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar


class Fishr(PenalisedAlgorithm):
    """The loss is the mean cross-entropy of all images + weight times the mean over domains and entries of

        (v_d - mean over domains of v)^2,   v_d = (ema u_d + (1 - ema) s_d) / (1 - ema),

    where s_d is the variance (of divisor n), entry by entry, of the gradients that the images of domain d have each by
    the classifier's weight and bias, and u_d the moving average ema u_d + (1 - ema) s_d of the steps before, at first
    0, a constant to the gradient. For a linear classifier of features z the gradient of an image is
    (softmax - onehot(y)) z^T and, by the bias, softmax - onehot(y).

    `fishr_lambda`: the weight after the warm-up.
    `fishr_penalty_anneal_iters`: steps without the penalty; then Adam's moments are reset.
    `fishr_ema`: weight of the past. The division by 1 - ema keeps this step's part, and so the gradient, of one size.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class Fishr; the averages are kept up
    during the warm-up too.
    """

    averages: Tensor

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__(network, hyperparameters, setting)
        entries = setting.n_classes * (network.features + 1)
        self.register_buffer("averages", next(network.parameters()).new_zeros(setting.n_domains, entries))

    def update(self, batch: Batch) -> Tensor:
        weight = self.penalty_weight(
            0.0, float(self.hyperparameters["fishr_lambda"]), int(self.hyperparameters["fishr_penalty_anneal_iters"])
        )
        features = self.network.featurize(batch.images, batch.mask)
        logits = self.network.classifier(features)
        loss = F.cross_entropy(logits, batch.labels)
        with torch.set_grad_enabled(weight != 0):
            gradients = image_gradients(features, logits, batch.labels)
            variances = torch.stack([rows.var(0, correction=0) for rows in batch.split(gradients)])
            ema = float(self.hyperparameters["fishr_ema"])
            averages = torch.lerp(variances, self.averages, ema)
        self.averages.copy_(averages.detach())
        if weight:
            loss = loss + weight * (averages / (1 - ema)).var(0, correction=0).mean()
        return self.descend(loss)


def image_gradients(features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Each image's gradient of its cross-entropy by weight and bias of a linear classifier, (n, classes * (d + 1))."""
    slopes = logits.softmax(1) - F.one_hot(labels, logits.shape[1])
    return torch.cat([(slopes[:, :, None] * features[:, None, :]).flatten(1), slopes], dim=1)
