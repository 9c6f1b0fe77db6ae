"""A view refuses what would make a table wrong."""

from __future__ import annotations

import pytest
from selection_records import run, view

from gga_sweep.errors import InputError
from gga_sweep.selection import domain_label


def test_cells_go_by_arm_then_test_domain_then_trial_seed() -> None:
    sweep = view([], arms=("ERM", "GGA"), test_domains=(("art",), ("sketch",)), trial_seeds=(0, 1))
    assert [(cell.arm, cell.test_domains, cell.trial_seed) for cell in sweep.cells()][:5] == [
        ("ERM", ("art",), 0),
        ("ERM", ("art",), 1),
        ("ERM", ("sketch",), 0),
        ("ERM", ("sketch",), 1),
        ("GGA", ("art",), 0),
    ]


def test_a_run_outside_the_plan_is_refused() -> None:
    with pytest.raises(InputError, match=r"must stand in a cell of the plan, got Cell\(.*trial_seed=9"):
        view([run(trial_seed=9)])


def test_a_pair_run_outside_the_pairs_is_refused() -> None:
    pairs, inside = (("art", "photo"), ("art", "sketch")), run(test_domains=("art", "sketch"))
    outside = [run(test_domains=domains) for domains in [("photo", "sketch"), ("sketch", "art"), ("art",)]]
    assert view([], pairs=pairs, pair_records=[inside]).pair_records == (inside,)
    with pytest.raises(InputError) as caught:
        view([], pairs=pairs, pair_records=[inside, *outside])
    assert [(fault.field, fault.got) for fault in caught.value.faults] == [
        ("pair_records", one.cell) for one in outside
    ]
    with pytest.raises(InputError, match="pair_records"):
        view([], pair_records=[inside])


@pytest.mark.parametrize("elsewhere", [{"arm": "GGA"}, {"trial_seed": 9}])
def test_a_pair_run_of_an_arm_or_a_trial_seed_outside_the_plan_is_refused(elsewhere: dict[str, object]) -> None:
    with pytest.raises(InputError, match="pair_records"):
        view([], pairs=(("art", "photo"),), pair_records=[run(test_domains=("art", "photo"), **elsewhere)])


def test_pair_runs_stand_in_no_cell_of_the_plan() -> None:
    sweep = view([], trial_seeds=(0,), pairs=(("art", "sketch"),), pair_records=[run(test_domains=("art", "sketch"))])
    assert [cell.test_domains for cell in sweep.cells()] == [("sketch",)]


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InputError, match=r"arms: .* got \('ERM', 'ERM'\)") as caught:
        view([], arms=("ERM", "ERM"), trial_seeds=(), draws={"other": (0,)})
    assert "trial_seeds: must name at least one, each once, got ()" in str(caught.value)
    assert "draws: must hold the draw numbers planned for every arm that was not searched; absent" in str(caught.value)


def test_test_domains_are_joined_by_a_plus() -> None:
    assert domain_label(("art",)) == "art"
    assert domain_label(("art", "sketch")) == "art+sketch"
