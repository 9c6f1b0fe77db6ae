"""The types of a sweep file: what each field takes, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.distributions import Distribution
from gga_sweep.spec.models import AnnealingConfig, ArmConfig, ResourcesConfig, SweepConfig, TrainingConfig

SMALLEST: dict[str, Any] = {"name": "a", "dataset": {"name": "RotatedDigits"}, "arms": [{}]}


def sweep(**changes: Any) -> SweepConfig:
    return SweepConfig.model_validate({**SMALLEST, **changes})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("all", "all"),
        ([0, 75], (("0",), ("75",))),
        (["0", "75"], (("0",), ("75",))),
        ([[0, 15], "75"], (("0", "15"), ("75",))),
        (["all"], (("all",),)),  # in a list it is a domain of that name
    ],
)
def test_test_domains_may_be_numbers_names_or_sets(written: object, read: object) -> None:
    assert sweep(test_domains=written).test_domains == read


@pytest.mark.parametrize("written", [[], [[]], [True], [0.5], "sketch", 75, [""], None])
def test_other_test_domains_are_refused(written: object) -> None:
    with pytest.raises(ValidationError, match="test_domains"):
        sweep(test_domains=written)


def test_defaults_of_a_small_file() -> None:
    config = sweep()
    assert (config.trial_seeds, config.draws, config.protocol, config.search) == ((0, 1, 2), 1, "quick", "random")
    assert config.arms[0] == ArmConfig(algorithm="ERM")
    assert config.training == TrainingConfig(threads=1)


def test_a_number_keeps_its_type() -> None:
    defaults = sweep(defaults={"a": 1, "b": 1.0, "c": True, "d": "1"}).defaults
    assert [type(value) for value in defaults.values()] == [int, float, bool, str]


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        sweep().draws = 2


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "", "a b", "a\n", "ä", "x" * 101, "a\\b"])
def test_a_sweeps_name_cannot_leave_the_storage(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        sweep(name=name)


@pytest.mark.parametrize("name", ["demo", "gga-paper-pacs", "2026.10_x", "x" * 100])
def test_an_ordinary_name_is_taken(name: str) -> None:
    assert sweep(name=name).name == name


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (DatasetConfig, {"name": ""}),
        (DatasetConfig, {"name": "PACS", "image_size": 7}),
        (DatasetConfig, {"name": "PACS", "image_size": 1025}),
        (AnnealingConfig, {"loss_tolerance": float("inf")}),
        (AnnealingConfig, {"radius": [1e-5]}),
        (AnnealingConfig, {"variant": "papr"}),
        (AnnealingConfig, {"method": "gga-x"}),
        (ArmConfig, {"vary": {"lr": []}}),
        (ArmConfig, {"draws": 0}),
        (TrainingConfig, {"steps": 0}),
        (TrainingConfig, {"evaluate_every": 0}),
        (TrainingConfig, {"holdout": 0}),
        (TrainingConfig, {"holdout": 1}),
        (TrainingConfig, {"threads": 0}),
        (TrainingConfig, {"split": "kfold"}),
        (TrainingConfig, {"augmentation": "mixup"}),
    ],
)
def test_a_value_beyond_its_range_is_refused(model: type[DatasetConfig], values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=list(values)[-1]):
        model.model_validate(values)


def test_an_annealing_block_gives_its_options_in_the_order_of_their_declaration() -> None:
    block = AnnealingConfig.model_validate({"objective": "anti", "rho": 1, "radius": 1e-3, "mask": None})
    assert list(block.given.items()) == [("radius", 1e-3), ("objective", "anti"), ("rho", 1)]
    assert AnnealingConfig().given == {}
    assert AnnealingConfig.model_validate(block.model_dump(exclude_none=True)).given == block.given


@pytest.mark.parametrize(
    ("distribution", "kind"),
    [
        ({"uniform": [0, 1]}, "uniform"),
        ({"uniform": [0.5, 0.5]}, "uniform"),
        ({"loguniform": [1e-5, 1]}, "loguniform"),
        ({"integers": [-1, 4]}, "integers"),
        ({"logintegers": [1, 2**5.5]}, "logintegers"),
        ({"choice": ["alignment", "none", 3]}, "choice"),
    ],
)
def test_a_distribution_knows_its_kind(distribution: dict[str, Any], kind: str) -> None:
    assert Distribution.model_validate(distribution).kind == kind


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        ({}, "exactly one of .* got none"),
        ({"uniform": [0, 1], "choice": [1]}, r"exactly one of .* got \['uniform', 'choice'\]"),
        ({"uniform": [1, 0]}, "low <= high must hold, got low=1.0, high=0.0"),
        ({"loguniform": [0, 1]}, "low must be positive, got low=0.0"),
        ({"loguniform": [-1, 1]}, "low must be positive, got low=-1.0"),
        ({"logintegers": [0.5, 4]}, "low must be at least 1, got low=0.5"),
        ({"integers": [0.5, 4]}, "integers"),
        ({"uniform": [0, float("inf")]}, "finite"),
        ({"uniform": [0]}, "uniform"),
        ({"uniform": [0, 1, 2]}, "uniform"),
        ({"choice": []}, "choice"),
        ({"gaussian": [0, 1]}, "gaussian"),
    ],
)
def test_a_distribution_without_sense_is_refused(distribution: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Distribution.model_validate(distribution)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [({}, 0), ({"cpus": 0.5}, 0), ({"cpus": 2.5}, 1), ({"cpus": 8}, 7), ({"cpus": 8, "workers": 3}, 3)],
)
def test_a_run_has_a_data_worker_for_each_cpu_but_one_unless_the_file_says_so(
    resources: dict[str, float], expected: int
) -> None:
    assert ResourcesConfig(**resources).data_workers == expected
