"""MLflow's own page on a sweep's store."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from gga_sweep.errors import Fault, GGASweepError, InputError
from gga_sweep.spec.location import Location
from gga_sweep.tracking.environment import set_environment
from gga_sweep.tracking.experiment import find_experiment
from gga_sweep.tracking.mlflow_internals import NO_JOBS, QUIET, runs_address, server_environment
from gga_sweep.tracking.store import open_store, reason_of
from gga_sweep.tracking.tracking_uri import SERVERS, redact, resolve_tracking_uri, sqlite_path

if TYPE_CHECKING:
    from gga_sweep.tracking.mlflow_api import Experiment

HOST = "127.0.0.1"
APP_NAME = "gga-sweep"
"""Of `served_page`, as an entry point of this package."""
_BETWEEN_TRIES = 0.2  # seconds

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def serve_page(
    folder: Location,
    tracking_uri: str | None,
    port: int,
    show: Callable[[str], object],
    host: str = HOST,
    *,
    open_page: bool = False,
) -> None:
    """Serve the store's page until interrupted; if the store is a server, show the address of its page.

    Args:
        folder: of a sweep.
        show: prints a line.
        host: name or address of this machine to listen on. If other machines can reach it, a warning is shown.
        open_page: open the page in the browser.

    Raises:
        InputError: a malformed URI, a store without this sweep, a port in use, or a host that is not this machine.
        GGASweepError: the store cannot be read, or MLflow's server ended by itself.
    """
    uri = resolve_tracking_uri(folder.parent, tracking_uri, os.environ)
    experiment = _find(uri, folder)
    if uri.partition("://")[0] in SERVERS:
        from gga_sweep.tracking.run_pages import server_address

        page = f"{server_address(uri)}{_page_of(experiment)}"
        show(page)
        if open_page:
            webbrowser.open(page)
        return
    address = _check_free(host, port)
    if not address.is_loopback:
        show(
            f"Warning: anyone who reaches {host}, port {port}, can read, change and delete everything in this store: "
            f"MLflow requires no password. Safer: leave out --host, and run `ssh -L {port}:{HOST}:{port} "
            f"{socket.gethostname()}` on the machine with your browser."
        )
    shown_host = socket.gethostname() if address.is_unspecified else _in_url(host)
    page = f"http://{shown_host}:{port}{_page_of(experiment)}"

    def announce() -> None:
        show(f"{page}   (Ctrl-C ends)")
        if open_page:
            webbrowser.open(page)

    show("Starting MLflow's server ...")
    set_environment()
    _run_server(uri, host, port, address, announce)


def _run_server(uri: str, host: str, port: int, address: _Address, announce: Callable[[], None]) -> None:
    """Run MLflow's server until it ends, which is an error, or until this process is interrupted.

    Args:
        announce: called once the server responds.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--app-name", APP_NAME, *QUIET]
    environment = {
        **server_environment(*_server_names(host, address), port),
        **os.environ,
        **NO_JOBS,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "PYTHONSAFEPATH": "1",  # else `-m` runs a mlflow.py in the current folder
    }
    ends = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, signal.default_int_handler) for number in ends}
    server = subprocess.Popen(command, env=environment, start_new_session=True)  # its children must end with it
    try:
        while server.poll() is None and not _responds(address, port):
            time.sleep(_BETWEEN_TRIES)
        if server.poll() is None:
            announce()
        code = server.wait()
    except KeyboardInterrupt:
        return
    finally:
        _end_group(server)
        for number, handler in before.items():
            signal.signal(number, handler)
    raise GGASweepError(f"MLflow's server ended with exit code {code}")


def _page_of(experiment: Experiment) -> str:
    """The part of an address after the server's: of the prepared view of results; of the experiment's runs if no launch
    has projected it yet. The experiment's description has links to the other views."""
    from gga_sweep.tracking.views import written_views

    number = str(experiment.experiment_id)
    return next((view.address(number) for view in written_views(experiment)), runs_address(number))


def _responds(address: _Address, port: int) -> bool:
    """Whether MLflow's server responds on this machine."""
    host = "localhost" if address.is_unspecified else _in_url(str(address))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this machine
    try:
        with opener.open(f"http://{host}:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _check_free(host: str, port: int) -> _Address:
    """The host's address, which must be this machine's, with the port free."""
    fault = Fault("--host", "must be a name or address of this machine", host)
    with suppress(OSError, ValueError):  # a ValueError if it cannot be a name
        for family, kind, _, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else closed connections count
                try:
                    probe.bind(place)
                except PermissionError:
                    fault = Fault("--port", "needs rights that you lack; give one above 1023", port)
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        fault = Fault("--port", "is in use; give another", port)
                else:
                    return ipaddress.ip_address(str(place[0]).partition("%")[0])
    raise InputError([fault])


def _server_names(host: str, address: _Address) -> tuple[set[str], set[str]]:
    """The names under which the server answers requests, and those among them that are not the loopback interface.

    Web pages of other origins must not use a browser's connection to the server.
    """
    others = set() if address.is_loopback else {_in_url(name).lower() for name in (host, *_own_names())}
    return {"localhost", HOST, "[::1]"} | others, others


def _own_names() -> set[str]:
    """Names under which other machines may reach this one."""
    name = socket.gethostname()
    names = {name, socket.getfqdn()}
    with suppress(OSError):
        names |= {str(place[0]) for *_, place in socket.getaddrinfo(name, None)}
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        outward.connect(("192.0.2.1", 9))  # sends nothing: a datagram socket only chooses its route
        names.add(outward.getsockname()[0])
    return names


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _find(uri: str, folder: Location) -> Experiment:
    path = sqlite_path(uri)
    try:  # looking for a file must not create it
        experiment = None if path and not path.exists() else find_experiment(open_store(uri), folder)
    except Exception as error:  # anything that MLflow, its server or its database raise
        raise GGASweepError(f"MLflow at {redact(uri)} cannot be read: {reason_of(error, uri)}") from None
    if experiment is None:
        raise InputError([Fault("DIR", f"the store {redact(uri)} does not hold this sweep", str(folder))])
    return experiment


def _end_group(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    server.wait()
