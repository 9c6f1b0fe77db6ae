"""A plan's work against a walk through every step of every run, with and without each saving."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from run_configs import annealing_options
from sweep_content import GGA, GGA_L, content

from gga_sweep.scheduling.estimate import Estimate
from gga_sweep.scheduling.savings import Work, savings_of
from gga_sweep.spec import Outline, load, outline_sweep
from gga_sweep.spec.models import RunSpec

SIZES = {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929}  # PACS, as published
STEPS = 130
SECONDS = {"plain": 1.0, "annealed": 7.0}
ENDED = {122: 0.25, 126: 0.5}  # past every window, as they must be
DECODING = 0.01


def pacs() -> Outline:
    longer = {**GGA, "annealing": {**GGA["annealing"], "num_steps": 20}, "name": "longer"}
    changes = {
        "dataset": {"name": "PACS"},
        "arms": [{"algorithm": "ERM"}, {**GGA, "annealing": {**GGA["annealing"], "num_steps": 5}}, longer, GGA_L],
        "test_domains": ["sketch", "photo"],
        "trial_seeds": [0, 1],
        "draws": 2,
        "search_space": {"batch_size": {"choice": [4, 8, 16, 30]}},
        "training": {"steps": STEPS, "evaluate_every": 50},
    }
    return outline_sweep(load(content(**changes), storage=Path("nowhere")))


PLAN = pacs()


def jobs(plan: Outline) -> list[RunSpec]:
    return list({run.config.model_dump_json(): run.config for run in plan.runs}.values())


def manners(config: RunSpec) -> Iterator[str]:
    """What each step does."""
    block = annealing_options(config) or {"method": "none"}
    for step in range(STEPS):
        first, number = block.get("start_step", 0), block.get("num_steps", 0)
        if block["method"] == "gga" and not first <= step < first + number:
            yield "plain"
        else:
            rest = sorted((name, value) for name, value in block.items() if name not in ("start_step", "num_steps"))
            yield "plain" if block["method"] == "none" else repr(rest)


class StepByStep:
    """A stand-in for an estimate."""

    def total(self, config: RunSpec, trained: int) -> float:
        steps = list(manners(config))[trained:]
        return sum(SECONDS["plain" if manner == "plain" else "annealed"] for manner in steps)


ESTIMATE = cast(Estimate, StepByStep())


def walked(shares: bool, ended: dict[int, float], decodes: bool) -> Work:
    """Step by step, each of which is done as often as runs are expected to get there."""
    steps = annealed = images = seconds = 0.0
    done: set[object] = set()
    for config in jobs(PLAN):
        trunk = config.model_copy(update={"annealing": None}).model_dump_json()
        all_manners = list(manners(config))
        for step, manner in enumerate(all_manners):
            name = (trunk, *all_manners[: step + 1])
            if shares and name in done:
                continue
            done.add(name)
            reached = 1 - sum(share for end, share in ended.items() if step >= end)
            batch = (len(SIZES) - 1) * int(config.hyperparameters["batch_size"])
            in_window = manner != "plain" and "gga-l" not in manner
            steps += reached
            annealed += reached * in_window
            seconds += reached * SECONDS["plain" if manner == "plain" else "annealed"]
            images += reached * batch * (1 + in_window)
            if step % 50 == 0 or step == STEPS - 1:
                images += reached * sum(SIZES.values())
    decoded = images if decodes else float(sum(SIZES.values()))
    return Work(steps, annealed, decoded, seconds + DECODING * decoded)


def check(found: Work, expected: Work) -> None:
    for name in ("steps", "annealed", "decoded", "seconds"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name)), name


def test_each_saving_saves_what_a_walk_through_every_step_says() -> None:
    found = savings_of(PLAN, ESTIMATE, ENDED, DECODING)
    assert found.jobs == len(jobs(PLAN)) == 32
    check(found.without, walked(shares=False, ended={}, decodes=True))
    check(found.decoded_once, walked(shares=False, ended={}, decodes=False))
    check(found.shared_prefixes, walked(shares=True, ended={}, decodes=True))
    check(found.early_stopping, walked(shares=False, ended=ENDED, decodes=True))
    check(found.altogether, walked(shares=True, ended=ENDED, decodes=False))
    amounts = [found.without, found.shared_prefixes, found.early_stopping, found.altogether]
    assert len({round(work.seconds, 3) for work in amounts}) == 4


def test_without_an_estimate_work_is_counted_but_not_timed() -> None:
    found = savings_of(PLAN, None, {}, DECODING)
    assert math.isnan(found.altogether.seconds)
    assert found.altogether.steps < found.without.steps
    assert not found.prices_decoding


def test_decoding_that_was_not_measured_is_not_priced() -> None:
    found = savings_of(PLAN, ESTIMATE, {})
    assert not found.prices_decoding
    assert found.without.seconds == found.decoded_once.seconds


def test_digits_are_not_decoded() -> None:
    plan = outline_sweep(load(content(), storage=Path("nowhere")))
    found = savings_of(plan, None, {})
    assert (found.without.decoded, found.altogether.decoded) == (0, 0)
