"""Draws: each name by itself, DomainBed's own values where it has them, nothing outside its range."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.distributions import Distribution
from gga_sweep.errors import InputError
from gga_sweep.records import Scalar
from gga_sweep.spec.draws import contains, draw_hyperparameters, grid_points
from gga_sweep.spec.protocols import PROTOCOLS, Sampler, domainbed_space

SAMPLERS: tuple[Sampler, ...] = ("by-name", "domainbed", "domainbed-head")
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)

NAMES = ("lr", "batch_size", "weight_decay", "dropout", "annealing.radius", "annealing.num_candidates")


def _ordered(low: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(low, low).map(lambda pair: (min(pair), max(pair)))


distributions = st.one_of(
    _ordered(st.floats(-1e6, 1e6)).map(lambda ends: Distribution(uniform=ends)),
    _ordered(st.floats(1e-12, 1e6)).map(lambda ends: Distribution(loguniform=ends)),
    _ordered(st.integers(-1000, 1000)).map(lambda ends: Distribution(integers=(int(ends[0]), int(ends[1])))),
    _ordered(st.floats(1, 1e6)).map(lambda ends: Distribution(logintegers=ends)),
    st.lists(
        st.one_of(st.booleans(), st.integers(), st.floats(-9, 9), st.text(max_size=3)), min_size=1, max_size=5
    ).map(lambda values: Distribution(choice=tuple(values))),
)
spaces = st.dictionaries(st.sampled_from(NAMES), distributions)


def _seed_hash(*args: object) -> int:
    return int(hashlib.md5(str(args).encode()).hexdigest(), 16) % (2**31)


def _reference_domainbed(dataset: str, trial_seed: int, hparams_seed: int) -> dict[str, Scalar]:
    """DomainBed's draw for ERM by its definition: one generator, dropout, lr, batch size, weight decay."""
    state = np.random.RandomState(_seed_hash(hparams_seed, trial_seed))
    dropout = state.choice([0.0, 0.1, 0.5])
    if dataset == "RotatedMNIST":
        return {"dropout": dropout, "lr": 10 ** state.uniform(-4.5, -2.5), "batch_size": int(2 ** state.uniform(3, 9))}
    lr = 10 ** state.uniform(-5, -3.5)
    batch_size = int(2 ** state.uniform(3, 5 if dataset == "DomainNet" else 5.5))
    return {"dropout": dropout, "lr": lr, "batch_size": batch_size, "weight_decay": 10 ** state.uniform(-6, -2)}


def _reference_domainbed_head(dataset: str, trial_seed: int, hparams_seed: int) -> dict[str, Scalar]:
    """DomainBed's draw for ERM as its code stands today: each name has a generator of its own."""
    seed = _seed_hash(hparams_seed, trial_seed)

    def of(name: str) -> np.random.RandomState:
        return np.random.RandomState(_seed_hash(seed, name))

    drawn: dict[str, Scalar] = {"dropout": of("resnet_dropout").choice([0.0, 0.1, 0.5])}
    if dataset == "RotatedMNIST":
        return drawn | {
            "lr": 10 ** of("lr").uniform(-4.5, -2.5),
            "batch_size": int(2 ** of("batch_size").uniform(3, 9)),
        }
    return drawn | {
        "lr": 10 ** of("lr").uniform(-5, -3.5),
        "batch_size": int(2 ** of("batch_size").uniform(3, 5 if dataset == "DomainNet" else 5.5)),
        "weight_decay": 10 ** of("weight_decay").uniform(-6, -2),
    }


Draw = Callable[[np.random.RandomState], Scalar]


def _power(low: float, high: float) -> Draw:
    return lambda r: 10 ** r.uniform(low, high)


def _share(low: float, high: float) -> Draw:
    return lambda r: r.uniform(low, high)


def _steps(low: float, high: float) -> Draw:
    return lambda r: int(10 ** r.uniform(low, high))


def _one_of(*values: float) -> Draw:
    return lambda r: r.choice(values)


# domainbed/hparams_registry.py, in its order: our name, its name, its draw. Those below the line are the GGA release's.
OWN: dict[str, list[tuple[str, str, Draw]]] = {
    "ERM": [],
    "RSC": [
        ("rsc_f_drop_factor", "rsc_f_drop_factor", _share(0, 0.5)),
        ("rsc_b_drop_factor", "rsc_b_drop_factor", _share(0, 0.5)),
    ],
    "SagNet": [("sag_w_adv", "sag_w_adv", _power(-2, 1))],
    "IRM": [
        ("irm_lambda", "irm_lambda", _power(-1, 5)),
        ("irm_penalty_anneal_iters", "irm_penalty_anneal_iters", _steps(0, 4)),
    ],
    "Mixup": [("mixup_alpha", "mixup_alpha", _power(-1, 1))],
    "GroupDRO": [("groupdro_eta", "groupdro_eta", _power(-3, -1))],
    "MMD": [("mmd_gamma", "mmd_gamma", _power(-1, 1))],
    "CORAL": [("mmd_gamma", "mmd_gamma", _power(-1, 1))],
    "MLDG": [("mldg_beta", "mldg_beta", _power(-1, 1)), ("mldg_n_meta_test", "n_meta_test", _one_of(1, 2))],
    "MTL": [("mtl_ema", "mtl_ema", _one_of(0.5, 0.9, 0.99, 1.0))],
    "VREx": [
        ("vrex_lambda", "vrex_lambda", _power(-1, 5)),
        ("vrex_penalty_anneal_iters", "vrex_penalty_anneal_iters", _steps(0, 4)),
    ],
    "Fish": [("fish_meta_lr", "meta_lr", _one_of(0.05, 0.1, 0.5))],
    "Fishr": [
        ("fishr_lambda", "lambda", _power(1, 4)),
        ("fishr_penalty_anneal_iters", "penalty_anneal_iters", lambda r: int(r.uniform(0, 5000))),
        ("fishr_ema", "ema", _share(0.9, 0.99)),
    ],
    "ANDMask": [("andmask_tau", "tau", _share(0.5, 1.0))],
    "SD": [("sd_reg", "sd_reg", _power(-5, -1))],
    "EQRM": [
        ("eqrm_quantile", "eqrm_quantile", _share(0.5, 0.99)),
        ("eqrm_burnin_iters", "eqrm_burnin_iters", _steps(2.5, 3.5)),
        ("eqrm_lr", "eqrm_lr", _power(-7, -5)),
    ],
    "ERMPlusPlus": [("ermpp_linear_lr", "linear_lr", _power(-5, -3.5))],
    # ---
    "SAM": [("sam_rho", "rho", _one_of(0.01, 0.02, 0.05, 0.1))],
    "GSAM": [
        ("sam_rho", "rho", _one_of(0.01, 0.02, 0.05, 0.1)),
        ("gsam_alpha", "alpha", _one_of(0.01, 0.02, 0.05, 0.1)),
    ],
    "SAGM": [
        ("sam_rho", "rho", _one_of(0.01, 0.02, 0.05, 0.1)),
        ("sagm_alpha", "alpha", _one_of(0.01, 0.02, 0.05, 0.1)),
    ],
}

AT_7DF6F06: dict[str, list[tuple[str, str, Draw]]] = {
    **OWN,
    "Mixup": [("mixup_alpha", "mixup_alpha", _power(-1, -1))],
    "MLDG": [("mldg_beta", "mldg_beta", _power(-1, 1))],
}
"""The same file at 7df6f06."""

every_algorithm = pytest.mark.parametrize("algorithm", OWN)


@every_algorithm
@pytest.mark.parametrize("dataset", ["PACS", "RotatedMNIST"])
def test_an_algorithms_own_names_follow_the_shared_ones_in_domainbeds_row(algorithm: str, dataset: str) -> None:
    space = PROTOCOLS["domainbed"].search_space(algorithm, dataset)
    for trial_seed, draw in itertools.product(range(3), range(1, 20)):
        expected = _reference_domainbed(dataset, trial_seed, draw)
        state = np.random.RandomState(_seed_hash(draw, trial_seed))
        state.choice([0.0, 0.1, 0.5])
        state.uniform(size=len(expected) - 1)  # lr, batch size and, of photographs, weight decay
        expected |= {name: of(state) for name, _, of in AT_7DF6F06[algorithm]}
        assert draw_hyperparameters(space, "domainbed", algorithm, dataset, trial_seed, draw) == pytest.approx(expected)


@every_algorithm
def test_domainbed_head_seeds_draws_by_domainbeds_names(algorithm: str) -> None:
    space = PROTOCOLS["domainbed-head"].search_space(algorithm, "PACS")
    for trial_seed, draw in itertools.product(range(3), range(1, 20)):
        seed = _seed_hash(draw, trial_seed)
        expected = _reference_domainbed_head("PACS", trial_seed, draw)
        expected |= {ours: of(np.random.RandomState(_seed_hash(seed, theirs))) for ours, theirs, of in OWN[algorithm]}
        drawn = draw_hyperparameters(space, "domainbed-head", algorithm, "PACS", trial_seed, draw)
        assert drawn == pytest.approx(expected)


def test_fishrs_warm_up_is_that_of_domainbeds_head() -> None:
    space = PROTOCOLS["domainbed-head"].search_space("Fishr", "PACS")
    drawn = draw_hyperparameters(space, "domainbed-head", "Fishr", "PACS", 0, 1)
    assert drawn["fishr_penalty_anneal_iters"] == 4072  # what DomainBed's `random_hparams` returns


def test_mixups_alpha_is_always_a_tenth_at_7df6f06() -> None:
    space = PROTOCOLS["domainbed"].search_space("Mixup", "PACS")
    drawn = [draw_hyperparameters(space, "domainbed", "Mixup", "PACS", 0, draw) for draw in range(1, 20)]
    assert {each["mixup_alpha"] for each in drawn} == {0.1}


@every_sampler
def test_what_two_algorithms_share_is_drawn_alike(sampler: Sampler) -> None:
    def drawn(algorithm: str) -> dict[str, Scalar]:
        space = PROTOCOLS["domainbed"].search_space(algorithm, "PACS")
        return draw_hyperparameters(space, sampler, algorithm, "PACS", 2, 5)

    for one, other in itertools.combinations(map(drawn, ALGORITHMS), 2):
        assert {name: one[name] for name in one if name in other} == {
            name: other[name] for name in other if name in one
        }


def test_arm_searches_no_batch_size_on_photographs() -> None:
    space = PROTOCOLS["domainbed"].search_space("ARM", "PACS")
    expected = _reference_domainbed("PACS", 1, 7)
    del expected["batch_size"]
    assert draw_hyperparameters(space, "domainbed", "ARM", "PACS", 1, 7) == expected


@pytest.mark.parametrize("dataset", ["PACS", "DomainNet", "RotatedMNIST"])
def test_the_space_of_domainbeds_head_gives_the_values_of_its_head(dataset: str) -> None:
    for trial_seed, draw in itertools.product(range(3), range(1, 20)):
        drawn = draw_hyperparameters(domainbed_space(dataset), "domainbed-head", "ERM", dataset, trial_seed, draw)
        assert drawn == _reference_domainbed_head(dataset, trial_seed, draw)


@pytest.mark.parametrize("dataset", ["PACS", "DomainNet", "RotatedMNIST"])
def test_domainbeds_own_space_gives_domainbeds_own_values(dataset: str) -> None:
    for trial_seed, draw in itertools.product(range(3), range(1, 20)):
        drawn = draw_hyperparameters(domainbed_space(dataset), "domainbed", "ERM", dataset, trial_seed, draw)
        assert drawn == _reference_domainbed(dataset, trial_seed, draw)


def test_a_name_fixed_elsewhere_moves_no_other_of_domainbeds_row() -> None:
    space = domainbed_space("PACS")
    for missing in space:
        rest = {name: searched for name, searched in space.items() if name != missing}
        expected = _reference_domainbed("PACS", 1, 7)
        del expected[missing]
        assert draw_hyperparameters(rest, "domainbed", "ERM", "PACS", 1, 7) == expected


def test_a_name_with_another_range_is_drawn_apart_from_domainbeds_row() -> None:
    space = {**domainbed_space("PACS"), "lr": Distribution(loguniform=(1e-4, 1e-2))}
    own = np.random.RandomState(_seed_hash(_seed_hash(7, 1), "lr"))
    expected = {**_reference_domainbed("PACS", 1, 7), "lr": pytest.approx(10 ** own.uniform(-4, -2))}
    assert draw_hyperparameters(space, "domainbed", "ERM", "PACS", 1, 7) == expected


def test_a_name_unknown_to_domainbed_is_drawn_by_its_name() -> None:
    space = {"annealing.num_candidates": Distribution(choice=(4, 8, 16, 32, 64))}
    own = np.random.RandomState(_seed_hash(_seed_hash(2, 0), "annealing.num_candidates"))
    expected = {"annealing.num_candidates": own.choice([4, 8, 16, 32, 64])}
    assert draw_hyperparameters(space, "domainbed", "ERM", "PACS", 0, 2) == expected


@every_sampler
@settings(max_examples=30, deadline=None)
@given(space=spaces, name=st.sampled_from(NAMES), added=distributions, trial_seed=st.integers(0, 99))
def test_adding_or_changing_a_name_moves_no_other(
    sampler: Sampler, space: dict[str, Distribution], name: str, added: Distribution, trial_seed: int
) -> None:
    before = draw_hyperparameters(space, sampler, "ERM", "PACS", trial_seed, 3)
    after = draw_hyperparameters({name: added} | space | {name: added}, sampler, "ERM", "PACS", trial_seed, 3)
    assert after.keys() == {*space, name}
    assert all(after[other] == before[other] for other in space if other != name)


@every_sampler
@settings(max_examples=50, deadline=None)
@given(searched=distributions, trial_seed=st.integers(0, 99), draw=st.integers(1, 99))
def test_a_draw_lies_in_its_range(sampler: Sampler, searched: Distribution, trial_seed: int, draw: int) -> None:
    drawn = draw_hyperparameters({"annealing.radius": searched}, sampler, "ERM", "PACS", trial_seed, draw)
    assert contains(searched, drawn["annealing.radius"])


@every_sampler
def test_values_are_plain_python_scalars(sampler: Sampler) -> None:
    space = {
        "a": Distribution(uniform=(0, 1)),
        "b": Distribution(loguniform=(1e-3, 1)),
        "c": Distribution(integers=(1, 9)),
        "d": Distribution(logintegers=(1, 9)),
        "e": Distribution(choice=(True,)),
        "f": Distribution(choice=(16,)),
        "g": Distribution(choice=("anti",)),
        **domainbed_space("PACS"),
    }
    drawn = draw_hyperparameters(space, sampler, "ERM", "PACS", 0, 1)
    kinds = [float, float, int, int, bool, int, str, float, float, int, float]
    assert [type(value) for value in drawn.values()] == kinds


@every_sampler
def test_a_draw_repeats_and_differs_by_draw_and_trial_seed(sampler: Sampler) -> None:
    space = {"lr": Distribution(loguniform=(1e-5, 1e-1))}
    coordinates = [(seed, draw) for seed in range(3) for draw in range(1, 6)]
    values = [draw_hyperparameters(space, sampler, "ERM", "PACS", *where)["lr"] for where in coordinates]
    assert values == [draw_hyperparameters(space, sampler, "ERM", "PACS", *where)["lr"] for where in coordinates]
    assert len(set(values)) == len(values)


def test_draws_by_name_differ_by_dataset_and_name() -> None:
    searched = Distribution(uniform=(0, 1))
    values = [
        draw_hyperparameters({name: searched}, "by-name", "ERM", dataset, 0, 1)[name]
        for name in ("lr", "weight_decay")
        for dataset in ("PACS", "VLCS")
    ]
    assert len(set(values)) == 4


def _shares(searched: Distribution, edges: list[float]) -> list[float]:
    """Share of 2000 draws in each interval between neighbouring edges."""
    values = [draw_hyperparameters({"x": searched}, "by-name", "ERM", "PACS", seed, 1)["x"] for seed in range(2000)]
    counts, _ = np.histogram([float(value) for value in values], edges)
    return [float(count) / 2000 for count in counts]


@pytest.mark.parametrize(
    ("searched", "edges", "expected"),
    [
        (Distribution(uniform=(0, 4)), [0, 1, 4], [0.25, 0.75]),
        (Distribution(loguniform=(1e-4, 1)), [1e-4, 1e-3, 1], [0.25, 0.75]),
        (Distribution(integers=(1, 4)), [1, 2, 5], [0.25, 0.75]),
        (Distribution(logintegers=(1, 16)), [1, 2, 16], [0.25, 0.75]),
        (Distribution(choice=(1, 2, 2, 2)), [1, 2, 3], [0.25, 0.75]),
    ],
    ids=lambda value: value.kind if isinstance(value, Distribution) else None,
)
def test_a_quarter_of_the_draws_falls_into_a_quarter_of_the_range(
    searched: Distribution, edges: list[float], expected: list[float]
) -> None:
    assert _shares(searched, edges) == pytest.approx(expected, abs=0.03)  # three standard errors


@pytest.mark.parametrize("draw", [0, -1])
def test_the_defaults_are_no_draw(draw: int) -> None:
    with pytest.raises(InputError, match=f"must be at least 1 .*got {draw}"):
        draw_hyperparameters({}, "by-name", "ERM", "PACS", 0, draw)


@pytest.mark.parametrize(
    ("searched", "inside", "outside"),
    [
        (Distribution(uniform=(0.1, 0.5)), [0.1, 0.3, 0.5], [0.0999, 0.5001, float("nan"), "0.3", True]),
        (Distribution(loguniform=(1e-5, 1)), [1e-5, 1e-3, 1, 1.0], [0, 9e-6, 1.01, -1e-3]),
        (Distribution(integers=(2, 4)), [2, 3, 4, 4.0], [1, 5, 2.5, float("inf"), "3", True]),
        (Distribution(logintegers=(8, 2**5.5)), [8, 45, 45.0], [7, 46, 2**5.5, 9.5, float("nan")]),
        (Distribution(logintegers=(8, 32)), [8, 31], [32]),
        (Distribution(logintegers=(2.5, 2.75)), [2], [1, 3, 2.5]),
        (Distribution(logintegers=(8, 8)), [8], [7, 9]),
        (Distribution(choice=(0.0, 0.1, 8)), [0.0, 0, 0.1, 8.0], [0.2, False, "8", float("nan")]),
        (Distribution(choice=(True, "anti")), [True, "anti"], [1, 1.0, False, "loss"]),
    ],
    ids=lambda value: value.kind if isinstance(value, Distribution) else None,
)
def test_a_range_contains_its_ends_and_nothing_beyond(
    searched: Distribution, inside: list[Scalar], outside: list[Scalar]
) -> None:
    assert [value for value in inside if not contains(searched, value)] == []
    assert [value for value in outside if contains(searched, value)] == []


def test_a_grid_is_the_product_of_its_choices_in_the_order_of_the_file() -> None:
    space = {"lr": Distribution(choice=(1e-3, 1e-4)), "annealing.num_candidates": Distribution(choice=(4, 8, 16))}
    expected = [{"lr": lr, "annealing.num_candidates": number} for lr in (1e-3, 1e-4) for number in (4, 8, 16)]
    assert list(grid_points(space)) == expected


def test_a_grid_over_nothing_has_one_empty_point() -> None:
    assert grid_points({}) == ({},)


def test_a_grid_names_every_hyperparameter_that_has_no_list_of_choices() -> None:
    space = {
        "lr": Distribution(loguniform=(1e-5, 1e-3)),
        "dropout": Distribution(choice=(0.0, 0.5)),
        "batch_size": Distribution(integers=(8, 32)),
    }
    with pytest.raises(InputError, match="2 faults") as caught:
        grid_points(space)
    assert [str(fault) for fault in caught.value.faults] == [
        "search_space.lr: must be a choice in a grid, got 'loguniform' (allowed: choice)",
        "search_space.batch_size: must be a choice in a grid, got 'integers' (allowed: choice)",
    ]
