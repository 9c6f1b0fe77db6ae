"""What a sweep runs on, each part of it made to be broken: a Ray cluster of two nodes, a tracking server, a launch."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from services import free_port

from gga_sweep.ledger.lease import LAUNCHES, live_holder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.process import birth_of
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


_INJECTED = Path(__file__).with_name("injected")


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
        return birth_of(self.pid) is not None


class Terminal:
    """A terminal of a launch, until it is closed.

    Args:
        hangs_up: whether its end ends what runs on it; otherwise that was started by `nohup`.
    """

    def __init__(self, hangs_up: bool) -> None:
        self._outer, self.inner = pty.openpty()
        self._hangs_up = hangs_up
        self._closed = threading.Event()
        self._shown = threading.Thread(target=self._show, daemon=True)

    def control(self) -> None:
        """In the process of the launch: this is its controlling terminal."""
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if not self._hangs_up:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def show(self, log: Path) -> None:
        """Copy into the log what is printed."""
        os.close(self.inner)
        self._log = log
        self._shown.start()

    def close(self) -> None:
        self._closed.set()
        self._shown.join()

    def _show(self) -> None:
        with self._log.open("ab") as log, contextlib.suppress(OSError):  # EIO once nobody has it open
            while not self._closed.is_set():
                if select.select([self._outer], [], [], 0.1)[0]:
                    log.write(os.read(self._outer, 65536))
        os.close(self._outer)


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
    _earlier: dict[str, int] = field(default_factory=dict)
    _terminal: Terminal | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "sweep.yaml"
        self.file.write_text(yaml.safe_dump(self.sweep))
        self.storage = as_location(self.place or str(self.folder / "storage"))
        self.ledger = Ledger(self.storage / self.sweep["name"])
        self.log = self.folder / "launch.log"
        self.pause = self.folder / "pause"

    @property
    def tracking_uri(self) -> str:
        if self.tracking is not None:
            return self.tracking
        return f"http://127.0.0.1:{self._port}" if self.served else f"sqlite:///{self.folder / 'mlflow.db'}"

    @contextlib.contextmanager
    def set_up(self) -> Iterator[None]:
        os.environ.update(_ENVIRONMENT)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # dozens of processes import Ray and torch
        before = {name: os.environ.get(name) for name in ("PYTHONPATH", "CHAOS_PAUSE")}
        os.environ["PYTHONPATH"] = os.pathsep.join([str(_INJECTED), *filter(None, [before["PYTHONPATH"]])])
        os.environ["CHAOS_PAUSE"] = str(self.pause)
        try:
            if self.served:
                self._port = free_port()
                self.start_server()
            if self.clustered:
                self.start_cluster()
            yield
        finally:
            self.kill_launch()
            self.close_terminal()
            self.stop_server()
            self.stop_cluster()
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value

    # The launch

    def start_launch(
        self, *flags: str, terminal: Terminal | None = None, variables: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.Popen[bytes]:
        """`gga-sweep run`, as a user would again and again.

        Args:
            terminal: that it runs on; otherwise its output goes to the log.
            variables: of `injected`.
        """
        words = ["run", str(self.file), "--storage", str(self.storage), "--tracking-uri", self.tracking_uri, *flags]
        if self.clustered:
            words += ["--address", self.cluster.address]
        with self.log.open("ab") as log:
            log.write(f"--- launch {self.launches}: {' '.join(flags)}\n".encode())
            log.flush()
            self._earlier = {name: self.ledger.run(name).newest_attempt() for name in self.ledger.run_names()}
            launch = subprocess.Popen(
                [sys.executable, "-m", "gga_sweep.cli", *words],
                stdin=subprocess.DEVNULL if terminal is None else terminal.inner,
                stdout=log if terminal is None else terminal.inner,
                stderr=log if terminal is None else terminal.inner,
                start_new_session=True,
                preexec_fn=None if terminal is None else terminal.control,
                env={**os.environ, **variables},
            )
        if terminal is not None:
            self.close_terminal()
            self._terminal = terminal
            terminal.show(self.log)
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

    def close_terminal(self) -> None:
        """Of the launch, as by closing its window."""
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None

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
                begun, written = folder / "attempts" / f"{state.attempt:06d}", folder / "checkpoint"
                if state.attempt <= self._earlier.get(name, 0):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    since = max(written.stat().st_mtime if written.exists() else 0.0, begun.stat().st_mtime)
                    pid = json.loads(begun.read_bytes())["pid"]
                    found.append(Running(name, state, pid, time.time() - since))
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
