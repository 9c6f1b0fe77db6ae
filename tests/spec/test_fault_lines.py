"""Faults of a sweep file name its lines, and what may have been meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gga_sweep.errors import Fault, InputError
from gga_sweep.spec import load
from gga_sweep.spec.fault_lines import line_of, with_lines

TEXT = """\
name: bad
dataset: {name: RotatedDigits}
arms:
  - {algorithm: ERM}
  - algorithm: EMR
    annealing:
      radius: -1
    vary: {annealing.num_steps: [3,
      -1]}
trial_sedes: [0]
training:
  steps: many
defaults:
  annealing.radius: 1.0e-4
  annealing: no block
"""


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("name", 1),
        ("dataset.name", 2),
        ("arms", 3),
        ("arms[0].algorithm", 4),
        ("arms[1]", 5),
        ("arms[1].annealing.radius", 7),
        ("arms[1].annealing.start_step", 6),  # absent: its block
        ("arms[1].vary.annealing.num_steps[1]", 9),
        ("arms[2].algorithm", 3),
        ("defaults.annealing.radius", 14),
        ("draws", None),
        ("", None),
        ("default lr", None),
        ("names", None),
    ],
)
def test_a_field_has_the_line_of_its_innermost_part(field: str, line: int | None) -> None:
    assert line_of(yaml.compose(TEXT), field) == line


def faults_of(tmp_path: Path, text: str, *overrides: str) -> tuple[Fault, ...]:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        load(tmp_path / "bad.yaml", overrides=overrides)
    return error.value.faults


def test_the_faults_of_a_file_stand_in_the_order_of_their_lines(tmp_path: Path) -> None:
    found = faults_of(tmp_path, TEXT)
    lines = {fault.field: fault.line for fault in found}
    assert [*lines.values()] == sorted(lines.values())
    assert lines["arms[1].algorithm"] == 5
    assert lines["arms[1].annealing.radius"] == 7
    assert lines["training.steps"] == 12
    assert "line 12: training.steps: must be an integer, got 'many'" in map(str, found)


def test_what_is_set_on_the_command_line_has_no_line(tmp_path: Path) -> None:
    lines = {fault.field: fault.line for fault in faults_of(tmp_path, TEXT, "training.steps=few", "draws=0")}
    assert lines["training.steps"] is None
    assert lines["draws"] is None
    assert lines["trial_sedes"] == 10


def test_a_mapping_has_no_lines() -> None:
    with pytest.raises(InputError, match=r"\n  draws: must be"):
        load({"name": "a", "dataset": {"name": "RotatedDigits"}, "arms": [{}], "draws": 0})


def test_text_that_is_no_yaml_has_no_lines() -> None:
    fault = Fault("name", "must be given")
    assert with_lines([fault], "a: [") == [fault]


def test_a_fault_of_yaml_names_the_line_where_reading_stopped_and_where_the_block_began(tmp_path: Path) -> None:
    [fault] = faults_of(tmp_path, "name: a\narms: [\n  b: c\n")
    assert str(fault).startswith(
        "line 4: must be a readable YAML file: while parsing a flow sequence (begun in line 2): expected"
    )
    assert "<unicode string>" not in str(fault)


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("trial_sedes: [0]", "trial_sedes: unknown field, got [0]; did you mean 'trial_seeds'? (allowed: "),
        ("protocol: quik", "protocol: must be a known protocol, got 'quik'; did you mean 'quick'? (allowed: "),
        ("protocol: zzz", "protocol: must be a known protocol, got 'zzz' (allowed: "),
    ],
)
def test_a_slip_names_what_is_most_like_it(tmp_path: Path, slip: str, meant: str) -> None:
    text = f"name: a\ndataset: {{name: RotatedDigits}}\narms: [{{}}]\n{slip}\n"
    [fault] = faults_of(tmp_path, text)
    assert str(fault).startswith(f"line 4: {meant}")
