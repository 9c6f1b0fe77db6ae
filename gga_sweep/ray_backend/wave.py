"""One wave of a launch: trains its runs by one `Tuner.fit`, and finds out which of them need another wave."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ray.exceptions
from ray import tune

from gga_sweep.errors import GGASweepError
from gga_sweep.execution.private_folder import private_folder
from gga_sweep.execution.recorded_run import RecordingOptions
from gga_sweep.ledger.lease import Lease
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.process_state import environment_variables
from gga_sweep.ray_backend.callbacks import HOST_OUT_OF_MEMORY, LaunchCallback
from gga_sweep.ray_backend.fifo import FIFO
from gga_sweep.ray_backend.in_order import InOrder
from gga_sweep.ray_backend.launch import Launch
from gga_sweep.ray_backend.ray_internals import (
    TUNE_ENVIRONMENT,
    killed_actors,
    no_usage_tags,
    out_of_memory_error,
    registered_in_turn,
)
from gga_sweep.ray_backend.stopping import Stopping
from gga_sweep.ray_backend.trainable import bind_trainable
from gga_sweep.ray_backend.tune_names import RUN
from gga_sweep.records import RunState, RunStatus
from gga_sweep.scheduling.launch_progress import LaunchProgress
from gga_sweep.scheduling.next_runs import RunSource
from gga_sweep.scheduling.planned_runs import longest_first
from gga_sweep.scheduling.remaining import Remaining
from gga_sweep.spec import PlannedRun, SweepSpec

LOST_ACTORS = 3
"""How often a wave retries a run after its actor or node was lost."""

_NOT_ENDED = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PREEMPTED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The runs that need another wave, by key.

    Args:
        resumable: can continue under the same conditions: they progressed before their actors were lost, or the wave
            was interrupted.
        curable: may succeed on a device of their own: out of memory, or lost before they progressed.
    """

    resumable: dict[str, PlannedRun]
    curable: dict[str, PlannedRun]


class Wave:
    """Trains runs once, those that take longest first.

    Args:
        work: what the launch trains.
        launch: that the wave belongs to.
        progress: of the launch.
        runs: to train, by key.
        source: gives the runs one by one where their order matters; then `runs` is empty at first.
    """

    def __init__(
        self,
        work: Remaining,
        launch: Launch,
        progress: LaunchProgress,
        runs: Mapping[str, PlannedRun],
        source: RunSource | None = None,
    ) -> None:
        self.runs = dict(runs)
        self._work, self._launch, self._progress = work, launch, progress
        self._ledger = Ledger(work.plan.sweep.folder)
        self._before = self._states(runs)
        self._callback = LaunchCallback(runs, self._ledger, launch, progress)
        self._order = None if source is None else InOrder(source, launch.lease, self._add)

    def train(self, sweep: SweepSpec, max_concurrent: int | None) -> Outcome:
        """Train the runs.

        Args:
            sweep: with the resources of this wave.
            max_concurrent: runs at once; None: as many as fit.

        Raises:
            GGASweepError: the cluster was lost.
        """
        interrupted = False
        try:
            self._fit(sweep, max_concurrent)
        except RuntimeError as error:
            out_of_memory = out_of_memory_error(error)
            if out_of_memory is None:
                raise
            interrupted = True
            self._mark_killed(out_of_memory)
        except (ray.exceptions.RayError, tune.TuneError, ConnectionError) as error:
            raise GGASweepError(
                f"the Ray cluster was lost: {str(error).strip().splitlines()[0]}\n"
                "The ledger keeps what was trained; launch again to continue."
            ) from error
        finally:
            mark_stopped(self._ledger, self._launch.lease, [run.folder for run in self.runs.values()])
        return self._outcome(interrupted)

    def _add(self, run: PlannedRun) -> None:
        key = run.key
        self.runs[key] = run
        self._before |= self._states([key])
        self._callback.add(run)

    @environment_variables(TUNE_ENVIRONMENT)
    def _fit(self, sweep: SweepSpec, max_concurrent: int | None) -> None:
        # Tune's own files are never restored from (the ledger is), and are pickles: not for a shared storage.
        with private_folder() as folder:
            tuner = tune.Tuner(
                self._trainable(sweep),
                param_space={} if self._order else {RUN: tune.grid_search(self._longest_first())},
                tune_config=tune.TuneConfig(
                    max_concurrent_trials=max_concurrent,
                    reuse_actors=True,
                    scheduler=FIFO(),
                    search_alg=self._order,
                    num_samples=-1 if self._order else 1,
                ),
                run_config=tune.RunConfig(
                    name=f"wave-{os.getpid()}",
                    storage_path=folder,
                    callbacks=[self._callback],
                    stop=Stopping(self._launch.lease, lambda: bool(self._progress.training)),
                    failure_config=tune.FailureConfig(max_failures=LOST_ACTORS),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    verbose=0,
                ),
            )
            with no_usage_tags(), registered_in_turn():
                tuner.fit()

    def _trainable(self, sweep: SweepSpec) -> object:
        options = self._launch.options
        recording = RecordingOptions(kept=options.keep_checkpoints, strict_environment=options.strict_environment)
        return bind_trainable(sweep, self._work.contents, self.runs, self._launch.lease.number, recording)

    def _longest_first(self) -> list[str]:
        total = self._work.estimate.total
        return longest_first({key: total(run.config, self._before[key].step + 1) for key, run in self.runs.items()})

    def _mark_killed(self, error: Exception) -> None:
        """Mark the runs whose actors Ray's memory monitor killed; if it names none, all that were in training."""
        training = {key for key, state in self._states(self.runs).items() if state.status is RunStatus.RUNNING}
        if not training:
            raise GGASweepError(f"Ray ran out of memory with no run in training: {str(error).splitlines()[0]}")
        actors = self._callback.actors
        named = {actors[actor] for actor in killed_actors(error) if actor in actors} & training
        for key in named or training:
            self._ledger.run(str(self.runs[key].folder)).mark(RunStatus.OUT_OF_MEMORY, HOST_OUT_OF_MEMORY)
            self._progress.ended_with(key, RunStatus.OUT_OF_MEMORY)
        for key in self.runs:
            self._progress.interrupted(key)

    def _outcome(self, interrupted: bool) -> Outcome:
        after, lost = self._states(self.runs), self._callback.lost
        progressed = {key for key in lost if after[key].step > self._before[key].step}
        not_ended = {key for key, state in after.items() if state.status in _NOT_ENDED}
        out_of_memory = {key for key, state in after.items() if state.status is RunStatus.OUT_OF_MEMORY}
        resumable = progressed | (not_ended if interrupted else set())
        curable = (lost - progressed) | out_of_memory
        return Outcome(
            {key: run for key, run in self.runs.items() if key in resumable},
            {key: run for key, run in self.runs.items() if key in curable},
        )

    def _states(self, keys: Iterable[str]) -> dict[str, RunState]:
        """By key."""
        folders = {key: str(self.runs[key].folder) for key in keys}
        states = self._ledger.read_states(folders.values())
        return {key: states[folder] for key, folder in folders.items()}


def mark_stopped(ledger: Ledger, lease: Lease, folders: Iterable[str]) -> None:
    """After a stop no run stays RUNNING; an actor that still trains one notices at its next write."""
    if lease.reason is None or not lease.is_newest():
        return
    for folder, state in ledger.read_states(folders).items():
        if state.status is RunStatus.RUNNING:
            ledger.run(folder).mark(RunStatus.PREEMPTED, lease.reason)
