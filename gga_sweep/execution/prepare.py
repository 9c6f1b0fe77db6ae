"""Checks of the images and the storage before any run starts."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

from gga_sweep.datasets import has_photographs, load_dataset
from gga_sweep.datasets.files import Progress
from gga_sweep.errors import Fault, InputError, StorageError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.open_store import open_store
from gga_sweep.ledger.stored_sweep import check_unchanged, write_sweep
from gga_sweep.ledger.suggested_draws import check_searcher
from gga_sweep.spec.content_digests import cache_folder, read_contents
from gga_sweep.spec.location import Location, S3Location
from gga_sweep.spec.plan import Contents, SweepSpec


def prepare_ledger(sweep: SweepSpec, allow_change: bool = False) -> Contents:
    """Check the sweep file against the ledger, and store the sweep there for reports.

    Raises:
        InputError: the images are missing, or the sweep file changed under its name (unless `allow_change`); or another
            searcher suggested the draws so far.
    """
    contents = read_contents(sweep)
    ledger = Ledger(sweep.folder)
    check_searcher(ledger, sweep.config)
    if not allow_change:
        check_unchanged(ledger, sweep, contents)
    write_sweep(ledger, sweep, contents)
    return contents


def decode_images(sweep: SweepSpec, progress: Progress | None = None) -> None:
    """Decode every photograph once, for all runs. Does nothing for a dataset that is made in memory.

    Args:
        progress: called for each decoded photograph; never if all were decoded before.

    Raises:
        InputError: names each image that cannot be opened, or changes meanwhile.
        StorageError: decoded images cannot be stored.
    """
    if has_photographs(sweep.config.dataset):
        load_dataset(sweep.config.dataset, cache_folder(sweep.storage), progress)


def require_writable(storage: Location) -> None:
    """Create the storage's folder, or check that the bucket can be written.

    Raises:
        InputError: it cannot be created or written.
    """
    if not isinstance(storage, Path):
        _require_writable_bucket(storage)
        return
    try:
        storage.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=storage):
            pass
    except (OSError, ValueError) as error:  # ValueError: an impossible file name
        reason = getattr(error, "strerror", None) or error
        fault = Fault("--storage", f"must be a folder that can be written: {reason}", str(storage))
        raise InputError([fault]) from error


def _require_writable_bucket(storage: S3Location) -> None:
    store, name = open_store(storage), f".writable-{uuid.uuid4().hex}"
    try:
        if not store.put_if_absent(name, b"") or store.put_if_absent(name, b""):
            rule = "must be of a bucket with conditional writes (If-None-Match): this one overwrites"
            raise InputError([Fault("--storage", rule, str(storage))])
        store.delete(name)
    except StorageError as error:
        rule = f"must be a bucket that can be written: {error}"
        raise InputError([Fault("--storage", rule, str(storage))]) from error
