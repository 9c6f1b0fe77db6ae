"""A thread of the driver that keeps MLflow up with the ledger, and never holds a sweep up."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from gga_sweep.errors import GGASweepError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.planning.plan import Plan, PlannedRun
from gga_sweep.selection import Table
from gga_sweep.tracking.location import redact, redact_text
from gga_sweep.tracking.mlflow_api import MlflowClient
from gga_sweep.tracking.outcome import publish_outcome
from gga_sweep.tracking.projection import Projection
from gga_sweep.tracking.store import open_store, prepare_store

Job = Callable[[Projection], None]

_LOG = logging.getLogger(__name__)
_OUTCOME = "the outcome of the sweep"
_SWEEP_FILE = "the sweep file"
_TRIES = 3
_LONGEST_DELAY = 60.0  # seconds
_LONGEST_REASON = 200  # characters


class Projector:
    """Projects what is in the ledger at once, then each run that it is woken for, until it is closed.

    A store that is away delays and loses nothing: the ledger has it all. One warning an outage, then the thread goes
    on trying; what is not projected when the sweep ends is projected by its next launch.

    Args:
        plan: its runs are projected; more can be added.
        ledger: of the sweep.
        uri: from `resolve_tracking_uri`.
        require_tracking: raise now when the store cannot be used.
        pause: seconds between two rounds, in which the wake-ups of a run are gathered into one.
        retry_after: seconds until the first retry of a store that is away; doubled up to a minute.
        connect: opens the store.

    Raises:
        GGASweepError: `require_tracking`, and the store cannot be used.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        uri: str,
        *,
        require_tracking: bool = False,
        pause: float = 1.0,
        retry_after: float = 2.0,
        connect: Callable[[str], MlflowClient] = open_store,
    ) -> None:
        self._sweep = plan.sweep
        self._ledger = ledger
        self._uri = uri
        self._pause = pause
        self._retry_after = retry_after
        self._connect = connect
        self._start_time = time.time()
        self._projection: Projection | None = None
        self._away = False
        self._runs: dict[str, list[PlannedRun]] = {}
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {_SWEEP_FILE: Projection.write_sweep_file}
        self._failures: Counter[str] = Counter()
        self._given_up: set[str] = set()
        self._deadline: float | None = None  # set by `close`
        try:
            prepare_store(uri)  # before any thread
            if require_tracking:
                self._projection = self._open()
        except Exception as error:  # whatever MLflow, its server or its database raise
            if require_tracking:
                raise GGASweepError(f"tracking is required, but {self._in_words(error)}") from None
            # otherwise the thread will meet it, and warn
        started = set(ledger.run_names())
        for run in plan.runs:
            folder = self._register(run)
            if folder in started:
                self.wake(folder)
        self._thread = threading.Thread(target=self._work, name="mlflow-projector", daemon=True)
        self._thread.start()

    def wake(self, folder_name: str) -> None:
        """Something new is in that run's folder. Returns at once."""
        with self._changed:
            self._jobs[folder_name] = partial(self._project_folder, folder_name)
            self._changed.notify()

    def add(self, run: PlannedRun) -> None:
        """A run that the plan does not hold, of a user's own searcher."""
        if folder := self._register(run):
            self.wake(folder)

    def close(self, timeout: float, table: Table | None = None, artifacts: Sequence[Path] = ()) -> bool:
        """Catch up with every run, then write what is known only at the end, and stop.

        Args:
            timeout: seconds; what is not projected by then is left to the next launch.
            table: winners and summaries are taken from it.
            artifacts: files and folders to hang on the parent run.

        Returns:
            Whether MLflow now shows everything.
        """
        started = set(self._ledger.run_names())
        with self._changed:
            self._failures.clear()
            self._given_up.clear()
            for folder in self._runs.keys() & started:
                self._jobs[folder] = partial(self._project_folder, folder)
            runs = [run for shared in self._runs.values() for run in shared]
            self._jobs[_OUTCOME] = partial(publish_outcome, runs=runs, table=table, artifacts=artifacts)
            self._deadline = time.monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout)
        with self._changed:
            behind = list(dict.fromkeys([*self._given_up, *self._jobs]))
        if behind:
            _LOG.warning(
                "MLflow at %s still lacks %s; the next launch catches up",
                redact(self._uri),
                ", ".join(behind[:3]) + (f" and {len(behind) - 3} more" if len(behind) > 3 else ""),
            )
        return not behind

    def _register(self, run: PlannedRun) -> str | None:
        """The run's folder; None for a run that cannot be started."""
        folder = run.folder
        if folder is not None:
            with self._changed:
                shared = self._runs.setdefault(folder, [])
                if all(other.cell != run.cell for other in shared):
                    shared.append(run)
        return folder

    def _open(self) -> Projection:
        return Projection(self._connect(self._uri), self._sweep, self._ledger, self._start_time)

    def _work(self) -> None:
        """The thread: rounds of all there is to do, until closed and done, or closed and out of time."""
        delay = self._retry_after
        with _retries_unheard():
            while names := self._wait_for_work():
                if all(self._do(name) for name in names):
                    delay = self._retry_after
                    self._rest(self._pause)
                else:
                    self._rest(delay)
                    delay = min(2 * delay, _LONGEST_DELAY)

    def _wait_for_work(self) -> list[str]:
        """The names of the jobs to do; empty when the thread should end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._deadline is not None)
            return [] if self._remaining() == 0 else list(self._jobs)

    def _rest(self, seconds: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._deadline is not None, seconds) or not self._away:
                return
        time.sleep(min(self._retry_after, self._remaining()))  # closing, and the store is away

    def _remaining(self) -> float:
        """Seconds until the thread must end."""
        return math.inf if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _do(self, name: str) -> bool:
        """One job; False when it failed. It stays on the list until it is done, or has failed too often."""
        job = self._jobs[name]
        opened = False
        try:
            if self._projection is None:
                self._projection = self._open()
            opened = True
            job(self._projection)
        except Exception as error:  # a tracking store, whatever happens to it, must never end a sweep
            self._projection = None  # what it knew may no longer hold
            self._complain(name, error)
            if opened:
                self._count_failure(name, job)
            return False
        self._remove(name, job)
        del self._failures[name]
        if self._away:
            self._away = False
            _LOG.info("MLflow at %s is back", redact(self._uri))
        return True

    def _complain(self, name: str, error: Exception) -> None:
        if not self._away:
            _LOG.warning("%s (%s); the sweep goes on, tracking catches up later", self._in_words(error), name)
        self._away = True

    def _count_failure(self, name: str, job: Job) -> None:
        """A job that fails again and again while the store answers must not keep the others waiting."""
        self._failures[name] += 1
        if self._failures[name] >= _TRIES:
            self._remove(name, job)
            with self._changed:
                self._given_up.add(name)

    def _remove(self, name: str, job: Job) -> None:
        with self._changed:
            if self._jobs.get(name) is job:  # else it was woken meanwhile, and has more to do
                del self._jobs[name]
            self._given_up.discard(name)

    def _project_folder(self, folder: str, projection: Projection) -> None:
        with self._changed:
            runs = [run for run in self._runs.get(folder, ()) if not projection.up_to_date(run)]
        if runs:
            stored = self._ledger.run(folder).read()
            for run in runs:
                projection.project(run, stored)

    def _in_words(self, error: Exception) -> str:
        first_line = str(error).strip().partition("\n")[0]
        reason = redact_text(f"{type(error).__name__}: {first_line}", self._uri)
        return f"MLflow at {redact(self._uri)} cannot be brought up to date: {reason[:_LONGEST_REASON]}"


@contextlib.contextmanager
def _retries_unheard() -> Iterator[None]:
    """Without the warning that urllib3 gives at each retry of this thread: the projector gives one an outage."""
    logger = logging.getLogger("urllib3.connectionpool")
    thread = threading.get_ident()

    def of_another_thread(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(of_another_thread)
    try:
        yield
    finally:
        logger.removeFilter(of_another_thread)
