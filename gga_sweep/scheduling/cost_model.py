"""How long a run takes, learned from finished runs: seconds a unit of work, by phase and kind of work. No torch.

The work of each phase is counted in images that pass forward and backward; scoring a point counts as a step does. What
a unit of it takes is the mean of the finished runs whose work is of the same kind; where there is none, of the next
wider kind, at last of all training. A pass takes as long as its images and some more (the optimiser, starting the
kernels), a number of images for each phase that follows from runs of unlike batch sizes. Within one sweep the dataset
and the network are the same, so no kind tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gga_sweep.annealing.options import GGA, GGAL
from gga_sweep.datasets import DatasetDescription
from gga_sweep.records import RunResult, RunStatus
from gga_sweep.spec.models import RunSpec
from gga_sweep.spec.plan import Plan
from gga_sweep.spec.work import annealed_steps, evaluations
from gga_sweep.training.unit_costs import form_of, host_of

DIAGNOSTIC_SCORINGS = 10
"""Scorings that measure an annealed step: at both ends, under four fresh masks and on the next minibatches."""

_FORWARD_SHARE = 1 / 3  # of a pass forward and backward
_FIXED_IMAGES = (0.0, *(2.0**power for power in range(11)))
_TRAINING = "training"


class Finished(NamedTuple):
    """A run that went through all its steps.

    Args:
        seconds: device-seconds by phase.
    """

    config: RunSpec
    seconds: Mapping[str, float]


class _Work(NamedTuple):
    """What a run has to do in one phase.

    Args:
        kinds: of work, each wider than the one before; the last is all of the phase.
        passes: how often a batch goes through the network.
        images: of each.
    """

    kinds: tuple[Hashable, ...]
    passes: float
    images: float

    def units(self, fixed: float) -> float:
        """In images; `fixed` is what a pass costs beside its own."""
        return self.passes * (self.images + fixed)


class _Measured(NamedTuple):
    work: _Work
    seconds: float


@dataclass(frozen=True, slots=True)
class _Rates:
    """Of one phase.

    Args:
        fixed: what a pass costs beside its images, in images.
        of_kind: seconds a unit of work of each kind that was measured.
    """

    fixed: float
    of_kind: Mapping[Hashable, float]

    def seconds(self, work: _Work) -> float:
        kind = next(kind for kind in work.kinds if kind in self.of_kind)
        return work.units(self.fixed) * self.of_kind[kind]


_UNKNOWN = _Rates(0.0, {(): 1.0})


@dataclass(frozen=True, slots=True)
class CostModel:
    """Predicts what the runs of one sweep take. Made by `learn_costs`.

    Args:
        known: whether seconds are seconds. Without a finished run they are counted work, good for comparing runs alone.
    """

    known: bool
    _dataset: DatasetDescription
    _rates: Mapping[str, _Rates]

    def seconds(self, config: RunSpec, trained: int = 0) -> dict[str, float]:
        """Device-seconds by phase.

        Args:
            trained: steps done; what is left counts.
        """
        work = _work(config, self._dataset, trained)
        return {phase: self._of_phase(phase).seconds(of_phase) for phase, of_phase in work.items()}

    def total(self, config: RunSpec, trained: int = 0) -> float:
        """Device-seconds of all phases."""
        return math.fsum(self.seconds(config, trained).values())

    def has_met(self, config: RunSpec) -> bool:
        """Whether a finished run had its algorithm, and one its form of annealing: else it is scaled from others."""
        work = _work(config, self._dataset, 0)
        return all(
            any(kind != () and kind in self._of_phase(phase).of_kind for kind in of_phase.kinds) or not of_phase.passes
            for phase, of_phase in work.items()
            if phase in (_TRAINING, "search")
        )

    def _of_phase(self, phase: str) -> _Rates:
        return self._rates.get(phase) or self._rates.get(_TRAINING, _UNKNOWN)


def learn_costs(dataset: DatasetDescription, finished: Iterable[Finished]) -> CostModel:
    """Learn from runs of one sweep.

    Args:
        dataset: theirs.
        finished: none will do, see `CostModel.known`.
    """
    measured: dict[str, list[_Measured]] = {}
    for run in finished:
        for phase, work in _work(run.config, dataset, 0).items():
            seconds = run.seconds.get(phase, 0.0)
            if seconds > 0 and work.passes > 0:
                measured.setdefault(phase, []).append(_Measured(work, seconds))
    known = _TRAINING in measured
    return CostModel(known, dataset, {phase: _rates(of_phase) for phase, of_phase in measured.items()} if known else {})


def learned_costs(plan: Plan, results: Mapping[str, RunResult]) -> CostModel:
    """What the DONE runs of a plan teach of all its runs.

    Args:
        results: by folder; what is no DONE run of the plan is not looked at.
    """
    configs = {run.folder: run.config for run in plan.runs}  # two arms may share one
    done = (
        Finished(config, results[folder].seconds)
        for folder, config in configs.items()
        if folder in results and results[folder].state.status is RunStatus.DONE
    )
    return learn_costs(plan.sweep.dataset, done)


def _work(config: RunSpec, dataset: DatasetDescription, trained: int) -> dict[str, _Work]:
    """Of each phase that a run has."""
    host = host_of(config, len(dataset.domain_sizes))
    domains, batch = host.training_domains, float(config.hyperparameters["batch_size"])
    annealing = config.annealing
    form = form_of(annealing)
    steps = max(0, config.training.steps - trained)
    noisy = form if isinstance(annealing, GGAL) else ()
    scores_all = isinstance(annealing, GGAL) and annealing.alpha == "adaptive"  # once at every step
    work = {
        _TRAINING: _Work(((host, noisy), (host.algorithm, noisy), ()), (1 + scores_all) * steps * domains, batch),
        "evaluation": _Work(
            ((host.algorithm,), ()),
            evaluations(config.training, trained),
            _FORWARD_SHARE * sum(dataset.domain_sizes.values()),
        ),
    }
    if isinstance(annealing, GGA):
        annealed = annealed_steps(config, trained) * domains
        points = annealing.num_candidates + 1
        work["search"] = _Work(((host, form), form, ()), annealed * points, batch)
        work["diagnostics"] = _Work(((host, form), form, ()), annealed * DIAGNOSTIC_SCORINGS, batch)
    return work


def _rates(measured: Sequence[_Measured]) -> _Rates:
    fixed = _fixed_images(measured)
    seconds: dict[Hashable, float] = {}
    units: dict[Hashable, float] = {}
    for work, spent in measured:
        for kind in work.kinds:
            seconds[kind] = seconds.get(kind, 0.0) + spent
            units[kind] = units.get(kind, 0.0) + work.units(fixed)
    return _Rates(fixed, {kind: seconds[kind] / units[kind] for kind in seconds})


def _fixed_images(measured: Sequence[_Measured]) -> float:
    """The number that makes a unit of work cost alike for all batch sizes of a kind; 0 where none is unlike another."""
    kinds: dict[Hashable, list[_Measured]] = {}
    for one in measured:
        kinds.setdefault(one.work.kinds[0], []).append(one)
    telling = [of_kind for of_kind in kinds.values() if len({one.work.images for one in of_kind}) > 1]
    return min(_FIXED_IMAGES, key=lambda fixed: math.fsum(_spread(of_kind, fixed) for of_kind in telling))


def _spread(measured: Sequence[_Measured], fixed: float) -> float:
    """Sum of squares of the logarithms of what a unit takes, about their mean."""
    logs = [math.log(one.seconds / one.work.units(fixed)) for one in measured]
    mean = math.fsum(logs) / len(logs)
    return math.fsum((value - mean) ** 2 for value in logs)
