"""Evaluate a network: every metric on every domain's splits, and the agreement of the domains' gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.annealing import domain_gradients, gradient_agreement
from gga_sweep.datasets import Augmentation, Dataset, Domain, Minibatch, Split, evaluation_batch
from gga_sweep.datasets.minibatches import evaluation_reading
from gga_sweep.datasets.splits import SplitName
from gga_sweep.datasets.workers import ImageReader
from gga_sweep.metrics import Predicted, Score, score
from gga_sweep.records import Agreement, DomainScores, Record, TestRecord, ValidationRecord
from gga_sweep.seeding import stream
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.candidate_steps import CandidateSteps

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
        device: where it evaluates.
        reader: reads the images; None reads without workers.
        candidates: with `training.evaluate: selection`, the evaluations that could be selected: only then, and at the
            last step, are test domains evaluated. None evaluates everything.
    """

    def __init__(
        self,
        dataset: Dataset,
        splits: Mapping[str, Split],
        test_domains: Sequence[str],
        trial_seed: int,
        augmentation: Augmentation,
        device: torch.device,
        reader: ImageReader | None = None,
        candidates: CandidateSteps | None = None,
    ) -> None:
        self._reader = reader or ImageReader(dataset, device)
        self.candidates = candidates
        self._dataset = dataset
        self._splits = splits
        self._test_domains = frozenset(test_domains)
        self._trial_seed = trial_seed
        self._augmentation = augmentation
        self._device = device

    @classmethod
    def of_run(
        cls,
        config: RunSpec,
        dataset: Dataset,
        splits: Mapping[str, Split],
        device: torch.device,
        reader: ImageReader | None = None,
    ) -> Evaluator:
        """The evaluator of this run."""
        training = config.training
        augmentation = training.augmentation if training.augment_validation else "none"
        candidates = None
        if training.evaluate == "selection":
            candidates = CandidateSteps(config.metric, config.selected_from)
        return cls(dataset, splits, config.test_domains, config.trial_seed, augmentation, device, reader, candidates)

    def evaluate(self, algorithm: Algorithm, step: int, batch_loss: float, is_last: bool = False) -> Record:
        """The record of a step. Leaves the network in evaluation mode, everything else as it was.

        Args:
            is_last: whether the step is the last of the run.
        """
        algorithm.eval()
        training = [domain for domain in self._dataset.domains if domain.name not in self._test_domains]
        test = [domain for domain in self._dataset.domains if domain.name in self._test_domains]
        if self.candidates is not None:
            return self._evaluate_for(self.candidates, algorithm, training, test, step, batch_loss, is_last)
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

    def _evaluate_for(
        self,
        candidates: CandidateSteps,
        algorithm: Algorithm,
        training: Sequence[Domain],
        test: Sequence[Domain],
        step: int,
        batch_loss: float,
        is_last: bool,
    ) -> Record:
        """What selection needs. The last step has both splits of the test domains, which the oracle reads."""

        def scored(domain: Domain, split: SplitName) -> Score:
            return _score(self.logits(algorithm.evaluated_logits, domain, split, step))

        validation = ValidationRecord(
            step=step,
            domains={domain.name: DomainScores(None, scored(domain, "validation")) for domain in training},
            batch_loss=batch_loss,
            agreement=None,
            validation_agreement=None,
        )
        tests = {}
        if is_last or candidates.add(validation):
            tests = {
                domain.name: DomainScores(scored(domain, "train"), scored(domain, "validation") if is_last else None)
                for domain in test
            }
        return Record(validation, TestRecord(domains=tests, gradient_cosine={}))

    def logits(
        self, predict: Callable[[torch.Tensor], torch.Tensor], domain: Domain, split: SplitName, step: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Logits and labels of one split at a step's evaluation, in its order: see `batched_logits`.

        Args:
            predict: logits of prepared images; in evaluation mode already.
            step: of the augmentation, where there is one.
        """
        indices: NDArray[np.int64] = getattr(self._splits[domain.name], split)
        augmentation: Augmentation = "none" if domain.name in self._test_domains else self._augmentation

        reading = evaluation_reading(self._dataset, domain, indices, self._trial_seed, step, augmentation)
        return _predicted(predict, self._reader.ahead(map(reading.__getitem__, _slices(len(reading)))), self._device)

    def _scores(self, algorithm: Algorithm, domain: Domain, step: int) -> DomainScores:
        return DomainScores(
            _score(self.logits(algorithm.evaluated_logits, domain, "train", step)),
            _score(self.logits(algorithm.evaluated_logits, domain, "validation", step)),
        )

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
    """Every metric over a set of images; the arguments are those of `batched_logits`.

    Returns:
        NaN loss where a logit is NaN; sums are accumulated in float64.
    """
    return _score(batched_logits(predict, batch, size, device))


def batched_logits(
    predict: Callable[[torch.Tensor], torch.Tensor],
    batch: Callable[[slice], Minibatch],
    size: int,
    device: torch.device,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The logits (m, classes) and labels (m,) of a set of images, in its order, `EVALUATION_BATCH` at a time.

    Args:
        predict: logits of prepared images; in evaluation mode already.
        batch: the prepared images and labels of a slice of the set.
        size: of the set, at least 1.
        device: where they are predicted, and left.
    """
    return _predicted(predict, map(batch, _slices(size)), device)


def _slices(size: int) -> Iterator[slice]:
    return (slice(start, start + EVALUATION_BATCH) for start in range(0, size, EVALUATION_BATCH))


def _predicted(
    predict: Callable[[torch.Tensor], torch.Tensor], batches: Iterable[Minibatch], device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for part in batches:
        with torch.no_grad():  # not around the yield: the mode would reach the caller
            logits = predict(part.images.to(device))
        yield logits, part.labels.to(device)


def _score(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> Score:
    """Every metric. What the batches give stays on the device until the last, so that it waits for the host once."""
    losses, labels, predicted, probabilities = [], [], [], []
    for logits, true in batches:
        exact = logits.double()
        losses.append(F.cross_entropy(exact, true, reduction="sum"))
        labels.append(true)
        predicted.append(logits.argmax(dim=1))
        probabilities.append(exact.softmax(dim=1).float())
    shares = torch.cat(probabilities).cpu().numpy()
    total = sum(torch.stack(losses).tolist())
    return score(
        Predicted(torch.cat(labels).cpu().numpy(), torch.cat(predicted).cpu().numpy(), shares, total / len(shares))
    )


def _agreement(gradients: torch.Tensor) -> Agreement:
    found = gradient_agreement(gradients)
    return Agreement(found.cosines, found.norms, found.minimum, found.mean)


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return gradient_agreement(torch.stack([one, other])).minimum
