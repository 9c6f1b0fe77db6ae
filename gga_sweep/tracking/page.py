"""MLflow's own page on a sweep's store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from gga_sweep.errors import Fault, GGASweepError, InputError
from gga_sweep.planning.plan import Sweep
from gga_sweep.tracking.environment import set_environment
from gga_sweep.tracking.experiment import find_experiment, runs_page
from gga_sweep.tracking.location import SERVERS, redact, redact_text, resolve_tracking_uri, sqlite_path
from gga_sweep.tracking.store import open_store

if TYPE_CHECKING:
    from gga_sweep.tracking.mlflow_api import Experiment

HOST = "127.0.0.1"


def serve_page(sweep: Sweep, tracking_uri: str | None, port: int, show: Callable[[str], object]) -> None:
    """Serve the store's page until interrupted; for a store that is a server, say where its page is.

    Raises:
        InputError: a malformed URI, a store without this sweep, or a port that is taken.
        GGASweepError: the store cannot be asked, or MLflow's server ended by itself.
    """
    uri = resolve_tracking_uri(sweep.storage, tracking_uri, os.environ)
    experiment = _find(uri, sweep)
    if uri.partition("://")[0] in SERVERS:
        show(f"{redact(uri)}{runs_page(experiment)}")
        return
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise InputError([Fault("--port", "is in use; give another", port)])
    set_environment()
    show(f"http://{HOST}:{port}{runs_page(experiment)}   (Ctrl-C ends)")
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
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
