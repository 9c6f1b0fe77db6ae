"""Configurations of single runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gga_sweep.annealing import GGA
from gga_sweep.annealing.options import encode
from gga_sweep.spec.models import RunSpec

TRAINING: dict[str, Any] = {
    "steps": 5001,
    "evaluate_every": 300,
    "evaluate": "all",
    "network": "resnet50",
    "weights": "IMAGENET1K_V1",
    "freeze_batch_norm": True,
    "split": "stream",
    "holdout": 0.2,
    "augmentation": "domainbed",
    "augment_validation": True,
    "precision": "float32",
    "threads": 1,
}


def run_config(**changes: Any) -> RunSpec:
    """An annealed run on PACS, changed at dotted paths: `training__steps=10`, `annealing=None`."""
    content: dict[str, Any] = {
        "dataset": {"name": "PACS", "root": Path("here"), "image_size": 224},
        "algorithm": "ERM",
        "hyperparameters": {"lr": 5e-5, "batch_size": 32, "weight_decay": 1e-4, "dropout": 0.5},
        "annealing": GGA(domain_gradients="layerwise"),
        "test_domains": ("sketch",),
        "trial_seed": 0,
        "training": dict(TRAINING),
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        block = content
        for parent in parents:
            block = block[parent]
        block[last] = value
    return RunSpec.model_validate(content)


def annealing_options(config: RunSpec) -> dict[str, Any]:
    """Method and options by name; empty for an un-annealed run."""
    return {} if config.annealing is None else encode(config.annealing)
