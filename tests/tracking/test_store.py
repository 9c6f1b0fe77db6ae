from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gga_sweep.tracking import mlflow_api
from gga_sweep.tracking.environment import ENVIRONMENT, set_environment
from gga_sweep.tracking.mlflow_api import MlflowClient
from gga_sweep.tracking.store import open_store, prepare_store


def test_a_prepared_store_is_whole_and_leaves_nothing_beside(template_store: Path) -> None:
    assert [path.name for path in template_store.parent.iterdir()] == ["mlflow.db"]
    assert open_store(f"sqlite:///{template_store}").get_experiment_by_name("Default") is not None


def test_an_existing_store_is_left_alone(uri: str) -> None:
    MlflowClient(uri).create_experiment("mine")
    prepare_store(uri)
    assert MlflowClient(uri).get_experiment_by_name("mine") is not None


def test_of_two_that_prepare_a_store_at_once_the_first_wins(
    tmp_path: Path, template_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find no store, and both make one; the second to be done must not replace the first's."""
    both_are_making_one = threading.Barrier(2)

    class SlowClient:
        def __init__(self, uri: str) -> None:
            self.path = Path(uri.removeprefix("sqlite:///"))

        def search_experiments(self) -> None:
            both_are_making_one.wait()
            self.path.write_bytes(threading.current_thread().name.encode())

    monkeypatch.setattr(mlflow_api, "MlflowClient", SlowClient)
    path = tmp_path / "new" / "mlflow.db"
    threads = [threading.Thread(target=prepare_store, args=(f"sqlite:///{path}",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in {thread.name for thread in threads}
    assert list(path.parent.iterdir()) == [path]


def test_the_environment_is_set_where_the_user_has_not() -> None:
    environ = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "99"}
    set_environment(environ)
    assert environ == {**ENVIRONMENT, "MLFLOW_HTTP_REQUEST_TIMEOUT": "99"}
    assert environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
