"""Values of a sweep file are read as they are written, and written so that they are read back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gga_sweep.spec.yaml_text import parse_yaml, write_yaml

NAMES = ["046", "08", "1_000", "1:30", "0x10", "0o17", "0b11", "+5", "-0", "on", "off", "yes", "No", "y", "2001-01-01"]
NAMES += ["1e", "e5", "1.2.3", "12:30:45.5", "=", "<<", "1e+", "--1", "½"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_as_it_is_written(name: str) -> None:
    assert parse_yaml(f"[{name}]") == [name]
    assert parse_yaml(f"{name}: {name}") == {name: name}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0", 0), ("75", 75), ("-3", -3), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e-3", 1e-3), ("1E5", 1e5)),
        *(("+1.5e+2", 150.0), ("-.inf", -math.inf), ("1.0e-05", 1e-5), ("true", True), ("False", False), ("~", None)),
        *(("null", None), ("", None), ("!!int 0x10", 16), ("!!str 75", "75"), ("'75'", "75")),
    ],
)
def test_numbers_truth_and_nothing_are_read(text: str, value: object) -> None:
    assert parse_yaml(text) == value
    assert type(parse_yaml(text)) is type(value)


def test_not_a_number_is_read() -> None:
    assert math.isnan(parse_yaml(".nan"))  # type: ignore[arg-type]


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from([*NAMES, "1e5", ".5"])
)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)


@given(st.recursive(scalars | words, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=8))
def test_what_is_written_is_read_back_here_and_elsewhere(content: Any) -> None:
    assert parse_yaml(write_yaml(content)) == content
    assert yaml.safe_load(write_yaml(content)) == content
