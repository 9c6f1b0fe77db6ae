"""Sweep files made to break their reader: each is refused by the rule it breaks, quickly."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from gga_sweep.errors import InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import check_unchanged, read_plan, write_sweep
from gga_sweep.spec import Contents, load
from gga_sweep.spec.loading import MOST_ARMS, MOST_RUNS
from gga_sweep.spec.plain_values import DEEPEST, LARGEST, LONGEST_TEXT, MOST_VALUES
from gga_sweep.tracking.tracking_uri import resolve_tracking_uri, sqlite_path

GGA: dict[str, Any] = {"annealing": {}}
CONTENTS = Contents(dataset="d" * 32)


def content(**changes: Any) -> dict[str, Any]:
    return {"name": "tiny", "dataset": {"name": "RotatedDigits"}, "arms": [{}], **changes}


def faults_of(source: Any, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(source, overrides=overrides)
    return [str(fault) for fault in caught.value.faults]


def nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


def aliases(levels: int) -> str:
    """Each block holds the one before nine times."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


TOO_MANY = f"must hold at most {MOST_VALUES:,} values (those of an alias count wherever it stands)"
TOO_DEEP = f"blocks and lists may lie {DEEPEST} deep, here they lie deeper or hold themselves"
TOO_LARGE = f"draws: a whole number must lie within -+{LARGEST}, got 'one of 24,000 bits'"
UNREADABLE = "must be a readable YAML file: "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (aliases(12), TOO_MANY),
        ("&a [*a]", f"[0][0][0][0][0]: {TOO_DEEP}"),
        ("x: &a {y: *a}", UNREADABLE + "found unconstructable recursive node"),
        ("x:\n" + "- " * 5000, UNREADABLE + "its blocks and lists lie too deep"),
        ("x: !!python/object/apply:os.system [exit]", UNREADABLE + "could not determine a constructor for the tag"),
        ("draws: !!bool perhaps", UNREADABLE + "a value is not what its tag or form says (KeyError: 'perhaps')"),
        ("name: !!timestamp 2001-99-99", UNREADABLE + "a value is not what its tag or form says (ValueError: month"),
        (
            "draws: !!int 0x" + "f" * 6000,
            TOO_LARGE,
        ),
        ("9" * 6000 + ": 1", UNREADABLE),
        ('name: "\\ud800"', "name: text must be Unicode, without halves of surrogate pairs, got '\\ud800'"),
        (f"name: {'1' * 300_000}e", "name: text may have 10,000 characters, got '300,001'"),  # nearly a number
        (f"name: {'x' * 10_001}", f"name: text may have {LONGEST_TEXT:,} characters, got '10,001'"),
        ("name: a\0b", UNREADABLE + "unacceptable character #x0000"),
        ("#" * 4_000_001, "must be a readable sweep file: larger than 4,000,000 bytes"),
    ],
    ids=lambda value: value[:40],
)
def test_a_file_that_would_break_its_reader_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    first, *_ = faults_of(file)
    assert re.sub(r"^line \d+: ", "", first).startswith(message)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("x=&a [*a]", f"x[0][0][0][0]: {TOO_DEEP}"),
        (".".join("x" * 3000) + "=1", f"x.x.x.x.x: {TOO_DEEP}"),
        ("draws=!!int 0x" + "f" * 6000, TOO_LARGE),
        ("x=" + "[\n" * 5000, "--set: cannot be applied: its blocks and lists lie too deep"),
        ("draws=!!bool perhaps", "--set: cannot be applied: a value is not what its tag or form says (KeyError"),
        ("[=1", "--set: cannot be applied: must read key=value, got '[=1'"),
        ("arms[99999999999999999999]=1", "--set: cannot be applied: "),
        ("9" * 5000 + "=1", "--set: cannot be applied: "),
        ("\u00b2=1", "--set: cannot be applied: "),
    ],
    ids=lambda value: value[:40],
)
def test_an_assignment_that_would_break_its_reader_is_refused(assignment: str, message: str) -> None:
    [fault] = faults_of(content(), overrides=(assignment,))
    assert fault.startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"defaults": nested(3000)}, f"defaults[0][0][0][0]: {TOO_DEEP}"),
        ({"trial_seeds": list(range(MOST_VALUES))}, TOO_MANY),
        ({"trial_seeds": [16**5000]}, f"trial_seeds[0]: a whole number must lie within -+{LARGEST}"),
        ({"draws": 1e30}, "draws: must be an integer below 2**63, got 1e+30"),
        ({"int": 1}, "int: unknown field, got 1 (allowed: name,"),
        ({"\x1b[31m": 1}, r"'\x1b[31m': unknown field"),
        ({"defaults": {"int": [1]}}, "defaults.int: must be a number, text, true or false, got [1]"),
        ({"training": {"threads": 10**6}}, "training.threads: must be less than or equal to 1024, got 1000000"),
        ({"training": {"weights": "x" * 5000 + ".pt"}}, "training.weights: the weights file must exist"),
        ({"training": {"network": "os:sep"}}, "training.network: must name a callable (input_shape), got 'os:sep'"),
        ({"training": {"network": "..:x"}}, "training.network: cannot import it: "),
        ({"dataset": {"name": "..:x"}}, "dataset.name: must name an attribute of an installed module ("),
        (
            {"dataset": {"name": "builtins:int"}},
            "dataset.name: must make a dataset of a DatasetConfig, but failed (TypeError: int() argument",
        ),
        ({"dataset": {"name": "ImageFolder", "root": "x" * 5000}}, "dataset.root: must be a folder that holds"),
        (
            {"dataset": {"name": "ImageFolder", "root": "~nobody-has-this-name/x"}},
            "dataset.root: home directory not found, got '~nobody-has-this-name/x'",
        ),
        (
            {"arms": [GGA], "search_space": {"annealing.loss_tolerance": {"uniform": [-1.7e308, 1.7e308]}}},
            "search_space.annealing.loss_tolerance: too wide a range to draw from, got low=-1.7e+308, high=1.7e+308",
        ),
        (
            {"arms": [GGA], "search_space": {"annealing.num_candidates": {"logintegers": [1, 1e300]}}},
            "search_space.annealing.num_candidates: too wide a range to draw from, got low=1.0, high=1e+300",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_content_that_would_break_its_reader_is_refused(changes: dict[str, Any], message: str) -> None:
    [fault] = faults_of(content(**changes))
    assert fault.startswith(message)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("draws", {"draws": True}),
        ("trial_seeds[1]", {"trial_seeds": [0, True]}),
        ("arms[0].draws", {"arms": [{"draws": True}]}),
        ("arms[0].annealing.num_steps", {"arms": [{"annealing": {"num_steps": True}}]}),
        ("arms[0].annealing.radius", {"arms": [{"annealing": {"radius": True}}]}),
        ("training.steps", {"training": {"steps": True}}),
        ("resources.gpus", {"resources": {"gpus": True}}),
        ("search_space.lr.uniform[1]", {"search_space": {"lr": {"uniform": [0.1, True]}}}),
        ("search_space.batch_size.integers[0]", {"search_space": {"batch_size": {"integers": [True, 8]}}}),
    ],
)
def test_true_is_no_number(field: str, changes: dict[str, Any]) -> None:
    [fault] = faults_of(content(**changes))
    assert re.fullmatch(rf"{re.escape(field)}: must be an? .*(integer|number).*, got True", fault)


def test_a_whole_number_may_stand_where_a_fraction_is_meant() -> None:
    sweep = load(content(arms=[{"annealing": {"radius": 1, "start_step": 0, "num_steps": 1}}], resources={"gpus": 1}))
    assert sweep.arms[0].annealing is not None
    assert sweep.arms[0].annealing.given["radius"] == sweep.config.resources.gpus == 1.0


@pytest.mark.parametrize("name", ["cache", "Cache", "mlflow.db", "mlflow.db-wal", "MLFLOW.DB"])
def test_a_sweep_may_not_take_the_name_of_what_its_storage_holds(name: str) -> None:
    rule = "name: must not be cache nor begin with mlflow.db, which the storage itself needs"
    assert faults_of(content(name=name)) == [f"{rule}, got {name!r}"]


def test_the_tracking_file_of_a_storage_is_a_name_that_no_sweep_may_take(tmp_path: Path) -> None:
    file = sqlite_path(resolve_tracking_uri(tmp_path, None, {}))
    assert file is not None
    assert file.parent == tmp_path
    assert faults_of(content(name=file.name))


@pytest.mark.parametrize("name", ["cached", "my-cache", "mlflow", "a.mlflow.db"])
def test_names_like_those_are_free(name: str) -> None:
    assert load(content(name=name)).name == name


VARY = {"vary": {name: [0.1] * 10 for name in ("lr", "dropout", "weight_decay")}}


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"draws": 10**9}, [f"a sweep may have {MOST_RUNS:,} runs, got '18,000,000,000'"]),
        ({"arms": [VARY, {}]}, [f"a sweep may have {MOST_ARMS:,} arms, got '1,001'"]),
        (
            {"arms": [{"vary": {f"x{index}": list(range(10)) for index in range(30)}}]},
            [f"a sweep may have {most}, got 'more than 10**18'" for most in ("1,000 arms", "1,000,000 runs")],
        ),
        (
            {"search": "grid", "search_space": {name: {"choice": [0.1] * 100} for name in VARY["vary"]}},
            ["a sweep may have 1,000,000 runs, got '18,000,000'"],
        ),
    ],
)
def test_more_than_can_be_planned_is_counted_and_refused(changes: dict[str, Any], messages: list[str]) -> None:
    assert faults_of(content(**changes)) == messages


def test_choices_that_are_none_are_named_however_many_there_are() -> None:
    names = ("direction", "origin", "mask", "domain_gradients", "cuda_graph")
    space = {f"annealing.{name}": {"choice": [f"x{index}" for index in range(1000)]} for name in names}
    assert len(faults_of(content(arms=[GGA], search_space=space))) == 5000


@pytest.mark.parametrize("source", ["~nobody-has-this-name/x", "x" * 5000, "a\0b", "\ud800", 7, None, "/dev/zero"])
def test_what_names_no_file_is_refused(source: Any) -> None:
    [fault] = faults_of(source)
    assert fault.startswith("must be a file or a shipped name, got ")


def test_a_file_whose_name_is_no_text_is_read_and_can_be_kept(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"\xff.yaml")
    file.write_text(json.dumps(content()))
    sweep = load(file, storage=tmp_path)
    assert sweep.source.endswith("\\xff.yaml")
    write_sweep(Ledger(sweep.folder), sweep, CONTENTS)
    assert read_plan(sweep.folder).sweep == sweep


ALTERED = "must be as it was written; restore it, or delete it and launch the sweep again, whose runs are kept"


@pytest.mark.parametrize(
    ("altered", "found"),
    [
        (b"", "JSONDecodeError"),
        (b"\xff", "UnicodeDecodeError"),
        (b"[]", "TypeError"),
        (b"{}", "KeyError: 'config'"),
        (b"[" * 100_000, "RecursionError"),
        ({"source": 7}, "ValidationError: Expected `str`, got `int`"),
        ({"contents": {"dataset": 7}}, "ValidationError: Expected `str`, got `int` - at `$.dataset`"),
        ({"dataset": {}}, "ValidationError: Object missing required field"),
        ({"config": {}}, "ValidationError: 3 validation errors for SweepConfig"),
    ],
)
def test_a_kept_sweep_that_was_altered_is_refused_with_what_to_do(tmp_path: Path, altered: Any, found: str) -> None:
    sweep = load(content(), storage=tmp_path)
    ledger, file = Ledger(sweep.folder), sweep.folder / "sweep.json"
    write_sweep(ledger, sweep, CONTENTS)
    written = json.loads(file.read_bytes())
    file.write_bytes(altered if isinstance(altered, bytes) else json.dumps({**written, **altered}).encode())
    for look in (lambda: read_plan(sweep.folder), lambda: check_unchanged(ledger, sweep, CONTENTS)):
        with pytest.raises(InputError) as caught:
            look()
        assert caught.value.source == str(file)
        [fault] = map(str, caught.value.faults)
        assert fault.startswith(f"{ALTERED}, got ")
        assert found in fault


def test_a_kept_sweep_that_says_more_runs_than_can_be_planned_is_refused(tmp_path: Path) -> None:
    sweep = load(content(), storage=tmp_path)
    write_sweep(Ledger(sweep.folder), sweep, CONTENTS)
    file = sweep.folder / "sweep.json"
    file.write_bytes(file.read_bytes().replace(b'"draws":1,', b'"draws":1000000000,'))
    with pytest.raises(InputError, match="a sweep may have 1,000,000 runs"):
        read_plan(sweep.folder)
