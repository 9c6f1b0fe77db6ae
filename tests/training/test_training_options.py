"""Every option of a run changes something, and nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import (
    CPU,
    REJECT_ALL,
    annealing_of,
    bits,
    linear_featurizer,
    make_dataset,
    run_config,
    train,
    trained,
)
from torch import nn

from gga_sweep.records import Record, Scalar
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.trainer import Trainer, split_dataset

DATASET = make_dataset()
PHOTOGRAPHS = make_dataset(shape=(3, 16, 16), per_domain=10, photographs=True)
LEAKY = "small_runs:batch_norm_featurizer"


def end_of(config: RunSpec) -> dict[str, str]:
    return bits(trained(config, DATASET).state())


@pytest.mark.parametrize(("name", "value"), [("lr", 2e-2), ("weight_decay", 0.1), ("dropout", 0.4), ("batch_size", 7)])
def test_each_hyperparameter_changes_the_weights(name: str, value: float) -> None:
    changed, plain = trained(run_config(hyperparameters={name: value}), DATASET), trained(run_config(), DATASET)

    assert bits(changed.network.state_dict()) != bits(plain.network.state_dict())


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 9), ("holdout", 0.5), ("split", "domainbed"), ("network", LEAKY)],
)
def test_each_of_these_settings_changes_the_weights(field: str, value: Any) -> None:
    changed, plain = trained(run_config(**{field: value}), DATASET), trained(run_config(), DATASET)

    assert bits(changed.network.state_dict()) != bits(plain.network.state_dict())


def test_another_trial_seed_changes_initial_weights_splits_and_the_run() -> None:
    configs = [run_config(trial_seed=seed) for seed in (0, 1)]
    starts = [bits(Trainer(config, DATASET, CPU).network.state_dict()) for config in configs]
    splits = [split_dataset(config, DATASET)["a"].validation for config in configs]

    assert starts[0] != starts[1]
    assert not np.array_equal(splits[0], splits[1])
    assert end_of(configs[0]) != end_of(configs[1])


@pytest.mark.parametrize(("holdout", "expected"), [(0.2, 6), (0.5, 15)])
def test_holdout_is_the_share_of_every_domain_that_validates(holdout: float, expected: int) -> None:
    splits = split_dataset(run_config(holdout=holdout), DATASET)

    assert {name: len(split.validation) for name, split in splits.items()} == dict.fromkeys("abcd", expected)
    assert all(len(split.train) == 30 - expected for split in splits.values())


def test_a_split_scheme_gives_a_permutation_of_its_own() -> None:
    ours, domainbed = (split_dataset(run_config(split=scheme), DATASET)["b"] for scheme in ("stream", "domainbed"))

    assert not np.array_equal(ours.validation, domainbed.validation)
    assert sorted([*domainbed.train, *domainbed.validation]) == list(range(30))


@pytest.mark.parametrize(("every", "expected"), [(3, [0, 3, 6, 7]), (5, [0, 5, 7])])
def test_evaluating_more_or_less_often_changes_no_weight(every: int, expected: list[int]) -> None:
    trainer = Trainer(run_config(annealing_of(), evaluate_every=every), DATASET, CPU)
    records, _ = train(trainer)

    assert [record.step for record in records] == expected
    assert bits(trainer.state()) == end_of(run_config(annealing_of()))


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_scale() -> None:
    def batch_norm(freeze: bool, until: int) -> dict[str, torch.Tensor]:
        network = trained(run_config(network=LEAKY, freeze_batch_norm=freeze), DATASET, until).network
        return next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d)).state_dict()

    start, frozen, free = batch_norm(True, until=0), batch_norm(True, until=8), batch_norm(False, until=8)

    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(frozen[name], start[name])
        assert not torch.equal(free[name], start[name])
    assert not torch.equal(frozen["weight"], start["weight"])


def test_weights_of_a_file_are_where_training_starts(tmp_path: Path) -> None:
    featurizer, _ = linear_featurizer(DATASET.input_shape)
    torch.save(featurizer.state_dict(), tmp_path / "weights.pt")
    given = Trainer(run_config(weights=str(tmp_path / "weights.pt")), DATASET, CPU).network
    drawn = Trainer(run_config(), DATASET, CPU).network

    assert bits(given.featurizer.state_dict()) == bits(featurizer.state_dict())
    assert bits(drawn.featurizer.state_dict()) != bits(featurizer.state_dict())
    assert bits(given.classifier.state_dict()) == bits(drawn.classifier.state_dict())


def test_a_run_takes_the_threads_of_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    Trainer(run_config(threads=3), DATASET, CPU)

    assert asked == [3]


def photograph_run(augmentation: str, augment_validation: bool) -> tuple[list[Record], dict[str, str]]:
    config = run_config(augmentation=augmentation, augment_validation=augment_validation, steps=2, evaluate_every=1)
    trainer = Trainer(config, PHOTOGRAPHS, CPU)
    records, _ = train(trainer)
    return records, bits(trainer.state())


def test_augmentation_changes_what_is_trained_on() -> None:
    assert photograph_run("domainbed", False)[1] != photograph_run("none", False)[1]


def test_augmenting_a_minibatch_at_once_changes_a_little_and_no_image() -> None:
    """The same crops and colours but for the rounding to bytes: far nearer to them than to plain images."""
    losses = {
        name: [record.validation.batch_loss for record in photograph_run(name, False)[0]]
        for name in ("none", "domainbed", "domainbed-batched")
    }
    assert losses["domainbed-batched"] != losses["domainbed"]
    little, much = (
        sum(abs(one - other) for one, other in zip(losses["domainbed"], losses[name], strict=True))
        for name in ("domainbed-batched", "none")
    )
    assert little < much / 5


@pytest.mark.parametrize("augmentation", ["domainbed", "domainbed-batched"])
def test_augmented_validation_changes_the_scores_of_training_domains_alone(augmentation: str) -> None:
    (plain, weights), (augmented, same_weights) = (photograph_run(augmentation, value) for value in (False, True))

    assert same_weights == weights
    for one, other in zip(plain, augmented, strict=True):
        assert one.test.domains == other.test.domains
        assert one.validation.agreement == other.validation.agreement
        for name, scores in one.validation.domains.items():
            assert scores.validation.loss != other.validation.domains[name].validation.loss
            assert scores.train.loss != other.validation.domains[name].train.loss


def test_without_augmentation_there_is_none_to_validate_on() -> None:
    """The key of a run leaves the field out there, so it must not change a number."""
    assert photograph_run("none", True) == photograph_run("none", False)


BASE: Mapping[str, Scalar] = {"num_candidates": 6, "start_step": 1, "num_steps": 3}


@pytest.mark.parametrize(
    ("base", "changed"),
    [
        ({}, {"start_step": 2}),
        ({}, {"num_steps": 2}),
        ({}, {"radius": 0.1}),
        ({}, {"num_candidates": 4}),
        ({}, {"loss_tolerance": REJECT_ALL}),
        ({}, {"objective": "none"}),
        ({}, {"objective": "anti"}),
        ({}, {"objective": "loss"}),
        ({}, {"origin": "current"}),
        ({}, {"origin": "accepted"}),
        ({}, {"perturbs": "featurizer"}),
        ({}, {"mask": "forward"}),
        ({"mask": "forward", "loss_tolerance": 0.01}, {"joint_loss": "forward"}),
        ({"loss_tolerance": 0.03}, {"loss_reference": "accepted"}),
        ({"loss_tolerance": 0.03}, {"loss_gate": "relative"}),
    ],
    ids=lambda switches: "-".join(map(str, switches.values())) if isinstance(switches, dict) else "",
)
def test_each_switch_of_the_annealing_changes_where_a_run_ends(
    base: Mapping[str, Scalar], changed: Mapping[str, Scalar]
) -> None:
    def end(switches: Mapping[str, Any]) -> dict[str, str]:
        annealing = annealing_of(**{**BASE, **switches})
        return end_of(run_config(annealing, test_domains=("c", "d"), steps=4, evaluate_every=100))

    assert end({**base, **changed}) != end(base)


def test_the_network_is_the_one_that_is_named() -> None:
    network = Trainer(run_config(network=LEAKY), DATASET, CPU).network

    assert network.features == 4
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert network.classifier.weight.shape == (3, 4)
