"""The ledger of one sweep: its folder, its file, its runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from gga_sweep.errors import DamagedFileError
from gga_sweep.ledger.index import read_states_through, read_through
from gga_sweep.ledger.json_codec import dump
from gga_sweep.ledger.open_store import open_store
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.run_reader import MANY, RunFiles, list_runs
from gga_sweep.ledger.store import FileStat, LedgerStore, for_each
from gga_sweep.records import RunResult, RunState, RunStatus
from gga_sweep.spec.location import Location, as_location


class Ledger:
    """The folder `STORAGE/SWEEP`; docs/ledger.md lists its files."""

    def __init__(self, folder: str | Location, store: LedgerStore | None = None) -> None:
        self.folder = as_location(folder, "DIR").absolute()
        self.store = store or open_store(self.folder)

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.store, name)

    def run_names(self) -> list[str]:
        return self.store.list("runs")

    def list_runs(self) -> dict[str, dict[str, FileStat]]:
        """The files of every run that was started, by run and by file, without reading them."""
        return list_runs(self.store)

    def read_states(self, names: Iterable[str]) -> dict[str, RunState]:
        """The states of many runs, by name. A run whose state is damaged counts as FAILED."""
        names = list(names)
        if self._lists_rather(names):
            return read_states_through(self.store, names, self.list_runs(), self._read_state)
        return dict(zip(names, for_each(self.store, self._read_state, names), strict=True))

    def read_started_states(self, names: Iterable[str]) -> dict[str, RunState]:
        """As `read_states`, only of runs that were started."""
        names = list(names)
        if not self._lists_rather(names):
            started = set(self.run_names())
            return self.read_states(name for name in names if name in started)
        files = self.list_runs()
        return read_states_through(self.store, [name for name in names if name in files], files, self._read_state)

    def read_results(self, names: Iterable[str], files: Mapping[str, RunFiles] | None = None) -> dict[str, RunResult]:
        """The results of many runs, by name; those of finished runs from the index (`gga_sweep.ledger.index`).

        Args:
            files: of these runs, as `list_runs` just gave them; None lists them.
        """
        return read_through(self.store, names, files)

    def read_headers(self, names: Iterable[str]) -> Iterator[RunHeader | None]:
        """The headers of many runs, in their order; None for a run without a readable one."""
        return for_each(self.store, lambda name: self.run(name).readable_header(), names)

    def read_sweep(self) -> dict[str, Any] | None:
        """The sweep as last launched, as plain data; None in an empty ledger."""
        content = self.store.read("sweep.json")
        return None if content is None else json.loads(content)

    def write_sweep(self, sweep: Mapping[str, object]) -> None:
        self.store.replace("sweep.json", dump(sweep).encode())

    def _lists_rather(self, names: Sized) -> bool:
        """Whether listing the files of all runs is quicker than reading these states one by one."""
        return self.store.parallel > 1 and len(names) >= MANY

    def _read_state(self, name: str) -> RunState:
        try:
            return self.run(name).read_state()
        except DamagedFileError as error:
            return RunState(RunStatus.FAILED, str(error))
