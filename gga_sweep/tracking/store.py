"""Opening an MLflow store, and what is wrong with one that cannot be opened."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gga_sweep.errors import GGASweepError, first_line, shortened
from gga_sweep.process_state import kept
from gga_sweep.tracking.mlflow_internals import SCHEMA_LOGGER, SCHEMA_LOGGERS, schema_of
from gga_sweep.tracking.tracking_uri import SERVERS, redact_text, sqlite_path

if TYPE_CHECKING:
    from gga_sweep.tracking.mlflow_api import MlflowClient


_LONGEST_REASON = 300  # characters

# What SQLite and the servers of databases say to faults that last until somebody repairs them.
_PERMANENT = re.compile(
    r"out-of-date database schema|file is not a database|database disk image is malformed"
    r"|readonly database|unable to open database file"
    r"|authentication failed|no password supplied|access denied|unknown database"
    r"|(database|role|user) .* does not exist",
    re.IGNORECASE,
)


class UnusableStoreError(GGASweepError):
    """The MLflow store cannot be used before somebody repairs it."""


def open_store(uri: str) -> MlflowClient:
    """A client of the store. A database is connected to at once, a server at the first request.

    Raises:
        UnusableStoreError: a database of another schema, one that may not be used, or a file that is none.
        ConnectionError: a database that does not answer.
    """
    from gga_sweep.tracking.mlflow_api import MlflowClient  # takes seconds to import

    prepare_store(uri)
    if uri.partition("://")[0] not in SERVERS:
        _check_database(uri)
    return MlflowClient(uri)


def _check_database(uri: str) -> None:
    """Connect once, and compare the schema.

    MLflow would try to connect ten times, for 100 s, and reports another schema as an outage.
    """
    from sqlalchemy.exc import DBAPIError

    try:
        found = schema_of(uri)
    except DBAPIError as error:
        reason = str(error.orig)
        raise (UnusableStoreError if is_permanent(error) else ConnectionError)(reason) from None
    if found.present in (None, found.expected):
        return
    remedy = "run `mlflow db upgrade URI`" if found.is_known else "install the MLflow that wrote it"
    raise UnusableStoreError(f"its schema is {found.present}, this MLflow needs {found.expected}: {remedy}")


def is_permanent(error: Exception) -> bool:
    """Whether trying again is of no use."""
    return isinstance(error, UnusableStoreError) or _PERMANENT.search(str(error)) is not None


def reason_of(error: Exception, uri: str) -> str:
    """The error of a store in one line, without credentials."""
    kind = "" if isinstance(error, GGASweepError) else f"{type(error).__name__}: "
    return shortened(redact_text(f"{kind}{first_line(error)}", uri), _LONGEST_REASON)


def why_unusable(uri: str) -> str | None:
    """Why the store cannot be used, without credentials; None if it can. Creates a SQLite file."""
    try:
        open_store(uri).search_experiments(max_results=1)
    except Exception as error:  # whatever MLflow, its server or its database raise
        return reason_of(error, uri)
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
        with kept(loggers=SCHEMA_LOGGERS):
            logging.getLogger(SCHEMA_LOGGER).setLevel(logging.WARNING)
            MlflowClient(f"sqlite:///{beside}").search_experiments()
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
