"""The callbacks of a launch and of a user's own Tuner: what they write at the end of a trial."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray.exceptions
from ray import cloudpickle, tune
from rich.console import Console
from small_sweep import small_sweep

import gga_sweep
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.execution.prepare import prepare_ledger
from gga_sweep.execution.signals import StopSignals
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ray_backend.callbacks import LaunchCallback, OwnTunerCallback
from gga_sweep.ray_backend.launch import Launch
from gga_sweep.ray_backend.tune_names import PROGRESS_STEP, RUN
from gga_sweep.records import RunStatus
from gga_sweep.scheduling.launch_progress import LaunchProgress
from gga_sweep.spec import plan_sweep
from gga_sweep.tracking.projector import Projector


class FakeTrial:
    """What a callback reads of a Tune trial. Its error lies in the driver's own folder, as Tune's do."""

    def __init__(
        self, config: dict[str, Any], error: Path | None = None, trial_id: str = "trial", **last_result: Any
    ) -> None:
        self.trial_id = trial_id
        self.config = config
        self.last_result = last_result
        self.run_metadata = SimpleNamespace(metric_analysis={"step": {"max": 3}}, metric_n_steps={"step": {"5": [3]}})
        self.temporary_state = SimpleNamespace(ray_actor=None)
        self.local_path = "/nowhere" if error is None else str(error.parent)
        self.storage = SimpleNamespace(trial_fs_path="/nowhere")

    def get_pickled_error(self) -> Any:
        file = Path(self.storage.trial_fs_path) / "error.pkl"
        return cloudpickle.loads(file.read_bytes()) if file.exists() else None

    def get_error(self) -> None:
        return None


class Scene:
    """A sweep whose first run is in training; the callback of its launch, and that of a user's own Tuner."""

    def __init__(self, storage: Path, options: LaunchOptions) -> None:
        sweep = gga_sweep.load(small_sweep(), storage=storage)
        contents = prepare_ledger(sweep)
        plan = plan_sweep(sweep, contents)
        self.run = plan.runs[0]
        self.ledger = Ledger(sweep.folder)
        self.folder = self.ledger.run(str(self.run.folder))
        self.folder.claim({"trial": "an experiment trial"})
        self.folder.write_state(RunStatus.RUNNING, 3)
        self.folder.write_checkpoint(b"state")
        runs = {run.key: run for run in plan.runs}
        self.lease_context = held(self.ledger.store)
        self.lease = self.lease_context.__enter__()
        projector = cast(Projector, SimpleNamespace(wake=lambda folder: None))
        launch = Launch(self.lease, StopSignals(self.lease), projector, options, Console(quiet=True))
        self.progress = LaunchProgress(runs, {})
        self.progress.started(str(self.run.key))
        self.callback = LaunchCallback(runs, self.ledger, launch, self.progress)
        self.own_tuner = OwnTunerCallback(plan, contents)
        self._errors = storage / "error.pkl"

    def trial(self, error: Exception | None = None, **last_result: Any) -> FakeTrial:
        return FakeTrial({RUN: str(self.run.key)}, self._file(error), **last_result)

    def own_trial(self, error: Exception | None = None, **last_result: Any) -> FakeTrial:
        """A user's searcher names a run by its arm and values."""
        config = {"arm": "ERM", "test_domain": "north", "trial_seed": 0}
        return FakeTrial(config, self._file(error), **last_result)

    def _file(self, error: Exception | None) -> Path | None:
        if error is None:
            return None
        self._errors.write_bytes(cloudpickle.dumps(error))
        return self._errors

    def state(self) -> tuple[RunStatus, str | None]:
        state = self.folder.read_state()
        return state.status, state.reason


@pytest.fixture
def options() -> LaunchOptions:
    return LaunchOptions()


@pytest.fixture
def scene(tmp_path: Path, options: LaunchOptions) -> Iterator[Scene]:
    made = Scene(tmp_path, options)
    yield made
    made.lease_context.__exit__(None, None, None)


def test_a_storage_error_stops_the_launch_and_fails_no_run(scene: Scene) -> None:
    result = {"done": True, "storage_refused": "the storage cannot write x: No space left on device"}
    scene.callback.on_trial_result(0, [], scene.trial(), result)
    scene.callback.on_trial_complete(0, [], scene.trial(**result))
    assert scene.lease.reason == "the storage cannot write x: No space left on device"
    assert scene.state() == (RunStatus.RUNNING, None)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ray.exceptions.OutOfMemoryError("1 worker(s) were killed"), "OUT_OF_MEMORY", "the memory of its machine"),
        (ray.exceptions.ActorDiedError(), "FAILED", "its actor was lost repeatedly: "),
        (RuntimeError("a traceback\nKeyError: 'lr'"), "FAILED", "KeyError: 'lr'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_of_a_trial_becomes_the_status_of_its_run(
    scene: Scene, own: bool, error: Exception, status: str, reason: str
) -> None:
    if own:
        scene.own_tuner.on_trial_error(0, [], scene.own_trial(error))
    else:
        scene.callback.on_trial_error(0, [], scene.trial(error))
        assert scene.callback.lost == ({scene.run.key} if "actor" in reason else set())
    state = scene.folder.read_state()
    assert (state.status, state.step) == (RunStatus(status), 3)
    assert str(state.reason).startswith(reason)


def test_a_trial_marks_no_run_that_another_trial_trains(scene: Scene) -> None:
    """Two trials may come out as one run; the second reports what the first records."""
    other = {"trial_id": "other"}
    scene.own_tuner.on_trial_error(0, [], scene.own_trial(RuntimeError("KeyError: 'val/accuracy'"), **other))
    scene.own_tuner.on_trial_complete(0, [], scene.own_trial(done=False, **other))
    assert scene.state() == (RunStatus.RUNNING, None)
    assert scene.folder.read_checkpoint() == b"state"


def test_a_run_that_failed_keeps_the_reason_that_it_wrote(scene: Scene) -> None:
    scene.folder.write_state(RunStatus.FAILED, 3, "KeyError: 'lr'")
    scene.own_tuner.on_trial_error(0, [], scene.own_trial(RuntimeError("run 1 failed: KeyError: 'lr'")))
    assert scene.state() == (RunStatus.FAILED, "KeyError: 'lr'")


@pytest.mark.parametrize("actor", ["0a1b", "2c3d"])
def test_a_run_whose_actor_the_memory_monitor_killed_is_out_of_memory(scene: Scene, actor: str) -> None:
    """Tune ends the experiment then, and calls no callback for the trial."""
    trial = scene.own_trial()
    trial.temporary_state.ray_actor = SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda: actor))
    scene.own_tuner.on_trial_start(0, [], trial)
    try:
        raise RuntimeError("Tune") from ray.exceptions.OutOfMemoryError("killed: (Actor(0a1b): job)")
    except RuntimeError:
        scene.own_tuner.on_experiment_end([trial])
    killed = (RunStatus.OUT_OF_MEMORY, "the memory of its machine was used up")
    assert scene.state() == (killed if actor == "0a1b" else (RunStatus.RUNNING, None))


def test_an_error_of_the_creation_of_an_actor_is_no_lost_actor(scene: Scene) -> None:
    error = ray.exceptions.ActorDiedError()
    error._actor_init_failed, error.error_msg = True, "raised in its creation task\nInputError: no module mynet"
    scene.callback.on_trial_error(0, [], scene.trial(error))
    assert scene.state() == (RunStatus.FAILED, "InputError: no module mynet")
    assert not scene.callback.lost


def test_a_configuration_that_is_none_of_the_sweeps_ends_no_experiment(scene: Scene) -> None:
    trial = FakeTrial({"arm": "ERM", "test_domain": "north", "trial_seed": 0, "lr": -1.0})
    scene.own_tuner.on_trial_start(0, [], trial)
    scene.own_tuner.on_trial_error(0, [], trial)
    assert scene.state() == (RunStatus.RUNNING, None)


def test_tunes_metrics_of_an_ended_trial_are_deleted_in_a_launch_alone(scene: Scene) -> None:
    """They take hundreds of megabytes for ten thousand trials; users of their own Tuner may read them."""
    ours, theirs = scene.trial(done=True), scene.own_trial(done=True)
    scene.callback.on_trial_complete(0, [], ours)
    assert vars(ours.run_metadata) == {"metric_analysis": {}, "metric_n_steps": {}}
    scene.own_tuner.on_trial_complete(0, [], theirs)
    assert theirs.run_metadata.metric_analysis == {"step": {"max": 3}}


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.PREEMPTED], ids=["running", "paused"])
def test_a_trial_that_a_scheduler_ended_becomes_stopped_without_checkpoint(scene: Scene, status: RunStatus) -> None:
    scene.folder.write_state(status, 3)
    scene.own_tuner.on_trial_complete(0, [], scene.own_trial(done=False))
    assert scene.state() == (RunStatus.STOPPED, "stopped early by a scheduler")
    assert scene.folder.read_checkpoint() is None


def test_a_run_that_another_process_took_over_is_left_alone(scene: Scene) -> None:
    scene.own_tuner.on_trial_complete(0, [], scene.own_trial(done=True, superseded=True))
    assert scene.state() == (RunStatus.RUNNING, None)
    assert scene.folder.read_checkpoint() == b"state"


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.PREEMPTED], ids=["lost actor", "stopped by itself"])
def test_a_run_that_a_stopping_launch_left_keeps_status_and_checkpoint(scene: Scene, status: RunStatus) -> None:
    """RUNNING: its actor died, and its next actor never opened it."""
    scene.folder.write_state(status, 3)
    scene.lease.ask("interrupted by SIGTERM")
    scene.callback.on_trial_complete(0, [], scene.trial(done=True))
    assert scene.folder.read_state().status is status
    assert scene.folder.read_checkpoint() == b"state"
    assert not scene.progress.training


def test_a_launch_that_was_taken_over_fails_no_run_of_the_other(scene: Scene) -> None:
    (scene.ledger.folder / "launches" / "000002.json").write_text("{}")
    scene.callback.on_trial_error(0, [], scene.trial(RuntimeError("KeyError: 'lr'")))
    assert scene.state() == (RunStatus.RUNNING, None)


@pytest.mark.parametrize(("options", "stops"), [(LaunchOptions(), False), (LaunchOptions(on_error="stop"), True)])
def test_a_failed_run_stops_the_launch_only_on_request(scene: Scene, stops: bool) -> None:
    scene.folder.write_state(RunStatus.FAILED, 3, "KeyError: 'lr'")
    scene.callback.on_trial_complete(0, [], scene.trial(done=True))
    expected = f"run {scene.run.folder} failed: KeyError: 'lr' (--on-error stop)"
    assert scene.lease.reason == (expected if stops else None)


def test_a_run_that_starts_during_a_stop_is_not_waited_for(scene: Scene) -> None:
    scene.folder.write_state(RunStatus.DONE, 6)
    scene.callback.on_trial_complete(0, [], scene.trial(done=True))
    scene.lease.ask("enough")
    scene.callback.on_trial_start(0, [], scene.trial())
    scene.callback.on_trial_result(0, [], scene.trial(), {"done": True})
    assert not scene.progress.training


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 0.25), ("macro_f1", 0.75)])
def test_progress_is_by_the_sweeps_metric(scene: Scene, metric: str, best: float) -> None:
    run = replace(scene.run, config=scene.run.config.model_copy(update={"metric": metric}))
    scene.callback.add(run)
    scene.callback.on_trial_result(0, [], scene.trial(), {PROGRESS_STEP: 5, "val/accuracy": 0.25, "val/macro_f1": 0.75})
    assert scene.progress.best_by_arm == {run.cell.arm: best}
    scene.callback.on_trial_result(0, [], scene.trial(), {PROGRESS_STEP: 6})  # undefined at this step
    assert scene.progress.best_by_arm == {run.cell.arm: best}


def test_an_exception_in_a_callback_is_logged_and_the_sweep_continues(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.callback.on_trial_complete(0, [], FakeTrial({RUN: "no such run"}))
    assert "a callback of gga-sweep failed; the sweep continues" in caplog.text


def test_tune_pickles_no_live_part_of_a_launch(scene: Scene) -> None:
    assert type(pickle.loads(pickle.dumps(scene.callback))) is tune.Callback
