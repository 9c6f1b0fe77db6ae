"""The first figure of a paper in one sweep file: rivals x networks, plain and annealed, on a tree of images."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from sweep_content import write_tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
pytest.importorskip("timm")

NETWORKS = ("resnet18", "timm/test_vit")


def write_weights(folder: Path, network: str) -> Path:
    """A state dict of the network, as a user has one; MIRO keeps to its features."""
    code = (
        "import sys, timm, torch, torchvision\n"
        "torch.manual_seed(0)\n"
        "name = sys.argv[1]\n"
        "net = timm.create_model(name[5:], num_classes=0) if name[:5] == 'timm/' else torchvision.models.resnet18()\n"
        "torch.save(net.state_dict(), sys.argv[2])\n"
    )
    path = folder / f"{network.replace('/', '-')}.pt"
    subprocess.run([sys.executable, "-c", code, network, str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def sweep_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figure")
    vary = {
        name: {"training.network": [name], "training.weights": [str(write_weights(folder, name))]} for name in NETWORKS
    }
    arms = [
        {"algorithm": algorithm, "vary": vary[network], **annealing}
        for network in NETWORKS
        for algorithm in ("ERM", "SAGE", "MIRO")
        for annealing in ({}, {"annealing": {"variant": "paper"}})
    ]
    content = {
        "name": "figure",
        "dataset": {"name": "ImageFolder", "root": str(write_tree(folder / "tree")), "image_size": 160},
        "protocol": "quick",
        "arms": arms,
        "test_domains": ["sketch"],
        "trial_seeds": [0],
        "draws": 1,
        "defaults": {
            "batch_size": 2,
            "annealing.start_step": 1,
            "annealing.num_steps": 2,
            "annealing.num_candidates": 2,
        },
        "training": {"steps": 4, "evaluate_every": 2, "evaluate": "all"},
        "resources": {"cpus": 1, "gpus": 0},
    }
    path = folder / "figure.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def gga_sweep(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gga_sweep.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(*arguments: str | Path, code: int = 0) -> str:
    process = gga_sweep(*arguments)
    output, _ = process.communicate(timeout=1200)
    assert process.returncode == code, output
    return output


def bits(storage: Path) -> dict[str, bytes]:
    """Every file of the runs whose bits are promised."""
    folder = storage / "figure" / "runs"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("records.jsonl", "annealing.jsonl")
        for path in sorted(folder.glob(f"*/{name}"))
    }


def test_the_figure_runs_resumes_to_the_bit_reports_and_is_exported(sweep_file: Path, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finished("run", sweep_file, "--storage", whole)

    launch = gga_sweep("run", sweep_file, "--storage", stopped)
    while launch.poll() is None and not [*(stopped / "figure" / "runs").glob("*/records.jsonl")]:
        time.sleep(0.1)
    launch.send_signal(signal.SIGINT)
    launch.communicate(timeout=600)
    assert launch.returncode == 3
    done = [path for path in (stopped / "figure" / "runs").glob("*/status.json") if "DONE" in path.read_text()]
    assert len(done) < 12
    finished("run", sweep_file, "--storage", stopped)
    assert len(bits(whole)) == 12 + 6
    assert bits(stopped) == bits(whole)

    report = json.loads(finished("report", stopped / "figure", "--format", "json"))
    averages = {row["arm"]: row["value"] for row in report["records"] if row["kind"] == "average" and row.get("n")}
    assert len(averages) == 12
    finished("export", stopped / "figure", "--domainbed", tmp_path / "exported")
    assert len([*(tmp_path / "exported").rglob("results.jsonl")]) == 12
