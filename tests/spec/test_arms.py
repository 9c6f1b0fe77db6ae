"""Arms: names, baselines, and which of many places decides a value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweep_content import GGA, GGA_L, content

from gga_sweep import annealing
from gga_sweep.algorithms import ALGORITHMS, TRAINING_HYPERPARAMETERS
from gga_sweep.records import Scalar
from gga_sweep.spec import Arm, SweepSpec, load
from gga_sweep.spec.arm_values import Values, arm_values, searched_space
from gga_sweep.spec.loading import complete
from gga_sweep.spec.models import SweepConfig
from gga_sweep.spec.protocols import QUICK


def sweep_of(*blocks: dict[str, Any], **changes: Any) -> SweepSpec:
    """Completed by its protocol, not checked."""
    return complete(SweepConfig.model_validate(content(arms=list(blocks), **changes)), "a test", Path("nowhere"), None)


def arms_of(*blocks: dict[str, Any], **changes: Any) -> tuple[Arm, ...]:
    return sweep_of(*blocks, **changes).arms


def values_of(sweep: SweepSpec, drawn: dict[str, Scalar] | None = None) -> Values:
    """Of its first arm."""
    return arm_values(sweep, sweep.arms[0], drawn or {})


@pytest.mark.parametrize(
    ("block", "names"),
    [
        ({}, ["ERM"]),
        (GGA, ["ERM + GGA"]),
        ({"annealing": {"variant": "paper"}}, ["ERM + GGA"]),
        ({"annealing": {"variant": "released"}}, ["ERM + GGA released"]),
        ({"annealing": {"variant": "paper-chained"}}, ["ERM + GGA paper-chained"]),
        ({"annealing": {"variant": "guided"}}, ["ERM + GGA guided"]),
        ({"annealing": {"variant": "guided", "num_candidates": 2}}, ["ERM + GGA guided, num candidates 2"]),
        (GGA_L, ["ERM + GGA-L"]),
        (
            {"annealing": {"method": "gga-l", "gamma": 1e-2, "noise": "uniform"}},
            ["ERM + GGA-L, gamma 0.01, noise uniform"],
        ),
        (
            {**GGA_L, "vary": {"annealing.alpha": ["adaptive", "constant"]}},
            ["ERM + GGA-L, alpha adaptive", "ERM + GGA-L, alpha constant"],
        ),
        ({"annealing": {"objective": "anti", "radius": 1e-5}}, ["ERM + GGA, radius 1e-5, objective anti"]),
        ({"name": "mine", "annealing": {"objective": "anti"}}, ["mine"]),
        (
            {**GGA, "vary": {"annealing.radius": [1e-5, 2.5e-4, 0.5, 0, 3.0]}},
            [f"ERM + GGA, radius {value}" for value in ("1e-5", "2.5e-4", "0.5", "0", "3")],
        ),
        (
            {"vary": {"lr": [1e-3], "batch_size": [8, 16]}},
            ["ERM, lr 1e-3, batch size 8", "ERM, lr 1e-3, batch size 16"],
        ),
        ({"name": "mine", "vary": {"dropout": [0.1, 0.5]}}, ["mine, dropout 0.1", "mine, dropout 0.5"]),
        ({**GGA, "vary": {"annealing.mask": ["step", "forward"]}}, ["ERM + GGA, mask step", "ERM + GGA, mask forward"]),
    ],
)
def test_an_arms_name_states_its_algorithm_and_annealing(block: dict[str, Any], names: list[str]) -> None:
    assert [arm.name for arm in arms_of(block)] == names


def test_factors_are_multiplied_out_the_last_varying_fastest() -> None:
    arms = arms_of({}, {**GGA, "vary": {"annealing.radius": [1e-5, 1e-4], "lr": [1e-3, 1e-2]}})
    assert [arm.factors for arm in arms] == [
        {},
        *({"annealing.radius": radius, "lr": lr} for radius in (1e-5, 1e-4) for lr in (1e-3, 1e-2)),
    ]
    assert [arm.index for arm in arms] == [0, 1, 1, 1, 1]


def test_an_arm_has_its_own_draws_or_the_sweeps() -> None:
    assert [arm.draws for arm in arms_of({}, {"name": "b", "draws": 7}, draws=3)] == [3, 7]


@pytest.mark.parametrize(
    ("blocks", "baselines"),
    [
        ([{}], {"ERM": None}),
        ([{}, GGA], {"ERM": None, "ERM + GGA": "ERM"}),
        ([GGA, GGA_L, {}], {"ERM + GGA": "ERM", "ERM + GGA-L": "ERM", "ERM": "ERM + GGA"}),
        ([GGA, {"name": "GGA 2", "annealing": {"radius": 1}}], {"ERM + GGA": None, "GGA 2": "ERM + GGA"}),
        ([{"name": "a"}, {"name": "b"}, {"name": "c", "annealing": {}}], {"a": None, "b": "a", "c": "a"}),
        (
            [{"name": "a"}, {"name": "b", "annealing": {}}, {"name": "c", "baseline": "b"}],
            {"a": None, "b": "a", "c": "b"},
        ),
        (
            [{"vary": {"lr": [1e-3, 1e-2]}}, GGA],
            {"ERM, lr 1e-3": None, "ERM, lr 0.01": "ERM, lr 1e-3", "ERM + GGA": "ERM, lr 1e-3"},
        ),
        (  # each on its own network
            [
                {"vary": {"training.network": ["small-cnn", "resnet18"]}},
                {"algorithm": "CORAL", "vary": {"training.network": ["small-cnn", "resnet18"]}},
                {**GGA, "vary": {"training.network": ["small-cnn", "resnet18"], "annealing.radius": [0.5]}},
            ],
            {
                "ERM, network small-cnn": None,
                "ERM, network resnet18": "ERM, network small-cnn",
                "CORAL, network small-cnn": "ERM, network small-cnn",
                "CORAL, network resnet18": "ERM, network resnet18",
                "ERM + GGA, network small-cnn, radius 0.5": "ERM, network small-cnn",
                "ERM + GGA, network resnet18, radius 0.5": "ERM, network resnet18",
            },
        ),
    ],
)
def test_the_baseline_is_the_named_arm_else_the_plain_one_else_the_first(
    blocks: list[dict[str, Any]], baselines: dict[str, str | None]
) -> None:
    assert {arm.name: arm.baseline for arm in arms_of(*blocks)} == baselines


def test_an_annealed_arms_baseline_has_its_algorithm() -> None:
    arms = arms_of({"algorithm": "CORAL"}, {"algorithm": "ERM"}, GGA, {"algorithm": "CORAL", "annealing": {}})
    assert {arm.name: arm.baseline for arm in arms} == {
        "CORAL": None,
        "ERM": "CORAL",
        "ERM + GGA": "ERM",
        "CORAL + GGA": "CORAL",
    }


def test_an_arm_has_hyperparameters_of_its_algorithm_and_annealing() -> None:
    plain, searching, noisy = arms_of({}, GGA, GGA_L)
    own = ("lr", "batch_size", "weight_decay", "dropout")
    assert plain.hyperparameters == own
    for arm, values in ((searching, annealing.GGA().values()), (noisy, annealing.GGAL().values())):
        assert arm.hyperparameters == (*own, *(f"annealing.{name}" for name in values))


def test_a_name_of_one_method_does_not_apply_to_the_other() -> None:
    space = {"annealing.radius": {"uniform": [0, 1]}, "annealing.gamma": {"uniform": [0, 1]}}
    defaults = {"annealing.radius": 0.5, "annealing.gamma": 0.25, "annealing.domain_gradients": "loop"}
    sweep = sweep_of(GGA, GGA_L, search_space=space, defaults=defaults, protocol="gga-paper")
    searching, noisy = sweep.arms
    assert list(searched_space(sweep, searching)) == ["annealing.radius"]
    assert list(searched_space(sweep, noisy)) == ["annealing.gamma"]
    assert arm_values(sweep, searching, {}).annealing["radius"] == 0.5
    assert arm_values(sweep, noisy, {}).annealing == {
        "gamma": 0.25,
        "noise": "gaussian",
        "alpha": "adaptive",
        "domain_gradients": "loop",
    }


LAYERS: dict[str, tuple[Scalar, str]] = {
    "factor": (1.0, "arms[0].vary.annealing.radius"),
    "block": (2.0, "arms[0].annealing.radius"),
    "draw": (3.0, "search_space.annealing.radius"),
    "defaults": (4.0, "defaults.annealing.radius"),
    "protocol": (5.0, "protocol quick, default annealing.radius"),
    "registry": (1e-5, "default annealing.radius"),
}


@pytest.mark.parametrize("highest", range(len(LAYERS)))
def test_each_place_wins_over_the_next(highest: int) -> None:
    given = list(LAYERS)[highest:]
    block: dict[str, Any] = {"annealing": {"radius": 2.0} if "block" in given else {}}
    if "factor" in given:
        block["vary"] = {"annealing.radius": [1.0]}
    sweep = sweep_of(block, defaults={"annealing.radius": 4.0} if "defaults" in given else {})
    at_protocol = {"annealing.radius": 5.0} if "protocol" in given else {}
    sweep = replace(sweep, protocol=replace(QUICK, defaults=lambda algorithm, dataset: at_protocol))

    values = values_of(sweep, {"annealing.radius": 3.0} if "draw" in given else {})

    expected, origin = LAYERS[given[0]]
    assert values.values["annealing.radius"] == values.annealing["radius"] == expected
    assert values.origins["annealing.radius"] == origin


def test_a_variant_decides_where_the_file_does_not() -> None:
    def mask(defaults: dict[str, Any], **block: Any) -> tuple[Scalar, str]:
        found = values_of(sweep_of({"annealing": block}, defaults=defaults))
        return found.annealing["mask"], found.origins["annealing.mask"]

    assert mask({}, variant="paper") == ("step", "default annealing.mask")
    assert mask({}, variant="released") == ("forward", "variant, annealing.mask")
    assert mask({"annealing.mask": "step"}, variant="released") == ("step", "defaults.annealing.mask")
    assert mask({}, variant="released", mask="step") == ("step", "arms[0].annealing.mask")


@pytest.mark.parametrize(
    ("block", "defaults", "drawn", "num_candidates"),
    [
        ({}, {}, {}, 250),
        ({"variant": "guided"}, {}, {}, 4),
        ({"variant": "guided"}, {"annealing.num_candidates": 6}, {}, 6),
        ({"variant": "guided"}, {"annealing.num_candidates": 6}, {"annealing.num_candidates": 7}, 7),
        ({"variant": "guided", "num_candidates": 8}, {}, {"annealing.num_candidates": 7}, 8),
    ],
)
def test_guided_tries_four_candidates_unless_the_file_says_otherwise(
    block: dict[str, Any], defaults: dict[str, Scalar], drawn: dict[str, Scalar], num_candidates: int
) -> None:
    sweep = sweep_of({"annealing": block}, defaults=defaults, protocol="gga-paper")
    assert values_of(sweep, drawn).annealing["num_candidates"] == num_candidates


def test_the_registrys_defaults_come_last() -> None:
    values = values_of(sweep_of(GGA))
    assert values.training == {name: item.default for name, item in TRAINING_HYPERPARAMETERS.items()}
    assert values.annealing == annealing.GGA().values()


def test_the_defaults_of_the_noise_are_those_of_its_settings() -> None:
    values = values_of(sweep_of(GGA_L, training={"network": "my_package:my_network"}))
    assert values.annealing == annealing.GGAL().values()


@pytest.mark.parametrize("block", [GGA, GGA_L])
@pytest.mark.parametrize(
    ("training", "batch_size", "gpus", "by_rule"),
    [
        ({}, 16, 0, "layerwise"),
        ({}, 32, 0, "loop"),
        ({}, 16, 1, "loop"),
        ({"network": "resnet18"}, 16, 0, "layerwise"),
        ({"network": "resnet18", "freeze_batch_norm": False}, 16, 0, "loop"),
        ({"network": "my_package:my_network"}, 16, 0, "loop"),
    ],
)
def test_domain_gradients_follow_network_batch_and_device_by_default(
    block: dict[str, Any], training: dict[str, Any], batch_size: int, gpus: int, by_rule: str
) -> None:
    def value(arm: dict[str, Any] = block, **defaults: Scalar) -> tuple[Scalar, str]:
        given = {"batch_size": batch_size, **defaults}
        values = values_of(sweep_of(arm, training=training, resources={"gpus": gpus}, defaults=given))
        return values.annealing["domain_gradients"], values.origins["annealing.domain_gradients"]

    other = {"loop": "layerwise", "layerwise": "loop"}[by_rule]
    assert value() == (by_rule, "rule, annealing.domain_gradients")
    assert value(**{"annealing.domain_gradients": other}) == (other, "defaults.annealing.domain_gradients")
    set_in_block = {"annealing": {**block["annealing"], "domain_gradients": other}}
    assert value(set_in_block) == (other, "arms[0].annealing.domain_gradients")


@pytest.mark.parametrize(("dataset", "by_rule"), [("RotatedDigits", "layerwise"), ("ColoredDigits", "loop")])
def test_domain_gradients_follow_the_domains_of_the_dataset_and_not_those_held_out(dataset: str, by_rule: str) -> None:
    """Six domains, and three."""
    of_dataset: dict[str, Any] = {"dataset": {"name": dataset}, "defaults": {"batch_size": 8}}
    names = sweep_of(GGA, **of_dataset).dataset.domain_names
    for test_domains in ("all", [list(names[:1])]):
        sweep = sweep_of(GGA, test_domains=test_domains, **of_dataset)
        assert values_of(sweep).annealing["domain_gradients"] == by_rule


@pytest.mark.parametrize("method", ["gga", "gga-l"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithms_that_mix_domains_in_a_forward_use_the_loop(algorithm: str, method: str) -> None:
    sweep = sweep_of({"algorithm": algorithm, "annealing": {"method": method}}, defaults={"batch_size": 8})
    assert values_of(sweep).annealing["domain_gradients"] == ("loop" if algorithm in {"ARM", "MTL"} else "layerwise")


def test_a_protocol_searches_by_algorithm() -> None:
    blocks = [{"algorithm": name} for name in ("ERM", "IRM", "ARM")]
    sweep = load(content(protocol="domainbed", dataset={"name": "PACS"}, arms=blocks))
    shared = ["dropout", "lr", "batch_size", "weight_decay"]
    assert [list(searched_space(sweep, arm)) for arm in sweep.arms] == [
        shared,
        [*shared, "irm_lambda", "irm_penalty_anneal_iters"],
        ["dropout", "lr", "weight_decay"],
    ]
    assert arm_values(sweep, sweep.arms[2], {}).values["batch_size"] == 8


def test_what_an_arm_lacks_or_fixes_is_not_searched_in_it() -> None:
    space = {"lr": {"uniform": [1e-3, 1e-2]}, "annealing.radius": {"uniform": [0, 1]}}
    fixed = {"annealing": {"radius": 1}}
    varied = [{**GGA, "vary": {"lr": [1e-3]}}, {**GGA, "vary": {"annealing.radius": [1], "lr": [1e-3]}}]
    sweep = sweep_of({}, GGA, fixed, *varied, search_space=space)
    assert [list(searched_space(sweep, arm)) for arm in sweep.arms] == [
        ["lr"],
        ["lr", "annealing.radius"],
        ["lr"],
        ["annealing.radius"],
        [],
    ]


def test_a_file_without_search_space_takes_the_protocols() -> None:
    of_protocol = load(content(protocol="domainbed", dataset={"name": "PACS"}))
    assert list(searched_space(of_protocol, of_protocol.arms[0])) == [
        "dropout",
        "lr",
        "batch_size",
        "weight_decay",
    ]
    own = load(content(protocol="domainbed", dataset={"name": "PACS"}, search_space={"lr": {"choice": [1e-4, 5e-5]}}))
    assert list(searched_space(own, own.arms[0])) == ["lr"]


def test_random_weights_override_those_of_a_protocol() -> None:
    content = {
        "name": "scratch",
        "dataset": {"name": "PACS"},
        "protocol": "domainbed",
        "arms": [{"algorithm": "ERM"}],
        "training": {"weights": "random", "network": "small-cnn"},
    }
    sweep = load(content)
    assert sweep.training.weights is None
    assert any(deviation.startswith("weights is random") for deviation in sweep.deviations)
