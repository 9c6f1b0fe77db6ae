"""A launch with a reason to stop waits for its runs."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.tune.stopper import NoopStopper

from gga_sweep.ledger.lease import Lease, held
from gga_sweep.ledger.store import PosixStore
from gga_sweep.ray_backend import stopping
from gga_sweep.ray_backend.stopping import Stopping


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Lease]:
    with held(PosixStore(tmp_path)) as taken:
        yield taken


def test_a_wave_stops_after_a_stop_request_once_no_run_trains(lease: Lease) -> None:
    training = {"a run"}
    stopper = Stopping(lease, lambda: bool(training))
    assert not stopper.stop_all()
    training.clear()
    assert not stopper.stop_all()  # between two runs nothing trains
    training.add("another")
    lease.ask("enough")
    assert not stopper.stop_all()
    training.clear()
    assert stopper.stop_all()


def test_the_wait_for_a_run_is_limited(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    stopper = Stopping(lease, lambda: True)
    lease.ask("enough")
    assert not stopper.stop_all()
    now[0] = stopping.DRAIN_SECONDS - 1
    assert not stopper.stop_all()
    now[0] = stopping.DRAIN_SECONDS + 1
    assert stopper.stop_all()


def test_no_result_of_a_trial_ends_it(lease: Lease) -> None:
    assert not Stopping(lease, lambda: True)("trial", {"val/accuracy": 1.0})


def test_tune_pickles_no_live_part_of_it(lease: Lease) -> None:
    assert isinstance(pickle.loads(pickle.dumps(Stopping(lease, lambda: True))), NoopStopper)
