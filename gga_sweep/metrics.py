"""What is measured on a split of a domain. A metric is declared here alone: a field of `Score`, and its computation.

Everything else follows from the declaration: records, the choices of `metric:` in a sweep file, tables, data frames and
the names in MLflow. The definitions are those of scikit-learn's functions of the same names, whose import takes two
seconds, and whose AUROC takes 15 milliseconds for a split of 60 images instead of 0.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEFAULT_METRIC = "accuracy"

ECE_BINS = 15


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a network predicts on one split of one domain, at least one image.

    Args:
        labels: (n,) int64, the true classes.
        predicted: (n,) int64, the classes of the highest logits.
        probabilities: (n, classes) float32, the softmax of the logits; NaN where a logit is not finite.
        loss: mean cross-entropy, in float64.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    loss: float

    @property
    def confusions(self) -> NDArray[np.int64]:
        """(classes, classes): images by true class (row) and predicted class (column)."""
        classes = self.probabilities.shape[1]
        pairs = np.bincount(self.labels * classes + self.predicted, minlength=classes * classes)
        return pairs.reshape(classes, classes)


def accuracy(of: Predicted) -> float:
    """The share of the images that are predicted right."""
    return int((of.labels == of.predicted).sum()) / len(of.labels)


def balanced_accuracy(of: Predicted) -> float:
    """The mean recall of the classes that have an image."""
    confusions = of.confusions
    images = confusions.sum(axis=1)
    return float(np.mean(confusions.diagonal()[images > 0] / images[images > 0]))


def macro_f1(of: Predicted) -> float:
    """The mean F1 score of the classes that have an image or are predicted: 2 TP / (2 TP + FP + FN)."""
    confusions = of.confusions
    either = confusions.sum(axis=0) + confusions.sum(axis=1)
    return float(np.mean(2 * confusions.diagonal()[either > 0] / either[either > 0]))


def auroc(of: Predicted) -> float | None:
    """The area under the ROC curve of each class against the others, by its probability; the mean over the classes.

    The area is the probability that an image of the class ranks above one of the others, ties counting half (Hanley and
    McNeil 1982). All classes weigh the same (`roc_auc_score(multi_class="ovr", average="macro")`); of two classes, the
    areas are equal but for rounding.

    Returns:
        None if a class has no image, or a probability is NaN.
    """
    counts = np.bincount(of.labels, minlength=of.probabilities.shape[1])
    if not counts.all() or np.isnan(of.probabilities).any():
        return None
    areas = []
    for label, scores in enumerate(np.ascontiguousarray(of.probabilities.T)):
        own = scores[of.labels == label]
        others = np.sort(scores[of.labels != label])
        beaten = np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")  # twice, for the ties
        areas.append(int(beaten.sum()) / (2 * len(own) * len(others)))
    return float(np.mean(areas))


def ece(of: Predicted) -> float | None:
    """The expected calibration error of the predicted classes (Guo et al. 2017, arXiv 1706.04599).

    Images are put into 15 bins of equal width by the probability p of the predicted class: bin m holds
    (m - 1) / 15 < p <= m / 15. The error is the sum over bins of their share of the images, times the difference
    between their accuracy and their mean p.

    Returns:
        None if a probability is NaN.
    """
    confidence = of.probabilities[np.arange(len(of.labels)), of.predicted].astype(np.float64)
    if np.isnan(confidence).any():
        return None
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, (of.labels == of.predicted) - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(of.labels))


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured, and how it is shown.

    Args:
        label: its name within a sentence.
        unit: in which it is shown.
        scale: what a value is multiplied by to be in that unit.
        digits: shown after the decimal point.
        higher_is_better: which of two values is the better one.
        selects: whether a sweep file may name it as its `metric`: it lies in [0, 1], and higher is better.
        compute: from what is predicted on a split; None where it is undefined.
        needs_every_class: whether it is undefined on a split in which a class has no image.
    """

    label: str
    unit: str
    scale: float
    digits: int
    higher_is_better: bool
    selects: bool
    compute: Callable[[Predicted], float | None]
    needs_every_class: bool = False

    @property
    def title(self) -> str:
        """The label as the beginning of a sentence."""
        return self.label[0].upper() + self.label[1:]

    @property
    def heading(self) -> str:
        """At the head of a column."""
        return f"{self.title} ({self.unit})"

    def shown(self, value: float | None) -> str:
        """A value in the metric's unit, rounded; a dash for an undefined one."""
        return "\N{EN DASH}" if value is None else f"{self.scale * value:.{self.digits}f}"


def _share(label: str, compute: Callable[[Predicted], float | None], **changes: Any) -> dict[str, Metric]:
    """Of a field of `Score`: a share in [0, 1], shown in percent."""
    declared: dict[str, Any] = {"unit": "%", "scale": 100, "digits": 1, "higher_is_better": True, "selects": True}
    return {"metric": Metric(label, compute=compute, **{**declared, **changes})}


@dataclass(frozen=True, slots=True)
class Score:
    """The metrics of one split of one domain; None where one is undefined. All but the loss lie in [0, 1]."""

    accuracy: float = field(metadata=_share("accuracy", accuracy))
    loss: float = field(
        metadata=_share(
            "loss", lambda of: of.loss, unit="nats", scale=1, digits=3, higher_is_better=False, selects=False
        )
    )
    balanced_accuracy: float | None = field(default=None, metadata=_share("balanced accuracy", balanced_accuracy))
    macro_f1: float | None = field(default=None, metadata=_share("macro F1", macro_f1))
    auroc: float | None = field(default=None, metadata=_share("AUROC", auroc, needs_every_class=True))
    ece: float | None = field(default=None, metadata=_share("ECE", ece, higher_is_better=False, selects=False))


METRICS: Mapping[str, Metric] = MappingProxyType({each.name: each.metadata["metric"] for each in fields(Score)})
"""By the name of the field of `Score`, which is also the name in sweep files, data frames and MLflow."""

SELECTING = tuple(name for name, metric in METRICS.items() if metric.selects)
"""The metrics that a sweep file may name."""


def score(of: Predicted) -> Score:
    """Every metric of one split of one domain."""
    return Score(**{name: metric.compute(of) for name, metric in METRICS.items()})  # type: ignore[arg-type]
