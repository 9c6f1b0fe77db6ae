"""Protocols: what each fixes, by dataset, and that nothing is left open."""

from __future__ import annotations

import itertools
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from sweep_content import content, on_tree, write_tree

from gga_sweep.algorithms import ALGORITHMS, TRAINING_HYPERPARAMETERS
from gga_sweep.annealing.options import GGA, option_faults
from gga_sweep.datasets.catalogue import BENCHMARKS
from gga_sweep.errors import InputError
from gga_sweep.spec import load
from gga_sweep.spec.draws import contains
from gga_sweep.spec.loading import complete
from gga_sweep.spec.models import SelectionMethod, TrainingConfig, TrainingSettings
from gga_sweep.spec.protocols import PROTOCOLS, Protocol, domainbed_space, get_protocol

SMALL_IMAGES = ["ColoredDigits", "ColoredMNIST", "Debug28", "RotatedDigits", "RotatedMNIST"]
DATASETS = [*BENCHMARKS, *SMALL_IMAGES, "ImageFolder", "my_package:my_dataset"]

every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)


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
def test_a_protocol_decides_every_field_of_the_training(protocol: Protocol) -> None:
    for dataset in DATASETS:
        training = protocol.training(dataset)
        assert training.model_fields_set == set(TrainingConfig.model_fields) - {"trainable", "threads", "averaging"}
        TrainingSettings.model_validate(training.model_dump())  # refuses a None where a run needs a value


@every_protocol
def test_default_hyperparameters_exist_and_are_allowed(protocol: Protocol) -> None:
    for name, value in (item for dataset in DATASETS for item in protocol.defaults("ERM", dataset).items()):
        group, _, field = name.rpartition(".")
        if group == "annealing":
            assert option_faults(GGA, {field: value}) == []
        else:
            assert TRAINING_HYPERPARAMETERS[name].fault(name, value) is None


@every_protocol
def test_searched_hyperparameters_exist_and_make_sense(protocol: Protocol) -> None:
    for dataset, (algorithm, spec) in itertools.product(DATASETS, ALGORITHMS.items()):
        for name, searched in protocol.search_space(algorithm, dataset).items():
            ends = searched.choice or getattr(searched, searched.kind)
            whole = isinstance(spec.hyperparameters[name].default, int)
            values = [int(end) for end in ends] if whole else ends
            assert [spec.hyperparameters[name].fault(name, value) for value in values] == [None] * len(values)


# domainbed/hparams_registry.py at b93c22a, SAM and its kin in the GGA release's, GENIE in its authors'; ours is named
# in `DOMAINBED_NAMES`
RANDOM = {
    "Mixup": {"mixup_alpha": (0.1, 10)},
    "MixStyle": {},
    "GroupDRO": {"groupdro_eta": (1e-3, 1e-1)},
    "MMD": {"mmd_gamma": (0.1, 10)},
    "CORAL": {"mmd_gamma": (0.1, 10)},
    "ANDMask": {"andmask_tau": (0.5, 1)},
    "ARM": {},
    "IRM": {"irm_lambda": (0.1, 1e5), "irm_penalty_anneal_iters": (1, 9999)},
    "MTL": {"mtl_ema": (0.5, 0.9, 0.99, 1)},
    "VREx": {"vrex_lambda": (0.1, 1e5), "vrex_penalty_anneal_iters": (1, 9999)},
    "MLDG": {"mldg_beta": (0.1, 10), "mldg_n_meta_test": (1, 2)},
    "SagNet": {"sag_w_adv": (0.01, 10)},
    "RSC": {"rsc_f_drop_factor": (0, 0.5), "rsc_b_drop_factor": (0, 0.5)},
    "Fish": {"fish_meta_lr": (0.05, 0.1, 0.5)},
    "SAM": {"sam_rho": (0.01, 0.02, 0.05, 0.1)},
    "GSAM": {"sam_rho": (0.01, 0.02, 0.05, 0.1), "gsam_alpha": (0.01, 0.02, 0.05, 0.1)},
    "SAGM": {"sam_rho": (0.01, 0.02, 0.05, 0.1), "sagm_alpha": (0.01, 0.02, 0.05, 0.1)},
    "PCGrad": {},
    "AgrSum": {},
    "Fishr": {"fishr_lambda": (10, 1e4), "fishr_penalty_anneal_iters": (0, 4999), "fishr_ema": (0.9, 0.99)},
    "SD": {"sd_reg": (1e-5, 1e-1)},
    "EQRM": {"eqrm_quantile": (0.5, 0.99), "eqrm_burnin_iters": (316, 3162), "eqrm_lr": (1e-7, 1e-5)},
    "ERMPlusPlus": {"ermpp_linear_lr": (1e-5, 10**-3.5)},
    "MIRO": {},
    "GENIE": {"genie_rate": (1e-3, 1e-1), "genie_average": (0.9, 0.999), "genie_drop": (0.1, 0.8)},
    "SAGE": {},
}

AT_7DF6F06 = {"Mixup": {"mixup_alpha": (0.1,)}, "MLDG": {"mldg_beta": (0.1, 10)}}  # the same file at 7df6f06


@pytest.mark.parametrize("algorithm", RANDOM)
@pytest.mark.parametrize(("protocol", "dataset"), [("domainbed", "PACS"), ("domainbed-head", "RotatedDigits")])
def test_domainbed_searches_what_each_algorithm_has_of_its_own(algorithm: str, protocol: str, dataset: str) -> None:
    space = get_protocol(protocol).search_space(algorithm, dataset)
    own = {name: searched for name, searched in space.items() if name not in TRAINING_HYPERPARAMETERS}
    expected = {**RANDOM, **(AT_7DF6F06 if protocol == "domainbed" else {})}[algorithm]
    assert list(own) == list(expected)
    for name, values in expected.items():
        assert all(contains(own[name], value) for value in values)
        beyond = (values[0] - 1, math.nextafter(values[0], -9), math.nextafter(values[-1], 1e9), values[-1] + 1)
        assert not any(contains(own[name], value) for value in beyond)


def test_every_algorithm_of_the_catalogue_has_a_known_search() -> None:
    assert {"ERM", *RANDOM} == set(ALGORITHMS)


@pytest.mark.parametrize("protocol", ["domainbed", "domainbed-head"])
def test_arm_has_small_batches_on_photographs_that_are_not_searched(protocol: str) -> None:
    found = get_protocol(protocol)
    assert found.defaults("ARM", "PACS")["batch_size"] == 8
    assert list(found.search_space("ARM", "PACS")) == ["dropout", "lr", "weight_decay"]
    assert found.defaults("ARM", "RotatedMNIST")["batch_size"] == 64
    assert list(found.search_space("ARM", "RotatedMNIST")) == ["dropout", "lr", "batch_size"]


@pytest.mark.parametrize("protocol", ["quick", "shared-hp", "gga-paper"])
def test_other_protocols_search_nothing(protocol: str) -> None:
    assert all(get_protocol(protocol).search_space(algorithm, "PACS") == {} for algorithm in ALGORITHMS)


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("quick", {}),
        ("shared-hp", {}),
        ("gga-paper", {"groupdro_mean": True, "mldg_n_meta_test": 1}),
        ("domainbed", {"groupdro_mean": True, "mldg_n_meta_test": 0}),
        ("domainbed-head", {}),
    ],
)
def test_an_algorithms_own_defaults_are_replaced_by_the_forms_of_the_source(
    protocol: str, expected: dict[str, object]
) -> None:
    """domainbed/algorithms.py at 7df6f06 and in the GGA release, against b93c22a."""
    found = {
        name: value
        for algorithm, spec in ALGORITHMS.items()
        for name, value in get_protocol(protocol).defaults(algorithm, "PACS").items()
        if name in spec.own
    }
    assert found == expected


@every_protocol
def test_a_protocol_describes_itself_in_sentences(protocol: Protocol) -> None:
    assert all(text[0].isupper() and text.endswith(".") for text in (protocol.summary, *protocol.deviations))


@every_protocol
def test_a_protocol_crosses_process_borders(protocol: Protocol) -> None:
    assert pickle.loads(pickle.dumps(protocol)) == protocol


def test_quick_trains_a_small_network_briefly_and_searches_nothing() -> None:
    quick = get_protocol("quick")
    assert quick.sampler == "by-name"
    assert quick.training("RotatedDigits") == TrainingConfig(
        steps=300,
        evaluate_every=50,
        evaluate="all",
        network="small-cnn",
        weights=None,
        freeze_batch_norm=True,
        split="stream",
        holdout=0.2,
        augmentation="none",
        augment_validation=False,
        precision="float32",
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
        "annealing.diagnose_every": 10,
        "annealing.radius": radius,
    }
    training = paper.training(dataset)
    assert (training.steps, training.evaluate_every) == (steps, 100)
    assert (training.network, training.weights, training.freeze_batch_norm) == ("resnet50", "IMAGENET1K_V1", True)
    assert (training.split, training.holdout) == ("domainbed", 0.2)
    assert (training.augmentation, training.augment_validation) == ("domainbed", False)
    assert paper.search_space("ERM", dataset) == {}


def test_gga_paper_uses_the_hyperparameters_of_pacs_for_other_datasets() -> None:
    paper = get_protocol("gga-paper")
    assert paper.defaults("ERM", "ImageFolder") == paper.defaults("ERM", "PACS")


@pytest.mark.parametrize(
    ("dataset", "evaluate_every"), [("PACS", 300), ("ImageFolder", 300), ("DomainNet", 1000), ("RotatedDigits", 100)]
)
def test_domainbed_evaluates_where_its_own_runs_have_records(dataset: str, evaluate_every: int) -> None:
    """domainbed/scripts/train.py: 5001 steps; 7df6f06 evaluates multiples alone, b93c22a also the last step."""
    multiples = [step for step in range(5001) if step % evaluate_every == 0]
    for name, expected in (("domainbed", multiples), ("domainbed-head", sorted({*multiples, 5000}))):
        training = get_protocol(name).training(dataset)
        evaluated = [
            step
            for step in range(training.steps or 0)
            if step % (training.evaluate_every or 1) == 0 or step + 1 == training.steps
        ]
        assert evaluated == expected
    assert get_protocol("domainbed").training(dataset).split == "domainbed"


@pytest.mark.parametrize("name", ["gga-paper", "domainbed", "domainbed-head"])
def test_what_ran_under_the_defaults_of_pytorch_has_tf32(name: str) -> None:
    """Their code sets no precision; `torch.backends.cudnn.allow_tf32` is True by default."""
    assert {get_protocol(name).training(dataset).precision for dataset in DATASETS} == {"tf32"}


def test_domainbed_validates_on_augmented_photographs() -> None:
    training = get_protocol("domainbed").training("PACS")
    assert (training.network, training.weights) == ("resnet50", "IMAGENET1K_V1")
    assert (training.augmentation, training.augment_validation) == ("domainbed", True)


@pytest.mark.parametrize("dataset", DATASETS)
def test_domainbed_head_differs_from_domainbed_in_steps_batch_norm_and_sampler(dataset: str) -> None:
    paper, head = get_protocol("domainbed"), get_protocol("domainbed-head")
    changed: dict[str, Any] = {"freeze_batch_norm": False, "steps": 5001}
    if dataset not in SMALL_IMAGES:  # the network that DomainBed at b93c22a starts from
        changed |= {"network": "timm/resnet50.ram_in1k", "weights": "pretrained"}
    assert head.training(dataset) == paper.training(dataset).model_copy(update=changed)
    assert paper.training(dataset).freeze_batch_norm
    assert head.defaults("ERM", dataset) == paper.defaults("ERM", dataset)
    assert head.search_space("ERM", dataset) == paper.search_space("ERM", dataset)
    assert (paper.sampler, head.sampler) == ("domainbed", "domainbed-head")
    assert set(head.deviations) - set(paper.deviations) == set(head.deviations[-1:])


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("training", [{}, {"weights": "random"}, {"network": "resnet18"}])
def test_domainbed_head_without_timm_starts_from_torchvision_and_names_the_deviation(
    installed: bool, training: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("gga_sweep.spec.protocols", "gga_sweep.networks.timm_models"):
        monkeypatch.setattr(f"{module}.is_installed", lambda: installed)
    space = {"lr": {"loguniform": [1e-5, 1e-3]}}
    tree = write_tree(tmp_path / "tree")
    sweep = load(on_tree(tree, protocol="domainbed-head", training=training, search_space=space))
    network = training.get("network", "timm/resnet50.ram_in1k" if installed else "resnet50")
    weights = "pretrained" if installed or network == "resnet18" else "IMAGENET1K_V1"
    assert sweep.training.network == network
    assert sweep.training.weights == (None if training.get("weights") == "random" else weights)
    named = {words for words in sweep.deviations if words.startswith("network is")}
    expected = f"network is {network} (the protocol's: timm/resnet50.ram_in1k)"
    assert named == ({expected} if network != "timm/resnet50.ram_in1k" else set())
    again = complete(sweep.config, "stored", tmp_path, None, sweep.dataset)
    assert (again.training, again.deviations) == (sweep.training, sweep.deviations)


def test_shared_hp_is_quick_with_one_draw_for_all_test_domains() -> None:
    quick, shared = get_protocol("quick"), get_protocol("shared-hp")
    assert shared.training("RotatedDigits") == quick.training("RotatedDigits")
    assert (quick.selection, shared.selection) == (("training-domain-validation",), ("shared-draw",))


@every_protocol
def test_a_protocol_selects_by_known_methods_and_not_by_the_oracle(protocol: Protocol) -> None:
    assert set(protocol.selection) <= set(get_args(SelectionMethod)) - {"oracle"}
    assert protocol.selection


@pytest.mark.parametrize("name", ["gga-paper", "domainbed", "domainbed-head"])
def test_small_images_are_neither_augmented_nor_shown_to_a_resnet(name: str) -> None:
    for training in map(get_protocol(name).training, SMALL_IMAGES):
        assert (training.network, training.weights) == ("small-cnn", None)
        assert (training.augmentation, training.augment_validation) == ("none", False)


@pytest.mark.parametrize(
    ("name", "evaluate"),
    [
        ("quick", "all"),
        ("shared-hp", "all"),
        ("gga-paper", "selection"),
        ("domainbed", "selection"),
        ("domainbed-head", "selection"),
    ],
)
def test_protocols_of_full_size_evaluate_what_selection_needs(name: str, evaluate: str) -> None:
    assert load(content(protocol=name)).training.evaluate == evaluate
    for other in ("all", "selection"):
        sweep = load(content(protocol=name, training={"evaluate": other}))
        assert sweep.training.evaluate == other
        assert not any("evaluate is" in deviation for deviation in sweep.deviations)


@pytest.mark.parametrize("name", ["gga-paper", "domainbed", "domainbed-head"])
def test_protocols_of_full_size_evaluate_all_where_a_method_reads_more(name: str) -> None:
    with_oracle = ["training-domain-validation", "oracle"]
    stopping = {"reduction_factor": 3}
    pairs = ["training-domain-validation", "leave-one-domain-out"]
    assert load(content(protocol=name, selection=pairs)).training.evaluate == "all"
    assert load(content(protocol=name, selection=with_oracle)).training.evaluate == "selection"
    stopped = content(protocol=name, selection=with_oracle, early_stopping=stopping, draws=6)
    assert load(stopped).training.evaluate == "all"


def test_domainbed_defaults_depend_on_the_size_of_the_images() -> None:
    defaults = get_protocol("domainbed").defaults
    neutral = {"weight_decay": 0.0, "dropout": 0.0, "annealing.diagnose_every": 10}
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
    code = "import sys, gga_sweep.spec.draws; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
