"""Networks as factors, from the launch to the export: a ResNet and a ViT of timm on one tree of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweep_content import on_tree, write_tree

import gga_sweep
from gga_sweep.domainbed.export import export_domainbed
from gga_sweep.errors import InputError
from gga_sweep.execution.open_run import open_run
from gga_sweep.execution.prepare import decode_images
from gga_sweep.execution.replay import compare
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus

pytest.importorskip("timm", reason="the extra timm is not installed")

pytestmark = pytest.mark.usefixtures("local_ray", "quick_launches")

VIT = "timm/test_vit"
RESNET = "timm/test_resnet"
ANNEALING = {"variant": "guided", "start_step": 1, "num_steps": 1, "num_candidates": 2, "radius": 1e-3}
NETWORKS = {"vary": {"training.network": [RESNET, VIT]}}


def on_networks(tree: Path, **changes: Any) -> dict[str, Any]:
    return on_tree(
        tree,
        **{
            "name": "backbones",
            "dataset": {"name": "ImageFolder", "root": str(tree), "image_size": 160},
            "arms": [
                {"algorithm": "ERM", **NETWORKS},
                {"algorithm": "ERM", "name": "guided", "annealing": ANNEALING, **NETWORKS},
            ],
            "test_domains": ["sketch"],
            "trial_seeds": [0],
            "draws": 1,
            "search_space": {"lr": {"loguniform": [1e-4, 1e-3]}},
            "training": {"steps": 3, "evaluate_every": 2},
            "resources": {"cpus": 1, "max_concurrent": 1},
            **changes,
        },
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("images") / "tree", per_class=3)


@pytest.fixture(scope="module")
def swept(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, local_ray: None, quick_launches: None
) -> gga_sweep.SweepResult:
    return gga_sweep.run_sweep(gga_sweep.load(on_networks(tree), storage=tmp_path_factory.mktemp("swept")))


def test_each_network_is_compared_on_equal_draws(swept: gga_sweep.SweepResult) -> None:
    names = [f"{arm}, network {network}" for arm in ("ERM", "guided") for network in (RESNET, VIT)]
    assert [row.arm for row in swept.table().rows] == names
    assert not swept.table().incomplete
    assert {run.status for run in swept.records} == {RunStatus.DONE}
    assert [arm.baseline for arm in swept.plan.sweep.arms] == [None, names[0], names[0], names[1]]
    assert len({run.hyperparameters["lr"] for run in swept.records}) == 1


def test_a_run_that_was_stopped_is_resumed_to_the_same_bytes(swept: gga_sweep.SweepResult, tmp_path: Path) -> None:
    sweep = swept.plan.sweep
    decode_images(sweep)
    ledger = Ledger(tmp_path)
    chosen = [run for run in swept.plan.runs if run.cell.arm.startswith("guided")]
    assert len(chosen) == 2
    digest = swept.ledger.run(chosen[0].folder).read_header().dataset_digest  # type: ignore[union-attr]
    for run in chosen:
        begun = open_run(run, ledger, sweep.storage, digest, on_gpu=False)
        assert begun.advance().step == 0
        resumed = open_run(run, ledger, sweep.storage, digest, on_gpu=False)
        assert resumed.progress.step == 0
        while resumed.advance().status is RunStatus.RUNNING:
            pass
        same = compare(ledger.run(run.folder), sweep)
        assert same
        assert all(same.values())


def test_the_sweep_is_exported(swept: gga_sweep.SweepResult, tmp_path: Path) -> None:
    export_domainbed(swept.plan.sweep.folder, tmp_path / "export")
    assert len([*(tmp_path / "export").rglob("results.jsonl")]) == len(swept.plan.runs)


def test_a_selected_vit_predicts(swept: gga_sweep.SweepResult) -> None:
    network = swept.best(arm=f"guided, network {VIT}", test_domain="sketch").load_model()
    assert network.features == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dataset": {"image_size": 16}},
            r"arms\[0\]\.vary\.training\.network: needs images of 160 x 160 pixels \(set dataset\.image_size: 160\)",
        ),
        (
            {"arms": [{"vary": {"training.network": ["timm/test_vti"]}}]},
            r"arms\[0\]\.vary\.training\.network: must be a network of timm.*did you mean 'timm/test_vit'",
        ),
        (
            {"arms": [{"vary": {"training.network": [VIT], "training.trainable": ["last:9"]}}]},
            r"arms\[0\]\.vary\.training\.trainable: timm/test_vit has 6 blocks, got 'last:9'",
        ),
        (
            {"arms": [{"vary": {"training.network": ["timm/test_vit.r160_in1k"], "training.weights": ["pretrained"]}}]},
            r"arms\[0\]\.vary\.training\.weights: .*`gga-sweep weights fetch timm/test_vit\.r160_in1k`.*\(node ",
        ),
    ],
    ids=["image size", "name", "blocks", "weights"],
)
def test_a_network_that_cannot_be_built_is_refused_before_any_run(
    changes: dict[str, Any], message: str, tree: Path, tmp_path: Path
) -> None:
    content = on_networks(tree, **{**changes, "name": "refused"})
    content["dataset"] = on_networks(tree)["dataset"] | changes.get("dataset", {})
    with pytest.raises(InputError, match=message):
        gga_sweep.run_sweep(gga_sweep.load(content, storage=tmp_path))
    assert not [*(tmp_path / "refused").glob("runs/*")]
