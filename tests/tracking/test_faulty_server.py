"""A real MLflow server behind a network that breaks: what it holds in the end is what an undisturbed store holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faulty_proxy import FAULTS, HOST, FaultyProxy
from invented_ledger import finish, invented_plan, invented_report, progress, start
from stores import store_content

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import LEFT_RUNNING
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan
from gga_sweep.tracking.environment import ENVIRONMENT
from gga_sweep.tracking.projector import Pace, Projector
from gga_sweep.tracking.sync import sync

PATIENCE = 1
QUICK = Pace(gather=0.0, retry_after=0.5)

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


def sweep_through(proxy: FaultyProxy, plan: Plan, ledger: Ledger, seconds: float) -> None:
    """Two launches of a sweep: the first is killed, the second ends. The server is there, behind the proxy."""
    runs = plan.runs
    with Projector(plan, ledger, proxy.uri, pace=QUICK) as projector:
        for run in runs[:3]:
            finish(ledger, run)
            projector.wake(run.folder)
            time.sleep(0.2)
        with proxy.away():
            for run in runs[3:5]:
                progress(start(ledger, run), run, 1)
                projector.wake(run.folder)
            time.sleep(0.3)
        time.sleep(0.5)
    for run in runs[3:5]:
        ledger.run(run.folder).mark(RunStatus.PREEMPTED, LEFT_RUNNING)
    with Projector(plan, ledger, proxy.uri, pace=QUICK) as projector:
        for evaluations in (2, 3):
            for run in runs[3:5]:
                progress(start(ledger, run), run, evaluations)
                projector.wake(run.folder)
                time.sleep(0.2)
        for run in runs[3:-1]:
            finish(ledger, run)
            projector.wake(run.folder)
        finish(ledger, runs[-1], RunStatus.DIVERGED, evaluations=2, reason="the loss is NaN")
        assert projector.close(seconds, invented_report(plan, ledger))


@pytest.mark.parametrize(
    ("seed", "draws", "faults", "chance"),
    [
        pytest.param(1, 2, 6, 0.25, id="short"),
        pytest.param(1, 3, 80, 0.2, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
        pytest.param(2, 3, 80, 0.2, id="another", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_a_storm_of_faults_loses_nothing_and_doubles_nothing(
    seed: int, draws: int, faults: int, chance: float, proxy: FaultyProxy, server: Server, storage: Path, uri: str
) -> None:
    plan = invented_plan(storage, draws=draws)
    ledger = Ledger(plan.sweep.folder)
    proxy.storm(seed, faults, chance)
    sweep_through(proxy, plan, ledger, seconds=300)
    while not proxy.over:
        assert sync(plan, ledger, proxy.uri, invented_report(plan, ledger), timeout=300, pace=QUICK).missing == ""
    assert faults < 80 or set(proxy.felt) == set(FAULTS)
    shown = store_content(server.store, plan.sweep.folder, volatile=True)
    with Projector(plan, ledger, uri, pace=QUICK) as undisturbed:
        assert undisturbed.close(60, invented_report(plan, ledger))
    assert shown["faults"] == []
    assert shown == store_content(uri, plan.sweep.folder, volatile=True)
