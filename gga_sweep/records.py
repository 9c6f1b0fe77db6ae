"""What a run leaves behind: the types that training writes and every floor above reads.

What selection may see (`ValidationRecord`) and what it must not (`TestRecord`) are two types, so that a function that
takes the first cannot peek at the second.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gga_sweep.metrics import DEFAULT_METRIC
from gga_sweep.metrics import Score as Score

Scalar = bool | int | float | str


class RunStatus(StrEnum):
    """The state of a run. DONE, DIVERGED and STOPPED are final; the others are taken up by the next launch."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    DIVERGED = "DIVERGED"  # the loss became NaN or infinite
    STOPPED = "STOPPED"  # ended early, for falling behind, or by a scheduler
    FAILED = "FAILED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    PREEMPTED = "PREEMPTED"  # stopped from outside


FINAL = frozenset({RunStatus.DONE, RunStatus.DIVERGED, RunStatus.STOPPED})


def mean_score(scores: Iterable[Score | None], metric: str) -> float | None:
    """The unweighted mean of a metric over splits; None if one has none, or was not evaluated."""
    values: list[float | None] = [None if score is None else getattr(score, metric) for score in scores]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


@dataclass(frozen=True, slots=True)
class DomainScores:
    """One domain at one step: its training split (80 %) and its validation split (20 %); None where not evaluated.

    The validation split of a training domain and the training split of a test domain are always there.
    """

    train: Score | None
    validation: Score | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the loss gradients of the training domains point the same way, on a fixed probe batch, dropout off.

    Args:
        cosines: (n_domains, n_domains), symmetric, in the order of the training domains; NaN where a gradient is zero.
        norms: (n_domains,), L2 norm of each domain's gradient.
        minimum: smallest cosine over unordered pairs; NaN for a single domain.
        mean: mean cosine over unordered pairs; NaN for a single domain.
    """

    cosines: tuple[tuple[float, ...], ...]
    norms: tuple[float, ...]
    minimum: float
    mean: float


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """One evaluation of the training domains: all that selection, searchers and schedulers may see.

    Args:
        step: counted from 0; the evaluation was made after this step's update.
        domains: per training domain, in dataset order.
        batch_loss: the joint loss of this step's minibatches, before its update.
        agreement: on the probe batches of the training splits; None where not measured.
        validation_agreement: on the probe batches of the validation splits; None where not measured.
    """

    step: int
    domains: Mapping[str, DomainScores]
    batch_loss: float
    agreement: Agreement | None
    validation_agreement: Agreement | None

    def validation_mean(self, metric: str) -> float:
        """A metric on the validation splits of the training domains: their unweighted mean; NaN if one has none."""
        mean = mean_score((scores.validation for scores in self.domains.values()), metric)
        return math.nan if mean is None else mean

    def training_mean(self, metric: str) -> float | None:
        """The same on their training splits; None if one has none, or was not evaluated."""
        return mean_score((scores.train for scores in self.domains.values()), metric)

    @property
    def accuracy(self) -> float:
        """Validation accuracy: the unweighted mean over training domains (DomainBed, model_selection.py)."""
        return self.validation_mean("accuracy")

    @property
    def loss(self) -> float:
        """Validation loss: the unweighted mean over training domains."""
        return self.validation_mean("loss")


@dataclass(frozen=True, slots=True)
class TestRecord:
    """The same evaluation on the test domains. The reported score is that of the training split (the 80 %).

    Args:
        domains: per test domain, in dataset order; empty where none was evaluated.
        gradient_cosine: per test domain, cosine of its gradient (training-split probe) to the mean of the training
            domains'; NaN where a gradient is zero; empty where not measured.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    domains: Mapping[str, DomainScores]
    gradient_cosine: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Record:
    """One evaluation of a run at a step (DESIGN: at step % evaluate_every == 0 and at the last step)."""

    validation: ValidationRecord
    test: TestRecord

    @property
    def step(self) -> int:
        return self.validation.step


class Records(Sequence[Record]):
    """Records that are decoded whenever they are read, except their steps and what selection reads."""

    @abstractmethod
    def validation_means(self, metric: str) -> Sequence[tuple[int, float]]:
        """The step of each record, and its mean over validation splits of one of `metrics.SELECTING`."""


@dataclass(frozen=True, slots=True)
class Averaged:
    """What became of a run's averaged weights, which are evaluated once, at the end of training.

    Args:
        first_step, last_step: of the steps after which the weights were taken into the average, each once.
        threshold: the validation loss up to which a valley reaches; None where none was found, and the average is over
            the steps since the last evaluation but one.
        record: of the last step, but of the averaged weights; its `batch_loss` is that of the run itself.
    """

    first_step: int
    last_step: int
    threshold: float | None
    record: Record


@dataclass(frozen=True, slots=True)
class AnnealedStep:
    """One annealed step: what the search found there, and whether it was more than luck.

    Alignments are minimum pairwise cosines in [-1, 1]; losses are joint cross-entropies. "Before" is at the weights
    the step began with, "after" at the weights the search chose; equal when nothing was accepted.

    Args:
        step: counted from 0.
        tried: candidates scored.
        accepted: candidates accepted on the way, 0 .. tried.
        chosen: index of the winning candidate, 0 .. tried - 1; None when the weights stayed.
        alignment_before, alignment_after: as the search saw them: under one mask, or (`mask: forward`) each its own.
        loss_before, loss_after: as the loss gate saw them.
        fresh_alignment_before, fresh_alignment_after: mean under four masks the search did not see; None where the
            step was not diagnosed (`diagnose_every`).
        next_alignment_before, next_alignment_after: on the next step's minibatches; None likewise.
        moved_radii: L2 distance moved, over that of a corner of the box (radius * sqrt(entries)); in [0, 1] for
            candidates around the start.
        moved_updates: L2 distance moved, over that of this step's optimiser update.
    """

    step: int
    tried: int
    accepted: int
    chosen: int | None
    alignment_before: float
    alignment_after: float
    loss_before: float
    loss_after: float
    fresh_alignment_before: float | None
    fresh_alignment_after: float | None
    next_alignment_before: float | None
    next_alignment_after: float | None
    moved_radii: float
    moved_updates: float

    @property
    def gain(self) -> float:
        """Alignment gained as the search saw it."""
        return self.alignment_after - self.alignment_before

    @property
    def fresh_gain(self) -> float | None:
        """Alignment gained under dropout masks that the search did not see; None where not diagnosed."""
        return _difference(self.fresh_alignment_after, self.fresh_alignment_before)

    @property
    def next_gain(self) -> float | None:
        """Alignment gained on the next step's minibatches; None where not diagnosed."""
        return _difference(self.next_alignment_after, self.next_alignment_before)

    @property
    def acceptance_rate(self) -> float:
        """Accepted over tried candidates; NaN if none was tried."""
        return self.accepted / self.tried if self.tried else math.nan

    @property
    def has_moved(self) -> bool:
        """Whether the search moved the weights."""
        return self.chosen is not None


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


@dataclass(frozen=True, slots=True)
class NoisyStep:
    """One step of GGA-L: the noise that the joint gradient was given, and why so much.

    Args:
        step: counted from 0.
        mean_cosine: mean cosine over unordered pairs of domain gradients, in [-1, 1]; NaN where a gradient is zero, and
            where it is not computed (`alpha: constant`).
        alpha: the noise's scale at this step, at least 0.
        noise_norm: L2 norm of what was added to the joint gradient, alpha * xi.
        gradient_norm: L2 norm of the joint gradient before it was added.
    """

    step: int
    mean_cosine: float
    alpha: float
    noise_norm: float
    gradient_norm: float

    @property
    def noise_over_gradient(self) -> float:
        """The noise's norm over the joint gradient's; NaN where that is zero."""
        return self.noise_norm / self.gradient_norm if self.gradient_norm else math.nan


AnnealingLine = AnnealedStep | NoisyStep


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run's `status.json` holds.

    Args:
        status: where the run is.
        reason: why it is not DONE.
        step: the last step trained; -1 before the first.
        attempt: the attempt that wrote it.
        digests: of a final run, by name, of its deterministic files.
        removed: those of these files that were deleted since, on purpose.
        environments: each change of the environment between two attempts, in words. The last bits of such a run may
            differ from those of a run trained in one environment.
        written: seconds since the epoch, by the writer's clock; of a final run, when it ended.
    """

    status: RunStatus = RunStatus.QUEUED
    reason: str | None = None
    step: int = -1
    attempt: int = 0
    digests: dict[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    written: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run has left so far: all that its folder holds, except its header, weights and checkpoint.

    Args:
        folder: the folder's name in the ledger.
        state: where the run is.
        records: by ascending step; empty for a run that has not been evaluated.
        searches: the annealed steps of GGA, by ascending step.
        noisy_steps: those of GGA-L. A run has steps of one method at most.
        seconds: device seconds so far, by phase ("training", "search", "diagnostics", "evaluation").
        inherited_seconds: those among them that other runs spent, on the steps that this run shares with them.
        averaged: of its averaged weights; None where it has none (yet).
    """

    folder: str
    state: RunState = RunState()
    records: Sequence[Record] = ()
    searches: Sequence[AnnealedStep] = ()
    noisy_steps: Sequence[NoisyStep] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    inherited_seconds: float = 0.0
    averaged: Averaged | None = None

    @property
    def annealed(self) -> Sequence[AnnealingLine]:
        """The annealed steps, of whichever method."""
        return self.searches or self.noisy_steps

    def validation_means(self, metric: str) -> Sequence[tuple[int, float]]:
        """The step of each record, and its validation mean of one of `metrics.SELECTING`; NaN if undefined."""
        if isinstance(self.records, Records):
            return self.records.validation_means(metric)
        return [(record.step, record.validation.validation_mean(metric)) for record in self.records]

    @property
    def steps(self) -> list[int]:
        """The step of each record."""
        return [step for step, _ in self.validation_means(DEFAULT_METRIC)]

    def record_at(self, step: int) -> Record:
        """The record of an evaluated step.

        Raises:
            ValueError: the step was not evaluated.
        """
        return self.records[self.steps.index(step)]


@dataclass(frozen=True, slots=True)
class Cell:
    """The runs that differ only in the draw: the set from which selection picks one."""

    dataset: str
    arm: str
    test_domains: tuple[str, ...]
    trial_seed: int


@dataclass(frozen=True, slots=True)
class RunPlace:
    """Where a run stands in a sweep.

    Args:
        key: the run's full key.
        cell: the cell that selection picks it from. A run shared by two arms has a place in each.
        draws: every draw number that gave this configuration, ascending; ties are decided by the highest.
        hyperparameters: what the draw gave, by dotted name.
    """

    key: str
    cell: Cell
    draws: tuple[int, ...]
    hyperparameters: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class RunRecords:
    """A run of a sweep as selection and reports read it: where it stands, and what it left."""

    place: RunPlace
    result: RunResult

    @property
    def key(self) -> str:
        return self.place.key

    @property
    def cell(self) -> Cell:
        return self.place.cell

    @property
    def draws(self) -> tuple[int, ...]:
        return self.place.draws

    @property
    def hyperparameters(self) -> Mapping[str, Scalar]:
        return self.place.hyperparameters

    @property
    def folder(self) -> str:
        return self.result.folder

    @property
    def status(self) -> RunStatus:
        return self.result.state.status

    @property
    def reason(self) -> str | None:
        return self.result.state.reason

    @property
    def environments(self) -> tuple[str, ...]:
        return self.result.state.environments

    @property
    def records(self) -> Sequence[Record]:
        return self.result.records

    @property
    def steps(self) -> list[int]:
        return self.result.steps

    def validation_means(self, metric: str) -> Sequence[tuple[int, float]]:
        return self.result.validation_means(metric)

    def record_at(self, step: int) -> Record:
        return self.result.record_at(step)

    @property
    def searches(self) -> Sequence[AnnealedStep]:
        return self.result.searches

    @property
    def noisy_steps(self) -> Sequence[NoisyStep]:
        return self.result.noisy_steps

    @property
    def annealed(self) -> Sequence[AnnealingLine]:
        return self.result.annealed

    @property
    def seconds(self) -> Mapping[str, float]:
        return self.result.seconds

    @property
    def inherited_seconds(self) -> float:
        return self.result.inherited_seconds

    @property
    def averaged(self) -> Averaged | None:
        return self.result.averaged
