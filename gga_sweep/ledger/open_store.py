"""Opens the files below a location: of a file system, or of an S3 bucket."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from gga_sweep.errors import Fault, InputError
from gga_sweep.ledger.store import LedgerStore, PosixStore
from gga_sweep.spec.location import Location, S3Location


def open_store(location: Location) -> LedgerStore:
    """The files below a location.

    Raises:
        InputError: it is in a bucket, and the packages for that are missing, or no region or credentials are set.
    """
    return PosixStore(location) if isinstance(location, Path) else _open_bucket(location)


@lru_cache(maxsize=32)
def _open_bucket(location: S3Location) -> LedgerStore:
    """One client a process and folder: it keeps its connections."""
    try:
        from gga_sweep.ledger.s3_store import S3LedgerStore
    except ModuleNotFoundError as error:
        rule = f"needs the packages of the extra s3: pip install 'gga-sweep[s3]' ({error.name} is missing)"
        raise InputError([Fault("--storage", rule, str(location))]) from error
    return S3LedgerStore(location.bucket, location.key)
