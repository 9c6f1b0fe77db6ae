"""The Ray of a launch: who can reach it and use it, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private import ray_constants, utils
from ray.exceptions import AuthenticationError

from gga_sweep.errors import GGASweepError
from gga_sweep.ray_backend.cluster import joined_cluster
from gga_sweep.ray_backend.ray_internals import forwarded_environment

PROGRAM = Path(__file__).with_name("seen_cluster.py")


class FakeRay:
    """Stands for Ray: stores its arguments, and the state of the process when it was started."""

    def __init__(self) -> None:
        self.running = False
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.then = SimpleNamespace()
        self.error: Exception | None = None
        self.logs: dict[str, str] = {}
        self.shutdowns = 0
        self.context = SimpleNamespace(
            dashboard_url="", address_info={"gcs_address": "10.0.0.1:6379", "node_ip_address": "10.0.0.2"}
        )

    def init(self, *arguments: Any, **options: Any) -> SimpleNamespace:
        self.calls.append((arguments, options))
        folder = options.get("_temp_dir")
        self.then = SimpleNamespace(
            environ=dict(os.environ),
            entrypoint=utils.get_entrypoint_name(),
            forms_clusters=ray_constants.ENABLE_RAY_CLUSTER,
            blocked=signal.pthread_sigmask(signal.SIG_BLOCK, []),
            above_folder=None if folder is None else mode(Path(folder).parent),
        )
        for name, content in self.logs.items():
            log = Path(folder, "session_latest", "logs", name)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(content)
        if self.error is not None:
            raise self.error
        return self.context

    def shutdown(self) -> None:
        self.shutdowns += 1


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    connect = socket.create_connection
    monkeypatch.setattr(
        socket,
        "create_connection",
        lambda to, timeout: connect(to, timeout) if to[0] != "10.0.0.1" else socket.socket(),
    )
    monkeypatch.setattr(ray, "init", fake.init)
    monkeypatch.setattr(ray, "shutdown", fake.shutdown)
    monkeypatch.setattr(ray, "is_initialized", lambda: fake.running)
    return fake


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without Ray's variables; restored afterwards."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home directory."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    """New files are readable and writable for everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def launch(address: str | None = None, dashboard: bool = False) -> str | None:
    """Returns where its dashboard is."""
    with joined_cluster(address, dashboard) as found:
        return found


needs_dashboard = pytest.mark.skipif(
    utils.get_dashboard_dependency_error() is not None, reason="needs gga-sweep[dashboard]"
)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="asks Linux who listens where")
@pytest.mark.parametrize("dashboard", [False, pytest.param(True, marks=needs_dashboard)])
def test_a_private_ray_is_closed_to_others(
    dashboard: bool, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with tempfile.TemporaryDirectory(prefix="g-", dir="/tmp") as place:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), place, "postgresql://anna:s3cret@host/db", *["dashboard"] * dashboard],
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # no warning of Ray's
        seen = json.loads(done.stdout)
        assert seen["listening"]
        assert set(seen["listening"]) == {"127.0.0.1"}
        assert seen["stranger"] == "AuthenticationError"
        assert seen["token"] == "0o600"
        assert seen["entrypoints"] == ["gga-sweep"]  # the command line held a password
        assert seen["worker"]["RAY_AUTH_MODE"] == "token"
        assert forwarded_environment({}).items() <= seen["worker"].items()
        assert seen["folder"].startswith(f"{place}/gga-")
        assert list(Path(place).iterdir()) == []
        if dashboard:
            assert re.fullmatch(
                r"http://127\.0\.0\.1:\d+ \(requires the token: ~/\.ray/auth_token\)", seen["dashboard"]
            )
            assert seen["asked"] == {"without a token": 401, "another token": 403, "the token": 200}
        else:
            assert seen["dashboard"] is None


@pytest.mark.parametrize("present", [None, "as Ray wrote it"], ids=["new", "present"])
def test_a_token_is_readable_by_its_owner_alone(present: str | None, home: Path, fake_ray: FakeRay) -> None:
    token = home / ".ray" / "auth_token"
    if present is not None:
        token.parent.mkdir(0o755)
        token.write_text(present)
        token.chmod(0o644)
    launch()
    assert re.fullmatch(present or "[0-9a-f]{64}", token.read_text())
    assert (mode(token.parent), mode(token)) == (0o700, 0o600)
    assert list(token.parent.iterdir()) == [token]


def test_concurrent_launches_use_one_token(home: Path) -> None:
    """A process can start one Ray only, so this calls the part that writes the token."""
    from gga_sweep.ray_backend.cluster import _provide_token

    def look(_: int) -> str:
        _provide_token()
        return (home / ".ray" / "auth_token").read_text()

    with ThreadPoolExecutor(8) as pool:
        [token] = set(pool.map(look, range(64)))
    assert len(token) == 64
    assert len(list((home / ".ray").iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAY_AUTH_MODE", "disabled"),
        ("RAY_AUTH_TOKEN", "my own"),
        ("RAY_AUTH_TOKEN_PATH", "/somewhere/else"),
    ],
)
def test_the_users_token_settings_are_kept(
    name: str, value: str, home: Path, fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    launch()
    assert list(home.iterdir()) == []
    said = {key: text for key, text in fake_ray.then.environ.items() if key.startswith("RAY_AUTH")}
    assert said == {name: value}


def test_without_a_writable_home_the_token_is_in_a_private_folder(
    tmp_path: Path, fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    launch()
    token = Path(fake_ray.then.environ["RAY_AUTH_TOKEN_PATH"])
    assert re.fullmatch("[0-9a-f]{64}", token.read_text())
    assert (mode(token.parent), mode(token)) == (0o700, 0o600)
    launch()  # Ray has read the token and would not read another
    assert fake_ray.then.environ["RAY_AUTH_TOKEN_PATH"] == str(token)


def test_rays_files_are_in_a_private_folder_that_is_removed_after_the_launch(home: Path, fake_ray: FakeRay) -> None:
    with joined_cluster(None):
        [(_, options)] = fake_ray.calls
        above = Path(options["_temp_dir"]).parent
        assert fake_ray.then.above_folder == mode(above) == 0o700
        (above / "ray").mkdir()
    assert not above.exists()


def test_socket_paths_are_short_enough(
    home: Path, fake_ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "a-folder-of-a-batch-system-whose-name-is-long"
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    launch()
    [(_, options)] = fake_ray.calls
    assert len(f"{options['_temp_dir']}/session_2026-11-23_15-29-36_522828_4194304/sockets/plasma_store") <= 103


def test_ray_tmpdir_is_used(home: Path, fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    launch()
    [(_, options)] = fake_ray.calls
    assert options["_temp_dir"] is None


def test_processes_of_a_private_ray_outlive_the_terminal(home: Path, fake_ray: FakeRay) -> None:
    """Ray starts them in the process group of the launch, to which a terminal that is closed sends SIGHUP."""
    launch()
    assert signal.SIGHUP in fake_ray.then.blocked
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_patches_of_ray_end_when_it_has_started(home: Path, fake_ray: FakeRay) -> None:
    before = ray_constants.ENABLE_RAY_CLUSTER, utils.get_entrypoint_name()
    with joined_cluster(None):
        assert (ray_constants.ENABLE_RAY_CLUSTER, utils.get_entrypoint_name()) == before
    assert fake_ray.then.forms_clusters is False
    assert fake_ray.then.entrypoint == "gga-sweep"


@pytest.mark.parametrize("given", ["10.0.0.1:6379", None])
def test_a_cluster_at_an_address_keeps_its_own_authentication(
    given: str | None, home: Path, fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    launch(given)
    [(arguments, _)] = fake_ray.calls
    assert arguments == ("10.0.0.1:6379",)
    assert not any(name.startswith("RAY_AUTH") for name in fake_ray.then.environ)
    assert fake_ray.then.entrypoint == "gga-sweep"
    assert fake_ray.then.forms_clusters
    assert list(home.iterdir()) == []


def test_remote_workers_receive_our_variables_and_no_others(fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    launch("auto")
    [(_, options)] = fake_ray.calls
    assert options["runtime_env"] == {"env_vars": {**forwarded_environment({}), "RAY_USAGE_STATS_ENABLED": "1"}}


def test_a_dashboard_is_started_on_request_on_the_loopback_interface(
    home: Path, fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launch() is None
    assert fake_ray.calls[0][0] == ("local",)  # otherwise Ray joins the cluster that a file in /tmp names
    fake_ray.context.dashboard_url = "127.0.0.1:8266"
    assert launch(dashboard=True) == "http://127.0.0.1:8266 (requires the token: ~/.ray/auth_token)"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/somewhere/else")
    assert launch(dashboard=True) == "http://127.0.0.1:8266 (requires the token: /somewhere/else)"
    asked = [(options["include_dashboard"], options["dashboard_host"]) for _, options in fake_ray.calls]
    assert asked == [(False, "127.0.0.1"), (True, "127.0.0.1"), (True, "127.0.0.1")]


@pytest.mark.parametrize(
    ("told", "here", "words"),
    [
        (None, "10.0.0.2", None),
        ("", "10.0.0.2", None),
        ("10.0.0.1:8265", "10.0.0.2", "http://10.0.0.1:8265"),
        ("127.0.0.1:8265", "10.0.0.1", "http://127.0.0.1:8265"),
        (
            "127.0.0.1:8265",
            "10.0.0.2",
            "http://127.0.0.1:8265 on 10.0.0.1: `ssh -L 8265:127.0.0.1:8265 10.0.0.1` forwards it to this machine",
        ),
        ("https://ray.example/ours", "10.0.0.2", "https://ray.example/ours"),
    ],
)
def test_the_dashboard_of_a_cluster_has_an_address_from_here(
    told: str | None, here: str, words: str | None, fake_ray: FakeRay
) -> None:
    fake_ray.context.dashboard_url = told
    fake_ray.context.address_info["node_ip_address"] = here
    assert launch("10.0.0.1:6379") == words


def test_a_running_ray_is_used_and_left_running(home: Path, fake_ray: FakeRay) -> None:
    fake_ray.running = True
    launch("10.0.0.1:6379")
    assert fake_ray.calls == []
    assert fake_ray.shutdowns == 0
    assert list(home.iterdir()) == []


def test_launches_of_one_process_share_one_ray_which_the_last_of_them_shuts_down(home: Path, fake_ray: FakeRay) -> None:
    before = dict(os.environ)
    with joined_cluster(None):
        with joined_cluster("local") as second:
            assert second is None
        assert fake_ray.shutdowns == 0
        refused = pytest.raises(GGASweepError, match=r"another launch of this process uses the Ray at local")
        with refused, joined_cluster("10.0.0.1:6379"):
            pytest.fail("it has another Ray")
    assert (len(fake_ray.calls), fake_ray.shutdowns) == (1, 1)
    assert dict(os.environ) == before
    launch("10.0.0.1:6379")
    assert (len(fake_ray.calls), fake_ray.shutdowns) == (2, 2)


def test_launches_that_begin_at_once_start_one_ray(home: Path, fake_ray: FakeRay) -> None:
    both = Barrier(2, timeout=20)

    def join(_: int) -> None:
        both.wait()
        with joined_cluster("local"):
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(join, range(2)))
    assert (len(fake_ray.calls), fake_ray.shutdowns) == (1, 1)


@pytest.mark.parametrize(
    "make", [ConnectionError, ValueError, RuntimeError, AuthenticationError], ids=lambda make: make.__name__
)
def test_a_cluster_that_cannot_be_joined_is_an_error_with_a_remedy(
    make: Callable[[str], Exception], fake_ray: FakeRay
) -> None:
    fake_ray.error = make("no answer")
    with pytest.raises(GGASweepError, match=r"Ray cluster at 10\.0\.0\.1:6379: no answer.*RAY_AUTH_MODE=token"):
        launch("10.0.0.1:6379")


def test_an_address_without_listener_fails_at_once(fake_ray: FakeRay) -> None:
    """Ray would retry for minutes."""
    with pytest.raises(GGASweepError, match=r"at 127\.0\.0\.1:9: no answer \(Connection refused\)"):
        launch("127.0.0.1:9")
    assert fake_ray.calls == []


@pytest.mark.parametrize("make", [RuntimeError, Exception], ids=lambda make: make.__name__)
def test_a_failed_start_leaves_nothing_behind(make: type[Exception], home: Path, fake_ray: FakeRay) -> None:
    fake_ray.error = make("no room\nRay's own advice")
    fake_ray.logs = {"raylet.err": "mmap failed\n a stack\n", "gcs_server.err": ""}
    with pytest.raises(GGASweepError) as failed:
        launch()
    said = str(failed.value).splitlines()
    assert said[:3] == ["cannot start Ray on this machine:", "  no room", "  raylet: mmap failed"]
    assert "`ulimit -a`" in said[3]
    assert fake_ray.shutdowns == 1
    [(_, options)] = fake_ray.calls
    assert not Path(options["_temp_dir"]).parent.exists()
