"""A run's key: everything that decides its numbers, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_configs import run_config

from gga_sweep.annealing import GGAL, METHODS
from gga_sweep.annealing.options import options_of
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.spec import key
from gga_sweep.spec.key import canonical, folder_name, run_key
from gga_sweep.spec.models import AveragingConfig, RunSpec, TrainingSettings

DIGEST = "d" * 32


def key_of(*, numerics: int = 1, digest: str = DIGEST, weights: str | None = None, **changes: Any) -> str:
    config = run_config(**changes)
    digests = {} if weights is None else {str(config.training.weights): weights}
    return run_key(config, digest, numerics, digests)


DECISIVE: dict[str, Any] = {
    "dataset__name": "VLCS",
    "dataset__image_size": 128,
    "algorithm": "CORAL",
    "hyperparameters__lr": 6e-5,
    "hyperparameters__batch_size": 16,
    "hyperparameters__weight_decay": 0.0,
    "hyperparameters__dropout": 0.0,
    "hyperparameters__penalty": 1.0,
    "test_domains": ("photo",),
    "trial_seed": 1,
    "training__steps": 5000,
    "training__evaluate_every": 100,
    "training__network": "resnet18",
    "training__weights": None,
    "training__trainable": "head",
    "training__freeze_batch_norm": False,
    "training__split": "domainbed",
    "training__holdout": 0.1,
    "training__augmentation": "none",
    "training__augment_validation": False,
    "training__precision": "bfloat16",
    "training__threads": 2,
    "training__averaging": "swad",
    "training__evaluate": "selection",
    "selected_from": 200,
    "metric": "macro_f1",
}

DECISIVE_OF_AVERAGING: dict[str, Any] = {"n_converge": 2, "n_tolerance": 5, "tolerance_ratio": 0.2}


@pytest.mark.parametrize("path", DECISIVE)
def test_the_key_depends_on_each_field_that_can_change_a_number(path: str) -> None:
    assert key_of(**{path: DECISIVE[path]}) != key_of()


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in METHODS.values() for name in options_of(kind)])
def test_the_key_depends_on_each_option_of_the_annealing_that_changes_numbers(kind: Any, name: str) -> None:
    option = options_of(kind)[name]
    if option.choices:
        other: Any = next(choice for choice in reversed(option.choices) if choice != option.default)
    else:
        other = True if option.type is bool else option.default + 1
    one, two = key_of(annealing=kind()), key_of(annealing=kind(**{name: other}))
    assert (one != two) == option.changes_numbers
    assert key_of(annealing=None) not in (one, two)


@pytest.mark.parametrize("field", DECISIVE_OF_AVERAGING)
def test_the_key_depends_on_each_field_of_averaging(field: str) -> None:
    averaging = {"method": "swad", field: DECISIVE_OF_AVERAGING[field]}
    assert key_of(training__averaging=averaging) != key_of(training__averaging="swad")
    assert {"method", *DECISIVE_OF_AVERAGING} == set(AveragingConfig.model_fields)


def test_keys_without_averaging_never_change() -> None:
    assert key_of() == key_of(training__averaging=None)
    assert key_of() == "7049c48820f6ec15a961a39477ef8560f40b82c62b06bfcfb9eac695e32f77fa"
    assert key_of(annealing=None) == "4d82f3ad36b94151f86e0e4c1e6bb1989b14ee53a131492248d9b293378e8d8c"


def test_averaging_numerics_change_only_keys_of_runs_that_average(monkeypatch: pytest.MonkeyPatch) -> None:
    averaging, plain = key_of(training__averaging="swad"), key_of()
    monkeypatch.setattr(key, "AVERAGING_NUMERICS", key.AVERAGING_NUMERICS + 1)
    assert key_of(training__averaging="swad") != averaging
    assert key_of() == plain


def test_every_field_of_a_run_is_known_to_change_its_key_or_not_to() -> None:
    blocks = {
        "dataset": set(DatasetConfig.model_fields),
        "training": set(TrainingSettings.model_fields),
        "hyperparameters": set(run_config().hyperparameters),
    }
    fields = {f"{block}__{name}" for block, names in blocks.items() for name in names}
    fields |= set(RunSpec.model_fields) - set(blocks)
    assert fields - {"dataset__root", "annealing"} == set(DECISIVE) - {"hyperparameters__penalty"}


def test_all_changes_give_different_keys() -> None:
    keys = [key_of(), key_of(annealing=None), *(key_of(**{path: value}) for path, value in DECISIVE.items())]
    assert len(set(keys)) == len(keys)


def test_the_key_depends_on_the_images_the_weights_and_every_numerics(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {key_of(), key_of(digest="e" * 32), key_of(numerics=2), key_of(weights="w" * 64), key_of(weights="v" * 64)}
    monkeypatch.setattr(key, "TRAINING_NUMERICS", 2)
    keys.add(key_of())
    assert len(keys) == 6


def test_annealing_numerics_change_only_keys_of_annealed_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    annealed, plain = key_of(), key_of(annealing=None)
    monkeypatch.setattr(key, "ANNEALING_NUMERICS", key.ANNEALING_NUMERICS + 1)
    assert key_of() != annealed
    assert key_of(annealing=None) == plain


@pytest.mark.parametrize("root", [None, Path("elsewhere")])
def test_images_may_move(root: Path | None) -> None:
    assert key_of(dataset__root=root) == key_of()


def test_a_weights_file_may_move_but_not_change() -> None:
    here, there = (key_of(training__weights=path, weights="w" * 64) for path in ("a/b.pt", "c.pt"))
    assert here == there
    assert key_of(training__weights="a/b.pt", weights="v" * 64) != here


def test_imagenet_and_its_full_name_are_one() -> None:
    assert key_of(training__weights="imagenet") == key_of(training__weights="IMAGENET1K_V1")
    assert key_of(training__weights="pretrained") == key_of(training__weights="IMAGENET1K_V1")


@settings(max_examples=20, deadline=None)
@given(
    test_domains=st.permutations(["sketch", "photo", "cartoon"]),
    names=st.permutations(["lr", "batch_size", "weight_decay", "dropout"]),
)
def test_no_order_matters(test_domains: list[str], names: list[str]) -> None:
    values = run_config().hyperparameters
    shuffled = run_config(test_domains=tuple(test_domains), hyperparameters={name: values[name] for name in names})
    plain = run_config(test_domains=("cartoon", "photo", "sketch"))
    assert run_key(shuffled, DIGEST, 1) == run_key(plain, DIGEST, 1)
    assert folder_name(shuffled, "0" * 64) == folder_name(plain, "0" * 64)


def test_frozen_batch_norm_does_not_matter_to_a_network_without_any() -> None:
    for network, same in (("small-cnn", True), ("resnet18", False)):
        one, other = (
            key_of(training__network=network, training__weights=None, training__freeze_batch_norm=frozen)
            for frozen in (True, False)
        )
        assert (one == other) is same


@pytest.mark.parametrize(("augmentation", "same"), [("none", True), ("domainbed", False), ("domainbed-batched", False)])
def test_augmenting_validation_matters_only_where_there_is_an_augmentation(augmentation: str, same: bool) -> None:
    one, other = (
        key_of(training__augmentation=augmentation, training__augment_validation=validation)
        for validation in (True, False)
    )
    assert (one == other) is same


def test_each_augmentation_has_a_key_of_its_own() -> None:
    assert len({key_of(training__augmentation=name) for name in ("none", "domainbed", "domainbed-batched")}) == 3


def test_a_new_hyperparameter_at_its_neutral_value_changes_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of()
    neutral = {**key._NEUTRAL, "hyperparameters": {**key._NEUTRAL["hyperparameters"], "clip": 0.0}}
    monkeypatch.setattr(key, "_NEUTRAL", neutral)
    assert key_of(hyperparameters__clip=0.0) == before
    assert key_of(hyperparameters__clip=1.0) != before


def test_canonical_is_what_the_design_says_for_a_full_run() -> None:
    assert canonical(run_config(), DIGEST, 4) == {
        "algorithm": {"name": "ERM", "numerics": 4},
        "annealing": {
            "domain_gradients": "layerwise",
            "joint_loss": "mean",
            "loss_reference": "start",
            "loss_tolerance": 0.1,
            "mask": "step",
            "num_candidates": 250,
            "num_steps": 101,
            "numerics": key.ANNEALING_NUMERICS,
            "origin": "start",
            "perturbs": "all",
            "radius": 1e-5,
            "start_step": 100,
        },
        "dataset": {"digest": DIGEST, "image_size": 224, "name": "PACS"},
        "hyperparameters": {"batch_size": 32, "dropout": 0.5, "lr": 5e-5, "weight_decay": 1e-4},
        "test_domains": ["sketch"],
        "training": {
            "augment_validation": True,
            "augmentation": {"name": "domainbed", "numerics": key.AUGMENTATION_NUMERICS},
            "evaluate_every": 300,
            "freeze_batch_norm": True,
            "holdout": 0.2,
            "network": "resnet50",
            "numerics": key.TRAINING_NUMERICS,
            "split": "stream",
            "steps": 5001,
            "threads": 1,
            "weights": "IMAGENET1K_V1",
        },
        "trial_seed": 0,
    }


def test_canonical_leaves_out_what_is_neutral_or_does_not_apply() -> None:
    config = run_config(
        dataset={"name": "RotatedDigits"},
        hyperparameters={"lr": 1e-3, "batch_size": 16, "weight_decay": 0.0, "dropout": 0.0},
        annealing=None,
        test_domains=("75", "0"),
        training__network="small-cnn",
        training__weights=None,
        training__augmentation="none",
    )
    assert canonical(config, DIGEST, 1) == {
        "algorithm": {"name": "ERM", "numerics": 1},
        "dataset": {"digest": DIGEST, "image_size": None, "name": "RotatedDigits"},
        "hyperparameters": {"batch_size": 16, "lr": 1e-3},
        "test_domains": ["0", "75"],
        "training": {
            "evaluate_every": 300,
            "holdout": 0.2,
            "network": "small-cnn",
            "numerics": key.TRAINING_NUMERICS,
            "split": "stream",
            "steps": 5001,
            "threads": 1,
        },
        "trial_seed": 0,
    }


def test_the_key_is_64_hexadecimal_digits() -> None:
    assert re.fullmatch("[0-9a-f]{64}", key_of())


def test_a_folders_name_reads_like_its_run() -> None:
    name = folder_name(run_config(test_domains=("sketch", "art_painting"), trial_seed=2), "0123456789" * 6)
    assert name == "PACS_ERM+gga_test-art-painting+sketch_seed-2-01234567"
    assert folder_name(run_config(annealing=None), "f" * 64) == "PACS_ERM_test-sketch_seed-0-ffffffff"
    assert folder_name(run_config(annealing=GGAL()), "f" * 64) == "PACS_ERM+gga-l_test-sketch_seed-0-ffffffff"


@settings(max_examples=50, deadline=None)
@given(
    dataset=st.text(min_size=1),
    algorithm=st.text(min_size=1),
    domains=st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=3),
)
def test_a_folders_name_is_safe_whatever_things_are_called(dataset: str, algorithm: str, domains: list[str]) -> None:
    config = run_config(dataset__name=dataset, algorithm=algorithm, test_domains=tuple(domains))
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+_-]{0,128}", folder_name(config, "0" * 64))
