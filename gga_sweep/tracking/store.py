"""Opening an MLflow store."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gga_sweep.tracking.mlflow_internals import SCHEMA_LOGGER
from gga_sweep.tracking.tracking_uri import redact_text, sqlite_path

if TYPE_CHECKING:
    from gga_sweep.tracking.mlflow_api import MlflowClient


def open_store(uri: str) -> MlflowClient:
    """A client of the store. A database is connected to at once, a server at the first request."""
    from gga_sweep.tracking.mlflow_api import MlflowClient  # takes seconds to import

    prepare_store(uri)
    return MlflowClient(uri)


def why_unusable(uri: str) -> str | None:
    """Why the store cannot be used, without credentials; None if it can. Creates a SQLite file."""
    try:
        open_store(uri).search_experiments(max_results=1)
    except Exception as error:  # whatever MLflow, its server or its database raise
        return redact_text(f"{type(error).__name__}: {error}", uri).strip().splitlines()[0]
    return None


def prepare_store(uri: str) -> None:
    """Create a SQLite store that does not exist yet; nothing to do for any other.

    MLflow creates the schema in many steps, which takes seconds, and two processes that do so at once leave a broken
    file. So it is created beside and linked into place whole; of several callers the first wins.
    """
    path = sqlite_path(uri)
    if path is None or path.exists():
        return
    from gga_sweep.tracking.mlflow_api import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-mlflow-", dir=path.parent) as folder:
        beside = Path(folder) / path.name
        with _silent(SCHEMA_LOGGER):
            MlflowClient(f"sqlite:///{beside}").search_experiments()
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Without a logger's notes of progress."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
