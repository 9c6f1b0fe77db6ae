from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from gga_sweep.tracking import mlflow_api
from gga_sweep.tracking.environment import ENVIRONMENT, set_environment
from gga_sweep.tracking.mlflow_api import MlflowClient
from gga_sweep.tracking.mlflow_internals import schema_of
from gga_sweep.tracking.store import UnusableStoreError, open_store, prepare_store, why_unusable


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


def with_schema(uri: str, revision: str) -> str:
    """The store, as if another version of MLflow had filled it."""
    with contextlib.closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", [revision])
    return uri


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow tries ten times to connect, for 100 s."""

    def refuse(seconds: float) -> None:
        pytest.fail(f"waits {seconds} s")

    monkeypatch.setattr("mlflow.store.db.utils.time.sleep", refuse)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("revision", "remedy"),
    [("451aebb31d03", "run `mlflow db upgrade URI`"), ("0123456789ab", "install the MLflow that wrote it")],
)
def test_a_schema_of_another_version_is_reported_with_its_remedy(uri: str, revision: str, remedy: str) -> None:
    expected = schema_of(uri).expected
    message = f"its schema is {revision}, this MLflow needs {expected}: {remedy}"
    assert why_unusable(uri) is None
    with_schema(uri, revision)
    with pytest.raises(UnusableStoreError, match=message):
        open_store(uri)
    assert why_unusable(uri) == message


@pytest.mark.usefixtures("no_waiting")
def test_a_file_that_is_no_database_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database " * 100)
    assert why_unusable(f"sqlite:///{tmp_path}/mlflow.db") == "file is not a database"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ('FATAL: password authentication failed for user "me"', UnusableStoreError),
        ('FATAL: database "runs" does not exist', UnusableStoreError),
        ("Connection refused", ConnectionError),
        ("database is locked", ConnectionError),
    ],
)
def test_a_database_that_refuses_is_told_from_one_that_is_away(
    answer: str, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(uri: str) -> None:
        raise OperationalError("SELECT 1", {}, Exception(answer))

    monkeypatch.setattr("gga_sweep.tracking.store.schema_of", refuse)
    with pytest.raises(kind, match=re.escape(answer)):
        open_store("postgresql://me:s3cret@127.0.0.1/runs")


@pytest.mark.parametrize("part", ["me@work", "runs #1", "a:b@c", "é", "~x", "a&b=c+d;e", "[x]", "a\\b"])
def test_a_store_and_its_artifacts_are_where_the_path_says(part: str, tmp_path: Path, template_store: Path) -> None:
    folder = tmp_path / part
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(template_store.read_bytes())
    client = open_store(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("mine", f"{folder.as_uri()}/artifacts")
    client.log_text(client.create_run(experiment).info.run_id, "content", "a.txt")
    assert [path.read_text() for path in folder.rglob("a.txt")] == ["content"]
    assert [path.name for path in tmp_path.iterdir()] == [part]


def test_the_environment_is_set_where_the_user_has_not() -> None:
    environ = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "99"}
    set_environment(environ)
    assert environ == {**ENVIRONMENT, "MLFLOW_HTTP_REQUEST_TIMEOUT": "99"}
    assert environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
