"""ARM: predict an image together with what its batch looks like, so that the network can adapt to a new domain.

Zhang, Marklund, Dhawan, Gupta, Levine & Finn, "Adaptive Risk Minimization", NeurIPS 2021, arXiv 2007.02931.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar


class ARM(Algorithm):
    """The context of a group of images is the mean output of a context network h, one more channel:

        c = 1/n sum of h(x_i),   logits_i = classifier(featurizer([x_i, c])).

    The loss is the mean cross-entropy of all images. In training a group is a domain's minibatch. `predict` does
    not receive domains: it splits its images, in order, into groups of `batch_size` if that divides their number; else
    all are one group.
    So predictions depend on batch size and order, in evaluation too.

    h is three 5x5 convolutions (64, 64 and 1 channels), the first two with batch norm and ReLU. Its batch norm
    uses the statistics of all images of a step, even if the featurizer's is frozen.

    `batch_size`: images a group, beside its meaning in training.
    `paper_form`: h is trained with the rest, by the same Adam.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class ARM. There h is created
    after the optimiser, and stays at its initial weights; the paper (its variant ARM-CML) trains it.

    In the annealing each domain's minibatch goes through h alone, without moving the statistics of its batch norm; h
    is used, but neither scored nor perturbed.
    """

    EXTRA_CHANNELS: ClassVar[int] = 1
    network: ContextNetwork

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__(network, hyperparameters, setting)
        channels, group = setting.input_shape[0], int(hyperparameters["batch_size"])
        self.network = self.initialised("context network", lambda: ContextNetwork(network, channels, group))
        if hyperparameters["paper_form"]:
            self.optimizer = self.adam(self.network.parameters())
        else:
            self.network.context_net.requires_grad_(False)
        self._kept: WeakKeyDictionary[Batch, tuple[list[int], list[Tensor]]] = WeakKeyDictionary()

    def update(self, batch: Batch) -> Tensor:
        return self.descend(F.cross_entropy(self.predict(batch.images, batch.mask), batch.labels))

    def reduced_modules(self) -> Sequence[nn.Module]:
        return [*super().reduced_modules(), self.network.context_net]

    def domain_logits(self, batch: Batch, domain: int, mask: Tensor | None) -> Tensor:
        return self.network.predict_in(self._contexts(batch)[domain], batch.minibatches[domain].images, mask)

    def joint_logits(self, batch: Batch, mask: Tensor | None) -> Tensor:
        return self.network.predict_in(torch.cat(self._contexts(batch)), batch.images, mask)

    def predict_parameters(self) -> list[nn.Parameter]:
        parts = (self.network.featurizer, self.network.classifier)
        return [each for part in parts for each in part.parameters() if each.requires_grad]

    def _contexts(self, batch: Batch) -> list[Tensor]:
        """Each domain's context, (its rows, 1, height, width).

        The candidates of a step share them: the context network is the most expensive part of a small network, and no
        candidate moves it. In training they are reused until its weights change.
        """
        versions = [int(self.training), *(each._version for each in self.network.context_net.parameters())]
        before, contexts = self._kept.get(batch, ([], []))
        if before != versions or not self.training:
            contexts = [self.network.context_of(each.images) for each in batch.minibatches]
            self._kept[batch] = versions, contexts
        return contexts


class ContextNetwork(Network):
    """A network on images and their context.

    Args:
        network: whose featurizer takes one channel more than the images have.
        channels: of the images.
        group: images that share a context.
    """

    def __init__(self, network: Network, channels: int, group: int) -> None:
        super().__init__(network.featurizer, network.features, network.classifier.out_features)
        self.classifier = network.classifier
        self.group = group
        self.context_net = nn.Sequential(
            nn.Conv2d(channels, 64, 5, padding=2),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 64, 5, padding=2),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 1, 5, padding=2),
        )

    def featurize(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        size = self.group if len(images) % self.group == 0 else len(images)
        contexts = self.context_net(images).unflatten(0, (-1, size)).mean(1)
        return self.featurize_in(contexts.repeat_interleave(size, dim=0), images, mask)

    def featurize_in(self, context: Tensor, images: Tensor, mask: Tensor | None) -> Tensor:
        """The same in a given context, (n, 1, height, width)."""
        return super().featurize(torch.cat([images, context], dim=1), mask)

    def predict_in(self, context: Tensor, images: Tensor, mask: Tensor | None) -> Tensor:
        """Logits in a given context."""
        logits: Tensor = self.classifier(self.featurize_in(context, images, mask))
        return logits

    @torch.no_grad()
    def context_of(self, images: Tensor) -> Tensor:
        """The context of images as one group, (n, 1, height, width), to be read. Moves no statistics of batch norm."""
        buffers = {name: each.clone() for name, each in self.context_net.named_buffers()}
        seen = cast(Tensor, functional_call(self.context_net, buffers, (images,)))
        return seen.mean(0, keepdim=True).expand_as(seen)
