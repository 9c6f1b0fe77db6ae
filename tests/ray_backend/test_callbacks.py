"""What Tune tells of a trial's end, told apart: the storage, the host's memory, a lost actor, an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray.exceptions
from small_sweep import small_sweep

import gga_sweep
from gga_sweep.execution.prepare import prepare_ledger
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ray_backend.callbacks import Launch, SweepCallback
from gga_sweep.ray_backend.options import LaunchOptions
from gga_sweep.ray_backend.progress import LaunchProgress
from gga_sweep.ray_backend.signals import StopSignals
from gga_sweep.ray_backend.trainable import RUN
from gga_sweep.records import RunStatus
from gga_sweep.spec import plan_sweep
from gga_sweep.tracking.projector import Projector


class Woken:
    """A projector that is only told."""

    def wake(self, folder: str) -> None:
        pass


class EndedTrial:
    """As Tune describes one."""

    trial_id = "trial"

    def __init__(self, key: str, error: Exception | None = None, **last_result: Any) -> None:
        self.config = {RUN: key}
        self.last_result = last_result
        self.run_metadata = SimpleNamespace(metric_analysis={"step": {"max": 3}}, metric_n_steps={"step": {"5": [3]}})
        self._error = error

    def get_pickled_error(self) -> Exception | None:
        return self._error


class Told:
    """A callback in a launch, and the first run of its sweep, in training."""

    def __init__(self, storage: Path, options: LaunchOptions) -> None:
        sweep = gga_sweep.load(small_sweep(), storage=storage)
        contents = prepare_ledger(sweep)
        plan = plan_sweep(sweep, contents)
        self.run = plan.runs[0]
        self.ledger = Ledger(sweep.folder)
        self.folder = self.ledger.run(str(self.run.folder))
        self.folder.claim({})
        self.folder.write_state(RunStatus.RUNNING, 3)
        self.folder.write_checkpoint(b"state")
        runs = {str(run.key): run for run in plan.runs}
        self.lease_context = held(self.ledger.store)
        self.lease = self.lease_context.__enter__()
        projector = cast(Projector, Woken())
        self.launch = Launch(self.lease, projector, LaunchProgress(runs, {}), StopSignals(self.lease), options)
        self.callback = SweepCallback(plan, contents, self.launch)
        self.launch.progress.started(str(self.run.key))

    def in_own_tuner(self) -> SweepCallback:
        """The callback of a user's own Tuner, which may have a scheduler; a launch of ours has none."""
        return SweepCallback(self.callback._plan, self.callback._contents)

    def trial(self, error: Exception | None = None, **last_result: Any) -> EndedTrial:
        return EndedTrial(str(self.run.key), error, **last_result)


@pytest.fixture
def options() -> LaunchOptions:
    return LaunchOptions()


@pytest.fixture
def told(tmp_path: Path, options: LaunchOptions) -> Iterator[Told]:
    made = Told(tmp_path, options)
    yield made
    made.lease_context.__exit__(None, None, None)


def test_a_storage_that_cannot_be_written_stops_the_launch_and_fails_no_run(told: Told) -> None:
    result = {"done": True, "storage_refused": "the storage cannot write x: No space left on device"}
    told.callback.on_trial_result(0, [], told.trial(), result)
    told.callback.on_trial_complete(0, [], told.trial(**result))
    assert told.lease.reason == "the storage cannot write x: No space left on device"
    assert told.folder.read_state().status is RunStatus.RUNNING


def test_a_host_without_memory_is_told_from_a_failure(told: Told) -> None:
    told.callback.on_trial_error(0, [], told.trial(ray.exceptions.OutOfMemoryError("1 worker(s) were killed")))
    assert told.folder.read_state().status is RunStatus.OUT_OF_MEMORY
    assert told.launch.lost == set()


def test_a_lost_actor_is_noted_for_another_wave(told: Told) -> None:
    told.callback.on_trial_error(0, [], told.trial(ray.exceptions.ActorDiedError()))
    assert told.launch.lost == {told.run.key}
    state = told.folder.read_state()
    assert (state.status, state.step) == (RunStatus.FAILED, 3)
    assert str(state.reason).startswith("its actor was lost again and again: ")


def test_any_other_error_fails_the_run_with_its_last_line(told: Told) -> None:
    told.callback.on_trial_error(0, [], told.trial(RuntimeError("a traceback\nKeyError: 'lr'")))
    state = told.folder.read_state()
    assert (state.status, state.reason) == (RunStatus.FAILED, "KeyError: 'lr'")
    assert told.launch.lost == set()


def test_what_tune_computed_of_a_trial_that_ended_is_forgotten_in_a_launch_alone(told: Told) -> None:
    """Ten thousand trials would take hundreds of megabytes by it; a user's own Tuner may ask for it."""
    mine, theirs = told.trial(done=True), told.trial(done=True)
    told.callback.on_trial_complete(0, [], mine)
    assert vars(mine.run_metadata) == {"metric_analysis": {}, "metric_n_steps": {}}
    told.in_own_tuner().on_trial_complete(0, [], theirs)
    assert theirs.run_metadata.metric_analysis == {"step": {"max": 3}}


def test_a_trial_that_a_scheduler_ended_is_stopped_and_needs_no_checkpoint(told: Told) -> None:
    told.in_own_tuner().on_trial_complete(0, [], told.trial(done=False))
    assert told.folder.read_state().status is RunStatus.STOPPED
    assert told.folder.read_checkpoint() is None


def test_a_paused_trial_that_a_scheduler_ended_is_stopped_too(told: Told) -> None:
    told.folder.write_state(RunStatus.PREEMPTED, 3, "its trial was stopped")
    told.in_own_tuner().on_trial_complete(0, [], told.trial(done=False))
    assert told.folder.read_state().status is RunStatus.STOPPED


def test_a_trial_whose_run_another_attempt_took_over_leaves_it_alone(told: Told) -> None:
    told.in_own_tuner().on_trial_complete(0, [], told.trial(done=True, superseded=True))
    assert told.folder.read_state().status is RunStatus.RUNNING
    assert told.folder.read_checkpoint() == b"state"


def test_a_lost_run_that_a_stop_kept_from_going_on_is_not_stopped_early(told: Told) -> None:
    """Its actor died without a word, and the next one never opened it."""
    told.lease.ask("interrupted by SIGTERM")
    told.callback.on_trial_complete(0, [], told.trial(done=True))
    assert told.folder.read_state().status is RunStatus.RUNNING
    assert told.folder.read_checkpoint() == b"state"
    assert not told.launch.progress.training


def test_a_launch_that_was_overtaken_fails_no_run_of_the_other(told: Told) -> None:
    (told.ledger.folder / "launches" / "000002.json").write_text("{}")
    told.callback.on_trial_error(0, [], told.trial(RuntimeError("KeyError: 'lr'")))
    assert told.folder.read_state().status is RunStatus.RUNNING


def test_a_run_that_left_itself_to_the_next_launch_stays_preempted(told: Told) -> None:
    told.folder.write_state(RunStatus.PREEMPTED, 3, "interrupted by SIGTERM")
    told.callback.on_trial_complete(0, [], told.trial(done=True))
    assert told.folder.read_state().status is RunStatus.PREEMPTED
    assert told.folder.read_checkpoint() == b"state"
    assert not told.launch.progress.training


@pytest.mark.parametrize(("options", "stops"), [(LaunchOptions(), False), (LaunchOptions(on_error="stop"), True)])
def test_a_failed_run_stops_the_launch_where_that_was_asked_for(told: Told, stops: bool) -> None:
    told.folder.write_state(RunStatus.FAILED, 3, "KeyError: 'lr'")
    told.callback.on_trial_complete(0, [], told.trial(done=True))
    expected = f"run {told.run.folder} failed: KeyError: 'lr' (--on-error stop)"
    assert told.lease.reason == (expected if stops else None)


def test_a_run_that_begins_while_the_launch_stops_is_not_waited_for(told: Told) -> None:
    told.folder.write_state(RunStatus.DONE, 6)
    told.callback.on_trial_complete(0, [], told.trial(done=True))
    told.lease.ask("enough")
    told.callback.on_trial_start(0, [], told.trial())
    told.callback.on_trial_result(0, [], told.trial(), {"done": True})
    assert not told.launch.progress.training
