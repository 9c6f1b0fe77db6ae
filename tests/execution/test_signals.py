"""Signals during a launch."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gga_sweep.execution.signals import stop_signals
from gga_sweep.ledger import lease as leases
from gga_sweep.ledger.lease import Lease, held
from gga_sweep.ledger.store import PosixStore

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]


@pytest.fixture
def lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lease]:
    monkeypatch.setattr(leases, "_LOOK_SECONDS", 0.01)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under `nohup`
    with held(PosixStore(tmp_path)) as taken:
        yield taken
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_during_training_requests_a_stop(lease: Lease, number: signal.Signals) -> None:
    with stop_signals(lease) as signals, signals.gentle():
        os.kill(os.getpid(), number)
        assert lease.wait(10)
    assert lease.reason == f"interrupted by {number.name}"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_before_or_after_training_ends_the_launch_at_once(lease: Lease, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), stop_signals(lease):
        signal.raise_signal(number)
    assert lease.reason is None


def test_a_launch_that_nohup_started_ignores_the_end_of_its_terminal(lease: Lease) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals(lease) as signals, signals.gentle():
            signal.raise_signal(signal.SIGHUP)
            signals.install()
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert lease.reason is None


def test_a_second_ctrl_c_ends_the_launch_and_a_second_sigterm_changes_nothing(lease: Lease) -> None:
    with stop_signals(lease) as signals, signals.gentle():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        assert lease.reason == "interrupted by SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_handlers_are_reinstalled_after_others_replaced_them_and_restored_at_the_end(lease: Lease) -> None:
    called: list[int] = []

    def tunes_own(number: int, frame: object) -> None:
        called.append(number)

    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_signals(lease) as signals, signals.gentle():
        signal.signal(signal.SIGUSR1, tunes_own)
        signals.install()
        signal.raise_signal(signal.SIGUSR1)
    assert called == []
    assert lease.reason == "interrupted by SIGUSR1"
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_launch_in_another_thread_installs_no_handlers(lease: Lease) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    def launch() -> None:
        with stop_signals(lease) as signals, signals.gentle():
            signals.install()
            assert [signal.getsignal(number) for number in SIGNALS] == before

    with ThreadPoolExecutor(1) as pool:
        pool.submit(launch).result()
