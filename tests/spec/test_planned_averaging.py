"""How averaging is written in a sweep file, and what its rows are called."""

from __future__ import annotations

from typing import Any

import pytest
from sweep_content import content

from gga_sweep.spec import SweepSpec, load
from gga_sweep.spec.averaging import averaged_name
from gga_sweep.spec.models import AveragingConfig


def sweep(averaging: object = "swad", **changes: Any) -> SweepSpec:
    return load(content(**{"training": {"steps": 300, "averaging": averaging}, **changes}))


def test_a_method_may_be_written_alone() -> None:
    whole = {"method": "swad", "n_converge": 3, "n_tolerance": 6, "tolerance_ratio": 0.3}
    for averaging in ("swad", {"method": "swad"}, whole):
        assert sweep(averaging).training.averaging == AveragingConfig(**whole)  # type: ignore[arg-type]
    assert sweep(None).training.averaging is None
    assert sweep(training={"steps": 300}).training.averaging is None


def test_averaging_is_no_deviation_from_a_protocol() -> None:
    """It changes nothing in training; its rows tell of it."""
    assert sweep().deviations == sweep(None).deviations


def test_averaged_weights_are_named_after_their_arm() -> None:
    arms = [{"algorithm": "ERM"}, {"annealing": {"num_steps": 5}, "vary": {"annealing.radius": [1e-5, 1e-4]}}]
    found = sweep(arms=arms)
    averaging = found.training.averaging
    assert averaging is not None
    assert [averaged_name(arm.name, averaging) for arm in found.arms] == [
        "ERM + SWAD",
        "ERM + GGA + SWAD, num steps 5, radius 1e-5",
        "ERM + GGA + SWAD, num steps 5, radius 1e-4",
    ]
    assert averaged_name(found.arms[2].block, averaging) == "ERM + GGA + SWAD, num steps 5"
    assert averaged_name("my:Own", averaging) == "my:Own + SWAD"


@pytest.mark.parametrize(("steps", "every", "evaluations"), [(300, 150, 3), (151, 150, 2), (3, 1, 3), (302, 150, 4)])
def test_as_many_evaluations_as_a_run_has_may_converge(steps: int, every: int, evaluations: int) -> None:
    averaging = {"method": "swad", "n_converge": evaluations}
    assert sweep(training={"steps": steps, "evaluate_every": every, "averaging": averaging})
