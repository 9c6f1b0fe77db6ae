"""RSC, representation self-challenging: mute the features that contribute most to the prediction.

Huang, Wang, Xing & Huang, ECCV 2020, arXiv 2007.02454.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


class RSC(Algorithm):
    """With z the features of an image, h the classifier and y the label:

    1. g = gradient of h(z)_y by z; a feature is muted where g is not below the image's own quantile
       1 - `rsc_f_drop_factor` of g.
    2. The images that lose most by muting are muted: softmax(h(z))_y - softmax(h(z muted))_y is not below the quantile
       1 - `rsc_b_drop_factor` over the images of all domains.
    3. The loss is the mean cross-entropy of h on the muted features of muted images and the whole features of others.

    Quantiles lie on the line between the two nearest values. What is muted is a constant of the step: no gradient goes
    through the choice. The features are the input of the classifier, dropout included.

    `rsc_f_drop_factor`: share of an image's features that is muted; at 0 still the one with the greatest gradient.
    `rsc_b_drop_factor`: share of images that is muted; at 0 still the one that loses most. So RSC is ERM at no setting.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class RSC. The paper alternately mutes
    channels or positions of the last feature map; here entries of the pooled vector are muted.
    """

    def update(self, batch: Batch) -> Tensor:
        classifier, labels = self.network.classifier, batch.labels
        features = self.network.featurize(batch.images, batch.mask)
        fixed = features.detach().requires_grad_()
        logits = classifier(fixed)
        (gradients,) = torch.autograd.grad(_of_label(logits, labels).sum(), fixed)
        with torch.no_grad():
            kept = ~_highest(gradients, float(self.hyperparameters["rsc_f_drop_factor"]))
            sure, less_sure = logits.softmax(1), classifier(fixed * kept).softmax(1)
            lost = _of_label(sure, labels) - _of_label(less_sure, labels)
            kept |= ~_highest(lost, float(self.hyperparameters["rsc_b_drop_factor"]))[:, None]
        return self.descend(F.cross_entropy(classifier(features * kept), labels))


def _of_label(values: Tensor, labels: Tensor) -> Tensor:
    """Of each row (classes,) the entry of its label: (n,)."""
    return values.gather(1, labels[:, None]).squeeze(1)


def _highest(values: Tensor, share: float) -> Tensor:
    """Which of the last dimension are not below its quantile 1 - share.

    The rank is computed in double precision, not by `torch.quantile` in that of the values: rounding of a rank that
    should be an integer would change the number of muted values.
    """
    rank = (1 - share) * (values.shape[-1] - 1)
    below, above = math.floor(rank), math.ceil(rank)
    ordered = values.sort(-1).values
    quantile = torch.lerp(ordered[..., below], ordered[..., above], rank - below)
    return values >= quantile[..., None]
