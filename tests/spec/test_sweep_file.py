"""Reading a sweep file: numbers as people write them, assignments on top, the shipped ones by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from sweep_content import GGA, content

from gga_sweep.spec.models import SweepConfig
from gga_sweep.spec.sweep_file import override, read_sweep_file, shipped_sweeps, validate


def read(tmp_path: Path, text: str) -> dict[str, Any]:
    file = tmp_path / "sweep.yaml"
    file.write_text(text, encoding="utf-8")
    raw, source = read_sweep_file(file)
    assert source == str(file)
    return raw


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E-5", 1e-5),
        ("1.0e-5", 1e-5),
        ("1.e5", 1e5),
        (".5e1", 5.0),
        ("-3e-4", -3e-4),
        ("+3e4", 3e4),
        ("2e+3", 2e3),
        ("0.001", 1e-3),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("16", 16),
        ("'1e-5'", "1e-5"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("1e-5x", "1e-5x"),
        ("true", True),
    ],
)
def test_a_number_is_read_as_people_write_it(tmp_path: Path, text: str, value: object) -> None:
    got = read(tmp_path, f"lr: {text}")["lr"]
    assert (got, type(got)) == (value, type(value))


def test_a_file_is_read_as_utf8(tmp_path: Path) -> None:
    assert read(tmp_path, "dataset: {name: größer}") == {"dataset": {"name": "größer"}}


def test_a_mapping_is_copied(tmp_path: Path) -> None:
    given = content()
    raw, source = read_sweep_file(given)
    raw["arms"][0]["algorithm"] = "other"
    assert given == content()
    assert source == "the given mapping"


def test_a_shipped_file_is_found_by_its_name_and_a_file_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw, source = read_sweep_file("demo")
    assert raw["name"] == "demo"
    assert source == str(shipped_sweeps()["demo"])
    Path("demo").write_text("name: mine")
    assert read_sweep_file("demo") == ({"name": "mine"}, "demo")


@pytest.mark.parametrize(
    ("assignment", "changed"),
    [
        ("draws=4", {"draws": 4}),
        ("training.steps=100", {"training": {"steps": 100, "threads": 1}}),
        ("training.holdout=1e-1", {"training": {"threads": 1, "holdout": 0.1}}),
        ("dataset.root=./data/a=b", {"dataset": {"name": "RotatedDigits", "root": "./data/a=b"}}),
        ("defaults.annealing.radius=1e-4", {"defaults": {"lr": 1e-3, "annealing.radius": 1e-4}}),
        ("defaults.lr=1e-2", {"defaults": {"lr": 1e-2}}),
        ("defaults={dropout: 0.5}", {"defaults": {"dropout": 0.5}}),
        ("search_space.annealing.radius={choice: [1e-4]}", {"search_space": {"annealing.radius": {"choice": [1e-4]}}}),
        ("arms[1].draws=3", {"arms": [{"algorithm": "ERM"}, {**GGA, "draws": 3}]}),
        ("arms.1.draws=3", {"arms": [{"algorithm": "ERM"}, {**GGA, "draws": 3}]}),
        (
            "arms[1].annealing.variant=released",
            {"arms": [{"algorithm": "ERM"}, {**GGA, "annealing": {"method": "gga", "variant": "released"}}]},
        ),
        (
            "arms[1].vary.annealing.radius=[1e-5, 1e-4]",
            {"arms": [{"algorithm": "ERM"}, {**GGA, "vary": {"annealing.radius": [1e-5, 1e-4]}}]},
        ),
        ("test_domains=[0, 75]", {"test_domains": [0, 75]}),
        ("name = other ", {"name": "other"}),
    ],
)
def test_an_assignment_changes_one_field(assignment: str, changed: dict[str, Any]) -> None:
    before = content(arms=[{"algorithm": "ERM"}, GGA], defaults={"lr": 1e-3}, training={"threads": 1})
    assert override(before, [assignment]) == {**before, **changed}


def test_assignments_apply_in_order_and_change_no_input() -> None:
    before = content()
    after = override(before, ["draws=2", "training.steps=10", "draws=3", "training.steps=20"])
    assert (after["draws"], after["training"]) == (3, {"steps": 20})
    assert before == content()


def test_a_faultless_file_is_typed_and_has_no_faults() -> None:
    config, faults = validate(content(draws=2))
    assert config == SweepConfig.model_validate(content(draws=2))
    assert faults == []


def test_faulty_fields_are_left_out_and_the_rest_is_typed() -> None:
    given = content(
        name="a/b",
        draws=0,
        trial_seeds=[5, -1, -2],
        arms=[{"vary": {"lr": [[1]], "dropout": [0.5]}, "drows": 2}],
        training={"steps": 7, "epochs": 1},
    )
    config, faults = validate(given)
    assert config is not None
    assert (config.name, config.draws, config.trial_seeds) == ("unnamed", 1, (0, 1, 2))
    assert config.arms[0].vary == {"dropout": [0.5]}
    assert config.training.steps == 7
    assert len(faults) == 7
    assert given["draws"] == 0


def test_nothing_is_typed_where_too_little_is_left() -> None:
    config, faults = validate({"name": "a", "arms": [{}], "draws": 0})
    assert config is None
    assert [fault.field for fault in faults] == ["dataset", "draws"]
