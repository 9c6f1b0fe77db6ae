"""Ray's dashboard is refused where it cannot be started, or would be open to others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from ray._private import utils

from gga_sweep.errors import InputError
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.ray_backend.dashboard import check_dashboard


def lacking(monkeypatch: pytest.MonkeyPatch, error: str | None) -> None:
    found = None if error is None else ImportError(error)
    monkeypatch.setattr(utils, "get_dashboard_dependency_error", lambda: found)


@pytest.mark.parametrize(
    ("address", "environ", "rule"),
    [
        ("auto", {}, r"--dashboard: is for the Ray that a launch starts.*a cluster at auto"),
        (None, {"RAY_ADDRESS": "10.0.0.1:6379"}, r"--dashboard: .*a cluster at 10\.0\.0\.1:6379"),
        (None, {"RAY_AUTH_MODE": "disabled"}, r"--dashboard: needs RAY_AUTH_MODE=token.*RAY_AUTH_MODE=disabled"),
    ],
)
def test_a_dashboard_of_another_cluster_or_without_token_is_refused(
    address: str | None, environ: Mapping[str, str], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking(monkeypatch, None)
    check_dashboard(LaunchOptions(address=address), environ)
    with pytest.raises(InputError, match=rule):
        check_dashboard(LaunchOptions(address=address, dashboard=True), environ)


def test_a_dashboard_without_its_packages_is_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking(monkeypatch, "No module named 'aiohttp_cors'")
    with pytest.raises(InputError, match=r"pip install 'gga-sweep\[dashboard\]'.*aiohttp_cors"):
        check_dashboard(LaunchOptions(dashboard=True), {})
    check_dashboard(LaunchOptions(), {})


@pytest.mark.parametrize("environ", [{}, {"RAY_AUTH_MODE": "TOKEN"}, {"RAY_ADDRESS": "local"}])
def test_otherwise_a_dashboard_is_accepted(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch, None)
    check_dashboard(LaunchOptions(dashboard=True), environ)
