"""The predictions of a run's selected model, image by image, compared with the recorded accuracies."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TextIO, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.datasets import Dataset, Domain, Split, dataset_digest, load_dataset
from gga_sweep.datasets.splits import SplitName, split_digests
from gga_sweep.errors import Fault, GGASweepError, InputError
from gga_sweep.execution.model import faults_of_data, load_algorithm
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.run_reader import Weights
from gga_sweep.records import Record, Score
from gga_sweep.training.evaluation import Evaluator
from gga_sweep.training.fingerprint import arithmetic, fastest_memory_format, fingerprint
from gga_sweep.training.trainer import split_dataset

Role = Literal["training", "test"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image.

    Args:
        domain: its domain.
        role: what that domain is to the run, a training domain or a test domain.
        split: of the domain, the training split or the validation split.
        sample_id: the image's stable name.
        label, predicted: class names, the true one and the model's.
        correct: whether they are the same.
        probability: of the predicted class, in [0, 1], a float32; NaN if a logit is NaN.
    """

    domain: str
    role: Role
    split: SplitName
    sample_id: str
    label: str
    predicted: str
    correct: bool
    probability: np.float32


@dataclass(frozen=True, eq=False)
class SplitPredictions:
    """One split of one domain, in the order of the split.

    Args:
        domain, role, split: which.
        sample_ids: n names.
        labels, predicted: (n,) int32, indices into the classes.
        probabilities: (n,) float32, of the predicted classes.
        recorded: the accuracy that `records.jsonl` has for it, in [0, 1]; None where it was not evaluated.
    """

    domain: str
    role: Role
    split: SplitName
    sample_ids: tuple[str, ...]
    labels: NDArray[np.int32]
    predicted: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    recorded: float | None

    @property
    def accuracy(self) -> float:
        """The accuracy of these predictions, in [0, 1]."""
        return int((self.labels == self.predicted).sum()) / len(self.labels)

    @property
    def difference(self) -> float:
        """The absolute difference from the recorded accuracy; 0 where none was recorded."""
        return 0.0 if self.recorded is None else abs(self.accuracy - self.recorded)


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """The predictions of a run's selected model.

    Args:
        run: its folder's name.
        step: the best validation step, whose weights they are made with; of averaged weights the last.
        classes: names, in label order.
        parts: by domain in dataset order, the training split before the validation split.
        environment: the changes of the fingerprint since training, by name: (then, now).
    """

    run: str
    step: int
    classes: tuple[str, ...]
    parts: tuple[SplitPredictions, ...]
    environment: Mapping[str, tuple[str, str]]

    def __repr__(self) -> str:
        return f"<Predictions of {self.run} at step {self.step}: {len(self)} images>"

    def __len__(self) -> int:
        return sum(len(part.labels) for part in self.parts)

    @property
    def largest_difference(self) -> float:
        """The largest difference of a split's accuracy from the recorded one; 0 if the predictions are the run's."""
        return max(part.difference for part in self.parts)

    @property
    def warning(self) -> str | None:
        """How far, and why, the accuracies differ from the recorded ones; None if they do not."""
        worst = max(self.parts, key=lambda part: part.difference)
        if worst.difference == 0:
            return None
        changed = ", ".join(f"{name} {now} (then {then})" for name, (then, now) in self.environment.items())
        cause = f"another environment: {changed}" if changed else "although the environment is the same"
        return (
            f"run {self.run}: accuracies are not those recorded at step {self.step}, by up to {worst.difference:.3g} "
            f"(domain {worst.domain}, {worst.split}: {worst.accuracy:.6g}, recorded {worst.recorded:.6g}); {cause}"
        )

    def rows(self) -> Iterator[Prediction]:
        """One prediction for each image, in the order of the splits."""
        for part in self.parts:
            labels, predictions = part.labels.tolist(), part.predicted.tolist()
            for sample_id, label, predicted, probability in zip(
                part.sample_ids, labels, predictions, part.probabilities, strict=True
            ):
                yield Prediction(
                    part.domain,
                    part.role,
                    part.split,
                    sample_id,
                    self.classes[label],
                    self.classes[predicted],
                    label == predicted,
                    probability,
                )

    def write_csv(self, file: TextIO) -> None:
        """Write RFC 4180 CSV: a header, then a line per image; `correct` is 1 or 0, the probability a full float32."""
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Prediction))
        for row in self.rows():
            names = row.domain, row.role, row.split, row.sample_id, row.label, row.predicted
            writer.writerow([*names, int(row.correct), str(row.probability)])

    def to_csv(self, path: Path) -> None:
        """Write a CSV file in UTF-8. File names that are not valid text keep their bytes."""
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            self.write_csv(file)


def predict(
    folder: RunFolder,
    data: Path | None = None,
    cache: Path | None = None,
    split: SplitName | None = None,
    weights: Weights = "selected",
) -> Predictions:
    """Predict every image as the evaluation at the run's best validation step did: same batches, same arithmetic.

    Uses the kind of device the run was trained on, otherwise the CPU, and the run's number of threads.

    Args:
        folder: of a run that was evaluated.
        data: root of the images, if they were moved since training.
        cache: the storage's folder of decoded images; None decodes them into memory.
        split: of each domain; None takes both.
        weights: `averaged` predicts as the evaluation of the run's averaged weights did.

    Raises:
        InputError: no selected model, no images there, or other images than the run's.
        GGASweepError: the splits drawn here are not those of the run.
    """
    if split is not None and split not in get_args(SplitName):
        raise InputError([Fault("--split", "must be a known split", split, get_args(SplitName))])
    algorithm, header, record = load_algorithm(folder, weights), folder.read_header(), folder.record_of(weights)
    assert header is not None  # or there would be no model
    if record is None:
        raise InputError([Fault("RUN_DIR", "must hold the records of its weights", folder.name)])
    dataset = _load_images(header, data, cache)
    splits = _splits(folder, header, dataset)
    config = header.config
    device = _device(header)
    names: tuple[SplitName, ...] = get_args(SplitName) if split is None else (split,)
    with arithmetic(config.training.threads):
        algorithm.to(device, memory_format=fastest_memory_format(device))  # type: ignore[call-overload]
        evaluator = Evaluator.of_run(config, dataset, splits, device)
        parts = tuple(
            _predict_split(evaluator, algorithm, domain, splits[domain.name], name, record)
            for domain in dataset.domains
            for name in names
        )
    now = fingerprint(device, config.training.network)
    if "weights" in header.fingerprint:  # only its training read them
        now["weights"] = header.fingerprint["weights"]
    return Predictions(
        run=folder.name,
        step=record.step,
        classes=dataset.classes,
        parts=parts,
        environment={
            name: (header.fingerprint.get(name, "none"), now.get(name, "none"))
            for name in {**header.fingerprint, **now}
            if header.fingerprint.get(name) != now.get(name)
        },
    )


def _predict_split(
    evaluator: Evaluator, algorithm: Algorithm, domain: Domain, split: Split, name: SplitName, record: Record
) -> SplitPredictions:
    indices: NDArray[np.int64] = getattr(split, name)
    labels, predicted = np.empty(len(indices), np.int32), np.empty(len(indices), np.int32)
    probabilities = np.empty(len(indices), np.float32)
    start = 0
    for logits, true in evaluator.logits(algorithm.evaluated_logits, domain, name, record.step):
        part = slice(start, start + len(true))
        chosen = logits.argmax(dim=1)
        labels[part], predicted[part] = true.cpu().numpy(), chosen.cpu().numpy()
        probabilities[part] = logits.double().softmax(dim=1).gather(1, chosen[:, None])[:, 0].cpu().numpy()
        start = part.stop
    tested = domain.name not in record.validation.domains
    scores = (record.test.domains if tested else record.validation.domains).get(domain.name)
    score: Score | None = getattr(scores, name, None)
    return SplitPredictions(
        domain=domain.name,
        role="test" if tested else "training",
        split=name,
        sample_ids=tuple(domain.sample_ids[index] for index in indices),
        labels=labels,
        predicted=predicted,
        probabilities=probabilities,
        recorded=None if score is None else score.accuracy,
    )


def _load_images(header: RunHeader, data: Path | None, cache: Path | None) -> Dataset:
    config = header.config.dataset if data is None else header.config.dataset.model_copy(update={"root": data})
    if data is None and config.root is not None and not config.root.is_dir():
        rule = "must be given: the images are no longer where the run had them"
        raise InputError([Fault("--data", rule, str(config.root))])
    with faults_of_data(data):
        digest = dataset_digest(config, cache)
    if digest != header.dataset_digest:
        fault = Fault("dataset", "must hold the images the run was trained on", digest, (header.dataset_digest,))
        raise InputError([fault], source=str(config.root or config.name))
    with faults_of_data(data):
        return load_dataset(config, cache)


def _splits(folder: RunFolder, header: RunHeader, dataset: Dataset) -> dict[str, Split]:
    splits = split_dataset(header.config, dataset)
    drawn = split_digests(dataset.domains, splits)
    if drawn != header.split_digests:
        other = ", ".join(name for name, digests in drawn.items() if digests != header.split_digests.get(name))
        raise GGASweepError(f"run {folder.name}: the splits drawn here are not those it was trained on: {other}")
    return splits


def _device(header: RunHeader) -> torch.device:
    on_gpu = header.fingerprint.get("device", "cpu") != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")
