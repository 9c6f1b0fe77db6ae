"""Puts this folder on the path of all tests: helpers that several folders share stand here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["console", "trained_sweep"]

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: on small networks threads wait for each other
settings.register_profile("shared cores", deadline=None)  # how long an example takes says nothing there
settings.load_profile("shared cores")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The first of two processes begins with the long tests, those on a shared Ray, so that one Ray is started.

    `--dist worksteal` gives each process one half of the items. A process without work steals from the end of the other
    half.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: "local_ray" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def template_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store; making one takes seconds, copying it none."""
    from gga_sweep.tracking.store import prepare_store

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    prepare_store(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """In which S3 is a server of the tests' own."""
    from services import s3_server

    with s3_server() as environment:
        yield environment


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 is a server of the tests' own."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
