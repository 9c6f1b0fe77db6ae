"""Evaluating a network: accuracy and loss of every domain's splits, and the agreement of the domains' gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.annealing import domain_gradients, gradient_agreement
from gga_sweep.domains import Augmentation, Dataset, Domain, Minibatch, Split, evaluation_batch
from gga_sweep.records import Agreement, DomainScores, Record, Score, TestRecord, ValidationRecord
from gga_sweep.seeding import stream

EVALUATION_BATCH = 256
"""Images a forward pass. Fixed: with other batch shapes the last bit of a loss may differ."""

PROBE_IMAGES = 32
"""Images a domain and split on which the agreement of gradients is measured; fewer where the split has fewer."""


class Evaluator:
    """Evaluates on fixed splits and fixed probe batches.

    Args:
        dataset: with all its domains.
        splits: per domain name.
        test_domains: the held-out ones; the others are training domains.
        trial_seed: of the probe batches and, where there is one, of the augmentation.
        augmentation: of the training domains' images in evaluation, as DomainBed's are; test images have none.
    """

    def __init__(
        self,
        dataset: Dataset,
        splits: Mapping[str, Split],
        test_domains: Sequence[str],
        trial_seed: int,
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        self._dataset = dataset
        self._splits = splits
        self._test_domains = frozenset(test_domains)
        self._trial_seed = trial_seed
        self._augmentation = augmentation
        self._device = device

    def evaluate(self, algorithm: Algorithm, step: int, batch_loss: float) -> Record:
        """The record of a step. Leaves the network in evaluation mode, everything else as it was."""
        algorithm.eval()
        training = [domain for domain in self._dataset.domains if domain.name not in self._test_domains]
        test = [domain for domain in self._dataset.domains if domain.name in self._test_domains]
        gradients = self._probe_gradients(algorithm, training, "train")
        return Record(
            ValidationRecord(
                step=step,
                domains={domain.name: self._scores(algorithm, domain, step) for domain in training},
                batch_loss=batch_loss,
                agreement=_agreement(gradients),
                validation_agreement=_agreement(self._probe_gradients(algorithm, training, "validation")),
            ),
            TestRecord(
                domains={domain.name: self._scores(algorithm, domain, step) for domain in test},
                gradient_cosine={
                    domain.name: _cosine(gradients.mean(dim=0), self._probe_gradients(algorithm, [domain], "train")[0])
                    for domain in test
                },
            ),
        )

    def _scores(self, algorithm: Algorithm, domain: Domain, step: int) -> DomainScores:
        split = self._splits[domain.name]
        augmentation: Augmentation = "none" if domain.name in self._test_domains else self._augmentation

        def score(indices: NDArray[np.int64]) -> Score:
            def images_and_labels(part: slice) -> Minibatch:
                return evaluation_batch(self._dataset, domain, indices[part], self._trial_seed, step, augmentation)

            return evaluate_images(algorithm.predict, images_and_labels, len(indices), self._device)

        return DomainScores(score(split.train), score(split.validation))

    def _probe_gradients(self, algorithm: Algorithm, domains: Sequence[Domain], split: str) -> torch.Tensor:
        """(n_domains, n_parameters), of the mean cross-entropy of each domain's probe batch, dropout off."""

        def loss(index: int) -> torch.Tensor:
            domain = domains[index]
            indices: NDArray[np.int64] = getattr(self._splits[domain.name], split)
            chosen = stream(self._dataset.name, self._trial_seed, "probe", domain.name, split).choice(
                indices, size=min(PROBE_IMAGES, len(indices)), replace=False
            )
            batch = evaluation_batch(self._dataset, domain, chosen, self._trial_seed, step=0, augmentation="none")
            return F.cross_entropy(algorithm.predict(batch.images.to(self._device)), batch.labels.to(self._device))

        return domain_gradients(loss, len(domains), algorithm.predict_parameters()).vectors


def evaluate_images(
    predict: Callable[[torch.Tensor], torch.Tensor],
    batch: Callable[[slice], Minibatch],
    size: int,
    device: torch.device,
) -> Score:
    """Accuracy and mean cross-entropy over a set of images, `EVALUATION_BATCH` at a time.

    Args:
        predict: logits (n, classes) of prepared images; in evaluation mode already.
        batch: the prepared images and labels of a slice of the set.
        size: of the set, at least 1.

    Returns:
        NaN loss where a logit is NaN; sums are accumulated in float64.
    """
    correct, loss = 0, 0.0
    with torch.no_grad():
        for start in range(0, size, EVALUATION_BATCH):
            part = batch(slice(start, start + EVALUATION_BATCH))
            logits, labels = predict(part.images.to(device)), part.labels.to(device)
            correct += int((logits.argmax(dim=1) == labels).sum())
            loss += float(F.cross_entropy(logits.double(), labels, reduction="sum"))
    return Score(correct / size, loss / size)


def _agreement(gradients: torch.Tensor) -> Agreement:
    found = gradient_agreement(gradients)
    return Agreement(found.cosines, found.norms, found.minimum, found.mean)


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return gradient_agreement(torch.stack([one, other])).minimum
