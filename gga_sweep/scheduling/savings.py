"""The work of a plan with and without each saving: steps, annealed steps, decoded photographs, device-seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gga_sweep.datasets.registry import holds_photographs
from gga_sweep.scheduling.estimate import Estimate
from gga_sweep.scheduling.price import jobs_of
from gga_sweep.scheduling.shared_steps import inherited_steps
from gga_sweep.spec.counted_work import annealed_steps, diagnosed_steps, evaluated_images, step_images
from gga_sweep.spec.models import RunSpec
from gga_sweep.spec.plan import Outline


@dataclass(frozen=True, slots=True)
class Work:
    """Work of all jobs of a plan.

    Args:
        steps, annealed: steps to train, and those of them that are annealed.
        decoded: photographs to decode.
        seconds: device-seconds, with decoding where it was measured; NaN if unknown.
    """

    steps: float
    annealed: float
    decoded: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Savings:
    """The work of one plan. A saving that does not apply to it changes nothing.

    Args:
        jobs: distinct training jobs.
        without: each job alone, from step 0 to its end, decoding a photograph at every use.
        decoded_once: with each photograph decoded once on one node.
        shared_prefixes: with steps that runs share trained once.
        early_stopping: with the expected early stopping.
        altogether: as the sweep is trained.
        prices_decoding: whether `seconds` include decoding.
    """

    jobs: int
    without: Work
    decoded_once: Work
    shared_prefixes: Work
    early_stopping: Work
    altogether: Work
    prices_decoding: bool


def savings_of(
    plan: Outline, estimate: Estimate | None, ended: Mapping[int, float], decoding: float | None = None
) -> Savings:
    """Count the work of a plan, each saving by itself and all together.

    Args:
        estimate: of the seconds that runs take; None where it is not known.
        ended: by number of steps, the share of runs that are expected to be stopped after them.
        decoding: seconds that a photograph takes; None where it was not measured.
    """
    configs = [run.config for run in jobs_of(plan).values()]
    inherited = list(inherited_steps(configs))
    dataset = plan.sweep.dataset
    images = sum(dataset.domain_sizes.values())
    photographs = holds_photographs(plan.sweep.config.dataset.name)

    def images_seen(config: RunSpec, trained: int) -> float:
        """By minibatches, the next ones of diagnosed steps, and evaluations."""
        minibatches = _steps_left(config, trained) + diagnosed_steps(config, trained)
        drawn = minibatches * step_images(config, len(dataset.domain_sizes))
        return drawn + evaluated_images(config, dataset, trained)

    def work(*, decoded_once: bool = False, shares: bool = False, stops: bool = False) -> Work:
        def expected(amount_left: Callable[[RunSpec, int], float]) -> float:
            """Of all jobs, from where each begins to where it is expected to end."""
            begun = inherited if shares else [0] * len(configs)
            return math.fsum(
                amount_left(config, start)
                - math.fsum(share * amount_left(config, end) for end, share in (ended if stops else {}).items())
                for config, start in zip(configs, begun, strict=True)
            )

        decoded = 0.0
        if photographs:
            decoded = float(images) if decoded_once else expected(images_seen)
        return Work(
            steps=expected(_steps_left),
            annealed=expected(annealed_steps),
            decoded=decoded,
            seconds=math.nan if estimate is None else expected(estimate.total) + decoded * (decoding or 0.0),
        )

    return Savings(
        jobs=len(configs),
        without=work(),
        decoded_once=work(decoded_once=True),
        shared_prefixes=work(shares=True),
        early_stopping=work(stops=True),
        altogether=work(decoded_once=True, shares=True, stops=True),
        prices_decoding=estimate is not None and decoding is not None,
    )


def _steps_left(config: RunSpec, trained: int) -> float:
    return config.training.steps - trained
