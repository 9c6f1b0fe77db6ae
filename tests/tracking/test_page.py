"""MLflow's page on a sweep's store: which one, for whom, and how its server ends."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import mlflow
import pytest

from gga_sweep.errors import GGASweepError, InputError
from gga_sweep.spec import Plan, Sweep
from gga_sweep.tracking import page
from gga_sweep.tracking.experiment import find_or_create_experiment
from gga_sweep.tracking.mlflow_api import MlflowClient
from gga_sweep.tracking.page import HOST, serve_page
from gga_sweep.tracking.views import views, write_views


class FakeServer:
    """Stands for MLflow's process; `interrupt` is the signal that we get while it is waited for."""

    pid = 123456

    def __init__(self, interrupt: signal.Signals | None) -> None:
        self.interrupt = interrupt
        self.started: list[tuple[list[str], Mapping[str, Any]]] = []
        self.signals: list[tuple[int, int]] = []

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


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """A shell starts its background jobs with SIGINT ignored, and Python then leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def make_server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeServer]:
    """Replaces the process that would be started."""

    def make(interrupt: signal.Signals | None = signal.SIGINT) -> FakeServer:
        server = FakeServer(interrupt)
        monkeypatch.setattr(page.subprocess, "Popen", server.start)
        monkeypatch.setattr(page.os, "killpg", server.killpg)
        return server

    return make


@pytest.fixture
def sweep(plan: Plan) -> Sweep:
    return plan.sweep


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture(autouse=True)
def no_uri_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_server_listens_on_the_loopback_interface_alone(
    sweep: Sweep, uri: str, free_port: int, make_server: Callable[..., FakeServer]
) -> None:
    number = find_or_create_experiment(MlflowClient(uri), sweep.folder)
    server, shown = make_server(), list[str]()
    serve_page(sweep, None, free_port, shown.append)
    [(command, options)] = server.started
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert dict(zip(command[4::2], command[5::2], strict=True)) == {
        "--host": "127.0.0.1",
        "--port": str(free_port),
        "--workers": "1",
    }
    environment = options["env"]
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["PATH"] == os.environ["PATH"]
    [line] = shown
    assert line.startswith(f"http://127.0.0.1:{free_port}/#/experiments/{number}/runs?")


def test_the_addresses_of_the_prepared_views_are_shown(
    sweep: Sweep, uri: str, free_port: int, make_server: Callable[..., FakeServer]
) -> None:
    client = MlflowClient(uri)
    number = find_or_create_experiment(client, sweep.folder)
    write_views(client, number, ["lr"])
    make_server()
    shown = list[str]()
    serve_page(sweep, None, free_port, shown.append)
    assert [line.split(": ")[0] for line in shown] == [view.heading for view in views()]
    for line, view in zip(shown, views(), strict=True):
        assert f" http://127.0.0.1:{free_port}{view.address(number)}" in line
    assert [line.endswith("(Ctrl-C ends)") for line in shown] == [False] * (len(shown) - 1) + [True]


def served(
    sweep: Sweep, port: int, make_server: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch, *host: str
) -> tuple[list[str], list[str], Mapping[str, str]]:
    """The lines shown, and the server's command and environment."""
    pretend_store(monkeypatch)
    server, shown = make_server(), list[str]()
    serve_page(sweep, None, port, shown.append, *host)
    [(command, options)] = server.started
    return shown, command, options["env"]


def test_a_host_that_others_can_reach_is_served_after_a_warning(
    sweep: Sweep, free_port: int, make_server: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, command, _ = served(sweep, free_port, make_server, monkeypatch, "0.0.0.0")
    assert command[command.index("--host") + 1] == "0.0.0.0"
    warning, page_line = shown
    assert re.match(rf"Warning: whoever reaches 0\.0\.0\.0, port {free_port}, can read, change and delete", warning)
    assert page_line.startswith(f"http://{socket.gethostname()}:{free_port}/#/")


@pytest.mark.parametrize(("host", "shown_host"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")])
def test_nobody_is_warned_of_a_loopback_address(
    host: str,
    shown_host: str,
    sweep: Sweep,
    free_port: int,
    make_server: Callable[..., FakeServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [line], _, _ = served(sweep, free_port, make_server, monkeypatch, host)
    assert line.startswith(f"http://{shown_host}:{free_port}/#/")


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "a\0b", "a" * 300, "..", "127.0.0.1 --app-name x"])
def test_a_host_that_is_not_this_machine_is_refused(
    host: str, sweep: Sweep, free_port: int, make_server: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_store(monkeypatch)
    server = make_server()
    with pytest.raises(InputError, match="--host: must be a name or address of this machine, got"):
        serve_page(sweep, None, free_port, print, host)
    assert not server.started


def test_a_port_that_needs_rights_says_so(
    sweep: Sweep, make_server: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(probe: socket.socket, place: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    pretend_store(monkeypatch)
    monkeypatch.setattr(socket.socket, "bind", forbid)
    with pytest.raises(InputError, match="--port: needs rights that you lack; give one above 1023, got 80"):
        serve_page(sweep, None, 80, print)


@pytest.fixture(scope="module")
def mlflows_rules() -> ModuleType:
    """What MLflow's server decides by, without the server."""
    path = Path(mlflow.__file__).parent / "server" / "security_utils.py"
    spec = importlib.util.spec_from_file_location("security_utils", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("host", "name", "answered"),
    [
        ("127.0.0.1", "127.0.0.1:{port}", True),
        ("127.0.0.1", "localhost:8080", True),  # through a tunnel
        ("127.0.0.1", "[::1]:{port}", True),
        ("127.0.0.1", "{own}:{port}", False),
        ("127.0.0.1", "evil.example:{port}", False),
        ("127.0.0.1", "10.evil.example:{port}", False),  # MLflow's own list takes it for a private address
        ("0.0.0.0", "{own}:{port}", True),
        ("0.0.0.0", "localhost:{port}", True),
        ("0.0.0.0", "evil.example:{port}", False),
        ("0.0.0.0", "{own}.evil.example:{port}", False),
    ],
)
def test_the_server_answers_to_this_machines_names_alone_and_to_its_own_pages(
    host: str,
    name: str,
    answered: bool,
    sweep: Sweep,
    free_port: int,
    make_server: Callable[..., FakeServer],
    monkeypatch: pytest.MonkeyPatch,
    mlflows_rules: ModuleType,
) -> None:
    _, _, environment = served(sweep, free_port, make_server, monkeypatch, host)
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", environment["MLFLOW_SERVER_ALLOWED_HOSTS"])
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"])
    asked = name.format(own=socket.gethostname().lower(), port=free_port)
    assert mlflows_rules.is_allowed_host_header(mlflows_rules.get_allowed_hosts_from_env(), asked) is answered
    origins = mlflows_rules.get_allowed_origins_from_env()
    assert mlflows_rules.should_block_cors_request(f"http://{asked}", "POST", origins) is not answered
    assert "*" not in environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]  # it would be read as a regular expression


@pytest.mark.parametrize(
    ("name", "ours"), [("MLFLOW_DISABLE_TELEMETRY", "true"), ("DO_NOT_TRACK", "true"), ("PYTHONSAFEPATH", "1")]
)
def test_the_server_tells_nobody_and_runs_no_file_that_lies_about(
    name: str,
    ours: str,
    sweep: Sweep,
    free_port: int,
    make_server: Callable[..., FakeServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(name, raising=False)
    _, _, environment = served(sweep, free_port, make_server, monkeypatch)
    assert environment[name] == ours


@pytest.mark.parametrize(
    "name", ["MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]
)
def test_what_the_user_has_set_for_the_server_stands(
    name: str,
    sweep: Sweep,
    free_port: int,
    make_server: Callable[..., FakeServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, "my own")
    _, _, environment = served(sweep, free_port, make_server, monkeypatch, "0.0.0.0")
    assert environment[name] == "my own"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_we_are_ended_the_server_ends_with_all_its_children(
    sweep: Sweep, uri: str, free_port: int, make_server: Callable[..., FakeServer], number: signal.Signals
) -> None:
    find_or_create_experiment(MlflowClient(uri), sweep.folder)
    server, before = make_server(number), signal.getsignal(signal.SIGTERM)
    serve_page(sweep, None, free_port, print)
    assert signal.getsignal(signal.SIGTERM) == before
    assert server.started[0][1]["start_new_session"]
    assert server.signals == [(server.pid, signal.SIGTERM)]


def test_a_server_that_ends_by_itself_is_an_error(
    sweep: Sweep, uri: str, free_port: int, make_server: Callable[..., FakeServer]
) -> None:
    find_or_create_experiment(MlflowClient(uri), sweep.folder)
    make_server(None)
    with pytest.raises(GGASweepError, match="ended with exit code 7"):
        serve_page(sweep, None, free_port, print)


def test_a_port_in_use_is_refused(
    sweep: Sweep, uri: str, taken_port: int, make_server: Callable[..., FakeServer]
) -> None:
    find_or_create_experiment(MlflowClient(uri), sweep.folder)
    server = make_server()
    with pytest.raises(InputError, match=f"--port: is in use; give another, got {taken_port}"):
        serve_page(sweep, None, taken_port, print)
    assert not server.started


def test_a_store_that_does_not_know_the_sweep_is_refused(
    sweep: Sweep, uri: str, free_port: int, make_server: Callable[..., FakeServer]
) -> None:
    find_or_create_experiment(MlflowClient(uri), sweep.folder.with_name("another"))
    server = make_server()
    with pytest.raises(InputError, match=rf"DIR: the store {re.escape(uri)} does not know this sweep, got '.*/demo'"):
        serve_page(sweep, None, free_port, print)
    assert not server.started


def test_looking_for_a_store_does_not_make_one(sweep: Sweep, tmp_path: Path, free_port: int) -> None:
    with pytest.raises(InputError, match="does not know this sweep"):
        serve_page(sweep, f"sqlite:///{tmp_path / 'other.db'}", free_port, print)
    assert not (tmp_path / "other.db").exists()


def test_a_malformed_uri_is_refused(sweep: Sweep, free_port: int) -> None:
    with pytest.raises(InputError, match=r"--tracking-uri: .*got 'ftp://host'"):
        serve_page(sweep, "ftp://host", free_port, print)


def pretend_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that knows every sweep as experiment 5."""
    monkeypatch.setattr(page, "open_store", lambda uri: None)
    monkeypatch.setattr(page, "find_experiment", lambda client, folder: SimpleNamespace(experiment_id="5", tags={}))


def test_of_a_server_that_runs_already_the_page_is_shown(
    sweep: Sweep, make_server: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch, taken_port: int
) -> None:
    """Nothing is started, so the port does not matter; a password is not shown."""
    pretend_store(monkeypatch)
    server, shown = make_server(), list[str]()
    serve_page(sweep, "https://anna:secret@host:5000", taken_port, shown.append)
    [line] = shown
    assert line.startswith("https://***@host:5000/#/experiments/5/runs?")
    assert not server.started


def test_the_page_follows_the_environments_uri(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_store(monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:80")
    shown = list[str]()
    serve_page(sweep, None, 5000, shown.append)
    assert shown[0].startswith("http://elsewhere:80/#/")


def test_a_databases_password_is_in_no_command(
    sweep: Sweep, free_port: int, make_server: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every user of a machine sees every process's command."""
    pretend_store(monkeypatch)
    uri = "postgresql://anna:secret@host/mlflow"
    monkeypatch.setattr(page, "resolve_tracking_uri", lambda *arguments: uri)  # no driver needed
    server, shown = make_server(), list[str]()
    serve_page(sweep, uri, free_port, shown.append)
    [(command, options)] = server.started
    assert "secret" not in " ".join([*command, *shown])
    assert options["env"]["MLFLOW_BACKEND_STORE_URI"] == uri


def test_a_server_that_is_away_is_named_without_its_password(
    sweep: Sweep, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(uri: str) -> NoReturn:
        raise ConnectionError(f"no answer from {uri}")

    monkeypatch.setattr(page, "open_store", fail)
    with pytest.raises(GGASweepError, match=r"https://\*\*\*@host:5000 cannot be asked: ConnectionError") as error:
        serve_page(sweep, "https://anna:secret@host:5000", free_port, print)
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None
