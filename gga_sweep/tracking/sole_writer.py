"""Of all who would project a ledger into a store one does, or what each of them makes would stand there twice."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, suppress

from gga_sweep.errors import StorageError, SweepOwnedError
from gga_sweep.ledger.lease import Lease, held, live_holder, newest_holder
from gga_sweep.ledger.store import LedgerStore
from gga_sweep.tracking.location import redact


class SoleWriter:
    """The right to write into one MLflow store what a ledger holds. Not taken before it is asked for.

    Args:
        store: of the ledger, where the right is kept; two stores of MLflow can have a writer each.
        uri: of MLflow's store.
    """

    def __init__(self, store: LedgerStore, uri: str) -> None:
        self.unsettled = False
        """Since it was taken: whether requests of who had it before may still be carried out."""
        self._store = store
        self._uri = uri
        self._folder = f"tracking/{_digest(uri)}"
        self._note = f"{self._folder}/unsettled"
        self._lease: Lease | None = None
        self._until_released = ExitStack()

    def take(self) -> bool:
        """Have the right from here on; False if it was had all the time, so that nobody else has written.

        Raises:
            SweepOwnedError: somebody else has it, in words.
            StorageError: the ledger cannot be read or written.
        """
        if self._has_it():
            return False
        self.release()
        before = newest_holder(self._store, self._folder)
        try:
            self._lease = self._until_released.enter_context(held(self._store, self._folder))
        except SweepOwnedError:
            holder = live_holder(self._store, self._folder)
            who = "another process" if holder is None else f"{holder},"
            raise SweepOwnedError(
                f"{who} projects this sweep into MLflow at {redact(self._uri)} already, and brings it up to date"
            ) from None
        died = before is not None and before.ended is None
        self.unsettled = died or self._store.read(self._note) is not None
        return True

    def release(self, unsettled: bool = False) -> None:
        """Let the next one have it.

        Args:
            unsettled: requests that failed may still be carried out.
        """
        if self._has_it():
            with suppress(StorageError):  # the next one will hardly come before they are
                if unsettled:
                    self._store.replace(self._note, b"")
                else:
                    self._store.delete(self._note)
        self._lease = None
        self._until_released.close()

    def _has_it(self) -> bool:
        return self._lease is not None and self._lease.reason is None


def _digest(uri: str) -> str:
    """Of the store's address, whoever logs in there."""
    head, _, rest = redact(uri).partition("://")
    address = rest.removeprefix("***@").partition("?")[0].rstrip("/")
    return hashlib.blake2b(f"{head}://{address}".encode(), digest_size=8).hexdigest()
