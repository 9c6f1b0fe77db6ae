"""What a sweep runs on, each part of it made to be broken: a Ray cluster of two nodes, a tracking server, a launch."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from services import free_port

from gga_sweep.ledger.lease import LAUNCHES, _process_exists, live_holder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import FINAL, RunState, RunStatus
from gga_sweep.spec.location import as_location
from gga_sweep.training.checkpoint import parse_state

_ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",  # every process here is this user's, and the cluster's tokens are another test's
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",  # a server that stands still is noticed within the time of a test
    "PYTHONFAULTHANDLER": "1",
}


@dataclass(frozen=True)
class Running:
    """A run in training, as its folder tells.

    Args:
        unsaved_seconds: since its last checkpoint, or since this attempt began.
    """

    folder: str
    state: RunState
    pid: int
    unsaved_seconds: float

    @property
    def lives(self) -> bool:
        return _process_exists(self.pid)


@dataclass
class Scene:
    """One sweep on one storage.

    Args:
        folder: of everything.
        sweep: the content of its file.
        clustered: launches join a cluster of two nodes; otherwise each starts a Ray of its own.
        served: MLflow is a server; otherwise a SQLite file.
        place: of the ledgers; by default a folder of its own.
        tracking: URI of an MLflow that stands by itself.
    """

    folder: Path
    sweep: dict[str, Any]
    clustered: bool
    served: bool
    place: str | None = None
    tracking: str | None = None
    launches: int = 0
    launch: subprocess.Popen[bytes] | None = None
    server: subprocess.Popen[bytes] | None = None
    cluster: Any = None
    _nodes: list[Any] = field(default_factory=list)
    _port: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "sweep.yaml"
        self.file.write_text(yaml.safe_dump(self.sweep))
        self.storage = as_location(self.place or str(self.folder / "storage"))
        self.ledger = Ledger(self.storage / self.sweep["name"])
        self.log = self.folder / "launch.log"

    @property
    def tracking_uri(self) -> str:
        if self.tracking is not None:
            return self.tracking
        return f"http://127.0.0.1:{self._port}" if self.served else f"sqlite:///{self.folder / 'mlflow.db'}"

    @contextlib.contextmanager
    def set_up(self) -> Iterator[None]:
        os.environ.update(_ENVIRONMENT)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # dozens of processes import Ray and torch
        try:
            if self.served:
                self._port = free_port()
                self.start_server()
            if self.clustered:
                self.start_cluster()
            yield
        finally:
            self.kill_launch()
            self.stop_server()
            self.stop_cluster()

    # The launch

    def start_launch(self, *flags: str) -> subprocess.Popen[bytes]:
        """`gga-sweep run`, as a user would again and again."""
        words = ["run", str(self.file), "--storage", str(self.storage), "--tracking-uri", self.tracking_uri, *flags]
        if self.clustered:
            words += ["--address", self.cluster.address]
        with self.log.open("ab") as log:
            log.write(f"--- launch {self.launches}: {' '.join(flags)}\n".encode())
            log.flush()
            launch = subprocess.Popen(
                [sys.executable, "-m", "gga_sweep.cli", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.launches += 1
        return launch

    def keep_launched(self) -> None:
        if self.launch is None or self.launch.poll() is not None:
            self.launch = self.start_launch()

    def wait_for_launch(self, seconds: float) -> int | None:
        """The exit code; None when it has not ended in time."""
        if self.launch is None:
            return None
        try:
            return self.launch.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill_launch(self) -> None:
        if self.launch is not None:
            self.launch.kill()
            self.launch.wait()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gga_sweep.cli", *words], capture_output=True, text=True, timeout=300, check=False
        )

    # The runs

    def states(self) -> dict[str, RunState]:
        return self.ledger.read_states(self.ledger.run_names())

    def running(self) -> list[Running]:
        """What the live launch trains; not what one that was killed left as RUNNING."""
        holder = live_holder(self.ledger.store, LAUNCHES)
        if self.launch is None or holder is None or holder.pid != self.launch.pid:
            return []
        found = []
        for name, state in self.states().items():
            if state.status is RunStatus.RUNNING:
                folder = self.ledger.folder / "runs" / name
                attempt = json.loads((folder / "attempts" / f"{state.attempt:06d}").read_bytes())
                written = folder / "checkpoint"
                if attempt.get("time", 0.0) < holder.started:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    since = max(written.stat().st_mtime if written.exists() else 0.0, attempt["time"])
                    found.append(Running(name, state, attempt["pid"], time.time() - since))
        return found

    def saved_step(self, name: str) -> int | None:
        """The last step in a run's checkpoint, -1 where it has none; None of a run that is final and needs none."""
        folder = self.ledger.run(name)
        if folder.read_state().status in FINAL:
            return None
        content = folder.read_checkpoint()
        return -1 if content is None else int(parse_state(content)["next_step"]) - 1

    def all_final(self, expected: int) -> bool:
        states = self.states()
        return len(states) == expected and all(state.status in FINAL for state in states.values())

    # The tracking server

    def start_server(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--workers", "1"]
        with (self.folder / "server.log").open("ab") as log:
            self.server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def server_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.tracking_uri}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def signal_server(self, number: int) -> None:
        if self.server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.server.pid, number)

    def stop_server(self) -> None:
        if self.server is not None:
            self.signal_server(signal.SIGCONT)
            self.signal_server(signal.SIGKILL)
            self.server.wait()
            self.server = None

    # The cluster

    def start_cluster(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 10**8},
        )
        self.add_node()

    def add_node(self) -> None:
        self._nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=10**8))

    def kill_node(self) -> bool:
        """Its processes are killed, the actors on it too. False if only the head is left."""
        if not self._nodes:
            return False
        self.cluster.remove_node(self._nodes.pop(), allow_graceful=False)
        return True

    def stop_cluster(self) -> None:
        if self.cluster is not None:
            self.cluster.shutdown()
            self.cluster, self._nodes = None, []


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
