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
from typing import TYPE_CHECKING

from gga_sweep.errors import GGASweepError, StorageError, SweepOwnedError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.selection import Table
from gga_sweep.spec.plan import Plan, PlannedRun
from gga_sweep.tracking.location import redact, redact_text
from gga_sweep.tracking.sole_writer import SoleWriter
from gga_sweep.tracking.store import open_store, prepare_store
from gga_sweep.tracking.tally import Tally

if TYPE_CHECKING:  # importing MLflow takes seconds, which a launch has better use for: see `lull`
    from gga_sweep.tracking.mlflow_api import MlflowClient
    from gga_sweep.tracking.projection import Projection

Job = Callable[["Projection"], None]

_LOG = logging.getLogger(__name__)
_OUTCOME = "the outcome of the sweep"
_SWEEP_FILE = "the sweep file"
_SECOND_LOOK = "a second look after an outage"
_TRIES = 3
_LONGEST_DELAY = 60.0  # seconds
_GRACE = 1.0  # seconds in which the thread ends that is out of time, unless it waits for the store
_LONGEST_REASON = 200  # characters


class Projector:
    """Projects what is in the ledger, then each run that it is woken for, until it is closed.

    A store that is away delays and loses nothing: the ledger has it all. One warning an outage, then the thread goes
    on trying; what is not projected when the sweep ends is projected by its next launch. So it is while another process
    projects the same ledger into the same store. A request that failed may be carried out all the same, and late: some
    seconds after an outage, or after who projected before has died, everything is looked at again.

    Leaving it as a context without having closed it stops it at once, as after an error.

    Args:
        plan: its runs are projected; more can be added.
        ledger: of the sweep.
        uri: from `resolve_tracking_uri`.
        require_tracking: raise now when the store cannot be used.
        require_turn: raise now when another process projects this ledger there.
        live: whether a launch works on the ledger; what it left under way is shown as KILLED if none does.
        start_time: seconds since the epoch, of the sweep; default: now.
        meanwhile: what goes on during an outage, for its warning.
        heard: called with the number of jobs that are left, after each.
        lull: seconds at most before the thread begins; it does at the first `wake`, or when closed. Importing MLflow
            and reading its store hold the interpreter that starts the launch.
        pause: seconds between two rounds, in which the wake-ups of a run are gathered into one.
        retry_after: seconds until the first retry of a store that is away; doubled up to a minute.
        settle: seconds after the last failed request in which it may still be carried out.
        connect: opens the store.

    Raises:
        GGASweepError: `require_tracking`, and the store cannot be used.
        SweepOwnedError: `require_turn`, and it is another's.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        uri: str,
        *,
        require_tracking: bool = False,
        require_turn: bool = False,
        live: bool = True,
        start_time: float | None = None,
        meanwhile: str = "the sweep goes on, tracking catches up later",
        heard: Callable[[int], object] = lambda left: None,
        lull: float = 0.0,
        pause: float = 1.0,
        retry_after: float = 2.0,
        settle: float = 10.0,
        connect: Callable[[str], MlflowClient] = open_store,
    ) -> None:
        self.tally = Tally()
        self._sweep = plan.sweep
        self._ledger = ledger
        self._uri = uri
        self._live = live
        self._meanwhile = meanwhile
        self._heard = heard
        self._lull = lull
        self._pause = pause
        self._retry_after = retry_after
        self._settle = settle
        self._connect = connect
        self._start_time = time.time() if start_time is None else start_time
        self._sole_writer = SoleWriter(ledger.store, uri)
        self._projection: Projection | None = None
        self._away = False
        self._doubted: float | None = None  # when a request last failed that may still be carried out
        self._runs: dict[str, list[PlannedRun]] = {}
        self._woken: set[str] = set()
        self._changed = threading.Condition()
        self._begun = False
        searched = tuple(dict.fromkeys(name for run in plan.runs for name in run.hyperparameters))
        self._write_sweep: Job = partial(_write_sweep, searched=searched)
        self._jobs: dict[str, Job] = {_SWEEP_FILE: self._write_sweep}
        self._outcome: Job | None = None  # set by `close`, as is
        self._deadline: float | None = None
        self._patience: float | None = None
        self._failures: Counter[str] = Counter()
        self._given_up: set[str] = set()
        if require_turn:
            self._sole_writer.take()
        try:
            prepare_store(uri)  # before any thread
            if require_tracking:
                self._open()
        except SweepOwnedError:
            pass  # who projects there now found the store; the thread will wait for its turn
        except Exception as error:  # whatever MLflow, its server or its database raise
            if require_tracking:
                self._sole_writer.release()
                raise GGASweepError(f"tracking is required, but {self._error_in_words(error)}") from None
            # otherwise the thread will meet it, and warn
        started = set(ledger.run_names())
        for run in plan.runs:
            folder = self._register(run)
            if folder in started:
                self._add_job(folder)
        self._thread = threading.Thread(target=self._work, name="mlflow-projector", daemon=True)
        self._thread.start()

    def __enter__(self) -> Projector:
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            if self._deadline is None:
                self._deadline = time.monotonic()
            self._changed.notify()
        self._thread.join(_GRACE)

    def wake(self, folder_name: str) -> None:
        """Something new is in that run's folder. Returns at once."""
        with self._changed:
            self._add_job(folder_name)
            self._begun = True
            self._changed.notify()

    def add(self, run: PlannedRun) -> None:
        """A run that the plan does not hold, of a user's own searcher."""
        self.wake(self._register(run))

    def close(self, timeout: float, table: Table | None = None, artifacts: Sequence[str] = ()) -> bool:
        """Catch up with every run, then write what is known only at the end, and stop.

        Args:
            timeout: seconds without headway; what is not projected by then is left to the next launch.
            table: winners and summaries are taken from it.
            artifacts: names of files in the sweep's folder, to hang on the parent run.

        Returns:
            Whether MLflow now shows everything.
        """
        self._live = False  # what the launch has not ended by now, nobody works on
        self._patience = timeout
        lacking = self.finish(timeout, table, artifacts)
        if lacking:
            _LOG.warning("%s; the next launch catches up", self.in_words(lacking))
        return not lacking

    def finish(self, timeout: float, table: Table | None = None, artifacts: Sequence[str] = ()) -> tuple[str, ...]:
        """As `close`, beside a launch that may go on; gives the names of what MLflow does not show."""
        started = set(self._ledger.run_names())
        with self._changed:
            self._failures.clear()
            self._given_up.clear()
            self._woken |= self._runs.keys() & started
            runs = [run for shared in self._runs.values() for run in shared]
            self._outcome = partial(_publish_outcome, runs=runs, table=table, artifacts=artifacts, headway=self._extend)
            self._look_again()
            self._deadline = time.monotonic() + timeout
            self._changed.notify()
        while self._thread.is_alive() and (remaining := self._remaining()) > 0:
            self._thread.join(remaining)
        self._thread.join(_GRACE)
        with self._changed:
            unsettled = () if self._doubted is None else (_SECOND_LOOK,)
            return tuple(dict.fromkeys([*self._given_up, *self._jobs])) or unsettled

    def in_words(self, lacking: Sequence[str]) -> str:
        """What MLflow does not show, as `finish` names it."""
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        return f"MLflow at {redact(self._uri)} still lacks {', '.join(lacking[:3])}{more}"

    @property
    def shown(self) -> int:
        """How many of the runs MLflow shows, as far as is known."""
        places = {(run.cell.arm, run.key) for shared in self._runs.values() for run in shared}
        return 0 if self._projection is None else len(places & self._projection.runs.keys())

    def _add_job(self, folder_name: str) -> None:
        self._woken.add(folder_name)
        self._jobs[folder_name] = partial(self._project_folder, folder_name)

    def _register(self, run: PlannedRun) -> str:
        """The run's folder."""
        with self._changed:
            shared = self._runs.setdefault(run.folder, [])
            if all(other.cell != run.cell for other in shared):
                shared.append(run)
        return run.folder

    def _open(self) -> Projection:
        """The projection, opened where it is not; what it knew no longer holds where another has written."""
        if self._sole_writer.take():
            self._projection = None
            if self._sole_writer.unsettled:
                self._doubted = time.monotonic()
        if self._projection is None:
            from gga_sweep.tracking.projection import Projection

            self._projection = Projection(
                self._connect(self._uri), self._sweep, self._ledger, self._start_time, self._live, self.tally
            )
        self._projection.live = self._live
        return self._projection

    def _work(self) -> None:
        """The thread: rounds of all there is to do, until closed and done, or closed and out of time."""
        delay = self._retry_after
        try:
            with _retries_unheard():
                self._wait_for_begin()
                while (names := self._wait_for_work()) is not None:
                    if all(self._do(name) for name in names):
                        delay = self._retry_after
                        self._rest(self._pause)
                    else:
                        self._rest(delay)
                        delay = min(2 * delay, _LONGEST_DELAY)
        finally:
            self._sole_writer.release(unsettled=self._doubted is not None)

    def _wait_for_begin(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._begun or self._deadline is not None, self._lull)

    def _wait_for_work(self) -> list[str] | None:
        """The names of the jobs to do, the outcome last; None when the thread should end."""
        with self._changed:
            while self._remaining() > 0:
                if self._jobs:
                    return sorted(self._jobs, key=_OUTCOME.__eq__)
                if self._doubted is None:
                    if self._deadline is not None:
                        return None
                    self._changed.wait()
                elif (unsettled := self._doubted + self._settle - time.monotonic()) > 0:
                    self._changed.wait(min(unsettled, self._remaining()))
                else:
                    self._projection = self._doubted = None
                    self._look_again()
        return None

    def _look_again(self) -> None:
        """Everything becomes a job; what is as it should be costs little."""
        self._jobs[_SWEEP_FILE] = self._write_sweep
        for folder in self._runs:
            if folder in self._woken:
                self._jobs[folder] = partial(self._project_folder, folder)
        if self._outcome is not None:
            self._jobs[_OUTCOME] = self._outcome

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
            projection = self._open()
            opened = True
            job(projection)
        except Exception as error:  # a tracking store, whatever happens to it, must never end a sweep
            self._projection = None  # what it knew may no longer hold
            self._complain(name, error)
            if _may_pass(error):
                self._doubted = time.monotonic()
                self._put_last(name)
            elif opened:
                self._count_failure(name, job)
            elif isinstance(error, StorageError):
                self._hurry()
            return False
        self._remove(name, job)
        self._extend()
        del self._failures[name]
        if self._away:
            self._away = False
            _LOG.info("MLflow at %s is back", redact(self._uri))
        return True

    def _complain(self, name: str, error: Exception) -> None:
        if not self._away:
            what = str(error) if isinstance(error, SweepOwnedError) else f"{self._error_in_words(error)} ({name})"
            _LOG.warning("%s; %s", what, self._meanwhile)
        self._away = True

    def _put_last(self, name: str) -> None:
        """One job that meets every fault of a store must not keep the others waiting."""
        with self._changed:
            self._jobs[name] = self._jobs.pop(name)

    def _hurry(self) -> None:
        """Where the ledger cannot be used nothing can be shown: a sweep that wants to end need not wait."""
        with self._changed:
            if self._deadline is not None:
                self._deadline = time.monotonic()

    def _count_failure(self, name: str, job: Job) -> None:
        """A job that the store refuses again and again is left until it is woken, or the sweep ends."""
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
            left = len(self._jobs)
        self._heard(left)

    def _extend(self) -> None:
        """While a store takes what it is given, the end of a large sweep waits for it."""
        with self._changed:
            if self._patience is not None and self._deadline is not None:
                self._deadline = time.monotonic() + self._patience

    def _project_folder(self, folder: str, projection: Projection) -> None:
        with self._changed:
            shared = list(self._runs.get(folder, ()))
        if runs := [run for run in shared if not projection.up_to_date(run)]:
            stored = self._ledger.run(folder).read()
            for run in runs:
                projection.project(run, stored)

    def _error_in_words(self, error: Exception) -> str:
        first_line = str(error).strip().partition("\n")[0]
        reason = redact_text(f"{type(error).__name__}: {first_line}", self._uri)
        return f"MLflow at {redact(self._uri)} cannot be brought up to date: {reason[:_LONGEST_REASON]}"


def _write_sweep(projection: Projection, searched: Sequence[str]) -> None:
    projection.write_sweep_file()
    projection.write_views(searched)


def _publish_outcome(
    projection: Projection,
    runs: Sequence[PlannedRun],
    table: Table | None,
    artifacts: Sequence[str],
    headway: Callable[[], None],
) -> None:
    from gga_sweep.tracking.outcome import publish_outcome

    publish_outcome(projection, runs, table, artifacts, headway)


def _may_pass(error: Exception) -> bool:
    """Whether the store did not answer, rather than refused: the same request may do better later, or was carried out
    although it seemed to fail."""
    from gga_sweep.tracking.mlflow_api import MlflowException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
        return status >= 500 or status in (408, 429)
    return isinstance(error, OSError)


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
