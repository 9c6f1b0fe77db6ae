"""One process at a time writes a ledger into an MLflow store; two would create every run twice."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, suppress

from gga_sweep.errors import StorageError, SweepOwnedError
from gga_sweep.ledger.lease import HeartbeatWatch, Lease, held, live_holder
from gga_sweep.ledger.store import LedgerStore
from gga_sweep.tracking.tracking_uri import redact


class SoleWriter:
    """The right to write one ledger into one MLflow store. `take` acquires it.

    Args:
        store: of the ledger, which keeps the lease; two MLflow stores may have a writer each.
        uri: of the MLflow store.
    """

    def __init__(self, store: LedgerStore, uri: str) -> None:
        self.after_crash = False
        """Whether requests of the previous writer may still be carried out: it died, or its last requests failed."""
        self._store = store
        self._uri = uri
        self._folder = f"tracking/{_digest(uri)}"
        self._note = f"{self._folder}/unsettled"
        self._lease: Lease | None = None
        self._watch = HeartbeatWatch(store, self._folder)
        self._until_released = ExitStack()

    @property
    def owns(self) -> bool:
        """Whether the right is held and no other process has taken it over."""
        return self._lease is not None and self._lease.reason is None

    def take(self, wait: bool = False) -> bool:
        """Acquire the right.

        Args:
            wait: wait until it is known whether the last writer, on another machine, lives. Otherwise it counts as
                live, and further calls find out.

        Returns:
            False if it was held all the time, so that no other process has written.

        Raises:
            SweepOwnedError: another process holds it.
            StorageError: the ledger cannot be read or written.
        """
        if self.owns:
            return False
        self.release()
        try:
            self._lease = self._until_released.enter_context(
                held(self._store, self._folder, watch=None if wait else self._watch)
            )
        except SweepOwnedError:
            holder = live_holder(self._store, self._folder)
            who = "another process" if holder is None else f"{holder},"
            raise SweepOwnedError(
                f"{who} already writes this sweep into MLflow at {redact(self._uri)}, and brings it up to date"
            ) from None
        self.after_crash = not self._store.put_if_absent(self._note, b"")
        return True

    def release(self, settled: bool = True) -> None:
        """Release the right.

        Args:
            settled: no failed request of this process can still be carried out.
        """
        if self.owns and settled:
            with suppress(StorageError):  # then the next writer waits, too
                self._store.delete(self._note)
        self._lease = None
        self._until_released.close()


def _digest(uri: str) -> str:
    """Of the store's address, without the login."""
    head, _, rest = redact(uri).partition("://")
    address = rest.removeprefix("***@").partition("?")[0].rstrip("/")
    return hashlib.blake2b(f"{head}://{address}".encode(), digest_size=8).hexdigest()
