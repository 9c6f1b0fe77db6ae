"""Protocols: what each fixes, by dataset, and that nothing is left open."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import get_args

import pytest

from gga_sweep.algorithms import TRAINING_HYPERPARAMETERS
from gga_sweep.annealing.settings import settings_faults
from gga_sweep.config import SelectionMethod, TrainingConfig, TrainingSettings
from gga_sweep.domains.benchmarks import BENCHMARKS
from gga_sweep.errors import InputError
from gga_sweep.planning.draws import contains
from gga_sweep.planning.protocols import PROTOCOLS, SMALL_IMAGES, Protocol, domainbed_space, get_protocol

DATASETS = [*BENCHMARKS, *sorted(SMALL_IMAGES), "ImageFolder", "my_package:my_dataset"]

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
every_dataset = pytest.mark.parametrize("dataset", DATASETS)


def test_the_protocols_of_this_release_are_known_by_name() -> None:
    assert list(PROTOCOLS) == ["quick", "shared-hp", "gga-paper", "domainbed", "domainbed-head"]
    assert all(get_protocol(name).name == name for name in PROTOCOLS)


def test_an_unknown_protocol_is_an_input_error_that_lists_the_known() -> None:
    with pytest.raises(
        InputError,
        match=r"protocol: .* got 'swift' \(allowed: quick, shared-hp, gga-paper, domainbed, domainbed-head\)",
    ):
        get_protocol("swift")


@every_protocol
@every_dataset
def test_a_protocol_decides_every_field_of_the_training(protocol: Protocol, dataset: str) -> None:
    training = protocol.training(dataset)
    assert training.model_fields_set == set(TrainingConfig.model_fields) - {"threads"}
    TrainingSettings.model_validate(training.model_dump())  # refuses a None where a run needs a value


@every_protocol
@every_dataset
def test_default_hyperparameters_exist_and_are_allowed(protocol: Protocol, dataset: str) -> None:
    for name, value in protocol.defaults("ERM", dataset).items():
        group, _, field = name.rpartition(".")
        if group == "annealing":
            assert settings_faults(**{field: value}) == []
        else:
            assert TRAINING_HYPERPARAMETERS[name].fault(name, value) is None


@every_protocol
@every_dataset
def test_searched_hyperparameters_exist(protocol: Protocol, dataset: str) -> None:
    assert set(protocol.search_space("ERM", dataset)) <= set(TRAINING_HYPERPARAMETERS)


@every_protocol
def test_a_protocol_tells_what_it_is_in_sentences(protocol: Protocol) -> None:
    assert all(text[0].isupper() and text.endswith(".") for text in (protocol.summary, *protocol.deviations))


@every_protocol
def test_a_protocol_crosses_process_borders(protocol: Protocol) -> None:
    assert pickle.loads(pickle.dumps(protocol)) == protocol


def test_quick_trains_a_small_network_for_a_moment_and_searches_nothing() -> None:
    quick = get_protocol("quick")
    assert quick.sampler == "by-name"
    assert quick.training("RotatedDigits") == TrainingConfig(
        steps=300,
        evaluate_every=50,
        network="small-cnn",
        weights=None,
        freeze_batch_norm=True,
        split="stream",
        holdout=0.2,
        augmentation="none",
        augment_validation=False,
    )
    assert quick.defaults("ERM", "RotatedDigits") == {}
    assert quick.search_space("ERM", "RotatedDigits") == {}


# dataset: lr, radius, steps; README image hp.png of aristotelisballas/GGA, the steps as its code rounds them
GGA_TABLE = {
    "PACS": (3e-5, 1e-5, 5001),
    "VLCS": (1e-5, 1e-6, 5001),
    "OfficeHome": (3e-5, 1e-5, 5001),
    "TerraIncognita": (3e-5, 1e-5, 5001),
    "DomainNet": (3e-5, 1e-5, 15001),
}


@pytest.mark.parametrize("dataset", GGA_TABLE)
def test_gga_paper_has_the_values_of_the_papers_table(dataset: str) -> None:
    lr, radius, steps = GGA_TABLE[dataset]
    paper = get_protocol("gga-paper")
    assert paper.defaults("ERM", dataset) == {
        "lr": lr,
        "batch_size": 32,
        "weight_decay": 1e-4,
        "dropout": 0.5,
        "annealing.radius": radius,
        "annealing.start_step": 100,
        "annealing.num_steps": 101,
        "annealing.num_candidates": 250,
        "annealing.loss_tolerance": 0.1,
    }
    training = paper.training(dataset)
    assert (training.steps, training.evaluate_every) == (steps, 100)
    assert (training.network, training.weights, training.freeze_batch_norm) == ("resnet50", "IMAGENET1K_V1", True)
    assert (training.split, training.holdout) == ("domainbed", 0.2)
    assert (training.augmentation, training.augment_validation) == ("domainbed", False)
    assert paper.search_space("ERM", dataset) == {}


def test_gga_paper_takes_the_hyperparameters_of_pacs_for_a_dataset_it_does_not_know() -> None:
    paper = get_protocol("gga-paper")
    assert paper.defaults("ERM", "ImageFolder") == paper.defaults("ERM", "PACS")


@pytest.mark.parametrize(
    ("dataset", "evaluate_every"), [("PACS", 300), ("ImageFolder", 300), ("DomainNet", 1000), ("RotatedDigits", 100)]
)
def test_domainbed_trains_5001_steps_and_evaluates_by_dataset(dataset: str, evaluate_every: int) -> None:
    training = get_protocol("domainbed").training(dataset)
    assert (training.steps, training.evaluate_every) == (5001, evaluate_every)
    assert (training.split, training.freeze_batch_norm) == ("domainbed", True)


def test_domainbed_validates_on_augmented_photographs() -> None:
    training = get_protocol("domainbed").training("PACS")
    assert (training.network, training.weights) == ("resnet50", "IMAGENET1K_V1")
    assert (training.augmentation, training.augment_validation) == ("domainbed", True)


@pytest.mark.parametrize("dataset", DATASETS)
def test_domainbeds_head_differs_from_its_paper_in_batch_norm_and_sampler_alone(dataset: str) -> None:
    paper, head = get_protocol("domainbed"), get_protocol("domainbed-head")
    assert head.training(dataset) == paper.training(dataset).model_copy(update={"freeze_batch_norm": False})
    assert head.defaults("ERM", dataset) == paper.defaults("ERM", dataset)
    assert head.search_space("ERM", dataset) == paper.search_space("ERM", dataset)
    assert (paper.sampler, head.sampler) == ("domainbed", "domainbed-head")
    assert set(head.deviations) - set(paper.deviations) == {head.deviations[-1]}


def test_shared_hp_is_quick_with_one_draw_for_all_test_domains() -> None:
    quick, shared = get_protocol("quick"), get_protocol("shared-hp")
    assert shared.training("RotatedDigits") == quick.training("RotatedDigits")
    assert (quick.selection, shared.selection) == (("training-domain-validation",), ("shared-draw",))


@every_protocol
def test_a_protocol_selects_by_known_methods_and_not_by_the_oracle(protocol: Protocol) -> None:
    assert set(protocol.selection) <= set(get_args(SelectionMethod)) - {"oracle"}
    assert protocol.selection


@pytest.mark.parametrize("name", ["gga-paper", "domainbed", "domainbed-head"])
@pytest.mark.parametrize("dataset", sorted(SMALL_IMAGES))
def test_small_images_are_neither_augmented_nor_shown_to_a_resnet(name: str, dataset: str) -> None:
    training = get_protocol(name).training(dataset)
    assert (training.network, training.weights) == ("small-cnn", None)
    assert (training.augmentation, training.augment_validation) == ("none", False)


def test_domainbed_defaults_depend_on_the_size_of_the_images() -> None:
    defaults = get_protocol("domainbed").defaults
    neutral = {"weight_decay": 0.0, "dropout": 0.0}
    assert defaults("ERM", "PACS") == {"lr": 5e-5, "batch_size": 32, **neutral}
    assert defaults("ERM", "ColoredMNIST") == {"lr": 1e-3, "batch_size": 64, **neutral}
    assert defaults("ERM", "RotatedDigits") == {"lr": 1e-3, "batch_size": 64, **neutral}


@pytest.mark.parametrize(
    ("dataset", "largest_batch"),
    [("PACS", 45), ("DomainNet", 31), ("RotatedMNIST", 511), ("RotatedDigits", 127), ("ColoredDigits", 127)],
)
def test_domainbed_searches_batches_up_to(dataset: str, largest_batch: int) -> None:
    batch_size = get_protocol("domainbed").search_space("ERM", dataset)["batch_size"]
    assert contains(batch_size, 8)
    assert contains(batch_size, largest_batch)
    assert not contains(batch_size, largest_batch + 1)


def test_domainbed_searches_lr_and_weight_decay_by_the_size_of_the_images() -> None:
    photographs, small = domainbed_space("PACS"), domainbed_space("RotatedMNIST")
    assert photographs["lr"].loguniform == pytest.approx((1e-5, 3.1623e-4), rel=1e-4)
    assert small["lr"].loguniform == pytest.approx((3.1623e-5, 3.1623e-3), rel=1e-4)
    assert photographs["weight_decay"].loguniform == (1e-6, 1e-2)
    assert "weight_decay" not in small
    assert photographs["dropout"].choice == small["dropout"].choice == (0.0, 0.1, 0.5)


def test_draws_and_protocols_need_no_torch() -> None:
    code = "import sys, gga_sweep.planning.draws; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
