"""SagNet: classify by content at random style, and train the featurizer against classification by style.

Nam, Lee, Park, Yoon & Yoo, "Reducing Domain Gap by Reducing Style Bias", CVPR 2021, arXiv 1910.11645.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network, concatenate_masks
from gga_sweep.records import Scalar

_EPSILON = 1e-5


class SagNet(Algorithm):
    """The style of an image is the mean m and the variance v over its features z, its content (z - m) / sqrt(v + 1e-5).
    x' is another image of the joint batch, by a random permutation; f, c and s are featurizer, classifier and a second,
    linear classifier, each with its own Adam. One update is three steps:

        content:   f, c descend CE(c(content of x in the style a style(x) + (1 - a) style(x'))), a ~ U(0, 1) an image;
        style:     s descends CE(s(content of x' in the style of x)), labels those of x;
        adversary: f descends sag_w_adv times the mean over images and classes of -log softmax s(...), as in `style`.

    The content of x' is a constant to the gradient. Each of the three has its own forward of the joint batch, with its
    own dropout mask; style and adversary have one permutation each. Prediction is c(f(x)); s is neither scored nor
    perturbed by an annealing.

    `sag_w_adv`: weight of the adversary; at 0 f is trained by content only.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class SagNet, whose s starts from random
    weights too. The paper randomises the feature maps inside the network, channel by channel, and its content and style
    networks are the convolutions after that. That needs a network split in two, so there is no `paper_form`.

    Returns of `update`: the content's loss.
    """

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__(network, hyperparameters, setting)
        self.style_classifier = self.initialised(
            "style network", lambda: nn.Linear(network.features, setting.n_classes)
        )
        self.optimizer = self.adam(network.featurizer.parameters())
        self.content_optimizer = self.adam(network.classifier.parameters())
        self.style_optimizer = self.adam(self.style_classifier.parameters())

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {
            "featurizer": self.optimizer,
            "content": self.content_optimizer,
            "style": self.style_optimizer,
        }

    def update(self, batch: Batch) -> Tensor:
        features = self._features(batch, 0)
        mixed = with_mixed_style(features, batch.numbers("mixed styles"))
        content_loss = F.cross_entropy(self.network.classifier(mixed), batch.labels)
        _descend(content_loss, self.optimizer, self.content_optimizer)

        with torch.no_grad():
            swapped = with_other_content(self._features(batch, 1), batch.numbers("other contents of style"))
        _descend(F.cross_entropy(self.style_classifier(swapped), batch.labels), self.style_optimizer)

        swapped = with_other_content(self._features(batch, 2), batch.numbers("other contents of the adversary"))
        confusion = -F.log_softmax(self.style_classifier(swapped), dim=1).mean()
        _descend(float(self.hyperparameters["sag_w_adv"]) * confusion, self.optimizer)
        return content_loss.detach()

    def _features(self, batch: Batch, forward: int) -> Tensor:
        return self.network.featurize(batch.images, concatenate_masks(batch.masks_of_forward(forward)))


def with_mixed_style(features: Tensor, numbers: np.random.Generator) -> Tensor:
    """Each image's content, its style mixed with that of another, (n, features)."""
    content, mean, variance = content_and_style(features)
    own = torch.from_numpy(numbers.random((len(features), 1))).to(features, non_blocking=True)
    others = permutation(features, numbers)
    mean, variance = (torch.lerp(style[others], style, own) for style in (mean, variance))
    return content * (variance + _EPSILON).sqrt() + mean


def with_other_content(features: Tensor, numbers: np.random.Generator) -> Tensor:
    """The content of another image, a constant, in each image's style, (n, features)."""
    content, mean, variance = content_and_style(features)
    return content[permutation(features, numbers)].detach() * (variance + _EPSILON).sqrt() + mean


def content_and_style(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, features) content, (n, 1) mean, (n, 1) variance."""
    variance, mean = torch.var_mean(features, 1, keepdim=True)
    return (features - mean) / (variance + _EPSILON).sqrt(), mean, variance


def permutation(features: Tensor, numbers: np.random.Generator) -> Tensor:
    return torch.from_numpy(numbers.permutation(len(features))).to(features.device, non_blocking=True)


def _descend(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
    for optimizer in optimizers:
        optimizer.step()
