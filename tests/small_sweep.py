"""Sweeps small enough to be trained in a test, and the parts that some of them name by `module:attribute`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.erm import ERM
from gga_sweep.datasets import Dataset, Domain, digest_of_tensors
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.execution.open_run import open_run
from gga_sweep.execution.prepare import prepare_ledger, require_writable
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.records import RunStatus
from gga_sweep.spec import SweepSpec, plan_sweep

ANNEALING = {"method": "gga", "variant": "paper", "start_step": 2, "num_steps": 2, "num_candidates": 3, "radius": 1e-3}


def small_sweep(name: str = "small", **fields: Any) -> dict[str, Any]:
    """ERM and GGA on one test domain and one trial seed: two runs of seven steps."""
    return {
        "name": name,
        "dataset": {"name": "small_sweep:stripes"},
        "arms": [{"algorithm": "ERM"}, {"algorithm": "ERM", "annealing": ANNEALING}],
        "test_domains": ["north"],
        "trial_seeds": [0],
        "defaults": {"lr": 1e-2, "batch_size": 4, "dropout": 0.2},
        "training": {"steps": 7, "evaluate_every": 3},
        "resources": {"cpus": 1, "max_concurrent": 1},  # starting a second actor costs more than it trains
        **fields,
    }


def train_without_ray(sweep: SweepSpec) -> list[RunFolder]:
    """Train every run of a sweep in its own ledger, in this process."""
    require_writable(sweep.storage)
    contents = prepare_ledger(sweep)
    ledger = Ledger(sweep.folder)
    runs = {run.key: run for run in plan_sweep(sweep, contents).runs}
    for run in runs.values():
        training = open_run(run, ledger, sweep.storage, contents.dataset, on_gpu=False)
        while training.advance().status is RunStatus.RUNNING:
            pass
    return [ledger.run(run.folder) for run in runs.values()]


def stripes(config: DatasetConfig) -> Dataset:
    """Three domains of 8 x 8 images with stripes in one of two directions."""
    return _stripes(noise_in=None)


def stripes_with_noise_in_north(config: DatasetConfig) -> Dataset:
    """The same, but images and labels of one domain are noise: equal names and sizes, another digest."""
    return _stripes(noise_in="north")


def _stripes(noise_in: str | None) -> Dataset:
    domains = []
    for index, name in enumerate(("north", "east", "south")):
        rng = np.random.default_rng(index)
        labels = np.arange(30) % 2
        images = rng.normal(0, 0.3, (30, 1, 8, 8)).astype(np.float32)
        images[labels == 0, :, 2 + index, :] += 1
        images[labels == 1, :, :, 2 + index] += 1
        if name == noise_in:
            images = rng.normal(0, 1, images.shape).astype(np.float32)
            labels = rng.permutation(labels)
        ids = tuple(f"{name}-{number}" for number in range(30))
        domains.append(Domain(name, torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)), ids))
    return Dataset("stripes", ("across", "along"), tuple(domains), digest_of_tensors(domains), normalise=False)


class Fragile(ERM):
    """ERM that fails in its fourth step, once a folder's file says how."""

    HYPERPARAMETERS: dict[str, Any] = {}  # noqa: RUF012
    NUMERICS = 1

    def update(self, batch: Batch) -> torch.Tensor:
        self.updates = getattr(self, "updates", 0) + 1
        if self.updates == 4:
            _fail_as_told()
        return super().update(batch)


class Hoarder(ERM):
    """ERM that keeps in its state what no checkpoint can be loaded with."""

    HYPERPARAMETERS: dict[str, Any] = {}  # noqa: RUF012
    NUMERICS = 1

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        return {**super().state_dict(*args, **kwargs), "rule": logging.getLogger()}


def _fail_as_told() -> None:
    orders = Path(os.environ["SMALL_SWEEP_ORDERS"])
    if not orders.exists():
        return
    order = orders.read_text()
    if order == "raise":
        raise RuntimeError("told to fail")
    orders.unlink()  # what follows happens once
    if order == "out of memory":
        raise MemoryError("told to run out of memory")
    if order == "die":
        os._exit(1)
