"""MLflow's page on a sweep's store: which one, for whom, and how its server ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from gga_sweep.errors import GGASweepError, InputError
from gga_sweep.spec import Plan
from gga_sweep.tracking import page
from gga_sweep.tracking.experiment import find_or_create_experiment
from gga_sweep.tracking.mlflow_api import MlflowClient
from gga_sweep.tracking.page import HOST, serve_page
from gga_sweep.tracking.views import views, write_views

STARTING = "Starting MLflow's server ..."


class FakeServer:
    """Stands for MLflow's process; `interrupt` is the signal that this process gets while it waits."""

    pid = 123456

    def __init__(self) -> None:
        self.interrupt: signal.Signals | None = signal.SIGINT
        self.started: list[tuple[list[str], Mapping[str, Any]]] = []
        self.signals: list[tuple[int, int]] = []
        self.opened: list[str] = []
        self.unready = 0  # how often it does not respond yet

    def poll(self) -> int | None:
        return None if self.unready or self.interrupt else 7

    def responds(self, address: object, port: int) -> bool:
        self.unready -= 1
        return self.unready < 0

    def start(self, command: list[str], **options: Any) -> FakeServer:
        self.started.append((command, options))
        return self

    def wait(self) -> int:
        if self.interrupt is None:
            return 7
        assert signal.getsignal(self.interrupt) is not signal.SIG_DFL  # which would end the tests
        number, self.interrupt = self.interrupt, None
        signal.raise_signal(number)
        raise AssertionError("the signal did nothing")

    def killpg(self, group: int, number: int) -> None:
        self.signals.append((group, number))


class Page:
    """Serves the page of one sweep, with a fake server."""

    def __init__(self, plan: Plan, server: FakeServer) -> None:
        self.sweep = plan.sweep
        self.server = server
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port: int = probe.getsockname()[1]

    def serve(self, uri: str | None = None, host: str = HOST, *, open_page: bool = False) -> list[str]:
        """The lines shown, without that of the start."""
        shown = list[str]()
        serve_page(self.sweep.folder, uri, self.port, shown.append, host, open_page=open_page)
        return [line for line in shown if line != STARTING]

    @property
    def command(self) -> list[str]:
        [(command, _)] = self.server.started
        return command

    @property
    def environment(self) -> Mapping[str, str]:
        [(_, options)] = self.server.started
        environment: Mapping[str, str] = options["env"]
        return environment


@pytest.fixture
def plain(plan: Plan, uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """On a real store, which is empty."""
    server = FakeServer()
    monkeypatch.setattr(page.subprocess, "Popen", server.start)
    monkeypatch.setattr(page.os, "killpg", server.killpg)
    monkeypatch.setattr(page, "_responds", server.responds)
    monkeypatch.setattr(page.webbrowser, "open", server.opened.append)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # A shell's background jobs have these ignored.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield Page(plan, server)
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGHUP, hangup)


@pytest.fixture
def pretended(plain: Page, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Every store holds the sweep, as experiment 5."""
    monkeypatch.setattr(page, "open_store", lambda uri: None)
    monkeypatch.setattr(page, "find_experiment", lambda client, folder: SimpleNamespace(experiment_id="5", tags={}))
    return plain


# What is served


def test_the_server_listens_on_the_loopback_interface_alone(plain: Page, uri: str) -> None:
    number = find_or_create_experiment(MlflowClient(uri), plain.sweep.folder)
    [line] = plain.serve()
    assert plain.command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert dict(zip(plain.command[4::2], plain.command[5::2], strict=True)) == {
        "--host": "127.0.0.1",
        "--port": str(plain.port),
        "--workers": "1",
        "--app-name": "gga-sweep",
        "--uvicorn-opts": "--log-level warning",
    }
    assert plain.environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert plain.environment["PATH"] == os.environ["PATH"]
    assert line.startswith(f"http://127.0.0.1:{plain.port}/#/experiments/{number}/runs?")


def test_the_address_of_the_results_is_shown(plain: Page, uri: str) -> None:
    client = MlflowClient(uri)
    number = find_or_create_experiment(client, plain.sweep.folder)
    write_views(client, number, ["lr"])
    [line] = plain.serve()
    assert line == f"http://127.0.0.1:{plain.port}{views()[0].address(number)}   (Ctrl-C ends)"
    assert plain.server.opened == []


def test_the_address_is_shown_and_opened_once_the_server_responds(
    pretended: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(page.time, "sleep", waited.append)
    pretended.server.unready = 3
    [line] = pretended.serve(open_page=True)
    assert len(waited) == 3
    assert pretended.server.opened == [line.removesuffix("   (Ctrl-C ends)")]


def test_a_server_that_ends_before_it_responds_shows_no_address(
    pretended: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretended.server.interrupt = None
    shown = list[str]()
    with pytest.raises(GGASweepError, match="ended with exit code 7"):
        serve_page(pretended.sweep.folder, None, pretended.port, shown.append)
    assert shown == [STARTING]


def test_of_a_running_server_the_address_is_shown(pretended: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening:  # nothing is started, so the port does not matter
        listening.bind((HOST, pretended.port))
        listening.listen()
        [line] = pretended.serve("https://anna:secret@host:5000", open_page=True)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:80")
        [of_environment] = pretended.serve()
    assert line.startswith("https://host:5000/#/experiments/5/runs?workflowType=machine_learning")
    assert pretended.server.opened == [line]
    assert of_environment.startswith("http://elsewhere:80/#/")
    assert not pretended.server.started


# For whom


def test_a_host_that_others_can_reach_is_served_after_a_warning(pretended: Page) -> None:
    warning, address = pretended.serve(host="0.0.0.0")
    assert pretended.command[pretended.command.index("--host") + 1] == "0.0.0.0"
    assert re.match(rf"Warning: anyone who reaches 0\.0\.0\.0, port {pretended.port}, can read, change and", warning)
    assert address.startswith(f"http://{socket.gethostname()}:{pretended.port}/#/")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_a_loopback_address_gives_no_warning(host: str, pretended: Page) -> None:
    [line] = pretended.serve(host=host)
    assert line.startswith(f"http://{host}:{pretended.port}/#/")


@pytest.mark.parametrize(("host", "open_to_others"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_the_server_answers_to_this_machines_names_alone(host: str, open_to_others: bool, pretended: Page) -> None:
    pretended.serve(host=host)
    hosts = pretended.environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    origins = pretended.environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    own = socket.gethostname().lower()
    assert {"127.0.0.1:*", "localhost:*", "[[]::1]:*"} <= set(hosts)
    assert (f"{own}:*" in hosts) is (f"http://{own}:{pretended.port}" in origins) is open_to_others


def test_the_server_sends_no_telemetry_and_runs_no_file_of_the_current_folder(
    pretended: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PYTHONSAFEPATH": "1"}
    for name in ours:
        monkeypatch.delenv(name, raising=False)
    pretended.serve()
    assert ours.items() <= pretended.environment.items()


def test_the_users_own_settings_of_the_server_stand(pretended: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]
    for name in names:
        monkeypatch.setenv(name, "my own")
    pretended.serve(host="0.0.0.0")
    assert {pretended.environment[name] for name in names} == {"my own"}


def test_a_password_is_in_no_command(pretended: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which every user of the machine can see."""
    uri = "postgresql://anna:secret@host/mlflow"
    monkeypatch.setattr(page, "resolve_tracking_uri", lambda *arguments: uri)  # no driver needed
    shown = pretended.serve(uri)
    assert "secret" not in " ".join([*pretended.command, *shown])
    assert pretended.environment["MLFLOW_BACKEND_STORE_URI"] == uri


# How it ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_when_the_command_is_ended_the_server_ends_with_all_its_children(
    pretended: Page, number: signal.Signals
) -> None:
    before = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)]
    pretended.server.interrupt = number
    pretended.serve()
    assert [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)] == before
    [(_, options)] = pretended.server.started
    assert options["start_new_session"]
    assert pretended.server.signals == [(pretended.server.pid, signal.SIGTERM)]


def test_a_server_that_ends_by_itself_is_an_error(pretended: Page) -> None:
    pretended.server.interrupt = None
    with pytest.raises(GGASweepError, match="ended with exit code 7"):
        pretended.serve()


# What is refused


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "a\0b", "a" * 300, "..", "127.0.0.1 --app-name x"])
def test_a_host_that_is_not_this_machine_is_refused(host: str, pretended: Page) -> None:
    with pytest.raises(InputError, match="--host: must be a name or address of this machine, got"):
        pretended.serve(host=host)
    assert not pretended.server.started


def test_a_port_that_needs_rights_says_so(pretended: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(probe: socket.socket, place: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", forbid)
    pretended.port = 80
    with pytest.raises(InputError, match="--port: needs rights that you lack; give one above 1023, got 80"):
        pretended.serve()


def test_a_port_in_use_is_refused(pretended: Page) -> None:
    with socket.socket() as listening:
        listening.bind((HOST, pretended.port))
        listening.listen()
        with pytest.raises(InputError, match=f"--port: is in use; give another, got {pretended.port}"):
            pretended.serve()
    assert not pretended.server.started


def test_a_store_without_the_sweep_is_refused(plain: Page, uri: str) -> None:
    find_or_create_experiment(MlflowClient(uri), plain.sweep.folder.with_name("another"))  # type: ignore[union-attr]
    with pytest.raises(InputError, match=rf"DIR: the store {re.escape(uri)} does not hold this sweep, got '.*/demo'"):
        plain.serve()
    assert not plain.server.started


def test_looking_for_a_store_does_not_create_one(plain: Page, tmp_path: Any) -> None:
    with pytest.raises(InputError, match="does not hold this sweep"):
        plain.serve(f"sqlite:///{tmp_path / 'other.db'}")
    assert not (tmp_path / "other.db").exists()


def test_a_malformed_uri_is_refused(plain: Page) -> None:
    with pytest.raises(InputError, match=r"--tracking-uri: .*got 'ftp://host'"):
        plain.serve("ftp://host")


def test_a_server_that_is_away_is_named_without_its_password(plain: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(uri: str) -> NoReturn:
        raise ConnectionError(f"no answer from {uri}")

    monkeypatch.setattr(page, "open_store", fail)
    with pytest.raises(GGASweepError, match=r"https://\*\*\*@host:5000 cannot be read: ConnectionError") as error:
        plain.serve("https://anna:secret@host:5000")
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None
