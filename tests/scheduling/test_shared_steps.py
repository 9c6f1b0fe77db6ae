"""Which steps runs have in common, against what each step of each run does, written out."""

from __future__ import annotations

from typing import Any

import pytest
from annealed_windows import CONFIGS, CONTENTS, STEPS, common_start, config, gga, written_out
from hypothesis import given
from hypothesis import strategies as st

from gga_sweep.scheduling.shared_steps import inherited_steps, prefix_name, steps_alike, trunk_of
from gga_sweep.spec import Contents
from gga_sweep.spec.models import RunSpec


@given(CONFIGS, CONFIGS)
def test_runs_are_alike_up_to_the_first_step_that_they_do_otherwise(one: RunSpec, other: RunSpec) -> None:
    assert steps_alike(one, other) == steps_alike(other, one) == common_start(one, other)


@given(CONFIGS, CONFIGS, st.integers(1, STEPS))
def test_a_prefix_has_one_name_in_all_runs_that_have_it_and_in_no_other(
    one: RunSpec, other: RunSpec, steps: int
) -> None:
    same_name = prefix_name(one, steps, CONTENTS) == prefix_name(other, steps, CONTENTS)
    assert same_name == (common_start(one, other) >= steps)


@given(st.lists(CONFIGS, min_size=1, max_size=6, unique_by=lambda run: tuple(written_out(run))), st.randoms())
def test_each_common_step_is_trained_once_whatever_the_order(runs: list[RunSpec], random: Any) -> None:
    distinct = {tuple(written_out(run)[: steps + 1]) for run in runs for steps in range(STEPS)}
    random.shuffle(runs)
    inherited = sum(inherited_steps(runs))
    assert len(runs) * STEPS - inherited == len(distinct)


def test_the_issues_windows_share_their_warm_up_and_all_but_the_longest_of_their_annealed_steps() -> None:
    runs = [config(None, steps=1000)]
    runs.extend(config(gga(100, end).annealing, steps=1000) for end in (10, 25, 50, 100))
    assert list(inherited_steps(reversed(runs))) == [0, 150, 125, 110, 100]


@pytest.mark.parametrize(
    "changed",
    [
        config(None, lr=2e-3),
        config(None, evaluate_every=4),
        config(None).model_copy(update={"trial_seed": 1}),
        config(None).model_copy(update={"test_domains": ("photo",)}),
        config(None).model_copy(update={"algorithm": "CORAL"}),
    ],
    ids=["learning rate", "evaluations", "trial seed", "test domains", "algorithm"],
)
def test_runs_that_differ_in_anything_else_have_nothing_in_common(changed: RunSpec) -> None:
    assert trunk_of(gga(3, 3)) != trunk_of(changed)
    assert list(inherited_steps([gga(3, 3), changed])) == [0, 0]
    assert prefix_name(gga(3, 3), 2, CONTENTS) != prefix_name(changed, 2, CONTENTS)


def test_other_images_or_weights_make_another_prefix() -> None:
    plain = config(None)
    with_file = plain.model_copy(update={"training": plain.training.model_copy(update={"weights": "w.pt"})})
    names = {
        prefix_name(with_file, 3, contents)
        for contents in (CONTENTS, Contents("other images"), Contents("digest", {"w.pt": "weights"}))
    }
    assert len(names) == 3
