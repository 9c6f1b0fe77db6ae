"""What a plan has to do with and without each saving: steps, annealed steps, decoded images, device-seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gga_sweep.datasets import DatasetDescription
from gga_sweep.scheduling.price import jobs_of
from gga_sweep.scheduling.shared_steps import inherited_steps
from gga_sweep.spec.models import RunSpec
from gga_sweep.spec.plan import Outline
from gga_sweep.spec.work import annealed_steps, evaluations
from gga_sweep.training.unit_costs import holds_photographs

SecondsFrom = Callable[[RunSpec, int], float]
"""Device-seconds of a run, so many steps of which are done: what is left of it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What all jobs of a plan have to do.

    Args:
        steps, annealed: steps to train, and those of them that are annealed.
        decoded: photographs to decode.
        seconds: device-seconds, those of decoding included where they are known; NaN where nothing is.
    """

    steps: float
    annealed: float
    decoded: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Savings:
    """The same plan with and without what saves work. A saving that it does not have changes nothing.

    Args:
        jobs: distinct training jobs.
        without: each by itself, from step 0 to its end, decoding each photograph whenever it is looked at.
        decoded_once: with each photograph decoded once on one node.
        shared_prefixes: with steps that runs have in common trained once.
        early_stopping: as it is expected, with runs ended early.
        altogether: as the sweep is trained.
        prices_decoding: whether `seconds` tell of decoding.
    """

    jobs: int
    without: Work
    decoded_once: Work
    shared_prefixes: Work
    early_stopping: Work
    altogether: Work
    prices_decoding: bool


def savings_of(
    plan: Outline, seconds_from: SecondsFrom | None, ended: Mapping[int, float], decoding: float | None = None
) -> Savings:
    """Compare.

    Args:
        seconds_from: None where no second is known.
        ended: by number of steps, the share of runs that are expected to be ended after so many.
        decoding: seconds that a photograph takes; None where it was not measured.
    """
    count = _Count(plan, seconds_from, ended, decoding if seconds_from else None)
    return Savings(
        jobs=len(count.configs),
        without=count.work(decoded_once=False, shares=False, stops=False),
        decoded_once=count.work(decoded_once=True, shares=False, stops=False),
        shared_prefixes=count.work(decoded_once=False, shares=True, stops=False),
        early_stopping=count.work(decoded_once=False, shares=False, stops=True),
        altogether=count.work(decoded_once=True, shares=True, stops=True),
        prices_decoding=count.decoding is not None,
    )


class _Count:
    def __init__(
        self, plan: Outline, seconds_from: SecondsFrom | None, ended: Mapping[int, float], decoding: float | None
    ) -> None:
        self.configs = [run.config for run in jobs_of(plan).values()]
        self.decoding = decoding
        self._inherited = list(inherited_steps(self.configs))
        self._dataset = plan.sweep.dataset
        self._photographs = holds_photographs(plan.sweep.config.dataset.name)
        self._seconds_from = seconds_from
        self._ended = ended

    def work(self, *, decoded_once: bool, shares: bool, stops: bool) -> Work:
        begun = self._inherited if shares else [0] * len(self.configs)
        ended = self._ended if stops else {}
        images = self._expected(self._images_from, begun, ended) if self._photographs else 0.0
        decoded = float(sum(self._dataset.domain_sizes.values()) * self._photographs) if decoded_once else images
        seconds = math.nan
        if self._seconds_from is not None:
            seconds = self._expected(self._seconds_from, begun, ended) + decoded * (self.decoding or 0.0)
        return Work(
            steps=self._expected(_steps_from, begun, ended),
            annealed=self._expected(annealed_steps, begun, ended),
            decoded=decoded,
            seconds=seconds,
        )

    def _expected(
        self, amount_from: Callable[[RunSpec, int], float], begun: list[int], ended: Mapping[int, float]
    ) -> float:
        """Of all jobs, from where each begins to where it is expected to end."""
        return math.fsum(
            amount_from(config, start) - math.fsum(share * amount_from(config, end) for end, share in ended.items())
            for config, start in zip(self.configs, begun, strict=True)
        )

    def _images_from(self, config: RunSpec, trained: int) -> float:
        """Images that what is left of a run looks at: minibatches, the next ones of annealed steps, evaluations."""
        domains = len(self._dataset.domain_sizes) - len(config.test_domains)
        minibatches = _steps_from(config, trained) + annealed_steps(config, trained)
        drawn = minibatches * domains * int(config.hyperparameters["batch_size"])
        return drawn + evaluations(config.training, trained) * _images(self._dataset)


def _steps_from(config: RunSpec, trained: int) -> float:
    return config.training.steps - trained


def _images(dataset: DatasetDescription) -> int:
    return sum(dataset.domain_sizes.values())
