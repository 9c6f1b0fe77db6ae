"""Averaged weights as arms of their own: one evaluation a run, no step to select, and nothing counted twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_runs import changed_run
from selection_records import evaluation, record, run, run_of, view

from gga_sweep.records import Averaged, RunRecords, RunStatus
from gga_sweep.selection import METHODS, SweepView, build_table, compare, with_averaged_arms

NAMES = {"ERM": "ERM + SWAD", "GGA, radius 1": "GGA + SWAD, radius 1"}
ARMS = tuple(NAMES)


def averaging(trained: RunRecords, validation: float, test: float) -> RunRecords:
    """The run with averaged weights of these accuracies, 2 seconds spent."""
    found = record(20, [validation], dict.fromkeys(trained.cell.test_domains, test))
    return changed_run(trained, averaged=Averaged(5, 20, 1.0, found), seconds={"training": 2.0})


def sweep(*records: RunRecords, draws: tuple[int, ...] = (0, 1), **changes: object) -> SweepView:
    plain = view(records, arms=ARMS, trial_seeds=(0,), draws=dict.fromkeys(ARMS, draws))
    plain = replace(
        plain,
        baselines={"GGA, radius 1": "ERM"},
        blocks={"ERM": "ERM", "GGA, radius 1": "GGA"},
        factors={"ERM": {}, "GGA, radius 1": {"annealing.radius": 1}},
        **changes,  # type: ignore[arg-type]
    )
    return with_averaged_arms(plain, {**NAMES, "GGA": "GGA + SWAD"}.__getitem__)


TWO_DRAWS = (
    averaging(run([0.9, 0.5], [0.1, 0.2], draws=(0,)), 0.6, 0.61),
    averaging(run([0.4, 0.8], [0.3, 0.4], draws=(1,)), 0.7, 0.71),
    averaging(run([0.3, 0.2], [0.5, 0.6], arm="GGA, radius 1", draws=(0,)), 0.9, 0.91),
    averaging(run([0.3, 0.4], [0.7, 0.8], arm="GGA, radius 1", draws=(1,)), 0.8, 0.81),
)


def test_each_arm_has_a_row_by_step_and_one_of_averaged_weights() -> None:
    table = build_table(sweep(*TWO_DRAWS))
    assert [row.arm for row in table.rows] == [*NAMES, *NAMES.values()]
    assert [row.average.mean for row in table.rows] == [0.1, 0.8, 0.71, 0.91]
    found = [(one.cell.arm, one.draw, one.step, one.score) for one in table.selected]
    assert found == [
        ("ERM", 0, 0, 0.9),
        ("GGA, radius 1", 1, 10, 0.4),
        ("ERM + SWAD", 1, 20, 0.7),
        ("GGA + SWAD, radius 1", 0, 20, 0.9),
    ]
    assert table.incomplete == ()


@pytest.mark.parametrize("method", [name for name in METHODS if name != "leave-one-domain-out"])
def test_rows_selected_by_step_are_those_of_a_sweep_that_averages_nothing(method: str) -> None:
    averaged = sweep(*TWO_DRAWS)
    plain = replace(
        averaged,
        arms=ARMS,
        records=averaged.trained_runs,
        draws={arm: averaged.draws[arm] for arm in ARMS},
        baselines={"GGA, radius 1": "ERM"},
        averaged={},
    )
    assert build_table(averaged, method).rows[:2] == build_table(plain, method).rows
    assert compare(averaged, build_table(averaged)).costs == compare(plain, build_table(plain)).costs


def test_averaged_weights_are_compared_with_those_of_the_baseline() -> None:
    whole = sweep(*TWO_DRAWS)
    assert whole.baselines == {
        "GGA, radius 1": "ERM",
        "ERM + SWAD": "ERM",
        "GGA + SWAD, radius 1": "ERM + SWAD",
    }
    comparison = compare(whole, build_table(whole))
    assert [one.difference.mean for one in comparison.selected] == pytest.approx([0.7, 0.61, 0.2])
    assert [one.difference.mean for one in comparison.matched] == pytest.approx(
        [(0.5 - 0.1 + 0.8 - 0.4) / 2, (0.61 - 0.1 + 0.71 - 0.4) / 2, (0.91 - 0.61 + 0.81 - 0.71) / 2]
    )


def test_a_run_is_counted_and_paid_for_once() -> None:
    whole = sweep(*TWO_DRAWS)
    assert (whole.trained_arms, len(whole.trained_runs), len(whole.records)) == (ARMS, 4, 8)
    comparison = compare(whole, build_table(whole))
    assert [(cost.arm, cost.runs, cost.total) for cost in comparison.costs] == [(arm, 2, 4.0) for arm in ARMS]
    assert [dict(row.runs) for row in build_table(whole).rows] == [{RunStatus.DONE: 2}] * 2 + [{}] * 2
    assert {one.arm: one.seconds_a_draw for one in comparison.budget} == dict.fromkeys(whole.arms, 2.0)
    assert comparison.steps == ()


def test_factors_and_blocks_go_with_the_arms_they_belong_to() -> None:
    whole = sweep(*TWO_DRAWS, searched=frozenset({"ERM"}))
    assert whole.blocks["GGA + SWAD, radius 1"] == "GGA + SWAD"
    assert whole.factors["GGA + SWAD, radius 1"] == {"annealing.radius": 1}
    assert whole.searched == {"ERM", "ERM + SWAD"}
    assert whole.averaged == {name: arm for arm, name in NAMES.items()}


def test_a_run_without_averaged_weights_takes_no_part_and_is_named() -> None:
    diverged = run([0.9], draws=(0,), status=RunStatus.DIVERGED)
    table = build_table(sweep(diverged, *TWO_DRAWS[1:]))
    [row] = [row for row in table.rows if row.arm == "ERM + SWAD"]
    assert row.average.mean == 0.71
    alone = build_table(sweep(diverged, *TWO_DRAWS[2:], draws=(0,)))
    lacking = {one.cell.arm: dict(one.reasons) for one in alone.incomplete}
    assert lacking == {"ERM + SWAD": {"diverged": (0,)}}


def test_leave_one_domain_out_validates_averaged_weights_by_averaged_weights() -> None:
    domains = ("sketch", "photo", "art")

    def trained(tests: tuple[str, ...], draw: int, left_out: float, averaged_left_out: float) -> RunRecords:
        training = {name: 0.5 for name in domains if name not in tests}
        one = run_of([evaluation(0, training, dict.fromkeys(tests, left_out))], test_domains=tests, draws=(draw,))
        found = evaluation(9, training, dict.fromkeys(tests, averaged_left_out))
        return changed_run(one, averaged=Averaged(0, 9, None, found))

    pairs = (("sketch", "photo"), ("sketch", "art"))
    plain = view(
        [trained(("sketch",), 0, 0.1, 0.11), trained(("sketch",), 1, 0.2, 0.22)],
        trial_seeds=(0,),
        draws={"ERM": (0, 1)},
        pairs=pairs,
        pair_records=[trained(pair, draw, *((0.9, 0.3), (0.4, 0.8))[draw]) for pair in pairs for draw in (0, 1)],
    )
    found = with_averaged_arms(plain, NAMES.__getitem__)
    table = build_table(found, "leave-one-domain-out")
    assert [(one.cell.arm, one.draw, one.score) for one in table.selected] == [
        ("ERM", 0, 0.9),
        ("ERM + SWAD", 1, 0.8),
    ]
