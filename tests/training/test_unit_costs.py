"""Lines of seconds over images, and which runs cost alike."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import annealing_of, run_config

from gga_sweep.annealing import GGAL
from gga_sweep.training.unit_costs import Host, Line, form_of, holds_photographs, host_of

seconds = st.floats(0, 1e6)
images = st.integers(1, 512)


@given(seconds, seconds, images, images)
def test_a_line_through_two_points_of_a_line_is_that_line(fixed: float, slope: float, few: int, more: int) -> None:
    low, high = fixed + slope * few, fixed + slope * (few + more)
    line = Line.through([(few, low), (few + more, high)])
    for at in (few, few + more, 2 * (few + more)):
        assert line.at(at) == pytest.approx(fixed + slope * at, rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(images, seconds), min_size=1, max_size=2, unique_by=lambda point: point[0]))
def test_no_line_has_negative_parts_and_each_goes_through_its_last_point(points: list[tuple[int, float]]) -> None:
    points = sorted(points)
    line = Line.through(points)
    assert line.fixed >= 0
    assert line.an_image >= 0
    assert line.at(points[-1][0]) == pytest.approx(points[-1][1], rel=1e-9, abs=1e-9)


def test_through_one_point_goes_a_share_of_its_images() -> None:
    assert Line.through([(8, 4.0)]) == Line(0.0, 0.5)


def test_a_scaled_line_is_scaled_everywhere() -> None:
    assert Line(1.0, 2.0).scaled(3).at(5) == 33.0


def test_a_host_is_an_algorithm_on_a_number_of_training_domains() -> None:
    assert host_of(run_config(test_domains=("a", "c")), 6) == Host("ERM", 4)


def test_window_radius_and_candidates_make_no_form_of_their_own() -> None:
    one = annealing_of()
    other = annealing_of(start_step=0, num_steps=7, radius=1.0, num_candidates=9, loss_tolerance=0.0)
    assert form_of(one) == form_of(other)
    assert form_of(GGAL(gamma=1.0)) == form_of(GGAL(gamma=2.0))


@pytest.mark.parametrize(
    "switch", [{"origin": "current"}, {"mask": "forward"}, {"joint_loss": "forward"}, {"domain_gradients": "layerwise"}]
)
def test_what_changes_the_work_is_another_form(switch: dict[str, str]) -> None:
    assert form_of(annealing_of(**switch)) != form_of(annealing_of())


def test_the_objective_makes_a_form_only_where_a_direction_is_computed_for_it() -> None:
    assert form_of(annealing_of(objective="loss")) == form_of(annealing_of())
    assert form_of(annealing_of("guided", objective="loss")) != form_of(annealing_of("guided"))


@pytest.mark.parametrize(("name", "holds"), [("PACS", True), ("ImageFolder", True), ("RotatedDigits", False)])
def test_trees_hold_photographs(name: str, holds: bool) -> None:
    assert holds_photographs(name) is holds


def test_neither_unit_costs_nor_prices_nor_their_picture_load_torch() -> None:
    modules = "gga_sweep.training.unit_costs, gga_sweep.scheduling.price, gga_sweep.report.price"
    heavy = "{'torch', 'ray', 'mlflow', 'pandas', 'scipy', 'matplotlib'}"
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
