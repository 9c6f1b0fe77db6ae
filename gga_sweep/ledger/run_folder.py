"""Writing one run's folder in the ledger: only the newest attempt may."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from gga_sweep.errors import AttemptSupersededError, DamagedFileError, StorageError
from gga_sweep.ledger.json_codec import dump, dump_lines
from gga_sweep.ledger.run_header import RunHeader, dump_header
from gga_sweep.ledger.run_reader import AVERAGED, DETERMINISTIC, RunReader
from gga_sweep.ledger.store import LedgerStore
from gga_sweep.records import FINAL, AnnealingLine, Averaged, Record, RunState, RunStatus

Kept = Literal["none", "selected", "all"]
"""What stays of a final run: no weights, the selected weights, or its last checkpoint too."""

LEFT_RUNNING = "the launcher exited without reporting"
"""The reason of a run that is PREEMPTED because its launcher crashed."""


class RunFolder(RunReader):
    """One run's folder, to be read by any process and written by its newest attempt."""

    def __init__(self, store: LedgerStore, name: str) -> None:
        super().__init__(store, name)
        self._attempt: int | None = None

    def claim(self, owner: Mapping[str, object]) -> int:
        """Start a new attempt, and return its number. From here on, writes of older attempts raise."""
        number = self.newest_attempt() + 1
        while not self.store.put_if_absent(f"{self._path}/attempts/{number:06d}", dump(owner).encode()):
            number += 1
        self._attempt = number
        self.store.admit(self._path, number)
        return number

    def write_header(self, header: RunHeader, anew: bool = False) -> None:
        """Write the header unless there is one, whose start time stays; with `anew` in any case."""
        if anew or self.readable_header() is None:
            self._write("run.json", dump_header(header))

    def write_records(self, records: Sequence[Record]) -> None:
        self._write("records.jsonl", dump_lines(records))

    def write_annealed(self, annealed: Sequence[AnnealingLine]) -> None:
        self._write("annealing.jsonl", dump_lines(annealed))

    def add_timing(self, step: int, seconds: Mapping[str, float], inherited: bool = False) -> None:
        line = {"step": step, "attempt": self._attempt, "seconds": seconds, "inherited": inherited}
        self._write("timings.jsonl", (self.read_file("timings.jsonl") or b"") + dump_lines([line]))

    def add_measurement(self, seconds: float, values: Mapping[str, float]) -> None:
        """Add a line to `system.jsonl`.

        Args:
            seconds: since the epoch.
            values: of the machine, by metric.
        """
        line = {"time": seconds, "values": values}
        self._write("system.jsonl", (self.read_file("system.jsonl") or b"") + dump_lines([line]))

    def write_checkpoint(self, content: bytes) -> None:
        self._write("checkpoint", content)

    def write_selected(self, content: bytes) -> None:
        self._write("selected", content)

    def write_averaged(self, averaged: Averaged, weights: bytes) -> None:
        self._write("averaged", weights)
        self._write("averaged.jsonl", dump_lines([averaged]))

    def delete_averaged(self) -> None:
        """Delete what an attempt left that was lost after it wrote these files."""
        for name in AVERAGED:
            if self.read_file(name) is not None:
                self._delete(name)

    def delete_checkpoint(self) -> None:
        self._delete("checkpoint")

    def delete_training(self) -> None:
        """Delete all that training left, so that the run begins at step 0."""
        for name in ("checkpoint", *DETERMINISTIC):  # the checkpoint first: without the others it is not used
            self._delete(name)

    def write_state(
        self,
        status: RunStatus,
        step: int,
        reason: str | None = None,
        environments: Sequence[str] = (),
        digests: Mapping[str, str] | None = None,
    ) -> None:
        """Write the state; a final one with the digests of the run's deterministic files.

        Args:
            digests: of what this attempt wrote; None: of what the folder holds.
        """
        state = RunState(
            status, reason, step, self._attempt or 0, environments=tuple(environments), written=time.time()
        )
        if status in FINAL:
            state = replace(state, digests=self.digests() if digests is None else dict(digests))
        self._write("status.json", dump(state).encode())

    def mark(self, status: RunStatus, reason: str | None = None) -> None:
        """Set the state of a run whose actor is gone, and start an attempt, so that the actor may no longer write."""
        try:
            state = self.read_state()
        except DamagedFileError:
            state = RunState()
        self.claim({"marked": status})
        self.write_state(status, state.step, reason, state.environments)

    def requeue(self, reason: str) -> None:
        """Delete all training: the run begins again at step 0, with a new start time. Seconds spent stay counted."""
        self.claim({"requeued": reason})
        self.delete_training()
        self._delete("run.json")
        self.write_state(RunStatus.QUEUED, -1, reason)

    def discard_weights(self) -> None:
        """Remove the weights of a final run, and list them in its state. Requires the sweep's lease."""
        if self._attempt is None:  # so that a later attempt makes this one fail
            self.claim({"removed": "weights"})
        state = self.read_state()
        state = replace(state, removed=("selected", *(["averaged"] if "averaged" in state.digests else [])))
        self._write("status.json", dump(state).encode())
        for name in state.removed:
            self._delete(name)

    def _delete(self, file: str) -> None:
        with self._owned():
            self.store.delete(f"{self._path}/{file}", self._attempt)

    def _write(self, file: str, content: bytes) -> None:
        with self._owned():
            self.store.replace(f"{self._path}/{file}", content, self._attempt)

    @contextmanager
    def _owned(self) -> Iterator[None]:
        """Raises AttemptSupersededError if there is a newer attempt, before the block or after it."""
        self._check_owner()
        try:
            yield
        except StorageError:
            self._check_owner()  # the store refuses what a newer attempt has superseded
            raise
        self._check_owner()

    def _check_owner(self) -> None:
        newest = self.newest_attempt()
        if self._attempt is None or newest != self._attempt:
            raise AttemptSupersededError(
                f"run {self.name}: attempt {self._attempt} may not write any more, the newest is {newest}"
            )
