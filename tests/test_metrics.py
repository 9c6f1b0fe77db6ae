"""Each metric against its definition, written down once more in loops, and against scikit-learn."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np
import pytest
import sklearn.metrics

from gga_sweep.metrics import ECE_BINS, METRICS, SELECTING, Predicted, Score, score


def predicted(labels: Sequence[int], probabilities: Sequence[Sequence[float]]) -> Predicted:
    shares = np.array(probabilities, np.float32)
    return Predicted(np.array(labels), shares.argmax(axis=1), shares, 0.5)


def drawn(seed: int) -> Predicted:
    """Of 2 to 6 classes, each with an image; with ties, since the probabilities are rounded."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 7))
    size = int(rng.integers(classes, 60))
    labels = rng.permutation(np.concatenate([np.arange(classes), rng.integers(0, classes, size - classes)]))
    logits = rng.normal(size=(size, classes)) + 1.5 * np.eye(classes)[labels]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return predicted(labels.tolist(), np.round(shares, int(rng.integers(1, 8))).tolist())


def recall(of: Predicted, label: int) -> float | None:
    found = [guess == label for true, guess in zip(of.labels, of.predicted, strict=True) if true == label]
    return sum(found) / len(found) if found else None


def f1(of: Predicted, label: int) -> float | None:
    pairs = list(zip(of.labels == label, of.predicted == label, strict=True))
    right, wrong = pairs.count((True, True)), pairs.count((True, False)) + pairs.count((False, True))
    return 2 * right / (2 * right + wrong) if right + wrong else None


def area(of: Predicted, label: int) -> float | None:
    """Over all pairs of an image of the class and one of another."""
    scores = of.probabilities[:, label].tolist()
    own = [value for value, true in zip(scores, of.labels, strict=True) if true == label]
    others = [value for value, true in zip(scores, of.labels, strict=True) if true != label]
    won = [1.0 if mine > theirs else 0.5 if mine == theirs else 0.0 for mine in own for theirs in others]
    return sum(won) / len(won) if won else None


def mean_over_classes(of_class: Callable[[Predicted, int], float | None], of: Predicted) -> float:
    values = [of_class(of, label) for label in range(of.probabilities.shape[1])]
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def calibration(of: Predicted) -> float:
    """Bin by bin, with the bounds of each."""
    total = 0.0
    confidences = of.probabilities.max(axis=1).tolist()
    for number in range(15):
        inside = [
            (share, guess == true)
            for share, guess, true in zip(confidences, of.predicted, of.labels, strict=True)
            if number / 15 < share <= (number + 1) / 15
        ]
        if inside:
            confidence = sum(share for share, _ in inside) / len(inside)
            right = sum(bool(correct) for _, correct in inside) / len(inside)
            total += len(inside) / len(of.labels) * abs(right - confidence)
    return total


@pytest.mark.parametrize("seed", range(40))
def test_every_metric_is_its_definition(seed: int) -> None:
    of = drawn(seed)
    found = score(of)
    right = [guess == true for guess, true in zip(of.predicted, of.labels, strict=True)]
    assert found.accuracy == sum(right) / len(right)
    assert found.loss == 0.5
    assert found.balanced_accuracy == pytest.approx(mean_over_classes(recall, of), abs=1e-12)
    assert found.macro_f1 == pytest.approx(mean_over_classes(f1, of), abs=1e-12)
    assert found.auroc == pytest.approx(mean_over_classes(area, of), abs=1e-12)
    assert found.ece == pytest.approx(calibration(of), abs=1e-7)
    assert all(0 <= getattr(found, name) <= 1 for name in (*SELECTING, "ece"))


@pytest.mark.parametrize("seed", range(20))
def test_scikit_learn_gives_the_same(seed: int) -> None:
    of = drawn(seed)
    found = score(of)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a predicted class without an image
        assert found.balanced_accuracy == pytest.approx(
            sklearn.metrics.balanced_accuracy_score(of.labels, of.predicted), abs=1e-12
        )
    assert found.macro_f1 == pytest.approx(
        sklearn.metrics.f1_score(of.labels, of.predicted, average="macro"), abs=1e-12
    )
    areas = [
        sklearn.metrics.roc_auc_score(of.labels == label, of.probabilities[:, label])
        for label in range(of.probabilities.shape[1])
    ]
    assert found.auroc == pytest.approx(np.mean(areas), abs=1e-12)


def test_a_class_without_an_image_has_no_part_in_recall_and_makes_the_auroc_undefined() -> None:
    of = predicted([0, 0, 1, 1], [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.2, 0.7, 0.1], [0.2, 0.7, 0.1]])
    found = score(of)
    assert found.balanced_accuracy == pytest.approx((0.5 + 1.0) / 2)
    assert found.macro_f1 == pytest.approx((2 / 3 + 1 + 0) / 3)  # class 2 is predicted
    assert found.auroc is None


def test_the_auroc_of_one_class_alone_is_undefined_and_not_zero() -> None:
    assert score(predicted([1, 1], [[0.5, 0.5], [0.2, 0.8]])).auroc is None


def test_a_probability_that_is_nan_leaves_auroc_and_calibration_undefined() -> None:
    found = score(predicted([0, 1], [[math.nan, math.nan], [0.2, 0.8]]))
    assert (found.auroc, found.ece) == (None, None)
    assert found.accuracy == 1.0  # as the argmax of NaN has it


@pytest.mark.parametrize(
    ("shares", "labels", "error"),
    [
        ([[1.0, 0.0]] * 4, [0, 0, 0, 0], 0.0),
        ([[1.0, 0.0]] * 4, [1, 1, 1, 1], 1.0),
        ([[0.75, 0.25]] * 4, [0, 0, 0, 1], 0.0),
        ([[0.75, 0.25], [0.76, 0.24]], [0, 1], 0.255),  # one bin, whose accuracy is a half
        ([[0.75, 0.25], [0.95, 0.05]], [0, 1], (0.25 + 0.95) / 2),  # two bins
    ],
)
def test_calibration_is_the_weighted_gap_of_each_bin(
    shares: list[list[float]], labels: list[int], error: float
) -> None:
    assert score(predicted(labels, shares)).ece == pytest.approx(error, abs=1e-7)
    assert ECE_BINS == 15


def test_every_field_of_a_score_is_a_metric_and_those_that_select_rise_to_one() -> None:
    assert [field.name for field in fields(Score)] == [*METRICS]
    assert SELECTING == ("accuracy", "balanced_accuracy", "macro_f1", "auroc")
    perfect = score(predicted([0, 1, 2], np.eye(3).tolist()))
    for name in SELECTING:
        assert METRICS[name].higher_is_better
        assert getattr(perfect, name) == 1.0
        assert METRICS[name].heading.endswith(" (%)")


def test_an_undefined_value_is_shown_as_a_dash() -> None:
    assert METRICS["auroc"].shown(None) == "\N{EN DASH}"
    assert METRICS["macro_f1"].shown(0.1234) == "12.3"
    assert METRICS["macro_f1"].heading == "Macro F1 (%)"
