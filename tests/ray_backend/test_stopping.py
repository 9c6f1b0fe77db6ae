"""Asked to stop, a launch waits for its runs; asked by Ctrl-C twice, it waits for nothing."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.tune.stopper import NoopStopper

from gga_sweep.ledger import lease as leases
from gga_sweep.ledger.lease import Lease, held
from gga_sweep.ledger.store import PosixStore
from gga_sweep.ray_backend import stopping
from gga_sweep.ray_backend.signals import stop_signals
from gga_sweep.ray_backend.stopping import Stopping

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]


@pytest.fixture
def lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lease]:
    monkeypatch.setattr(leases, "_LOOK_SECONDS", 0.01)
    with held(PosixStore(tmp_path)) as taken:
        yield taken


def test_a_wave_goes_on_until_its_launch_is_asked_to_stop_and_no_run_trains(lease: Lease) -> None:
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


def test_a_run_that_never_ends_is_not_waited_for_for_ever(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_tune_saves_of_it_is_nothing_that_lives(lease: Lease) -> None:
    assert isinstance(pickle.loads(pickle.dumps(Stopping(lease, lambda: True))), NoopStopper)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_in_training_asks_the_launch_to_stop(lease: Lease, number: signal.Signals) -> None:
    with stop_signals(lease) as signals, signals.gentle():
        os.kill(os.getpid(), number)
        assert lease.wait(10)
    assert lease.reason == f"interrupted by {number.name}"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_before_or_after_training_ends_the_launch_at_once(lease: Lease, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), stop_signals(lease):
        signal.raise_signal(number)
    assert lease.reason is None


def test_a_second_ctrl_c_waits_for_nothing_and_a_second_term_changes_nothing(lease: Lease) -> None:
    with stop_signals(lease) as signals, signals.gentle():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        assert lease.reason == "interrupted by SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_signals_are_given_back_and_taken_again_from_who_took_them(lease: Lease) -> None:
    heard: list[int] = []

    def tunes_own(number: int, frame: object) -> None:
        heard.append(number)

    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_signals(lease) as signals, signals.gentle():
        signal.signal(signal.SIGUSR1, tunes_own)
        signals.listen()
        signal.raise_signal(signal.SIGUSR1)
    assert heard == []
    assert lease.reason == "interrupted by SIGUSR1"
    assert [signal.getsignal(number) for number in SIGNALS] == before


def in_a_thread(work: Callable[[], Any]) -> None:
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    assert failures == []


def test_a_launch_in_another_thread_leaves_the_signals_alone(lease: Lease) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    def launch() -> None:
        with stop_signals(lease) as signals, signals.gentle():
            signals.listen()
            assert [signal.getsignal(number) for number in SIGNALS] == before

    in_a_thread(launch)
