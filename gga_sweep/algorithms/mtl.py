"""MTL: classify an image's features beside an embedding of the domain that it comes from.

Blanchard, Deshmukh, Dogan, Lee & Scott, "Domain Generalization by Marginal Transfer Learning", JMLR 2021, arXiv
1711.07910.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar
from gga_sweep.seeding import stream


class MTL(Algorithm):
    """The input of the classifier is an image's features z_i and an embedding e of the same width:

        logits_i = W [z_i, e] + b,   loss = sum over domains of their mean cross-entropy.

    As in the paper, e is the mean feature of the image's domain d, in training its moving average

        e_d <- mtl_ema mean(z_i of d) + (1 - mtl_ema) e_d,

    through which the gradient reaches this step's features, and in evaluation the mean over the batch. DomainBed
    computes that, and then overwrites e with numbers from N(0, 1), new for every entry of every image, in training and
    in evaluation: the classifier learns to ignore it.

    `mtl_ema`: weight of the new mean. Without `paper_form` it moves the averages, which nothing reads.
    `paper_form`: whether e is left as computed. Where it is overwritten, the numbers are in training those of the step,
        the same for the annealing and the update; in evaluation they are fixed, and depend on nothing but an image's
        row in its batch and the width.

    So predictions depend on the batch, or on the position in it. The annealing uses the averages including this step's
    mean, and does not store them.

    If batch norm is not frozen, each domain has its own batch statistics.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class MTL. The paper's classifier is a
    kernel machine on pairs of an image and its domain's distribution.
    """

    embeddings: Tensor
    network: EmbeddingNetwork

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__(network, hyperparameters, setting)
        noisy = not hyperparameters["paper_form"]
        self.network = self.initialised("classifier", lambda: EmbeddingNetwork(network, setting.n_classes, noisy))
        self.optimizer = self.adam(self.network.parameters())
        self.register_buffer(
            "embeddings", self.network.classifier.weight.new_zeros(setting.n_domains, network.features)
        )
        self._drawn: WeakKeyDictionary[Batch, Tensor] = WeakKeyDictionary()

    def update(self, batch: Batch) -> Tensor:
        features = self.separate_features(batch)
        logits = self._logits(batch, features)
        with torch.no_grad():
            averages = [self._average(domain, rows) for domain, rows in enumerate(batch.split(features))]
            self.embeddings.copy_(torch.stack(averages))
        parts = zip(batch.split(logits), batch.minibatches, strict=True)
        return self.descend(torch.stack([F.cross_entropy(part, minibatch.labels) for part, minibatch in parts]).sum())

    def domain_logits(self, batch: Batch, domain: int, mask: Tensor | None) -> Tensor:
        features = self.network.featurize(batch.minibatches[domain].images, mask)
        return self.network.classify(features, self._embedding(batch, domain, features))

    def joint_logits(self, batch: Batch, mask: Tensor | None) -> Tensor:
        return self._logits(batch, self.network.featurize(batch.images, mask))

    def _logits(self, batch: Batch, features: Tensor) -> Tensor:
        parts = enumerate(batch.split(features))
        return self.network.classify(features, torch.cat([self._embedding(batch, *part) for part in parts]))

    def _embedding(self, batch: Batch, domain: int, features: Tensor) -> Tensor:
        """The embedding of one domain, (its rows, features)."""
        if self.network.noisy:
            return batch.split(self._noise(batch))[domain]
        return self._average(domain, features).expand_as(features)

    def _average(self, domain: int, features: Tensor) -> Tensor:
        """The domain's moving average with the mean of these features mixed in, (features,)."""
        return torch.lerp(self.embeddings[domain], features.mean(0), float(self.hyperparameters["mtl_ema"]))

    def _noise(self, batch: Batch) -> Tensor:
        """One draw a step, (sum of rows, features), kept for all candidates of the step."""
        if batch not in self._drawn:
            shape = (sum(batch.rows), self.network.features)
            numbers = batch.numbers("embeddings").standard_normal(shape)
            self._drawn[batch] = torch.from_numpy(numbers).to(self.embeddings, non_blocking=True)
        return self._drawn[batch]


class EmbeddingNetwork(Network):
    """A network with features and an embedding as input of its classifier; the default is that of an unknown domain.

    Args:
        network: whose featurizer it shares.
        classes: number of classes.
        noisy: the embedding is fixed noise, else the mean feature of the batch.
    """

    def __init__(self, network: Network, classes: int, noisy: bool) -> None:
        super().__init__(network.featurizer, network.features, classes)
        self.classifier = nn.Linear(2 * network.features, classes)
        self.noisy = noisy

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        features = self.featurize(images, mask)
        embedding = (
            fixed_noise(*features.shape).to(features, non_blocking=True)
            if self.noisy
            else features.mean(0).expand_as(features)
        )
        return self.classify(features, embedding)

    def classify(self, features: Tensor, embedding: Tensor) -> Tensor:
        """Logits of features and an embedding, both (n, features)."""
        logits: Tensor = self.classifier(torch.cat([features, embedding], dim=1))
        return logits


def fixed_noise(rows: int, features: int) -> Tensor:
    """N(0, 1), (rows, features); more rows begin with the same ones."""
    return torch.from_numpy(stream("", 0, "embedding in evaluation").standard_normal((rows, features)))
