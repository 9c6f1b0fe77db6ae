"""The Ray that a launch trains on: the one that is up, a cluster at an address, or one of its own that is closed."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
from ray._private import ray_constants, utils
from ray.exceptions import RayError

from gga_sweep.errors import GGASweepError
from gga_sweep.ray_backend.dashboard import LOOPBACK, dashboard_in_words, token_in_words
from gga_sweep.tracking.environment import forwarded_environment, set_environment

_LONGEST_FOLDER = 20
"""Letters of the folder that Ray's may lie in: a socket's path has at most 103 (macOS), and 82 follow."""

_ANSWER_SECONDS = 10.0
"""In which the head of a cluster takes a connection."""

_NO_SPARE_WORKERS = {"prestart_worker_first_driver": False}
"""Ray would start a worker for each CPU, a second of it, and Tune use none: its actors' environment is another."""


@contextmanager
def joined_cluster(address: str | None, dashboard: bool = False) -> Iterator[str | None]:
    """The Ray that is up, the cluster at an address, or one of this launch's own; gives its dashboard, in words.

    One of its own listens on the loopback interface alone, has a dashboard only where it is asked for, answers only to
    who has the token (`_provide_token`), and keeps its files where no other user comes. In this process's environment
    Ray leaves `RAY_AUTH_MODE=token`, unless the user had set it, and we the variables of
    `gga_sweep.tracking.environment`. Elsewhere authentication is as the user has set it up.

    Args:
        address: "auto" finds a cluster; None takes that of `RAY_ADDRESS`, and without it starts one.
        dashboard: whether one of its own has one; from `check_dashboard`.

    Yields:
        Where Ray's dashboard is; None where there is none, or Ray was up before.

    Raises:
        GGASweepError: there is no cluster at the address, or it turns us away; or none can be started here.
    """
    if ray.is_initialized():
        yield None
        return
    set_environment()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    with ExitStack() as stack:
        folder = stack.enter_context(_private_folder()) if address == "local" else None
        stack.callback(ray.shutdown)  # before its folder goes; also of what was started in vain
        yield _start(folder, dashboard) if address == "local" else _join(address)


def _start(folder: str | None, dashboard: bool) -> str | None:
    try:
        _provide_token()
        # Only where Ray takes itself to be unable to form clusters does it listen on the loopback interface alone;
        # an `_node_ip_address` of 127.0.0.1 it exchanges for the machine's own.
        with replaced(ray_constants, "ENABLE_RAY_CLUSTER", False), _unseen_command_line():
            # "local": without it Ray joins what /tmp/ray names, and any user of this machine may write there.
            context = ray.init(
                "local",
                include_dashboard=dashboard,
                dashboard_host=LOOPBACK,
                log_to_driver=False,
                logging_level="ERROR",
                _temp_dir=folder,
                _system_config=_NO_SPARE_WORKERS,
            )
    except (OSError, ValueError, RuntimeError, RayError) as error:
        raise GGASweepError(f"cannot start Ray on this machine: {error}") from error
    url = _url_of(context)
    return None if url is None else f"{url} (asks for the token: {token_in_words(os.environ)})"


def _join(address: str) -> str | None:
    try:
        _require_answer(address)
        with _unseen_command_line():
            context = ray.init(
                address,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": forwarded_environment()},
            )
    except (OSError, ValueError, RuntimeError, RayError) as error:
        raise GGASweepError(
            f"cannot join a Ray cluster at {address}: {error}. Is it up, and reachable from here? If it asks for a "
            "token, set RAY_AUTH_MODE=token and have the token in ~/.ray/auth_token, RAY_AUTH_TOKEN_PATH or "
            "RAY_AUTH_TOKEN"
        ) from error
    url, places = _url_of(context), getattr(context, "address_info", {})  # a client of Ray's has none
    if url is None or "gcs_address" not in places:
        return url
    return dashboard_in_words(url, places["gcs_address"].rpartition(":")[0], places["node_ip_address"])


def _url_of(context: Any) -> str | None:
    """Of the dashboard; Ray says "" or None where there is none."""
    url = context.dashboard_url
    if not url:
        return None
    return url if "://" in url else f"http://{url}"


def _require_answer(address: str) -> None:
    """ConnectionError at an address HOST:PORT where nobody listens: Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"nobody answers ({error.strerror or error})") from error


@contextmanager
def _private_folder() -> Iterator[str | None]:
    """Where Ray keeps its sockets, logs and spilled objects: in a folder of this user's, removed at the end.

    None where `RAY_TMPDIR` names one: there Ray's logs stay.
    """
    if "RAY_TMPDIR" in os.environ:
        yield None
        return
    place = tempfile.gettempdir()
    place = place if len(place) <= _LONGEST_FOLDER else "/tmp"
    with tempfile.TemporaryDirectory(prefix="gga-", dir=place, ignore_cleanup_errors=True) as folder:
        yield f"{folder}/ray"  # the one it is given Ray opens to everybody


def _provide_token() -> None:
    """Have Ray find a token that no other user can read; what the user has said about tokens stands.

    Ray would make the file itself, open to whatever the umask allows.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() != "token" or os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        _keep_token(Path.home() / ".ray")
    except (OSError, RuntimeError):  # no home, or none that can be written
        folder = Path(tempfile.mkdtemp(prefix="gga-"))
        # Ray remembers a token for as long as the process lives.
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(_keep_token(folder))


def _keep_token(folder: Path) -> Path:
    """The file with the token, made where it is missing."""
    folder.mkdir(mode=0o700, exist_ok=True)
    _close_to_others(folder, 0o700)
    file = folder / "auth_token"
    if not file.exists():
        descriptor, draft = tempfile.mkstemp(prefix=".auth_token-", dir=folder)  # for its owner alone
        try:
            with os.fdopen(descriptor, "w") as output:
                output.write(secrets.token_hex(32))
            with contextlib.suppress(FileExistsError):  # of two launches at once the first wins
                os.link(draft, file)
        finally:
            os.unlink(draft)  # noqa: PTH108
    _close_to_others(file, 0o600)
    with file.open():  # it may be another user's
        return file


def _close_to_others(path: Path, mode: int) -> None:
    """Take from all but the owner what they may do with it, if it is ours."""
    found = path.stat()
    if found.st_uid == os.getuid() and found.st_mode & 0o077:
        path.chmod(mode)


@contextmanager
def _unseen_command_line() -> Iterator[None]:
    """Ray shows the driver's command line to whoever may look at the cluster, and in ours may stand a password."""
    with replaced(utils, "get_entrypoint_name", lambda: "gga-sweep"):
        yield


@contextmanager
def replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """A name of a module stands for another value for the length of a `with` block."""
    before = getattr(module, name, None)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
