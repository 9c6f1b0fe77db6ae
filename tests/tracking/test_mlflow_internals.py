"""Is what we use of MLflow beyond its documented interface still there?

Seen in the version that `mlflow_internals.SEEN_IN` names. If a test here fails with a newer MLflow, look at its page
with `gga-sweep ui`, correct `gga_sweep/tracking/mlflow_internals.py`, and set `SEEN_IN`.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import mlflow.environment_variables
import pytest
from packaging.version import Version

from gga_sweep.tracking.mlflow_internals import (
    BROWSER_SETTINGS,
    DATABASE_MODULE,
    NO_JOBS,
    SCHEMA_LOGGER,
    SEEN_IN,
    SHARED_VIEW,
    server_environment,
)
from gga_sweep.tracking.views import views

MLFLOW = Path(mlflow.__file__).parent


@cache
def page() -> str:
    """The program of MLflow's page."""
    return "".join(path.read_text() for path in sorted((MLFLOW / "server/js/build/static/js").glob("*.js")))


def names_in(state: Any) -> Iterator[str]:
    """Every key of a view's state, and every value in capitals: those that the page compares with."""
    if isinstance(state, dict):
        for key, value in state.items():
            if "`" not in key:  # else a column of ours
                yield key
            yield from names_in(value)
    elif isinstance(state, list):
        for value in state:
            yield from names_in(value)
    elif isinstance(state, str) and state.isupper():
        yield state


def test_the_version_they_were_seen_in_is_not_far_behind() -> None:
    installed, seen = Version(mlflow.__version__), Version(SEEN_IN)
    assert installed.major == seen.major, f"MLflow {installed}: look at its page and server, then set SEEN_IN"


def test_the_page_reads_every_name_of_a_views_state() -> None:
    saved = ("createdAt", "deflate;")
    assert [name for name in saved if name not in page()] == []
    for view in views(["lr"]):
        gone = {name for name in names_in(dict(view.state)) if name not in page()}
        assert not gone, f"MLflow {mlflow.__version__} no longer reads {gone} (seen in {SEEN_IN})"


@pytest.mark.parametrize(
    "name", [SHARED_VIEW, "viewStateShareKey", "workflowType", "machine_learning", "compareRunsMode", "CHART"]
)
def test_the_page_finds_a_view_by_its_address(name: str) -> None:
    assert name in page(), f"MLflow {mlflow.__version__} no longer reads {name} (seen in {SEEN_IN})"


@pytest.mark.parametrize("name", BROWSER_SETTINGS)
def test_the_page_reads_the_settings_of_a_browser(name: str) -> None:
    key, _, version = name.rpartition("_v")
    assert f'key:"{key}",version:{version}' in page(), f"MLflow {mlflow.__version__} no longer reads {name}"


def test_creating_a_database_logs_where_we_silence_it() -> None:
    assert importlib.util.find_spec(SCHEMA_LOGGER) is not None
    assert SCHEMA_LOGGER in logging.root.manager.loggerDict or importlib.import_module(SCHEMA_LOGGER)


@pytest.mark.parametrize("name", ["_get_alembic_config", "_get_schema_version", "create_sqlalchemy_engine"])
def test_the_schema_of_a_database_is_read_where_we_look(name: str) -> None:
    assert callable(getattr(importlib.import_module(DATABASE_MODULE), name))


@pytest.fixture(scope="module")
def server_rules() -> ModuleType:
    """By which MLflow's server answers or refuses a request, without the server."""
    spec = importlib.util.spec_from_file_location("security_utils", MLFLOW / "server" / "security_utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("127.0.0.1:5000", True),
        ("localhost:8080", True),  # through a tunnel
        ("[::1]:5000", True),
        ("me:5000", True),
        ("10.evil.example:5000", False),  # MLflow's own list takes it for a private address
        ("me.evil.example:5000", False),
    ],
)
def test_the_server_answers_requests_to_given_names_alone(
    asked: str, answered: bool, server_rules: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = server_environment({"localhost", "127.0.0.1", "[::1]", "me"}, {"me"}, 5000)
    for name, value in (environment | NO_JOBS).items():
        assert hasattr(mlflow.environment_variables, name), f"MLflow {mlflow.__version__} no longer reads {name}"
        monkeypatch.setenv(name, value)
    assert server_rules.is_allowed_host_header(server_rules.get_allowed_hosts_from_env(), asked) is answered
    origins = server_rules.get_allowed_origins_from_env()
    assert server_rules.should_block_cors_request(f"http://{asked}", "POST", origins) is not answered
    assert "*" not in environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]  # it would be read as a regular expression
