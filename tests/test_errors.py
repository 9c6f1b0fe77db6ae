"""Messages that a person can act on."""

from __future__ import annotations

import pickle

import pytest

from gga_sweep.errors import Fault, GGASweepError, InputError


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("draws", "must be at least 1", 0), "draws: must be at least 1, got 0"),
        (
            Fault("protocol", "must be known", "quik", ("quick",)),
            "protocol: must be known, got 'quik'; did you mean 'quick'? (allowed: quick)",
        ),
        (Fault("name", "must be given"), "name: must be given"),
        (Fault("", "must be a file"), "must be a file"),
        (Fault("draws", "must be a whole number", "x" * 2000), f"draws: must be a whole number, got '{'x' * 999}..."),
        (Fault("dropout", "must lie in [0, 1)", ""), "dropout: must lie in [0, 1), got ''"),
    ],
)
def test_a_fault_tells_field_rule_value_and_what_is_allowed(fault: Fault, message: str) -> None:
    assert str(fault) == message


def test_an_input_error_lists_every_fault_below_its_source() -> None:
    faults = [Fault("draws", "must be at least 1", 0), Fault("name", "must be given")]
    assert str(InputError(faults, "demo.yaml")) == (
        "demo.yaml: 2 faults\n  draws: must be at least 1, got 0\n  name: must be given"
    )
    assert str(InputError(faults[:1])) == "1 fault\n  draws: must be at least 1, got 0"


def test_an_input_error_is_one_of_ours_and_a_value_error() -> None:
    assert issubclass(InputError, GGASweepError)
    assert issubclass(InputError, ValueError)


def test_an_input_error_crosses_process_borders_with_its_faults() -> None:
    error = InputError([Fault("draws", "must be at least 1", 0), Fault("name", "must be given")], "demo.yaml")
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is InputError
    assert (arrived.faults, arrived.source, str(arrived)) == (error.faults, error.source, str(error))


def test_equal_faults_are_one_even_where_the_value_is_a_list() -> None:
    faults = [Fault("arms", "must not be empty", []), Fault("arms", "must not be empty", [])]
    assert len(dict.fromkeys(faults)) == 1
    assert len(dict.fromkeys([*faults, Fault("arms", "must not be empty", [1])])) == 2
