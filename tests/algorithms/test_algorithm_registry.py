"""Algorithms by name, and what their hyperparameters may be."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from gga_sweep.algorithms import ALGORITHMS, TRAINING_HYPERPARAMETERS, Hyperparameter, get_algorithm
from gga_sweep.errors import InputError
from gga_sweep.records import Scalar


def test_every_registered_algorithm_loads_and_lives_under_its_name() -> None:
    from gga_sweep.algorithms.base import Algorithm

    for name, spec in ALGORITHMS.items():
        assert issubclass(spec.load(), Algorithm)
        assert get_algorithm(name) is spec
        assert set(TRAINING_HYPERPARAMETERS) <= set(spec.hyperparameters)


def test_the_docs_list_every_algorithm_with_its_default_hyperparameters() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "sweep-files.md").read_text(encoding="utf-8")
    words: dict[str, Scalar] = {"false": False, "1/3": 1 / 3}
    told: dict[str, dict[str, Scalar]] = {}
    table = docs.partition("## Algorithms")[2]
    for names, own in re.findall(r"^\| (`[A-Z].*?) \| (.*?) ?\| .*\|$", table, re.MULTILINE):
        values = dict(re.findall(r"`(\w+)` ([\w./]+)", own))
        for name in re.findall(r"`(\w+)`", names):
            told[name] = {key: words[value] if value in words else float(value) for key, value in values.items()}
    assert told == {name: {key: item.default for key, item in spec.own.items()} for name, spec in ALGORITHMS.items()}


def test_the_registry_loads_no_torch() -> None:
    code = "import sys, gga_sweep.algorithms; print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert printed.stdout == "False\n"


def test_an_unknown_algorithm_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError,
        match=r"arms\[1\]\.algorithm: unknown algorithm, got 'EMR'; did you mean 'ERM'\? \(allowed: .*, module:",
    ):
        get_algorithm("EMR", "arms[1].algorithm")


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> type:
    """An installed package with an algorithm of its own, and a class that is none."""

    class Mixup:
        HYPERPARAMETERS = {"alpha": Hyperparameter(0.2, 0, 10, "of the beta distribution")}  # noqa: RUF012
        NUMERICS = 3

    module = types.ModuleType("somebodys_algorithms")
    module.Mixup = Mixup  # type: ignore[attr-defined]
    module.Plain = type("Plain", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somebodys_algorithms", module)
    return Mixup


def test_an_installed_algorithm_declares_hyperparameters_and_numerics(package: type) -> None:
    spec = get_algorithm("somebodys_algorithms:Mixup")
    assert spec.load() is package
    assert spec.numerics == 3
    assert set(spec.hyperparameters) == {*TRAINING_HYPERPARAMETERS, "alpha"}


def test_an_installed_algorithm_declares_requirements_by_attributes(package: type) -> None:
    assert get_algorithm("somebodys_algorithms:Mixup").min_domains == 1
    for name, value in {"MIN_DOMAINS": 3, "MIN_BATCH": 2, "HAS_JOINT_GRADIENT": False, "TRANSDUCTIVE": True}.items():
        setattr(package, name, value)
    spec = get_algorithm("somebodys_algorithms:Mixup")
    assert (spec.min_domains, spec.min_batch, spec.has_joint_gradient, spec.transductive) == (3, 2, False, True)
    assert (spec.splits_by_layer, spec.needs_batch_statistics) == (True, False)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    "name",
    ["nobodys_algorithms:Mixup", "somebodys_algorithms:Mixdown", "somebodys_algorithms:Plain", ":Mixup"],
)
def test_a_name_that_leads_to_no_algorithm_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"algorithm: cannot import it: .*got '{name}'"):
        get_algorithm(name)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("lr", [1e-9, 1, 100.0], [0, 0.0, -1e-3, 100.1, float("nan"), float("inf"), "1e-3", True, None]),
        ("batch_size", [1, 32, 32.0], [0, 1.5, -4, True, "32", float("nan"), float("inf"), [8]]),
        ("weight_decay", [0, 0.0, 1e-4], [-1e-9, float("nan"), False]),
        ("dropout", [0, 0.5, 0.999], [1, 1.0, -0.1, "half"]),
    ],
)
def test_values_that_make_no_sense_are_faults(name: str, good: list[object], bad: list[object]) -> None:
    hyperparameter = TRAINING_HYPERPARAMETERS[name]
    assert [value for value in good if hyperparameter.fault(name, value) is not None] == []
    for value in bad:
        fault = hyperparameter.fault(name, value)
        assert fault is not None, value
        assert fault.field == name
        assert fault.got is value


def test_a_switch_is_true_or_false() -> None:
    switch = ALGORITHMS["CORAL"].own["paper_form"]
    assert [switch.fault("paper_form", value) for value in (True, False)] == [None, None]
    assert [str(switch.fault("paper_form", value)) for value in (0, 1.0, "true", None)] == [
        *(f"paper_form: must be true or false, got {shown}" for shown in ("0", "1.0", "'true'")),
        "paper_form: must be true or false",
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", 0, "lr: must lie in (0, 100], got 0"),
        ("dropout", 1.0, "dropout: must lie in [0, 1), got 1.0"),
        ("batch_size", 1.5, "batch_size: must be a whole number, got 1.5"),
        ("lr", "fast", "lr: must be a number, got 'fast'"),
    ],
)
def test_a_fault_tells_the_range(name: str, value: object, message: str) -> None:
    assert str(TRAINING_HYPERPARAMETERS[name].fault(name, value)) == message


@pytest.mark.parametrize(
    ("name", "given", "kept"), [("lr", 1, 1.0), ("lr", 0.5, 0.5), ("batch_size", 16.0, 16), ("batch_size", 8, 8)]
)
def test_a_hyperparameter_has_one_type(name: str, given: Scalar, kept: Scalar) -> None:
    value = TRAINING_HYPERPARAMETERS[name].coerce(given)
    assert (value, type(value)) == (kept, type(kept))
