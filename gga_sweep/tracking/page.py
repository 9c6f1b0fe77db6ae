"""MLflow's own page on a sweep's store."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from gga_sweep.errors import Fault, GGASweepError, InputError
from gga_sweep.spec.plan import Sweep
from gga_sweep.tracking.environment import set_environment
from gga_sweep.tracking.experiment import find_experiment, runs_page
from gga_sweep.tracking.location import SERVERS, redact, redact_text, resolve_tracking_uri, sqlite_path
from gga_sweep.tracking.store import open_store

if TYPE_CHECKING:
    from gga_sweep.tracking.mlflow_api import Experiment

HOST = "127.0.0.1"

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def serve_page(
    sweep: Sweep, tracking_uri: str | None, port: int, show: Callable[[str], object], host: str = HOST
) -> None:
    """Serve the store's page until interrupted; for a store that is a server, say where its page is.

    Args:
        show: prints a line.
        host: name or address of this machine to listen on; one that others can reach is warned of.

    Raises:
        InputError: a malformed URI, a store without this sweep, a port that is taken, or a host that is not here.
        GGASweepError: the store cannot be asked, or MLflow's server ended by itself.
    """
    uri = resolve_tracking_uri(sweep.storage, tracking_uri, os.environ)
    experiment = _find(uri, sweep)
    if uri.partition("://")[0] in SERVERS:
        for line in _addresses(redact(uri), experiment):
            show(line)
        return
    address = _check_free(host, port)
    if not address.is_loopback:
        show(
            f"Warning: whoever reaches {host}, port {port}, can read, change and delete everything in this store: "
            f"MLflow asks for no password. Safer: leave out --host, and `ssh -L {port}:{HOST}:{port} "
            f"{socket.gethostname()}` from where you look."
        )
    set_environment()
    shown = socket.gethostname() if address.is_unspecified else _in_url(host)
    *lines, last = _addresses(f"http://{shown}:{port}", experiment)
    for line in lines:
        show(line)
    show(f"{last}   (Ctrl-C ends)")
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    environment = {
        **_names_to_answer_to(host, port, address),
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONSAFEPATH": "1",  # else `-m` runs a mlflow.py that lies where we were called
    }
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us ends the server too
    server = subprocess.Popen(command, env=environment, start_new_session=True)  # its children must end with it
    try:
        code = server.wait()
    except KeyboardInterrupt:
        return
    finally:
        _end_group(server)
        signal.signal(signal.SIGTERM, before)
    raise GGASweepError(f"MLflow's server ended with exit code {code}")


def _addresses(server: str, experiment: Experiment) -> list[str]:
    """Of the experiment's prepared views; of its runs where it has none (it was written by an older version)."""
    from gga_sweep.tracking.views import written_views

    found = written_views(experiment)
    width = max((len(view.heading) for view in found), default=0) + 2
    number = str(experiment.experiment_id)
    prepared = [f"{f'{view.heading}:':{width}}{server}{view.address(number)}" for view in found]
    return prepared or [f"{server}{runs_page(experiment)}"]


def _check_free(host: str, port: int) -> _Address:
    """The host's address, which must be this machine's, with the port free."""
    fault = Fault("--host", "must be a name or address of this machine", host)
    with suppress(OSError, ValueError):  # what no name can be is a ValueError
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


def _names_to_answer_to(host: str, port: int, address: _Address) -> dict[str, str]:
    """What MLflow's server compares a request's `Host` and `Origin` with, against pages elsewhere that a browser would
    lend its connection. Its default is too narrow for a server that others may reach, and too wide for any other."""
    names = {"localhost", HOST, "[::1]"}  # as origins it knows them
    others = set() if address.is_loopback else {_in_url(name).lower() for name in (host, *_own_names())}
    # At any port, since a tunnel has its own. In a pattern with a star a bracket would begin a choice.
    hosts = {pattern for name in names | others for pattern in (name, f"{name.replace('[', '[[]')}:*")}
    origins = {origin for name in others for origin in (f"http://{name}", f"http://{name}:{port}")}
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(sorted(hosts)),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(sorted(origins)),
    }


def _own_names() -> set[str]:
    """Under which other machines may know this one."""
    name = socket.gethostname()
    names = {name, socket.getfqdn()}
    with suppress(OSError):
        names |= {str(place[0]) for *_, place in socket.getaddrinfo(name, None)}
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        outward.connect(("192.0.2.1", 9))  # sends nothing: a datagram's socket only chooses its way
        names.add(outward.getsockname()[0])
    return names


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _find(uri: str, sweep: Sweep) -> Experiment:
    path = sqlite_path(uri)
    try:  # looking must not make a file that is not there
        experiment = None if path and not path.exists() else find_experiment(open_store(uri), sweep.folder)
    except Exception as error:  # whatever MLflow, its server or its database raise
        reason = redact_text(f"{type(error).__name__}: {error}", uri)
        raise GGASweepError(f"MLflow at {redact(uri)} cannot be asked: {reason}") from None
    if experiment is None:
        raise InputError([Fault("DIR", f"the store {redact(uri)} does not know this sweep", str(sweep.folder))])
    return experiment


def _end_group(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    server.wait()
