"""A ledger's storage in memory, whose writer can be killed."""

from __future__ import annotations

from gga_sweep.ledger.store import FileStat


class Killed(BaseException):
    """The process is gone: no `except Exception` sees it, and nothing more is written."""


class MemoryStore:
    """A `LedgerStore` whose writer is killed in place of its write number `dies_at`, counted from 0."""

    parallel = 1

    def __init__(self, dies_at: int | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self._written: dict[str, int] = {}  # the number of the write
        self.dies_at = dies_at
        self.writes = 0

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def put_if_absent(self, path: str, content: bytes) -> bool:
        if path in self.files:
            self._count()
            return False
        self.replace(path, content)
        return True

    def replace(self, path: str, content: bytes, writer: int | None = None) -> None:
        self._count()
        self.files[path] = content
        self._written[path] = self.writes

    def admit(self, folder: str, writer: int) -> None:
        pass

    def stats(self, folder: str) -> dict[str, FileStat]:
        start = folder + "/"
        return {
            path[len(start) :]: FileStat(str(self._written[path]), len(content))
            for path, content in self.files.items()
            if path.startswith(start)
        }

    def list(self, folder: str) -> list[str]:
        start = folder + "/"
        return sorted({path[len(start) :].split("/")[0] for path in self.files if path.startswith(start)})

    def delete(self, path: str, writer: int | None = None) -> None:
        self._count()
        self.files.pop(path, None)

    def remove_empty(self, folder: str) -> None:
        """There are no folders."""

    def unfinished_writes(self, min_age: float = 0.0) -> dict[str, int]:
        return {}

    def _count(self) -> None:
        if self.writes == self.dies_at:
            raise Killed
        self.writes += 1
