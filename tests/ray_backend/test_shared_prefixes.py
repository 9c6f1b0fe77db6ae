"""Launches whose runs share their first steps: the same bits for fewer steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_sweep import ANNEALING, small_sweep, train_without_ray

import gga_sweep
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.ledger.json_codec import parse_timings
from gga_sweep.ledger.prefix_names import PREFIXES
from gga_sweep.ray_backend.callbacks import LaunchCallback
from gga_sweep.scheduling.shared_steps import inherited_steps

pytestmark = pytest.mark.usefixtures("local_ray", "quick_launches")

WINDOWS: dict[str, Any] = {
    "arms": [
        {"algorithm": "ERM"},
        {
            "algorithm": "ERM",
            "annealing": {name: value for name, value in ANNEALING.items() if name != "num_steps"},
            "vary": {"annealing.num_steps": [1, 2, 4]},
        },
        {"algorithm": "ERM", "annealing": {"method": "gga-l"}},
    ],
    "draws": 2,
    "search_space": {"lr": {"loguniform": [1e-3, 1e-1]}},
    "training": {"steps": 9, "evaluate_every": 4},
    "resources": {"cpus": 1, "max_concurrent": 2},
}

ONE_ACTOR = {"cpus": 1, "max_concurrent": 1}  # starting a second one costs more than it trains


def sweep_of(storage: Path, **fields: Any) -> gga_sweep.SweepSpec:
    return gga_sweep.load(small_sweep(**{**WINDOWS, **fields}), storage=storage)


def bytes_of(result: gga_sweep.SweepResult) -> dict[str, Any]:
    """By run: how it ended, and the digests of all that must not differ."""
    return {
        f"{run.cell} {run.key}": (run.draws, run.status, run.reason, result.ledger.run(run.folder).digests())
        for run in result.records
    }


def inherited(result: gga_sweep.SweepResult) -> dict[str, int]:
    """By run, the steps that it did not train itself, from its timings."""
    found = {}
    for run in result.records:
        lines = (result.ledger.run(run.folder).read_file("timings.jsonl") or b"").splitlines()
        found[run.key] = max((_steps(line) for line in lines if b'"inherited":true' in line), default=0)
    return found


def _steps(line: bytes) -> int:
    return int(json.loads(line)["step"]) + 1


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, local_ray: None, quick_launches: None) -> gga_sweep.SweepResult:
    """Five arms of two draws, each run trained from step 0 in this process: the launch finds nothing left to train."""
    sweep = sweep_of(tmp_path_factory.mktemp("apart"))
    train_without_ray(sweep)
    return gga_sweep.run_sweep(sweep)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, local_ray: None, quick_launches: None) -> gga_sweep.SweepResult:
    return gga_sweep.run_sweep(sweep_of(tmp_path_factory.mktemp("shared")))


def test_shared_steps_change_neither_bytes_nor_the_table(
    apart: gga_sweep.SweepResult, shared: gga_sweep.SweepResult
) -> None:
    assert bytes_of(shared) == bytes_of(apart)
    assert shared.table() == apart.table()
    assert not any(inherited(apart).values())


def test_as_many_steps_are_saved_as_planned(shared: gga_sweep.SweepResult) -> None:
    planned = sum(inherited_steps(shared.plan.configs.values()))
    # For each draw: ERM inherits 2 steps of the longest window, the others 3 and 4; GGA-L none.
    assert planned == 2 * (2 + 3 + 4)
    assert sum(inherited(shared).values()) == planned


def test_no_prefix_is_left_at_the_end(shared: gga_sweep.SweepResult) -> None:
    folder = Path(shared.ledger.folder)
    assert not (folder / PREFIXES).exists()
    assert not [*folder.glob("runs/*/.*")]


def test_a_run_counts_the_seconds_it_takes_alone_and_the_sweep_those_spent(shared: gga_sweep.SweepResult) -> None:
    spent = 0.0
    for run in shared.records:
        seconds, own = parse_timings(shared.ledger.run(run.folder).read_file("timings.jsonl"))
        spent += sum(seconds.values()) - own
    assert 0 < spent < sum(sum(run.seconds.values()) for run in shared.records)
    assert shared.device_seconds == pytest.approx(spent)


def test_a_sweep_whose_launch_is_stopped_ends_with_the_same_bytes(
    apart: gga_sweep.SweepResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 4  # results until the first launch is stopped
    on_trial_result = LaunchCallback.on_trial_result

    def stop_after(self: LaunchCallback, **info: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            self._launch.lease.ask("told to stop")
        on_trial_result(self, **info)

    monkeypatch.setattr(LaunchCallback, "on_trial_result", stop_after)
    assert gga_sweep.run_sweep(sweep_of(tmp_path, resources=ONE_ACTOR)).stopped == "told to stop"
    last = gga_sweep.run_sweep(sweep_of(tmp_path, resources=ONE_ACTOR))
    assert last.stopped is None
    assert bytes_of(last) == bytes_of(apart)
    assert last.table() == apart.table()
    assert last.ledger.store.list(PREFIXES) == []


def test_runs_of_an_algorithm_without_checkpoints_share_no_steps_which_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arms = [{"algorithm": "small_sweep:Hoarder"}, {"algorithm": "small_sweep:Hoarder", "annealing": ANNEALING}]
    result = gga_sweep.run_sweep(sweep_of(tmp_path, arms=arms, draws=1, resources=ONE_ACTOR))
    assert not result.failed
    assert "it wrote no prefix, so runs that share its steps train them again: UnpicklingError" in caplog.text
    assert inherited(result) == dict.fromkeys((run.key for run in result.records), 0)


def test_adaptive_search_and_early_stopping_give_the_same_with_shared_steps(tmp_path: Path) -> None:
    adaptive: dict[str, Any] = {
        "search": "tpe",
        "draws": 4,
        "adaptive": {"n_startup_trials": 2},
        "early_stopping": {"reduction_factor": 2},
        "arms": [{"algorithm": "ERM", "annealing": ANNEALING}, {"algorithm": "ERM", "name": "plain"}],
        "search_space": {"lr": {"choice": [1e-2, 3e-2]}, "annealing.num_candidates": {"choice": [1, 2, 3, 4]}},
        "training": {"steps": 12, "evaluate_every": 3},
        "resources": ONE_ACTOR,
    }
    results = [
        gga_sweep.run_sweep(sweep_of(tmp_path / name, **adaptive), LaunchOptions(unshared=unshared))
        for name, unshared in (("apart", True), ("shared", False))
    ]
    assert bytes_of(results[0]) == bytes_of(results[1])
    assert results[0].table() == results[1].table()
    assert sum(inherited(results[1]).values()) > 0
    assert results[1].ledger.store.list(PREFIXES) == []
