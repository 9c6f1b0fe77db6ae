"""Sweeps on a cluster of two nodes on this machine, with MLflow on PostgreSQL: `make test-cluster`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from services import BUCKET, mlflow_server, postgresql

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("chaos", "tracking")]

from chaos import RUNS_A_SEED, small_digits, sweep_in_peace  # noqa: E402
from invariants import differences, tracking_differences  # noqa: E402
from scene import Scene  # noqa: E402
from stores import store_content  # noqa: E402

from gga_sweep.records import FINAL, RunStatus  # noqa: E402

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SWEEP = small_digits(steps=240, trial_seeds=1)


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, dict[str, Any]]:
    """The sweep on one machine, undisturbed, and what MLflow shows of it."""
    return sweep_in_peace(tmp_path_factory.mktemp("peace") / "scene", SWEEP)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgresql(tmp_path_factory.mktemp("pg")) as uri:
        yield uri


@pytest.fixture(autouse=True)
def _environment_as_it_was() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("place", [None, f"s3://{BUCKET}/of-two-nodes"], ids=["folder", "bucket"])
def test_a_sweep_that_loses_a_node_finishes_and_mlflow_on_postgresql_holds_all_of_it(
    place: str | None,
    peace: tuple[Scene, dict[str, Any]],
    database: str,
    tmp_path: Path,
    s3: None,
) -> None:
    undisturbed, shown = peace
    scene = Scene(tmp_path / "scene", SWEEP, clustered=True, served=False, place=place)
    with mlflow_server(database, tmp_path / "artifacts") as uri:
        scene.tracking = uri
        with scene.set_up():
            scene.keep_launched()
            wait_for_training(scene, at_once=2)
            assert scene.kill_node()
            assert scene.wait_for_launch(400) == 0, scene.log.read_text()
            assert scene.all_final(RUNS_A_SEED)
            assert max(scene.ledger.run(name).newest_attempt() for name in scene.ledger.run_names()) == 2
        assert differences(undisturbed.ledger, scene.ledger) == []
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "60"  # the reader has time
        assert tracking_differences(shown, store_content(uri, scene.ledger.folder)) == ([], [])


def test_sweeps_that_start_at_once_on_an_empty_database_are_all_there(
    peace: tuple[Scene, dict[str, Any]], tmp_path: Path
) -> None:
    """None of them finds MLflow's tables; each makes them. All have one name, in storages of their own."""
    _, shown = peace
    with postgresql(tmp_path / "pg") as uri:
        first = Scene(tmp_path / "a", SWEEP, clustered=True, served=False)
        with first.set_up():
            scenes = [first]
            for name in ("b", "c"):
                scenes.append(Scene(tmp_path / name, SWEEP, clustered=True, served=False))
                scenes[-1].cluster = first.cluster
            for scene in scenes:
                scene.tracking = uri
                scene.keep_launched()
            for scene in scenes:
                assert scene.wait_for_launch(500) == 0, scene.log.read_text()
                assert scene.all_final(RUNS_A_SEED)
        for scene in scenes:
            assert tracking_differences(shown, store_content(uri, scene.ledger.folder)) == ([], [])


def wait_for_training(scene: Scene, at_once: int) -> None:
    """Until so many runs are in training, and have got somewhere."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        states = scene.states().values()
        if sum(state.status is RunStatus.RUNNING for state in states) >= at_once:
            return
        assert not any(state.status in FINAL for state in states), "too late"
        time.sleep(0.1)
    pytest.fail(f"nothing trains:\n{scene.log.read_text()}")
