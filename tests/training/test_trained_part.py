"""`training.trainable`: what is trained moves, the rest keeps its bits, statistics included."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_runs import CPU, annealing_of, bits, make_dataset, run_config, train, trained

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.training.trainer import Trainer

DATASET = make_dataset()
PHOTOGRAPHS = make_dataset(shape=(3, 16, 16), per_domain=10, photographs=True)
BLOCKS_OF_SMALL_CNN = 4


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name.removeprefix("/") for name in before if before[name] != after[name]}


def moved(config: Any, dataset: Any = DATASET) -> set[str]:
    """The names of the network's tensors that training changes."""
    trainer = Trainer(config, dataset, CPU)
    start = bits(trainer.network.state_dict())
    train(trainer)
    return changed(start, bits(trainer.network.state_dict()))


def of_the_last_blocks(number: int) -> set[str]:
    """Names of SmallCNN's parameters from its last blocks on."""
    layers = [("0", "1"), ("3", "4"), ("6", "7"), ("10",)][BLOCKS_OF_SMALL_CNN - number :]
    names = {f"featurizer.layers.{layer}.{part}" for block in layers for layer in block for part in ("weight", "bias")}
    return names | {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in ("ARM", "MTL")])
@pytest.mark.parametrize("last", [0, 2])
def test_every_algorithm_trains_the_last_blocks_alone(name: str, last: int) -> None:
    own = {key: item.default for key, item in ALGORITHMS[name].own.items()}
    if name == "ERMPlusPlus":
        own["ermpp_linear_steps"] = 0  # of the classifier alone
    trainable = f"last:{last}" if last else "head"
    config = run_config(
        algorithm=name, network="small-cnn", trainable=trainable, hyperparameters={**own, "batch_size": 4}, steps=3
    )
    found = {name.removeprefix("mean_") for name in moved(config)}  # ERM++ averages what it trains
    assert found <= of_the_last_blocks(last)
    assert "classifier.weight" in found
    assert last == 0 or "featurizer.layers.10.weight" in found


@pytest.mark.parametrize("name", ["ARM", "MTL"])
def test_algorithms_with_networks_of_their_own_keep_the_featurizer_too(name: str) -> None:
    own = {key: item.default for key, item in ALGORITHMS[name].own.items()}
    config = run_config(
        algorithm=name, network="small-cnn", trainable="head", hyperparameters={**own, "batch_size": 4}, steps=3
    )
    found = moved(config)
    assert "classifier.weight" in found
    assert not any(each.startswith("featurizer") for each in found)


@pytest.mark.parametrize(
    ("variant", "last"), [("paper", 0), ("paper", 1), ("released", 1), ("guided", 0), ("guided", 2)]
)
def test_the_annealing_moves_what_is_trained(variant: str, last: int) -> None:
    trainable = f"last:{last}" if last else "head"
    trainer = Trainer(run_config(annealing_of(variant), network="small-cnn", trainable=trainable), DATASET, CPU)
    start = bits(trainer.network.state_dict())
    _, annealed = train(trainer)
    assert any(step.accepted for step in annealed)
    assert changed(start, bits(trainer.network.state_dict())) == of_the_last_blocks(last)


@pytest.mark.parametrize("variant", ["released"])
def test_a_featurizer_that_is_not_trained_cannot_be_perturbed(variant: str) -> None:
    trainer = Trainer(run_config(annealing_of(variant), network="small-cnn", trainable="head"), DATASET, CPU)
    with pytest.raises(ValueError, match="a `featurizer` without trainable parameters"):
        train(trainer)


def test_all_blocks_are_the_whole_network() -> None:
    configs = (run_config(network="small-cnn", trainable=each) for each in ("all", f"last:{BLOCKS_OF_SMALL_CNN}"))
    one, other = (bits(trained(config, DATASET).state()) for config in configs)
    assert one == other


@pytest.mark.parametrize("freeze", [False, True])
def test_statistics_of_blocks_that_are_not_trained_stay(freeze: bool) -> None:
    config = run_config(network="resnet18", trainable="last:1", freeze_batch_norm=freeze, steps=2)
    found = moved(config, PHOTOGRAPHS)
    statistics = {name for name in found if "running" in name}
    own = {f"featurizer.layer4.1.bn{number}.running_{part}" for number in (1, 2) for part in ("mean", "var")}
    assert statistics == (set() if freeze else own)


def test_a_resumed_run_of_the_head_has_the_bits_of_an_uninterrupted_one() -> None:
    config = run_config(annealing_of(), network="small-cnn", trainable="head")
    whole = bits(trained(config, DATASET).state())
    begun, resumed = trained(config, DATASET, until=4), Trainer(config, DATASET, CPU)
    resumed.load_state(begun.state())
    torch.manual_seed(5)
    train(resumed)
    assert bits(resumed.state()) == whole
