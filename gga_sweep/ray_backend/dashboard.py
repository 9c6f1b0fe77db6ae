"""Ray's dashboard: whether one can be started here, and where it is found."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from gga_sweep.errors import Fault, InputError
from gga_sweep.ray_backend.options import LaunchOptions

LOOPBACK = "127.0.0.1"
"""Where a dashboard of ours listens: who reaches one runs code as its owner."""


def check_dashboard(options: LaunchOptions, environ: Mapping[str, str]) -> None:
    """
    Raises:
        InputError: a dashboard was asked for that cannot be started, or only unsafely.
    """
    if not options.dashboard:
        return
    address = options.address or environ.get("RAY_ADDRESS") or "local"
    mode = environ.get("RAY_AUTH_MODE", "token")
    if address != "local":
        rule = "is for the Ray that a launch starts; a cluster starts its own (`ray start --include-dashboard=true`)"
        raise InputError([Fault("--dashboard", rule, f"a cluster at {address}")])
    if mode.lower() != "token":
        rule = "needs RAY_AUTH_MODE=token, or that unset: whoever reaches a dashboard without one can run code here"
        raise InputError([Fault("--dashboard", rule, f"RAY_AUTH_MODE={mode}")])
    from ray._private.utils import get_dashboard_dependency_error

    if (lacking := get_dashboard_dependency_error()) is not None:
        rule = "needs packages that are not installed: pip install 'gga-sweep[dashboard]'"
        raise InputError([Fault("--dashboard", rule, str(lacking))])


def dashboard_in_words(url: str, head: str, here: str) -> str:
    """Where to look, and how to get there.

    Args:
        url: as Ray tells it: what its head node listens on.
        head: address of that node.
        here: address of this machine; the head's where it is this one.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if head == here or not _is_loopback(host):
        return url
    return f"{url} on {head}: `ssh -L {port}:{host}:{port} {head}` brings it here"


def token_in_words(environ: Mapping[str, str]) -> str:
    """Where the token is that the page of a Ray of our own asks for."""
    if environ.get("RAY_AUTH_TOKEN"):
        return "$RAY_AUTH_TOKEN"
    return environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
