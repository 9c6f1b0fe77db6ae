"""The Ray of a launch: the one that runs in this process, a cluster at an address, or a private one."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ray

from gga_sweep.errors import GGASweepError, first_line
from gga_sweep.execution.private_folder import private_folder
from gga_sweep.process_state import environment_variables, kept
from gga_sweep.ray_backend.dashboard import LOOPBACK, dashboard_in_words, token_in_words
from gga_sweep.ray_backend.head_watch import OnLost, watched_head
from gga_sweep.ray_backend.ray_internals import (
    LOGGERS,
    NO_TELEMETRY,
    RAY_ENVIRONMENT,
    SET_BY_RAY,
    SYSTEM_CONFIG,
    forwarded_environment,
    hidden_command_line,
    loopback_only,
)

_LONGEST_FOLDER = 20
"""Longest path, in characters, of the folder above Ray's: a socket's path has at most 103 (macOS), and 82 follow."""

_CONNECT_SECONDS = 10.0
"""Timeout of a connection to the head of a cluster."""


@dataclass(slots=True)
class _Shared:
    """The Ray that the launches of this process share.

    Args:
        address: as given by the caller.
        launches: which use it.
        ending: shuts it down, and puts back what it changed in this process.
    """

    address: str
    launches: int
    ending: ExitStack


_LOCK = threading.Lock()
_shared: _Shared | None = None


@contextmanager
def joined_cluster(address: str | None, dashboard: bool = False, on_lost: OnLost | None = None) -> Iterator[str | None]:
    """Join the Ray of this process or the cluster at an address, or start a private Ray; yield its dashboard.

    A private Ray listens on the loopback interface alone, has a dashboard only on request, requires a token
    (`_provide_token`), and keeps its files in a folder that other users cannot read. Other clusters authenticate as the
    user has set up. Launches in threads of one process share one Ray, which the last of them shuts down.

    Args:
        address: "auto" finds a cluster; None uses `RAY_ADDRESS`, and without it starts a private Ray.
        dashboard: whether a private Ray has a dashboard; see `check_dashboard`.
        on_lost: called when the head of the cluster is lost; None does not watch it.

    Yields:
        Where Ray's dashboard is, as a sentence part; None where there is none, or Ray ran in this process before.

    Raises:
        GGASweepError: there is no cluster at the address, or it refuses us; no Ray can be started here; or another
            launch of this process uses the Ray of another address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    with _LOCK:
        shared, url = _enter(address, dashboard)
    try:
        with _watched(on_lost):
            yield url
    finally:
        if shared is not None:
            with _LOCK:
                _leave(shared)


def _enter(address: str, dashboard: bool) -> tuple[_Shared | None, str | None]:
    """The Ray that launches of this process share, with its dashboard; None if Ray is the user's own."""
    global _shared
    if _shared is not None:
        if _shared.address != address:
            raise GGASweepError(
                f"another launch of this process uses the Ray at {_shared.address}, and a process has one Ray: "
                f"launch on {address} after it, or in another process"
            )
        _shared.launches += 1
        return _shared, None
    if ray.is_initialized():
        return None, None
    with ExitStack() as stack:
        stack.enter_context(kept(SET_BY_RAY, LOGGERS))
        stack.enter_context(environment_variables(NO_TELEMETRY))
        folder = stack.enter_context(_private_folder()) if address == "local" else None
        stack.callback(ray.shutdown)  # before its folder is removed; also after a failed start
        with environment_variables(RAY_ENVIRONMENT):
            url = _start(folder, dashboard) if address == "local" else _join(address)
        _shared = _Shared(address, 1, stack.pop_all())
    return _shared, url


def _leave(shared: _Shared) -> None:
    global _shared
    shared.launches -= 1
    if shared.launches == 0:
        _shared = None
        shared.ending.close()


def _watched(on_lost: OnLost | None) -> AbstractContextManager[None]:
    if on_lost is None:
        return nullcontext()
    head = getattr(ray.get_runtime_context(), "gcs_address", None)  # a Ray Client has none
    return nullcontext() if head is None else watched_head(head, on_lost)


def _start(folder: str | None, dashboard: bool) -> str | None:
    try:
        _provide_token()
        with loopback_only(), hidden_command_line(), _without_hangups():
            # "local": otherwise Ray joins the cluster named in /tmp/ray, where any user of this machine may write.
            context = ray.init(
                "local",
                include_dashboard=dashboard,
                dashboard_host=LOOPBACK,
                log_to_driver=False,
                logging_level="ERROR",
                _temp_dir=folder,
                _system_config=dict(SYSTEM_CONFIG),
            )
    except Exception as error:  # Ray raises what its libraries raise, and bare ones
        raise GGASweepError(_not_started(error, folder)) from error
    url = _url_of(context)
    return None if url is None else f"{url} (requires the token: {token_in_words(os.environ)})"


@contextmanager
def _without_hangups() -> Iterator[None]:
    """Processes that are started within the block live on when the terminal of this one is closed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _not_started(error: Exception, folder: str | None) -> str:
    """What was tried, what Ray and its processes wrote, and what to do."""
    logged = [] if folder is None else [line for name in ("gcs_server", "raylet") for line in _first_line(folder, name)]
    said = "".join(f"\n  {line}" for line in [first_line(error), *logged])
    return (
        f"cannot start Ray on this machine:{said}\n"
        "Ray starts several processes of many threads each: check the limits of memory, processes and open files "
        "(`ulimit -a`), and the space left in the folder for temporary files; or join a cluster with --address"
    )


def _first_line(folder: str, name: str) -> Iterator[str]:
    """Of what this process of Ray wrote on its standard error; a stack follows."""
    for file in Path(folder).glob(f"session_latest/logs/{name}.err"):
        if line := file.read_text(errors="replace").partition("\n")[0].strip():
            yield f"{name}: {line}"


def _join(address: str) -> str | None:
    try:
        _require_answer(address)
        with hidden_command_line():
            context = ray.init(
                address,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": forwarded_environment()},
            )
    except Exception as error:  # as above
        raise GGASweepError(
            f"cannot join a Ray cluster at {address}: {first_line(error)}. Is it up, and reachable from here? If it "
            "requires a token, set RAY_AUTH_MODE=token and put the token in ~/.ray/auth_token, RAY_AUTH_TOKEN_PATH or "
            "RAY_AUTH_TOKEN"
        ) from error
    url, places = _url_of(context), getattr(context, "address_info", {})  # a Ray Client has none
    if url is None or "gcs_address" not in places:
        return url
    return dashboard_in_words(url, places["gcs_address"].rpartition(":")[0], places["node_ip_address"])


def _url_of(context: Any) -> str | None:
    """Of the dashboard; Ray returns "" or None where there is none."""
    url = context.dashboard_url
    if not url:
        return None
    return url if "://" in url else f"http://{url}"


def _require_answer(address: str) -> None:
    """Raise a ConnectionError if nothing listens at HOST:PORT: Ray would retry for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"no answer ({error.strerror or error})") from error


@contextmanager
def _private_folder() -> Iterator[str | None]:
    """A folder of this user for Ray's sockets, logs and spilled objects, removed at the end.

    None where `RAY_TMPDIR` names one: there Ray's logs stay.
    """
    if "RAY_TMPDIR" in os.environ:
        yield None
        return
    place = tempfile.gettempdir()
    place = place if len(place) <= _LONGEST_FOLDER else "/tmp"
    with private_folder(place) as folder:
        yield f"{folder}/ray"  # Ray makes the folder that it is given readable for everybody


def _provide_token() -> None:
    """Write a token file that no other user can read, unless the user has configured tokens.

    Ray would write the file itself, with permissions that depend on the umask.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() != "token" or os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        _keep_token(Path.home() / ".ray")
    except (OSError, RuntimeError):  # no home directory, or a read-only one
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(_keep_token(_token_folder()))


@cache
def _token_folder() -> Path:
    """A folder for the token where the home directory cannot hold it; Ray keeps a token while the process lives."""
    folder = ExitStack()
    atexit.register(folder.close)
    return Path(folder.enter_context(private_folder()))


def _keep_token(folder: Path) -> Path:
    """The token file; written if missing."""
    folder.mkdir(mode=0o700, exist_ok=True)
    _close_to_others(folder, 0o700)
    file = folder / "auth_token"
    if not file.exists():
        descriptor, draft = tempfile.mkstemp(prefix=".auth_token-", dir=folder)  # readable by its owner alone
        try:
            with os.fdopen(descriptor, "w") as output:
                output.write(secrets.token_hex(32))
            with contextlib.suppress(FileExistsError):  # another launch was first
                os.link(draft, file)
        finally:
            os.unlink(draft)  # noqa: PTH108
    _close_to_others(file, 0o600)
    with file.open():  # raises if it is another user's
        return file


def _close_to_others(path: Path, mode: int) -> None:
    """Remove the permissions of everybody but the owner, if we own it."""
    found = path.stat()
    if found.st_uid == os.getuid() and found.st_mode & 0o077:
        path.chmod(mode)
