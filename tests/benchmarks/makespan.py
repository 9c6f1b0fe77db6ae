"""How long a mixed sweep takes on 4 devices by the order in which its runs begin: `make bench`.

The sweep is planned; no run is trained. What each takes is invented: seconds that differ by algorithm and form of
annealing, as lines over the batch size, times noise of 10 %. A launch without a finished run begins by counted work and
is stopped when 12 runs are done; the estimate learns from these 12, and the runs left, all of them whole, go to
whichever device is free, in each order. The lower bound is the larger of the longest run and a fourth of all.
"""

from __future__ import annotations

import heapq
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gga_sweep.annealing.options import GGAL
from gga_sweep.scheduling.estimate import Estimate, estimate_from
from gga_sweep.scheduling.planned_runs import longest_first
from gga_sweep.spec import Contents, Plan, load, plan_sweep
from gga_sweep.spec.counted_work import MeasuredWork, evaluations, form_of, step_images, work_of
from gga_sweep.spec.models import RunSpec

DEVICES = 4
KNOWN = 12
SEEDS = range(40)
NOISE = 0.1  # standard deviation of the logarithm
AIM = 1.1
ORDERS = ("plan order", "counted work", "learned from 12 runs", "true durations")


def mixed_sweep(draws: int, test_domains: list[str]) -> Plan:
    """ERM, CORAL and SAM plain, ERM with three annealings, CORAL with one; batch, window and candidates are drawn."""
    content = {
        "name": "mixed",
        "dataset": {"name": "RotatedDigits"},
        "arms": [
            {"algorithm": "ERM"},
            {"algorithm": "CORAL"},
            {"algorithm": "SAM"},
            {"algorithm": "ERM", "annealing": {"variant": "paper"}},
            {"algorithm": "ERM", "annealing": {"variant": "guided"}},
            {"algorithm": "ERM", "annealing": {"method": "gga-l"}},
            {"algorithm": "CORAL", "annealing": {"variant": "paper"}},
        ],
        "test_domains": test_domains,
        "trial_seeds": [0],
        "draws": draws,
        "search_space": {
            "batch_size": {"logintegers": [8, 45]},
            "annealing.start_step": {"integers": [0, 150]},
            "annealing.num_steps": {"logintegers": [10, 100]},
            "annealing.num_candidates": {"logintegers": [2, 50]},
        },
        "training": {"steps": 300, "evaluate_every": 100},
    }
    return plan_sweep(load(content, storage=Path("nowhere")), Contents("0" * 32))


def invented_seconds(configs: Sequence[RunSpec], plan: Plan, rng: np.random.Generator) -> list[dict[str, float]]:
    """A step of ERM takes 10 to 50 ms at 32 images; other algorithms 1 to 3 times that, a point 0.5 to 1.5 times."""
    an_image, fixed = rng.uniform(0.01, 0.05) / 160, rng.uniform(0, 80)
    of_algorithm = {"ERM": 1.0, "CORAL": rng.uniform(1, 3), "SAM": rng.uniform(1, 3)}
    of_form: dict[object, tuple[float, float]] = {}
    found = []
    for config in configs:
        pass_seconds = an_image * (fixed + step_images(config, len(plan.sweep.dataset.domain_sizes)))
        evaluated = sum(plan.sweep.dataset.domain_sizes.values()) * evaluations(config.training)
        step = of_algorithm[config.algorithm] * pass_seconds
        seconds = {"evaluation": evaluated * an_image / 4}
        start, candidate = of_form.setdefault(form_of(config), (rng.uniform(0.5, 8), rng.uniform(0.5, 1.5)))
        if isinstance(config.annealing, GGAL):
            step *= 1 + candidate
        elif config.annealing is not None:
            window = config.annealing.num_steps * pass_seconds
            seconds["search"] = window * (start + candidate * config.annealing.num_candidates)
            seconds["diagnostics"] = window * 10 * candidate
        seconds["training"] = config.training.steps * step
        noise = float(np.exp(rng.normal(0, NOISE)))
        found.append({phase: noise * value for phase, value in seconds.items()})
    return found


def makespan(order: Sequence[int], seconds: Sequence[float]) -> float:
    """When the last run ends; each begins on the device that is free first."""
    free = [0.0] * DEVICES
    for run in order:
        heapq.heapreplace(free, free[0] + seconds[run])
    return max(free)


def first_to_end(order: Sequence[int], seconds: Sequence[float], number: int) -> list[int]:
    free = [(0.0, -1 - device) for device in range(DEVICES)]
    ended: list[int] = []
    waiting = iter(order)
    while len(ended) < number:
        now, run = heapq.heappop(free)
        if run >= 0:
            ended.append(run)
        begun = next(waiting)
        heapq.heappush(free, (now + seconds[begun], begun))
    return ended


def relative_makespans(plan: Plan, seed: int) -> tuple[list[float], float]:
    """Of each order, over the lower bound; and the median of what the estimate is off, in percent."""
    configs, dataset = [run.config for run in plan.runs], plan.sweep.dataset
    by_phase = invented_seconds(configs, plan, np.random.default_rng(seed))
    seconds = [sum(phases.values()) for phases in by_phase]

    def ordered(expected: Sequence[float]) -> list[int]:
        return [int(run) for run in longest_first({str(run): value for run, value in enumerate(expected)})]

    def totals(estimate: Estimate) -> list[float]:
        return [estimate.total(config) for config in configs]

    counted = totals(estimate_from(dataset, []))
    done = first_to_end(ordered(counted), seconds, KNOWN)
    measured = [MeasuredWork(work_of(configs[run], dataset), by_phase[run]) for run in done]
    learned = totals(estimate_from(dataset, measured))
    orders = [list(range(len(configs))), ordered(counted), ordered(learned), ordered(seconds)]
    left = set(range(len(configs))) - set(done)
    bound = max(max(seconds[run] for run in left), sum(seconds[run] for run in left) / DEVICES)
    found = [makespan([run for run in order if run in left], seconds) / bound for order in orders]
    return found, statistics.median(100 * abs(learned[run] / seconds[run] - 1) for run in left)


def main() -> None:
    missed = False
    for draws, test_domains in ((6, ["0"]), (6, ["0", "45", "75"]), (20, ["0", "45", "75"])):
        began = time.perf_counter()
        plan = mixed_sweep(draws, test_domains)
        results = [relative_makespans(plan, seed) for seed in SEEDS]
        off = statistics.median(error for _, error in results)
        took = time.perf_counter() - began
        print(
            f"{len(plan.runs)} runs on {DEVICES} devices, {len(SEEDS)} seeds, {took:.1f} s; half the predictions are "
            f"off by less than {off:.0f} %"
        )
        print(f"  {'makespan over its lower bound':40}{'median':>8}{'worst':>8}")
        for name, ratios in zip(ORDERS, zip(*(found for found, _ in results), strict=True), strict=True):
            aim = f"   (aim: {AIM})" if name == ORDERS[2] else ""
            missed |= bool(aim) and statistics.median(ratios) > AIM
            print(f"  {name:40}{statistics.median(ratios):8.3f}{max(ratios):8.3f}{aim}")
    sys.exit(missed)


if __name__ == "__main__":
    main()
