"""A sweep of eight tiny runs of RotatedDigits, trained once for all tests that only look at a ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gga_sweep.execution.prepare import prepare_ledger
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.spec import SweepSpec, load, plan_sweep

ANNEALING = {"start_step": 1, "num_steps": 1, "num_candidates": 2, "radius": 1e-3}

DIGITS: dict[str, Any] = {
    "name": "digits",
    "dataset": {"name": "RotatedDigits"},
    "arms": [{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "GGA", "annealing": ANNEALING}],
    "test_domains": ["0", "75"],
    "trial_seeds": [0],
    "draws": 2,
    "defaults": {"lr": 3e-3, "batch_size": 16},
    "search_space": {"lr": {"loguniform": [1e-3, 1e-1]}},
    "training": {"steps": 5, "evaluate_every": 2},
}
"""Two arms, two test domains, two draws: one learns, the other's rate is too high. Evaluated at steps 0, 2 and 4."""


def train_all(sweep: SweepSpec) -> None:
    """Train every run of a sweep into its own ledger, as a launch would, one after the other."""
    from gga_sweep.execution.open_run import open_run

    contents = prepare_ledger(sweep)
    ledger = Ledger(sweep.folder)
    for run in plan_sweep(sweep, contents).runs:
        training = open_run(run, ledger, sweep.storage, contents.dataset, on_gpu=False)
        while training.progress.status is RunStatus.RUNNING:
            training.advance()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SweepSpec:
    """The trained sweep. To be looked at only."""
    sweep = load(DIGITS, storage=tmp_path_factory.mktemp("trained"))
    train_all(sweep)
    return sweep


@pytest.fixture
def own_copy(trained: SweepSpec, tmp_path: Path) -> Callable[[], SweepSpec]:
    """Makes the trained sweep anew in a storage of the test's own, to be changed at will."""

    def copy() -> SweepSpec:
        storage = tmp_path / "results"
        shutil.copytree(trained.folder, storage / trained.name)
        return load(DIGITS, storage=storage)

    return copy
