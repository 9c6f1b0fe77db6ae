"""The streams of a run: each mask and each generator is a function of what it is for, and of nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gga_sweep.annealing import STEP_MASK, Draw
from gga_sweep.training.randomness import RunStreams

STREAMS = RunStreams("Small", trial_seed=0, features=13, dropout=0.5, device=torch.device("cpu"))

ELSEWHERE: tuple[tuple[RunStreams, int, Draw, str], ...] = (
    (replace(STREAMS, dataset="Other"), 4, STEP_MASK, "a"),
    (replace(STREAMS, trial_seed=1), 4, STEP_MASK, "a"),
    (STREAMS, 5, STEP_MASK, "a"),
    (STREAMS, 4, ("fresh", 0), "a"),
    (STREAMS, 4, ("candidate", 0, 1), "a"),
    (STREAMS, 4, ("candidate", 1, 0), "a"),
    (STREAMS, 4, STEP_MASK, "b"),
)


def mask_of(streams: RunStreams, step: int, draw: Draw, domain: str, rows: int = 40) -> torch.Tensor:
    mask = streams.dropout_mask(step, draw, domain, rows)
    assert mask is not None
    return mask


def test_a_mask_drops_about_its_rate_and_scales_what_it_keeps() -> None:
    mask = mask_of(replace(STREAMS, dropout=0.25), 0, STEP_MASK, "a", rows=2000)

    assert mask.shape == (2000, 13)
    assert mask.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float((mask == 0).float().mean()) == pytest.approx(0.25, abs=0.02)


@given(rows=st.integers(1, 40), more=st.integers(0, 40), step=st.integers(0, 5000), rate=st.floats(0.01, 0.99))
@settings(max_examples=25, deadline=None)
def test_the_mask_of_a_small_batch_is_the_start_of_that_of_a_larger_one(
    rows: int, more: int, step: int, rate: float
) -> None:
    streams = replace(STREAMS, dropout=rate)
    small, large = (mask_of(streams, step, STEP_MASK, "a", count) for count in (rows, rows + more))

    assert torch.equal(small, large[:rows])


def test_masks_of_other_datasets_seeds_steps_draws_and_domains_are_others() -> None:
    masks = [mask_of(STREAMS, 4, STEP_MASK, "a"), *(mask_of(*place) for place in ELSEWHERE)]

    for one, other in itertools.combinations(masks, 2):
        assert float((one == other).float().mean()) == pytest.approx(0.5, abs=0.12)  # as two fair coins agree


def test_a_mask_does_not_depend_on_what_was_drawn_before() -> None:
    first = mask_of(STREAMS, 4, STEP_MASK, "a")
    torch.rand(7)
    mask_of(STREAMS, 3, ("fresh", 1), "b")

    assert torch.equal(mask_of(STREAMS, 4, STEP_MASK, "a"), first)


def test_at_rate_0_there_is_no_mask() -> None:
    assert replace(STREAMS, dropout=0.0).dropout_mask(0, STEP_MASK, "a", 8) is None


def test_torchs_global_generator_becomes_a_function_of_what_the_forward_is_for() -> None:
    def global_numbers(streams: RunStreams, step: int, draw: Draw, domain: str) -> torch.Tensor:
        streams.seed_global(step, draw, domain)
        return torch.rand(8)

    first = global_numbers(STREAMS, 4, STEP_MASK, "a")
    torch.manual_seed(1)

    assert torch.equal(global_numbers(STREAMS, 4, STEP_MASK, "a"), first)
    for place in (*ELSEWHERE, (STREAMS, 4, STEP_MASK, "")):
        assert not torch.equal(global_numbers(*place), first)


def test_a_perturbation_comes_again_from_its_step_and_candidate() -> None:
    def noise(step: int, candidate: int) -> list[float]:
        drawn: list[float] = torch.rand(5, generator=STREAMS.perturbation(step, candidate, STREAMS.device)).tolist()
        return drawn

    assert noise(3, 0) == noise(3, 0)
    assert len({tuple(noise(step, candidate)) for step in range(3) for candidate in range(3)}) == 9


def test_the_uniform_choice_has_a_generator_of_its_own_at_each_step() -> None:
    seeds = [STREAMS.choice(step).initial_seed() for step in range(4)]

    assert len(set(seeds)) == 4
    assert STREAMS.choice(2).initial_seed() == seeds[2]
    assert STREAMS.perturbation(2, 0, STREAMS.device).initial_seed() not in seeds
