"""Launches whose runs share their first steps: the same bits for fewer steps, as planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_sweep import ANNEALING, small_sweep

import gga_sweep
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.ledger.branching import PREFIXES
from gga_sweep.ledger.json_codec import parse_timings
from gga_sweep.scheduling.shared_steps import inherited_steps

pytestmark = [
    pytest.mark.usefixtures("local_ray", "quick_launches"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

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


def sweep_of(storage: Path, **fields: Any) -> gga_sweep.Sweep:
    return gga_sweep.load(small_sweep(**{**WINDOWS, **fields}), storage=storage)


def bytes_of(result: gga_sweep.SweepResult) -> dict[str, Any]:
    """By run: how it ended, and the digests of all that must not differ."""
    return {
        f"{run.cell} {run.key}": (run.draws, run.status, run.reason, result.ledger.run(run.folder).digests())
        for run in result.records
    }


def inherited(result: gga_sweep.SweepResult) -> dict[str, int]:
    """By run, the steps that it did not train itself, as its timings tell."""
    found = {}
    for run in result.records:
        lines = (result.ledger.run(run.folder).read_file("timings.jsonl") or b"").splitlines()
        found[run.key] = max((_steps(line) for line in lines if b'"inherited":true' in line), default=0)
    return found


def _steps(line: bytes) -> int:
    import json

    return int(json.loads(line)["step"]) + 1


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> gga_sweep.SweepResult:
    """Five arms of two draws, each run from step 0."""
    sweep = sweep_of(tmp_path_factory.mktemp("apart"))
    return gga_sweep.run_sweep(sweep, LaunchOptions(unshared=True))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> gga_sweep.SweepResult:
    return gga_sweep.run_sweep(sweep_of(tmp_path_factory.mktemp("shared")))


def test_runs_that_share_leave_the_bytes_and_the_table_of_runs_that_do_not(
    apart: gga_sweep.SweepResult, shared: gga_sweep.SweepResult
) -> None:
    assert bytes_of(shared) == bytes_of(apart)
    assert shared.table() == apart.table()
    assert not any(inherited(apart).values())


def test_as_many_steps_are_saved_as_the_plan_foretold(shared: gga_sweep.SweepResult) -> None:
    foretold = sum(inherited_steps(shared.plan.configs.values()))
    # Of each draw: ERM takes 2 steps of the longest window, the others 3 and 4 of it; GGA-L none.
    assert foretold == 2 * (2 + 3 + 4)
    assert sum(inherited(shared).values()) == foretold


def test_nothing_stays_of_what_was_shared_when_all_is_done(shared: gga_sweep.SweepResult) -> None:
    assert shared.ledger.store.list(PREFIXES) == []


def test_a_run_counts_what_it_takes_alone_and_the_sweep_what_was_spent(shared: gga_sweep.SweepResult) -> None:
    spent = 0.0
    for run in shared.records:
        seconds, own = parse_timings(shared.ledger.run(run.folder).read_file("timings.jsonl"))
        spent += sum(seconds.values()) - own
    assert 0 < spent < sum(sum(run.seconds.values()) for run in shared.records)
    assert shared.device_seconds == pytest.approx(spent)


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_launch_that_was_stopped_anywhere_and_launched_again_ends_with_the_same_bytes(
    apart: gga_sweep.SweepResult, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gga_sweep.ray_backend.callbacks import LaunchCallback

    results = 0
    heard = LaunchCallback.on_trial_result

    def stop_after(self: LaunchCallback, **info: Any) -> None:
        nonlocal results
        results += 1
        if results == after:
            self._launch.lease.ask("told to")
        heard(self, **info)

    monkeypatch.setattr(LaunchCallback, "on_trial_result", stop_after)
    first = gga_sweep.run_sweep(sweep_of(tmp_path))
    assert first.stopped == "told to"
    second = gga_sweep.run_sweep(sweep_of(tmp_path))

    assert bytes_of(second) == bytes_of(apart)
    assert second.table() == apart.table()
    assert second.ledger.store.list(PREFIXES) == []


def test_a_launch_says_that_an_algorithm_cannot_be_checkpointed_and_trains_each_run_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arms = [{"algorithm": "small_sweep:Hoarder"}, {"algorithm": "small_sweep:Hoarder", "annealing": ANNEALING}]
    result = gga_sweep.run_sweep(sweep_of(tmp_path, arms=arms, draws=1))
    assert not result.failed
    assert "it wrote no prefix, so runs that share its steps train them again: UnpicklingError" in caplog.text
    assert inherited(result) == dict.fromkeys((run.key for run in result.records), 0)


def test_adaptive_search_and_early_stopping_with_shared_steps_end_as_without(tmp_path: Path) -> None:
    adaptive: dict[str, Any] = {
        "search": "tpe",
        "draws": 4,
        "adaptive": {"n_startup_trials": 2},
        "early_stopping": {"reduction_factor": 2},
        "arms": [{"algorithm": "ERM", "annealing": ANNEALING}, {"algorithm": "ERM", "name": "plain"}],
        "search_space": {"lr": {"choice": [1e-2, 3e-2]}, "annealing.num_candidates": {"choice": [1, 2, 3, 4]}},
        "training": {"steps": 12, "evaluate_every": 3},
    }
    results = [
        gga_sweep.run_sweep(sweep_of(tmp_path / name, **adaptive), LaunchOptions(unshared=unshared))
        for name, unshared in (("apart", True), ("shared", False))
    ]
    assert bytes_of(results[0]) == bytes_of(results[1])
    assert results[0].table() == results[1].table()
    assert sum(inherited(results[1]).values()) > 0
    assert results[1].ledger.store.list(PREFIXES) == []
