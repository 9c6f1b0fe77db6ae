"""Servers for tests, on the loopback interface alone: an S3-compatible one, PostgreSQL, MLflow's."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

BUCKET = "sweeps"
_SERVERS_USER = "postgres"
"""PostgreSQL refuses to run as root."""


@contextlib.contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """moto's server with an empty bucket; gives the environment in which that is where S3 is."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with _running(command):
        wait_for(lambda: _answers(f"{endpoint}/moto-api/"))
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")).close()
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A server with an empty database; gives its URI.

    Args:
        folder: a new or empty one.
    """
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    user: str | None = None
    if os.getuid() == 0:
        user = _SERVERS_USER
        shutil.chown(folder, user)
        for above in folder.parents:  # pytest's folders are closed to others
            if above.stat().st_uid == 0 and above != above.parent:
                above.chmod(above.stat().st_mode | 0o011)
    data = folder / "data"
    name = user or pwd.getpwuid(os.getuid()).pw_name
    subprocess.run(
        [_program("initdb"), "--auth=trust", f"--username={name}", "--no-sync", "--encoding=UTF8", str(data)],
        check=True,
        capture_output=True,
        user=user,
        cwd=folder,
    )
    command = [_program("postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
    with _running(command, user=user, cwd=folder, ends_by=signal.SIGINT):
        wait_for(lambda: connects(port))
        uri = f"postgresql://{name}@127.0.0.1:{port}/postgres"
        wait_for(lambda: _accepts(uri))
        yield uri


@contextlib.contextmanager
def mlflow_server(store: str, artifacts: Path) -> Iterator[str]:
    """MLflow's server on a store, by its URI; gives the server's."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(artifacts)]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with _running(command, env=environment):
        wait_for(lambda: _answers(f"{uri}/health"), seconds=90)
        yield uri


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[str], ends_by: signal.Signals = signal.SIGTERM, **options: object) -> Iterator[None]:
    process = subprocess.Popen(  # type: ignore[call-overload]
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, **options,
    )  # fmt: skip
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ends_by)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _program(name: str) -> str:
    """Debian keeps PostgreSQL's programs out of the path."""
    found = shutil.which(name) or next(iter(sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))), None)
    if found is None:
        raise FileNotFoundError(f"{name} is missing: install PostgreSQL (Debian's package postgresql)")
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Until it holds; TimeoutError where it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a server did not come up")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def connects(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _accepts(uri: str) -> bool:
    import psycopg

    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(uri).close()
        return True
    return False
