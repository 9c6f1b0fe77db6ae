"""One local Ray for all tests of the sweep."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from empty_plots import leave_plots_empty

from gga_sweep.tracking.tracking_uri import sqlite_path

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "local_ray" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(300))  # its actors share the cores with other tests
            for category in ("DeprecationWarning", "ResourceWarning", "FutureWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{category}"))  # Ray's and MLflow's own


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file with the way in which `small_sweep.Fragile` fails; trial actors read it too."""
    path = tmp_path_factory.mktemp("orders") / "order"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SMALL_SWEEP_ORDERS", str(path))
        yield path


@pytest.fixture(scope="session")
def local_ray(orders: Path) -> Iterator[None]:
    """A Ray of two CPUs whose workers find the modules of this folder, whatever other Ray this machine runs."""
    import ray

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(FOLDER.parent), prepend=os.pathsep)
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def quick_launches(template_store: Path) -> Iterator[None]:
    """Launches without their slowest parts: a new MLflow store is a copy, the page's plots are empty.

    Of a module, so that it holds for the launches that a module's tests share.
    """

    def copy_store(uri: str) -> None:
        path = sqlite_path(uri)
        if path is not None and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(template_store, path)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("gga_sweep.tracking.projector.prepare_store", copy_store)
        monkeypatch.setattr("gga_sweep.tracking.store.prepare_store", copy_store)
        leave_plots_empty(monkeypatch)
        yield
