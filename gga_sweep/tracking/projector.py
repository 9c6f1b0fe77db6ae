"""The thread that brings MLflow up to date with the ledger, and never holds a sweep up."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gga_sweep.errors import GGASweepError, StorageError, SweepOwnedError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.process_state import environment_variables
from gga_sweep.spec.arm_values import searched_space
from gga_sweep.spec.plan import Plan, PlannedRun
from gga_sweep.tracking.changes import Changes
from gga_sweep.tracking.environment import ENVIRONMENT
from gga_sweep.tracking.sole_writer import SoleWriter
from gga_sweep.tracking.store import is_permanent, open_store, prepare_store, reason_of
from gga_sweep.tracking.tracking_uri import redact

if TYPE_CHECKING:  # importing MLflow takes seconds
    from gga_sweep.report.make_report import Report
    from gga_sweep.tracking.mlflow_api import MlflowClient
    from gga_sweep.tracking.projection import Projection

_LOG = logging.getLogger(__name__)
_OUTCOME = "the outcome of the sweep"
_SWEEP_FILE = "the sweep file"
_LONGEST_DELAY = 60.0  # seconds
_GRACE = 1.0  # seconds until a thread that is out of time has ended, unless it waits for the store


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the thread waits, in seconds.

    Args:
        gather: between two rounds of work; wake-ups of a run in that time are one.
        retry_after: after a failed request, until the next one. By then the failed one was carried out, or never will
            be. Doubled at each further failure, up to a minute.
    """

    gather: float = 1.0
    retry_after: float = 10.0


class Projector:
    """Projects what is in the ledger, then each run when it is woken for it, until it is closed.

    A context manager: entering it starts the thread, leaving it unclosed stops the thread at once, as after an error.

    An MLflow store that is away delays tracking and loses nothing, because the ledger holds everything. The thread
    warns once an outage and tries again; the next launch adds what is missing when the sweep ends. The same holds while
    another process writes the same ledger into the same store. For a store that must be repaired first, such as one of
    another version of MLflow, the end of a sweep does not wait.

    Args:
        plan: its runs are projected; more can be added.
        ledger: of the sweep.
        uri: from `resolve_tracking_uri`.
        require_tracking: raise on entering if the store cannot be used.
        require_ownership: raise on entering if another process writes this ledger there.
        live: whether a launch works on the ledger. If none does, unfinished runs are shown as KILLED.
        lull: seconds at most before the thread begins; it also begins at the first `wake`, and when closed. Importing
            MLflow and reading its store take time from the interpreter that starts the launch.
        store_later: whether the thread creates a store that does not exist yet, which takes seconds. MLflow draws
            Python's random numbers for it: the caller restores their state once the projector is closed.
        on_progress: called with the number of jobs left, after each.
        pace: how long the thread waits.
        connect: opens the store.

    Raises:
        GGASweepError: on entering, with `require_tracking`: the store cannot be used.
        SweepOwnedError: on entering, with `require_ownership`: another process writes there.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        uri: str,
        *,
        require_tracking: bool = False,
        require_ownership: bool = False,
        live: bool = True,
        lull: float = 0.0,
        store_later: bool = False,
        on_progress: Callable[[int], object] = lambda left: None,
        pace: Pace | None = None,
        connect: Callable[[str], MlflowClient] = open_store,
    ) -> None:
        self.changes = Changes()
        self._plan = plan
        self._ledger = ledger
        self._uri = uri
        self._require_tracking = require_tracking
        self._require_ownership = require_ownership
        self._live = live
        self._lull = lull
        self._store_later = store_later
        self._on_progress = on_progress
        self._pace = pace or Pace()
        self._connect = connect
        self._writer = SoleWriter(ledger.store, uri)
        self._projection: Projection | None = None
        self._runs: dict[str, list[PlannedRun]] = {}
        self._jobs: dict[str, object] = {_SWEEP_FILE: object()}  # by name; a job that is woken gets a new object
        self._outcome: tuple[Report | None, Sequence[str]] = (None, ())
        self._changed = threading.Condition()
        self._begun = False
        self._deadline: float | None = None  # set when closing
        self._timeout = 0.0
        self._away = False
        self._must_be_repaired = False
        self._last_failure = -math.inf
        self._refused: set[str] = set()  # jobs that the store refused, left until they are woken or the sweep ends
        self._thread = threading.Thread(target=self._work, name="mlflow-projector", daemon=True)

    def __enter__(self) -> Projector:
        started = set(self._ledger.run_names())
        if self._require_ownership:
            self._writer.take(wait=True)
        self._check_store()
        for run in self._plan.runs:
            folder = self._register(run)
            if folder in started:
                self._jobs[folder] = object()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            if self._deadline is None:
                self._deadline = time.monotonic()
            self._changed.notify()
        self._thread.join(_GRACE)

    def wake(self, folder_name: str) -> None:
        """Report that something new is in that run's folder. Returns at once."""
        with self._changed:
            self._jobs[folder_name] = object()
            self._begun = True
            self._changed.notify()

    def add(self, run: PlannedRun) -> None:
        """Add a run that is not in the plan, of a user's own searcher."""
        self.wake(self._register(run))

    def close(self, timeout: float, report: Report | None = None, artifacts: Sequence[str] = ()) -> bool:
        """Bring every run up to date, then write what is known only at the end, and stop.

        Args:
            timeout: seconds without progress; what is missing then is left to the next launch.
            report: winners, summaries and descriptions are made from it.
            artifacts: names of files in the sweep's folder, to attach to the parent run.

        Returns:
            Whether MLflow now shows everything.
        """
        self._live = False  # no launch works on a run that is unfinished now
        missing = self.finish(timeout, report, artifacts)
        if missing:
            _LOG.warning("%s; %s", self.describe_missing(missing), self.remedy)
        return not missing

    @property
    def remedy(self) -> str:
        """Adds to MLflow what is missing there."""
        return "once that is repaired, launch again" if self._must_be_repaired else "the next launch adds it"

    def finish(self, timeout: float, report: Report | None = None, artifacts: Sequence[str] = ()) -> tuple[str, ...]:
        """As `close`, while a launch may go on. Returns the names of what MLflow does not show."""
        started = set(self._ledger.run_names())
        with self._changed:
            names = [*self._refused, *(folder for folder in self._runs if folder in started), _OUTCOME]
            self._jobs |= {name: object() for name in names}
            self._refused.clear()
            self._outcome = (report, artifacts)
            self._timeout = timeout
            self._deadline = time.monotonic() + timeout
            self._changed.notify()
        while self._thread.is_alive() and (remaining := self._remaining()) > 0:
            self._thread.join(remaining)
        self._thread.join(_GRACE)
        with self._changed:
            return tuple(dict.fromkeys([*self._refused, *self._jobs]))

    def describe_missing(self, missing: Sequence[str]) -> str:
        """A sentence about what `finish` returned."""
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        return f"MLflow at {redact(self._uri)} still lacks {', '.join(missing[:3])}{more}"

    @property
    def shown(self) -> int:
        """How many of the runs MLflow shows, as far as this process has seen."""
        places = {(run.cell.arm, run.key) for shared in self._runs.values() for run in shared}
        return 0 if self._projection is None else len(places & self._projection.runs.keys())

    @property
    def pages(self) -> dict[str, str]:
        """The address of each run's page in MLflow, by folder, as far as this process has seen."""
        if self._projection is None:
            return {}
        from gga_sweep.tracking.run_pages import run_pages

        return run_pages(self._projection, self._uri, self._runs)

    # Before the thread

    @environment_variables(ENVIRONMENT)
    def _check_store(self) -> None:
        """Create a SQLite store that does not exist yet, unless later, and use the store if that is required."""
        try:
            if not self._store_later:
                prepare_store(self._uri)  # before any thread
            if self._require_tracking:
                self._open()
        except SweepOwnedError:
            pass  # the other process could use the store; the thread waits until it ends
        except Exception as error:  # anything that MLflow, its server or its database raise
            if self._require_tracking:
                self._writer.release()
                raise GGASweepError(f"tracking is required, but {self._describe(error)}") from None
            # else the thread meets the same error, and warns

    def _register(self, run: PlannedRun) -> str:
        """The run's folder."""
        with self._changed:
            shared = self._runs.setdefault(run.folder, [])
            if all(other.cell != run.cell for other in shared):
                shared.append(run)
        return run.folder

    # The thread

    def _work(self) -> None:
        """Rounds of all jobs, until closed and done, or closed and out of time."""
        delay = self._pace.retry_after
        try:
            self._wait_for_start()
            while self._wait_for_jobs():
                if self._do_round():
                    delay = self._pace.retry_after
                    self._wait(0.0, self._pace.gather)
                else:
                    self._wait(0.0 if self._must_be_repaired else self._pace.retry_after, delay)
                    delay = min(2 * delay, _LONGEST_DELAY)
        finally:
            self._writer.release(settled=time.monotonic() - self._last_failure >= self._pace.retry_after)

    def _wait_for_start(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._begun or self._deadline is not None, self._lull)

    def _wait_for_jobs(self) -> bool:
        """False when the thread should end."""
        with self._changed:
            while self._remaining() > 0:
                if self._jobs:
                    return True
                if self._deadline is not None:
                    return False
                self._changed.wait()
        return False

    def _wait(self, at_least: float, at_most: float) -> None:
        """Wait so many seconds: `at_least` while there is time, and up to `at_most` until closing begins."""
        begun = time.monotonic()
        with self._changed:
            while True:
                until = at_most if self._deadline is None else at_least
                left = min(begun + until - time.monotonic(), self._remaining())
                if left <= 0:
                    return
                self._changed.wait(left)

    def _remaining(self) -> float:
        """Seconds until the thread must end."""
        return math.inf if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _do_round(self) -> bool:
        """Do every job, the outcome last. False as soon as one fails; then the thread waits."""
        with self._changed:
            names = sorted(self._jobs, key=_OUTCOME.__eq__)
        return all(self._remaining() == 0 or self._do(name) for name in names)

    @environment_variables(ENVIRONMENT)
    def _do(self, name: str) -> bool:
        job = self._jobs[name]
        try:
            projection = self._open()
            self._do_job(name, projection)
        except Exception as error:  # no error of a tracking store may end a sweep
            self._failed(name, job, error)
            return False
        self._remove(name, job)
        if self._away:
            self._away = self._must_be_repaired = False
            _LOG.info("MLflow at %s is back", redact(self._uri))
        return True

    def _open(self) -> Projection:
        """The projection. It is made anew when another process may have written in the meantime."""
        if self._writer.take():
            self._projection = None
            if self._writer.after_crash:
                self._wait(self._pace.retry_after, self._pace.retry_after)
                if self._remaining() == 0:
                    raise TimeoutError("requests of an earlier process may still be carried out")
        if self._projection is None:
            from gga_sweep.tracking.projection import Projection

            client = self._connect(self._uri)
            self._projection = Projection(client, self._plan.sweep, self._ledger, self._live, self.changes)
        self._projection.live = self._live
        return self._projection

    def _do_job(self, name: str, projection: Projection) -> None:
        if name == _SWEEP_FILE:
            sweep = self._plan.sweep
            parts = [*(run.hyperparameters for run in self._plan.runs), *(searched_space(sweep, a) for a in sweep.arms)]
            from gga_sweep.tracking.descriptions import varied_params

            searched = list(dict.fromkeys(name for part in parts for name in part))
            projection.write_sweep(searched, varied_params(self._plan.runs))
        elif name == _OUTCOME:
            from gga_sweep.tracking.sweep_outcome import publish_outcome

            runs = [run for shared in self._runs.values() for run in shared]
            publish_outcome(projection, runs, *self._outcome, self._extend)
        else:
            with self._changed:
                shared = list(self._runs.get(name, ()))
            if runs := [run for run in shared if not projection.is_complete(run)]:
                folder = self._ledger.run(name)
                result, header = folder.read_result(), folder.readable_header()
                for run in runs:
                    projection.project(run, result, header)

    def _failed(self, name: str, job: object, error: Exception) -> None:
        """Keep the job, after all others, unless the store refused it."""
        owned = isinstance(error, SweepOwnedError)  # then nothing was requested
        if not owned:
            self._last_failure = time.monotonic()
        passes = _may_pass(error)
        opened = self._writer.owns and self._projection is not None
        if not self._away:
            described = str(error) if owned else f"{self._describe(error)} ({name})"
            _LOG.warning("%s%s", described, "; trying again" if passes or opened or owned else "")
        self._away = True
        of_store = not passes and not isinstance(error, StorageError | SweepOwnedError)
        self._must_be_repaired = of_store and (not opened or is_permanent(error))
        if passes:
            with self._changed:
                self._jobs[name] = self._jobs.pop(name)
            return
        self._projection = None  # what it knows of the store may be wrong
        if opened and not self._must_be_repaired:
            self._remove(name, job, refused=True)
        elif not owned:
            self._stop_closing()

    def _remove(self, name: str, job: object, refused: bool = False) -> None:
        with self._changed:
            if self._jobs.get(name) is job:  # else it was woken in the meantime, and has more to do
                del self._jobs[name]
            self._refused.discard(name)
            if refused:
                self._refused.add(name)
            left = len(self._jobs)
        self._extend()
        self._on_progress(left)

    def _extend(self) -> None:
        """Begin the timeout of closing anew: the store makes progress."""
        with self._changed:
            if self._deadline is not None and self._remaining() > 0:
                self._deadline = time.monotonic() + self._timeout

    def _stop_closing(self) -> None:
        """If the ledger or the store cannot be used, nothing can be shown, and the sweep need not wait."""
        with self._changed:
            if self._deadline is not None:
                self._deadline = time.monotonic()

    def _describe(self, error: Exception) -> str:
        return f"MLflow at {redact(self._uri)} cannot be brought up to date: {reason_of(error, self._uri)}"


def _may_pass(error: Exception) -> bool:
    """Whether the store did not answer, rather than refuse: the request may succeed later, or was carried out."""
    if is_permanent(error):
        return False
    from gga_sweep.tracking.mlflow_api import MlflowException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
        return status >= 500 or status in (408, 429)
    return isinstance(error, OSError)
