"""One local Ray for all tests of the sweep."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gga_sweep.tracking.environment import set_environment


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that tells `small_sweep.Fragile` how to fail; trial actors see it too."""
    path = tmp_path_factory.mktemp("orders") / "order"
    os.environ["SMALL_SWEEP_ORDERS"] = str(path)
    return path


@pytest.fixture(scope="session")
def local_ray(orders: Path) -> Iterator[None]:
    """A Ray of two CPUs whose workers find the modules of this folder."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    set_environment()
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
