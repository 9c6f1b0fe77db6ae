"""The settings: window, variants, and every fault of bad values."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from gga_sweep.annealing import VARIANTS, AnnealingSettings, GradientNoiseSettings, settings_faults

NUMBERS = {"start_step": 100, "num_steps": 101, "radius": 1e-5, "num_candidates": 250}


def test_the_window_100_101_is_steps_100_to_200() -> None:
    settings = AnnealingSettings(start_step=100, num_steps=101, radius=1e-5, num_candidates=250)
    assert list(settings.steps()) == list(range(100, 201))
    assert [step for step in range(300) if settings.anneals(step)] == list(range(100, 201))


def test_the_variants_are_those_of_the_design() -> None:
    assert {variant: dict(switches) for variant, switches in VARIANTS.items()} == {
        "paper": {
            "direction": "random",
            "origin": "start",
            "perturbs": "all",
            "mask": "step",
            "joint_loss": "mean",
            "loss_reference": "start",
        },
        "released": {
            "direction": "random",
            "origin": "current",
            "perturbs": "featurizer",
            "mask": "forward",
            "joint_loss": "forward",
            "loss_reference": "accepted",
        },
        "guided": {
            "direction": "gradient",
            "origin": "start",
            "perturbs": "all",
            "mask": "step",
            "joint_loss": "mean",
            "loss_reference": "start",
            "num_candidates": 4,
        },
    }


def test_paper_is_the_default() -> None:
    assert AnnealingSettings.of_variant("paper", **NUMBERS) == AnnealingSettings.of_mapping(NUMBERS)


def test_a_variant_can_be_overridden_switch_by_switch() -> None:
    released = AnnealingSettings.of_variant("released", **NUMBERS)
    changed = AnnealingSettings.of_variant("released", **NUMBERS, origin="accepted", objective="anti")
    assert (released.origin, released.objective) == ("current", "alignment")
    assert changed == dataclasses.replace(released, origin="accepted", objective="anti")


def test_guided_tries_four_candidates_unless_told_otherwise() -> None:
    numbers = {name: value for name, value in NUMBERS.items() if name != "num_candidates"}
    assert AnnealingSettings.of_variant("guided", **numbers).num_candidates == 4
    assert AnnealingSettings.of_variant("guided", **numbers, num_candidates=9).num_candidates == 9


def test_settings_cannot_be_changed() -> None:
    settings = AnnealingSettings.of_variant("paper", **NUMBERS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.radius = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start_step", -1),
        ("start_step", 2.0),
        ("start_step", True),
        ("num_steps", 0),
        ("num_candidates", 0),
        ("num_candidates", "8"),
        ("radius", -1e-5),
        ("radius", math.nan),
        ("radius", math.inf),
        ("radius", None),
        ("radius", True),
        ("loss_tolerance", math.nan),
        ("loss_tolerance", "0.1"),
        ("objective", "aligned"),
        ("origin", "begin"),
        ("perturbs", "classifier"),
        ("mask", "run"),
        ("joint_loss", "sum"),
        ("loss_reference", ["start"]),
        ("direction", "uphill"),
        ("domain_gradients", "vmap"),
    ],
)
def test_a_value_outside_its_range_is_refused(field: str, value: object) -> None:
    assert [(fault.field, fault.got) for fault in settings_faults(**{field: value})] == [(field, value)]
    with pytest.raises(ValueError, match=f"{field} must be .*, got {re.escape(repr(value))}"):
        AnnealingSettings.of_mapping({**NUMBERS, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("start_step", 0), ("num_steps", 1), ("num_candidates", 1), ("radius", 0), ("radius", 0.5)]
    + [("loss_tolerance", value) for value in (-math.inf, -1, 0.0, math.inf)],
)
def test_a_value_at_the_edge_of_its_range_is_taken(field: str, value: float) -> None:
    assert settings_faults(**{field: value}) == []
    assert getattr(AnnealingSettings.of_mapping({**NUMBERS, field: value}), field) == value


def test_choices_are_listed_with_the_fault() -> None:
    (fault,) = settings_faults(origin="begin")
    assert fault.allowed == ("start", "current", "accepted")
    assert str(fault) == "origin must be one of the choices, got 'begin' (allowed: start, current, accepted)"


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"radius .* got -1; .*rho .* got 3.*; num_steps must be given") as caught:
        AnnealingSettings.of_mapping({"start_step": 0, "num_candidates": 1, "radius": -1, "rho": 3})
    assert str(caught.value).count(" got ") == 3


def test_an_unknown_variant_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match=r"got 'guide' \(allowed: paper, released, guided\)"):
        AnnealingSettings.of_variant("guide", **NUMBERS)


@pytest.mark.parametrize("origin", ["current", "accepted"])
def test_a_search_along_the_gradient_begins_at_the_start(origin: str) -> None:
    rule = r"origin must be start where direction is gradient, got '{}' \(allowed: start\)"
    with pytest.raises(ValueError, match=rule.format(origin)):
        AnnealingSettings.of_variant("guided", **NUMBERS, origin=origin)
    with pytest.raises(ValueError, match=rule.format("current")):
        AnnealingSettings.of_variant("released", **NUMBERS, direction="gradient")
    assert AnnealingSettings.of_variant("paper", **NUMBERS, origin=origin).origin == origin


def test_the_noise_is_the_releases_by_default() -> None:
    noise = GradientNoiseSettings()
    assert (noise.gamma, noise.noise, noise.alpha) == (1e-3, "gaussian", "adaptive")
    assert GradientNoiseSettings.of_mapping({}) == noise


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gamma", -1e-9),
        ("gamma", math.inf),
        ("gamma", math.nan),
        ("gamma", "1e-3"),
        ("gamma", True),
        ("noise", "laplace"),
        ("alpha", 0.5),
        ("domain_gradients", None),
        ("radius", 1e-5),  # of the search
    ],
)
def test_a_noise_outside_its_range_is_refused(field: str, value: object) -> None:
    assert [(fault.field, fault.got) for fault in settings_faults(GradientNoiseSettings, **{field: value})] == [
        (field, value)
    ]
    with pytest.raises(ValueError, match=f"{field} must be .*, got {re.escape(repr(value))}"):
        GradientNoiseSettings.of_mapping({field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("gamma", 0), ("gamma", 2.5), ("alpha", "constant"), ("domain_gradients", "layerwise")]
    + [("noise", noise) for noise in ("gaussian", "uniform", "uniform-centred")],
)
def test_a_noise_within_its_range_is_taken(field: str, value: object) -> None:
    assert getattr(GradientNoiseSettings.of_mapping({field: value}), field) == value


def test_all_faults_of_a_noise_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"gamma .* got -1; noise .* got 'no'.*; alpha .* got 1"):
        GradientNoiseSettings(gamma=-1, noise="no", alpha=1)  # type: ignore[arg-type]
