"""The options of both methods: defaults, variants, every fault of bad values, keys, and their table in the docs."""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gga_sweep.annealing import GGA, GGAL, METHODS, VARIANTS, option_faults
from gga_sweep.annealing.options import OptionValue, decode, encode, options_of
from gga_sweep.annealing.options_as_markdown import option_table

DOCS = Path(__file__).parents[2] / "docs" / "annealing.md"


def test_the_defaults_are_the_papers_and_the_releases() -> None:
    assert encode(GGA()) == {
        "method": "gga",
        "start_step": 100,
        "num_steps": 101,
        "radius": 1e-5,
        "num_candidates": 250,
        "loss_tolerance": 0.1,
        "loss_gate": "absolute",
        "objective": "alignment",
        "direction": "random",
        "origin": "start",
        "perturbs": "all",
        "mask": "step",
        "joint_loss": "mean",
        "loss_reference": "start",
        "diagnose_every": 1,
        "domain_gradients": "loop",
        "cuda_graph": False,
    }
    assert encode(GGAL()) == {
        "method": "gga-l",
        "gamma": 1e-3,
        "noise": "gaussian",
        "alpha": "adaptive",
        "domain_gradients": "loop",
    }


def test_a_variant_differs_from_paper_in_what_the_design_says() -> None:
    assert VARIANTS == {
        "paper": {},
        "paper-chained": {"origin": "accepted"},
        "released": {
            "origin": "current",
            "perturbs": "featurizer",
            "mask": "forward",
            "joint_loss": "forward",
            "loss_reference": "accepted",
        },
        "guided": {"direction": "gradient", "num_candidates": 4},
    }
    assert GGA.of_variant("paper", radius=0.5) == GGA(radius=0.5)
    assert GGA.of_variant("released", origin="accepted") == GGA(**{**VARIANTS["released"], "origin": "accepted"})  # type: ignore[arg-type]


def test_an_annealing_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GGA().radius = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("trained", "window", "steps"),
    [(300, range(100, 201), range(100, 201)), (150, range(100, 201), range(100, 150)), (50, range(100, 201), range(0))],
)
def test_the_default_window_is_steps_100_to_200(trained: int, window: range, steps: range) -> None:
    assert GGA().window == window
    assert GGA().steps(trained) == steps
    assert list(GGAL().steps(trained)) == list(range(trained))
    assert not GGAL().window


def test_up_to_cuts_the_window_at_a_step() -> None:
    assert GGA().up_to(100) is None
    assert GGA().up_to(101) == GGA(num_steps=1)
    assert GGA().up_to(999) == GGA()
    assert GGAL().up_to(1) == GGAL()


BAD: list[tuple[str, str, object]] = [
    *(("gga", "start_step", value) for value in (-1, 2.0, True)),
    ("gga", "num_steps", 0),
    *(("gga", "num_candidates", value) for value in (0, "8")),
    *(("gga", "radius", value) for value in (-1e-5, math.nan, math.inf, None, True)),
    *(("gga", "loss_tolerance", value) for value in (math.nan, "0.1")),
    ("gga", "objective", "aligned"),
    ("gga", "loss_reference", ["start"]),
    ("gga", "cuda_graph", 1),
    ("gga", "gamma", 1e-3),
    *(("gga-l", "gamma", value) for value in (-1e-9, math.inf, math.nan, "1e-3", True)),
    ("gga-l", "noise", "laplace"),
    ("gga-l", "alpha", 0.5),
    ("gga-l", "domain_gradients", None),
    ("gga-l", "radius", 1e-5),
]


@pytest.mark.parametrize(("method", "name", "value"), BAD)
def test_a_value_outside_its_range_is_a_fault(method: str, name: str, value: object) -> None:
    assert [(fault.field, fault.got) for fault in option_faults(METHODS[method], {name: value})] == [(name, value)]
    with pytest.raises(ValueError, match=f"{name} must be .*, got {re.escape(repr(value))}"):
        decode({"method": method, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("start_step", 0), ("num_steps", 1), ("num_candidates", 1), ("radius", 0), ("radius", 0.5)]
    + [("loss_tolerance", value) for value in (-math.inf, -1, 0.0, math.inf)]
    + [(name, choice) for name, option in options_of(GGA).items() for choice in option.choices if name != "direction"],
)
def test_a_value_at_the_edge_of_its_range_is_allowed(name: str, value: OptionValue) -> None:
    assert getattr(GGA.of_mapping({name: value}), name) == value


def test_whole_numbers_become_floats_where_the_option_is_one() -> None:
    assert repr(GGA(radius=1).radius) == "1.0"
    assert repr(GGA(start_step=1).start_step) == "1"


def test_a_fault_lists_the_choices() -> None:
    (fault,) = option_faults(GGA, {"origin": "begin"})
    assert str(fault) == "origin must be one of the choices, got 'begin' (allowed: start, current, accepted)"


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"radius .* got -1; .*rho .* got 3"):
        GGA.of_mapping({"start_step": 0, "radius": -1, "rho": 3})
    with pytest.raises(ValueError, match=r"gamma .* got -1; noise .* got 'no'.*; alpha .* got 1"):
        GGAL(gamma=-1, noise="no", alpha=1)  # type: ignore[arg-type]


def test_an_unknown_variant_or_method_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match=r"got 'guide' \(allowed: paper, paper-chained, released, guided\)"):
        GGA.of_variant("guide")
    with pytest.raises(ValueError, match=r"method must be known, got \[\] \(allowed: gga, gga-l\)"):
        decode({"method": []})


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"direction": "gradient", "origin": "current"}, "origin must be start where direction is gradient"),
        ({"cuda_graph": True, "direction": "gradient"}, "direction must be random where cuda_graph is true"),
        ({"cuda_graph": True, "mask": "forward"}, "mask must be step where cuda_graph is true"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(options: dict[str, OptionValue], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        GGA.of_mapping(options)


def _values(method: str) -> st.SearchStrategy[dict[str, OptionValue]]:
    """Options that fit by themselves, and together where nothing asks for more."""
    found: dict[str, st.SearchStrategy[OptionValue]] = {}
    for name, option in options_of(METHODS[method]).items():
        if option.choices:
            found[name] = st.sampled_from(option.choices)
        elif option.type is bool:
            found[name] = st.booleans()
        else:
            found[name] = st.integers(option.least or 0, 1000) if option.type is int else st.floats(0, 1)
    return st.fixed_dictionaries({}, optional=found)


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
def test_encode_and_pickle_preserve_an_annealing(method: str, data: st.DataObject) -> None:
    values = data.draw(_values(method).filter(lambda values: not option_faults(METHODS[method], values)))
    annealing = METHODS[method].of_mapping(values)
    assert decode(encode(annealing)) == annealing == pickle.loads(pickle.dumps(annealing))


def test_a_key_leaves_out_neutral_values_and_what_decides_no_number() -> None:
    left_out = {
        "loss_gate": "absolute",
        "objective": "alignment",
        "direction": "random",
        "diagnose_every": 1,
        "cuda_graph": False,
    }
    values = encode(GGA(domain_gradients="layerwise"))
    del values["method"]
    key = GGA(domain_gradients="layerwise").in_key()
    assert key == {name: value for name, value in values.items() if name not in left_out}
    assert GGA(cuda_graph=True, domain_gradients="layerwise").in_key() == key
    assert GGA(objective="anti").in_key()["objective"] == "anti"
    assert GGAL().in_key() == encode(GGAL())
    assert GGAL(alpha="constant", domain_gradients="layerwise").in_key() == {
        "method": "gga-l",
        "gamma": 1e-3,
        "noise": "gaussian",
        "alpha": "constant",
    }


def test_the_docs_hold_the_table_of_options() -> None:
    assert option_table() in DOCS.read_text(encoding="utf-8")
