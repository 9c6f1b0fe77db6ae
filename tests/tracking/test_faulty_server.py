"""A real MLflow server behind a network that breaks: what it holds in the end is what an undisturbed store holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import FAULTS, HOST, FaultyProxy
from invented_ledger import finish, invented_plan, invented_table, progress, start
from stores import store_content

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import LEFT_RUNNING
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan
from gga_sweep.tracking.environment import ENVIRONMENT
from gga_sweep.tracking.projector import Projector
from gga_sweep.tracking.sync import sync

PATIENCE = 2
QUICK = {"retry_after": 0.05, "settle": 2.0}

pytestmark = pytest.mark.timeout(400)  # the server takes long to start


@dataclass(frozen=True)
class Server:
    """A tracking server: its port, and the store behind it."""

    port: int
    store: str


@pytest.fixture(scope="module")
def server(template_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "mlflow.db").write_bytes(template_store.read_bytes())
    store = f"sqlite:///{folder / 'mlflow.db'}"
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_it_answers(process, port)
        yield Server(port, store)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 240
    while True:
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < end, "the server does not answer"
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(PATIENCE))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    proxy = FaultyProxy(server.port, PATIENCE)
    yield proxy
    proxy.close()


@pytest.fixture
def undisturbed(uri: str) -> Callable[[Plan, Ledger], dict[str, Any]]:
    def project(plan: Plan, ledger: Ledger) -> dict[str, Any]:
        assert Projector(plan, ledger, uri, pause=0.0).close(60, invented_table(plan, ledger))
        return store_content(uri, plan.sweep.folder, volatile=True)

    return project


def sweep_through(proxy: FaultyProxy, plan: Plan, ledger: Ledger, seconds: float) -> None:
    """Two launches of a sweep: the first is killed, the second ends. The server is there, behind the proxy."""
    runs = plan.runs
    with Projector(plan, ledger, proxy.uri, pause=0.0, **QUICK) as projector:
        for run in runs[:3]:
            finish(ledger, run)
            projector.wake(str(run.folder))
            time.sleep(0.2)
        with proxy.away():
            for run in runs[3:5]:
                progress(start(ledger, run), run, 1)
                projector.wake(str(run.folder))
            time.sleep(0.3)
        time.sleep(0.5)
    for run in runs[3:5]:
        ledger.run(str(run.folder)).mark(RunStatus.PREEMPTED, LEFT_RUNNING)
    with Projector(plan, ledger, proxy.uri, pause=0.0, **QUICK) as projector:
        for evaluations in (2, 3):
            for run in runs[3:5]:
                progress(start(ledger, run), run, evaluations)
                projector.wake(str(run.folder))
                time.sleep(0.2)
        for run in runs[3:-1]:
            finish(ledger, run)
            projector.wake(str(run.folder))
        finish(ledger, runs[-1], RunStatus.DIVERGED, evaluations=2, reason="the loss is NaN")
        assert projector.close(seconds, invented_table(plan, ledger))


def test_a_short_storm_loses_nothing_and_doubles_nothing(
    proxy: FaultyProxy, server: Server, storage: Path, undisturbed: Callable[[Plan, Ledger], dict[str, Any]]
) -> None:
    plan = invented_plan(storage)
    ledger = Ledger(plan.sweep.folder)
    proxy.storm(seed=1, faults=10, chance=0.25)
    sweep_through(proxy, plan, ledger, seconds=100)
    assert proxy.over
    shown = store_content(server.store, plan.sweep.folder, volatile=True)
    assert shown["faults"] == []
    assert shown == undisturbed(plan, ledger)


@pytest.mark.slow  # one test with a server in the quick ones: each process that runs tests would start its own
def test_a_request_that_the_client_itself_repeats_is_healed(
    proxy: FaultyProxy, server: Server, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a user's own MLFLOW_HTTP_REQUEST_MAX_RETRIES: a run is created again because its answer was lost."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    plan = invented_plan(storage)
    ledger = Ledger(plan.sweep.folder)
    fates = cycle(["lost", None])  # every second request is carried out, and its answer lost
    monkeypatch.setattr(proxy, "next_fault", lambda: next(fates))
    for run in plan.runs[:2]:
        finish(ledger, run)
    assert sync(plan, ledger, proxy.uri, timeout=60, **QUICK).lacking == ""
    doubled = store_content(server.store, plan.sweep.folder)["faults"]
    assert sync(plan, ledger, proxy.uri, timeout=60, **QUICK).lacking == ""
    assert len(doubled) >= 2
    assert store_content(server.store, plan.sweep.folder)["faults"] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_long_storm_loses_nothing_and_doubles_nothing(
    seed: int,
    proxy: FaultyProxy,
    server: Server,
    storage: Path,
    undisturbed: Callable[[Plan, Ledger], dict[str, Any]],
) -> None:
    plan = invented_plan(storage, draws=3)
    ledger = Ledger(plan.sweep.folder)
    proxy.storm(seed, faults=80, chance=0.2)
    sweep_through(proxy, plan, ledger, seconds=900)
    while not proxy.over:
        assert sync(plan, ledger, proxy.uri, invented_table(plan, ledger), timeout=600, **QUICK).lacking == ""
    assert set(proxy.felt) == set(FAULTS)
    assert sync(plan, ledger, proxy.uri, invented_table(plan, ledger), timeout=600, **QUICK).lacking == ""
    shown = store_content(server.store, plan.sweep.folder, volatile=True)
    assert shown["faults"] == []
    assert shown == undisturbed(plan, ledger)
