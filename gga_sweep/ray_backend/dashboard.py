"""Ray's dashboard: whether it can be started here, and its address."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from gga_sweep.errors import Fault, InputError
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.ray_backend.ray_internals import dashboard_import_error

LOOPBACK = "127.0.0.1"
"""The address of our dashboard: everyone who can reach a dashboard can run code as its owner."""


def check_dashboard(options: LaunchOptions, environ: Mapping[str, str]) -> None:
    """Check that the requested dashboard can be started safely.

    Raises:
        InputError: it cannot.
    """
    if not options.dashboard:
        return
    address = options.address or environ.get("RAY_ADDRESS") or "local"
    mode = environ.get("RAY_AUTH_MODE", "token")
    if address != "local":
        rule = "is for the Ray that a launch starts; a cluster starts its own (`ray start --include-dashboard=true`)"
        raise InputError([Fault("--dashboard", rule, f"a cluster at {address}")])
    if mode.lower() != "token":
        rule = "needs RAY_AUTH_MODE=token, or unset: without a token anyone who reaches the dashboard can run code"
        raise InputError([Fault("--dashboard", rule, f"RAY_AUTH_MODE={mode}")])
    if (error := dashboard_import_error()) is not None:
        rule = "needs packages that are not installed: pip install 'gga-sweep[dashboard]'"
        raise InputError([Fault("--dashboard", rule, str(error))])


def dashboard_in_words(url: str, head: str, here: str) -> str:
    """The URL of a cluster's dashboard, with the command that forwards its port to this machine where needed.

    Args:
        url: from Ray: where its head node listens.
        head: address of that node.
        here: address of this machine; equals `head` on the head node.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if head == here or not _is_loopback(host):
        return url
    return f"{url} on {head}: `ssh -L {port}:{host}:{port} {head}` forwards it to this machine"


def token_in_words(environ: Mapping[str, str]) -> str:
    """Where the token is that the dashboard of a private Ray requires."""
    if environ.get("RAY_AUTH_TOKEN"):
        return "$RAY_AUTH_TOKEN"
    return environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
