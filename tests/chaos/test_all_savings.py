"""A sweep that saves what it can, killed and launched again, is the sweep that saves nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invariants import differences
from PIL import Image
from scene import Scene

from gga_sweep.datasets import load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.ledger.prefix_names import PREFIXES
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.ledger.suggested_draws import read_suggested
from gga_sweep.records import FINAL, RunStatus

PER_DOMAIN = 120


def write_photographs(root: Path) -> Path:
    """Rotated digits as a tree of images: root/rotation/digit/number.png."""
    dataset = load_dataset(DatasetConfig(name="RotatedDigits"), None)
    for domain in dataset.domains:
        if domain.name in ("0", "45", "75"):
            images, labels = domain.take(np.arange(PER_DOMAIN))
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                folder = root / f"rotated {domain.name}" / dataset.classes[int(label)]
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray((255 * image[0].numpy()).astype(np.uint8)).save(folder / f"{number}.png")
    return root


def all_savings(root: Path) -> dict[str, Any]:
    """Draws suggested in each cell, runs ended early, windows that share their steps, photographs decoded once."""
    annealing = {"variant": "paper", "start_step": 10, "num_candidates": 4}
    return {
        "name": "savings",
        "dataset": {"name": "ImageFolder", "root": str(root), "image_size": 28},
        "arms": [
            {"algorithm": "ERM"},
            {"algorithm": "ERM", "annealing": annealing, "vary": {"annealing.num_steps": [5, 15]}},
        ],
        "test_domains": ["rotated 75"],
        "trial_seeds": [0],
        "draws": 4,
        "search": "tpe",
        "adaptive": {"n_startup_trials": 2},
        "early_stopping": {"reduction_factor": 2},
        "search_space": {"lr": {"loguniform": [3e-4, 3e-2]}},
        "training": {"steps": 60, "evaluate_every": 10, "network": "small-cnn"},
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_in_the_middle_and_launched_again_it_is_the_sweep_that_saved_nothing(tmp_path: Path) -> None:
    sweep = all_savings(write_photographs(tmp_path / "photographs"))
    peace, killed = (Scene(tmp_path / name, sweep, clustered=False, served=False) for name in ("peace", "killed"))
    with peace.set_up():
        peace.launch = peace.start_launch("--unshared")
        assert peace.wait_for_launch(300) == 0, peace.log.read_text()
    assert {state.status for state in peace.states().values()} == {RunStatus.DONE, RunStatus.STOPPED}

    with killed.set_up():
        killed.keep_launched()
        _wait_until(lambda: _final(killed) >= 7 and killed.running(), killed)  # among the draws that were suggested
        killed.kill_launch()
        killed.keep_launched()
        assert killed.wait_for_launch(300) == 0, killed.log.read_text()

    assert differences(peace.ledger, killed.ledger) == []
    assert read_suggested(peace.ledger) == read_suggested(killed.ledger)
    results = killed.ledger.read_results(killed.ledger.run_names())
    assert len(results) == len(read_plan(killed.ledger.folder).configs)
    assert sum(result.inherited_seconds > 0 for result in results.values()) >= 3
    assert killed.ledger.store.list(PREFIXES) == []


def _final(scene: Scene) -> int:
    return sum(state.status in FINAL for state in scene.states().values())


def _wait_until(condition: Any, scene: Scene) -> None:
    end = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < end, scene.log.read_text()
        assert scene.launch is not None
        assert scene.launch.poll() is None, scene.log.read_text()
        time.sleep(0.05)
