"""The JSON schema of sweep files, against a validator of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gga_sweep.spec.schema import schema_text, sweep_schema
from gga_sweep.spec.sweep_file import shipped_sweeps

SCHEMA = Path(__file__).parents[2] / "search_spaces" / "sweep.schema.json"


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(sweep_schema())
    return Draft202012Validator(sweep_schema())


def faults(validator: Draft202012Validator, content: object) -> list[str]:
    return [error.json_path for error in validator.iter_errors(content)]


def test_the_shipped_schema_is_that_of_the_package() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("file", shipped_sweeps().values(), ids=lambda file: file.stem)
def test_every_shipped_file_is_valid_and_names_the_schema(validator: Draft202012Validator, file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert faults(validator, yaml.safe_load(text)) == []
    assert "# yaml-language-server: $schema=sweep.schema.json\n" in text


def test_what_a_sweep_file_may_write_in_short_is_valid(validator: Draft202012Validator) -> None:
    short = {"name": "a", "dataset": {"name": "RotatedDigits"}, "arms": [{}], "test_domains": [75, ["0", 15]]}
    assert faults(validator, {**short, "training": {"averaging": "swad"}, "resources": {"gpus": "auto"}}) == []


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"traning": {}}, "$"),
        ({"draws": 0}, "$.draws"),
        ({"draws": "three"}, "$.draws"),
        ({"protocol": "domainbad"}, "$.protocol"),
        ({"test_domains": []}, "$.test_domains"),
        ({"arms": [{"algoritm": "ERM"}]}, "$.arms[0]"),
        ({"training": {"holdout": 1}}, "$.training.holdout"),
        ({"search": "tpee"}, "$.search"),
    ],
)
def test_a_fault_is_found_where_it_is(validator: Draft202012Validator, changes: dict[str, Any], place: str) -> None:
    content = {"name": "a", "dataset": {"name": "RotatedDigits"}, "arms": [{"algorithm": "ERM"}], **changes}
    assert faults(validator, content) == [place]


def test_fields_and_options_have_their_meanings() -> None:
    schema = sweep_schema()
    training, annealing = (schema["$defs"][name]["properties"] for name in ("TrainingConfig", "AnnealingConfig"))
    assert training["steps"]["description"] == "optimiser steps, numbered 0 .. steps - 1."
    assert annealing["radius"]["type"] == "number"
    assert "description" in annealing["radius"]
    assert "minimum" in annealing["num_candidates"]
