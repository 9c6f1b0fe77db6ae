"""`load`: what it takes, what it completes, and what of it departs from the protocol."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_sweep import Fragile, stripes
from sweep_content import GGA, content, on_tree, two_arms, write_tree

from gga_sweep.errors import InputError
from gga_sweep.networks.builtin.small_cnn import small_cnn
from gga_sweep.spec import SweepSpec, load
from gga_sweep.spec.content_digests import cache_folder
from gga_sweep.spec.protocols import PROTOCOLS


def test_a_file_a_path_and_its_content_are_one_sweep(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(two_arms()))
    sweeps = [load(given, storage=tmp_path) for given in (file, str(file), two_arms())]
    assert [sweep.config for sweep in sweeps] == [sweeps[0].config] * 3
    assert [sweep.arms for sweep in sweeps] == [sweeps[0].arms] * 3
    assert [sweep.source for sweep in sweeps] == [str(file), str(file), "the given mapping"]


def test_a_shipped_sweep_is_loaded_by_name() -> None:
    sweep = load("demo")
    assert sweep.name == "demo"
    assert [arm.name for arm in sweep.arms] == ["ERM", "ERM + GGA"]


def test_assignments_go_over_the_file() -> None:
    sweep = load(
        two_arms(),
        overrides=["draws=5", "defaults.annealing.radius=1e-4", "arms[1].draws=2", "training.steps=20"],
    )
    assert [arm.draws for arm in sweep.arms] == [5, 2]
    assert sweep.config.defaults["annealing.radius"] == 1e-4
    assert sweep.training.steps == 20


def test_overrides_may_be_a_mapping_of_values() -> None:
    overrides = {"training.steps": 9, "arms[0].draws": 2, "defaults.lr": 1e-3, "training.network": small_cnn}
    spec = load(content(), overrides=overrides)
    assert (spec.training.steps, spec.config.arms[0].draws, spec.config.defaults) == (9, 2, {"lr": 1e-3})
    assert spec.training.network == "gga_sweep.networks.builtin.small_cnn:small_cnn"
    small = {"dataset": {"name": stripes}, "test_domains": ["north"], "defaults": {"batch_size": 4}}
    named = load(content(arms=[{"algorithm": Fragile}], **small))
    assert (named.arms[0].algorithm, named.config.dataset.name) == ("small_sweep:Fragile", "small_sweep:stripes")


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        ("draws=2", "overrides: must be a list of key=value texts, or a mapping, got 'draws=2'"),
        ({"arms[7].draws": 2}, r"arms\[7\]\.draws: cannot be set: list index out of range, got 2"),
        ({"training.network": lambda shape: shape}, r"training\.network: must be a function or class at the top of a"),
    ],
    ids=["text", "no such arm", "no name"],
)
def test_overrides_that_cannot_be_applied_are_refused(overrides: Any, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        load(content(), overrides=overrides)


def test_all_test_domains_are_each_domain_alone() -> None:
    assert load(content()).test_domains == tuple((name,) for name in ("0", "15", "30", "45", "60", "75"))
    assert load(content(test_domains=[[75, 0], "30"])).test_domains == (("75", "0"), ("30",))


def test_the_sweep_lives_in_its_storage_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(content()).folder == tmp_path / "gga-sweep-results" / "tiny"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(content(), storage="~/there").folder == tmp_path / "there" / "tiny"
    assert list(tmp_path.iterdir()) == []  # loading writes nothing


def test_a_relative_root_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path / "tree")
    monkeypatch.chdir(tmp_path)
    sweep = load(on_tree(Path("tree")))
    assert sweep.config.dataset.root == tmp_path / "tree"
    assert sweep.dataset.domain_sizes == {"art": 10, "photo": 10, "sketch": 10}


def test_the_tracking_uri_is_passed_on() -> None:
    assert load(content()).tracking_uri is None
    assert load(content(), tracking_uri="http://127.0.0.1:5000").tracking_uri == "http://127.0.0.1:5000"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_without_training_block_has_no_deviations(protocol: str) -> None:
    sweep = load(content(protocol=protocol))
    assert sweep.deviations == ()
    expected = PROTOCOLS[protocol].training("RotatedDigits").model_dump()
    assert sweep.training.model_dump() == expected


def test_tf32_on_cpus_is_said_to_be_float32() -> None:
    for protocol, others in (("quick", ["precision is tf32 (the protocol's: float32)"]), ("domainbed", [])):
        found = load(content(protocol=protocol, training={"precision": "tf32"})).deviations
        assert list(found) == [*others, "precision is float32 in effect: these runs train on CPUs, which have no TF32"]
        on_gpus = load(content(protocol=protocol, training={"precision": "tf32"}, resources={"gpus": 1}))
        assert list(on_gpus.deviations) == others


OVERRIDES: dict[str, Any] = {
    "steps": 120,
    "evaluate_every": 7,
    "network": "resnet18",
    "freeze_batch_norm": False,
    "split": "domainbed",
    "holdout": 0.25,
    "augmentation": "domainbed",
    "augment_validation": True,
    "precision": "bfloat16",
    "threads": 2,
}


@pytest.mark.parametrize("field", OVERRIDES)
def test_what_the_file_overrides_decides_and_is_a_deviation(field: str, tmp_path: Path) -> None:
    sweep = load(on_tree(write_tree(tmp_path / "tree"), training={field: OVERRIDES[field]}))
    assert getattr(sweep.training, field) == OVERRIDES[field]
    others = {name: value for name, value in sweep.training.model_dump().items() if name != field}
    plain = load(on_tree(tmp_path / "tree")).training.model_dump()
    assert others == {name: value for name, value in plain.items() if name != field}
    if field == "threads":  # no protocol has an opinion on it
        assert sweep.deviations == ()
    else:
        assert sweep.deviations[0] == f"{field} is {OVERRIDES[field]} (the protocol's: {plain[field]})"
        assert [words[:21] for words in sweep.deviations[1:]] == ["crops are taken from "] * (field == "augmentation")


@pytest.mark.parametrize(
    ("protocol", "weights", "deviation"),
    [
        ("quick", "random", []),
        ("quick", "imagenet", ["weights is imagenet (the protocol's: random)"]),
        ("domainbed", "random", ["weights is random (the protocol's: IMAGENET1K_V1)"]),
    ],
)
def test_random_weights_are_called_so(protocol: str, weights: str, deviation: list[str], tmp_path: Path) -> None:
    training = {"network": "resnet18", "weights": weights}
    space = {"lr": {"loguniform": [1e-5, 1e-3]}}
    sweep = load(on_tree(write_tree(tmp_path / "tree"), protocol=protocol, training=training, search_space=space))
    assert [words for words in sweep.deviations if words.startswith("weights")] == deviation


def test_the_home_directory_is_known_in_the_paths_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_tree(tmp_path / "tree")
    (tmp_path / "w.pt").write_bytes(b"weights")
    sweep = load(on_tree(Path("~/tree"), training={"network": "resnet18", "weights": "~/w.pt"}), storage="~/results")
    assert sweep.config.dataset.root == tmp_path / "tree"
    assert sweep.training.weights == str(tmp_path / "w.pt")
    assert sweep.storage == tmp_path / "results"
    monkeypatch.setenv("GGA_SWEEP_CACHE", "~/cached")
    assert cache_folder(sweep.storage) == tmp_path / "cached"


BATCHED = (
    "the augmentation works on whole minibatches in float32 (DomainBed's: image by image, in bytes), so pixels differ "
    "by about 1.5 of 256 levels on average"
)


def crops(side: int) -> str:
    return f"crops are taken from images stored at {side} x {side} (DomainBed's: from photographs as they lie on disk)"


def other_size(side: int) -> str:
    return f"images are {side} x {side} (DomainBed's: 224 x 224)"


@pytest.mark.parametrize(
    ("protocol", "augmentation", "side", "told"),
    [
        ("quick", "none", 64, []),
        ("quick", "domainbed", 64, [crops(64)]),
        ("quick", "domainbed-batched", 224, [BATCHED, crops(224)]),
        ("gga-paper", "domainbed", 224, [crops(224)]),
        ("gga-paper", "none", 64, [other_size(64)]),
        ("gga-paper", "domainbed-batched", 256, [other_size(256), BATCHED, crops(256)]),
    ],
)
def test_images_and_crops_other_than_domainbeds_are_deviations(
    protocol: str, augmentation: str, side: int, told: list[str], tmp_path: Path
) -> None:
    sweep = load(
        on_tree(
            write_tree(tmp_path / "tree"),
            protocol=protocol,
            dataset={"name": "ImageFolder", "root": str(tmp_path / "tree"), "image_size": side},
            training={"augmentation": augmentation},
        )
    )
    assert [words for words in sweep.deviations if not words.startswith("augmentation is")] == told


def test_saying_what_the_protocol_says_is_no_deviation() -> None:
    assert load(content(training={"steps": 300, "holdout": 0.2})).deviations == ()


def test_annealed_arms_need_two_training_domains_and_plain_ones_one() -> None:
    assert load(content(arms=[{}, GGA], test_domains=[[0, 15, 30, 45]])).test_domains == (("0", "15", "30", "45"),)
    assert load(content(test_domains=[[0, 15, 30, 45, 60]])).test_domains == (("0", "15", "30", "45", "60"),)


def test_a_window_may_end_with_the_last_step() -> None:
    def window(start: int) -> SweepSpec:
        return load(content(arms=[{"annealing": {"start_step": start, "num_steps": 5}}], training={"steps": 100}))

    assert window(95).training.steps == 100
    with pytest.raises(InputError, match=r"the window 96\.\.100 must end by the last step, 99"):
        window(96)


def test_an_un_annealed_sweep_has_no_window_to_fit() -> None:
    assert load(content(training={"steps": 1})).training.steps == 1


def test_what_a_protocol_sets_may_lie_outside_its_own_search_space() -> None:
    sweep = load(content(protocol="domainbed", dataset={"name": "PACS"}))
    assert not 1e-6 <= float(sweep.protocol.defaults("ERM", "PACS")["weight_decay"]) <= 1e-2


def test_planning_loads_neither_torch_nor_what_else_takes_long() -> None:
    code = (
        "import sys; from gga_sweep.spec import load, outline_sweep, plan_sweep, read_contents\n"
        "for name in ('demo', 'gga-paper-pacs', 'domainbed', 'wilds-camelyon17'): outline_sweep(load(name))\n"
        "sweep = load('demo'); plan_sweep(sweep, read_contents(sweep))\n"
        "heavy = {'torch', 'torchvision', 'ray', 'mlflow', 'sklearn', 'pandas', 'scipy', 'pyarrow', 'wilds'}\n"
        "print(sorted(heavy & {*sys.modules}))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert printed.stdout == "[]\n"
