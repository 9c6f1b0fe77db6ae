"""What is counted of a run, against a walk through its steps."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from sweep_content import CONTENTS, GGA, content

from gga_sweep import annealing as methods
from gga_sweep.spec import load, plan_sweep
from gga_sweep.spec.work import annealed_steps, evaluations

RUN = plan_sweep(load(content(arms=[GGA], training={"steps": 250}), storage=Path("nowhere")), CONTENTS).runs[0].config


@given(steps=st.integers(1, 500), every=st.integers(1, 600), trained=st.integers(0, 510))
def test_evaluations_are_counted_as_the_trainer_makes_them(steps: int, every: int, trained: int) -> None:
    training = RUN.training.model_copy(update={"steps": steps, "evaluate_every": every})
    walked = sum(step % every == 0 or step == steps - 1 for step in range(trained, steps))
    assert evaluations(training, trained) == walked


@given(steps=st.integers(1, 50), start=st.integers(0, 60), number=st.integers(1, 60), trained=st.integers(0, 60))
def test_annealed_steps_are_those_of_the_window_that_are_to_come(
    steps: int, start: int, number: int, trained: int
) -> None:
    training = RUN.training.model_copy(update={"steps": steps})
    annealing = methods.GGA(start_step=start, num_steps=number)
    config = RUN.model_copy(update={"training": training, "annealing": annealing})
    assert annealed_steps(config, trained) == len(set(range(trained, steps)) & set(range(start, start + number)))


def test_a_run_without_a_window_has_no_annealed_steps() -> None:
    assert annealed_steps(RUN.model_copy(update={"annealing": None})) == 0
