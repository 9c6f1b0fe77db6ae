"""What becomes of the runs of a wave that was interrupted."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import ray.exceptions
from rich.console import Console
from small_sweep import small_sweep

import gga_sweep
from gga_sweep.errors import GGASweepError
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.execution.prepare import prepare_ledger
from gga_sweep.execution.signals import StopSignals
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ray_backend import train_in_waves as waves
from gga_sweep.ray_backend.launch import Launch
from gga_sweep.ray_backend.wave import Outcome, Wave
from gga_sweep.records import RunStatus
from gga_sweep.scheduling.launch_progress import LaunchProgress
from gga_sweep.scheduling.remaining import find_remaining
from gga_sweep.spec import PlannedRun, plan_sweep
from gga_sweep.tracking.projector import Projector

ACTORS = ("0431d6299506843054b4653d01000000", "37e4ed2bc8be1750ac8c7b1f01000000")
KILLED = "1 worker(s) were killed due to the node running low on memory.\nSelected to kill: (Actor({}): job ID=01)"


class Scene:
    """A sweep of four runs. Its waves call `fit` in place of Tune: by default the first two runs train, each in an
    actor, the third waits, and the last is done."""

    def __init__(self, storage: Path, stack: ExitStack) -> None:
        sweep = gga_sweep.load(small_sweep(trial_seeds=[0, 1]), storage=storage)
        contents = prepare_ledger(sweep)
        plan = plan_sweep(sweep, contents)
        self.runs: dict[str, PlannedRun] = {run.key: run for run in plan.runs}
        self.keys = tuple(self.runs)
        self.ledger = Ledger(sweep.folder)
        self.lease = stack.enter_context(held(self.ledger.store))
        self.work = find_remaining(plan, contents, self.ledger)
        self.console = Console(file=io.StringIO(), width=200)
        self.options = LaunchOptions()
        self.progress = LaunchProgress(self.runs, {})
        self.fit: Callable[[Wave], None] = self.begin

    def launch(self) -> Launch:
        signals = StopSignals(self.lease)
        return Launch(self.lease, signals, cast(Projector, None), self.options, self.console)

    def begin(self, wave: Wave) -> None:
        statuses = (RunStatus.RUNNING, RunStatus.RUNNING, None, RunStatus.DONE)
        for key, status in zip(self.keys, statuses, strict=True):
            if status is not None:
                folder = self.ledger.run(str(self.runs[key].folder))
                folder.claim({})
                folder.write_state(status, 3)
        for key, actor in zip(self.keys, ACTORS, strict=False):
            self.progress.started(key)
            wave._callback.actors[actor] = key

    def statuses(self) -> list[RunStatus]:
        return [self.ledger.run(run.folder).read_state().status for run in self.runs.values()]

    def train(self) -> Outcome:
        wave = Wave(self.work, self.launch(), self.progress, self.runs)
        return wave.train(self.work.plan.sweep, None)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with ExitStack() as stack:
        made = Scene(tmp_path, stack)
        monkeypatch.setattr(Wave, "_fit", lambda wave, sweep, max_concurrent: made.fit(wave))
        yield made


def out_of_memory(message: str) -> RuntimeError:
    """What Tune raises when Ray's memory monitor kills an actor during a slice."""
    cause = ray.exceptions.OutOfMemoryError(message)
    error = RuntimeError(f"Caught unexpected exception: {cause}")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("message", "resumable", "curable"),
    [(KILLED.format(ACTORS[1]), (0, 2), (1,)), ("another message", (2,), (0, 1))],
    ids=["named", "unnamed: all in training"],
)
def test_runs_that_ray_killed_for_their_memory_are_trained_alone_and_the_others_resumed(
    scene: Scene, message: str, resumable: tuple[int, ...], curable: tuple[int, ...]
) -> None:
    def fit(wave: Wave) -> None:
        scene.begin(wave)
        raise out_of_memory(message)

    scene.fit = fit
    outcome = scene.train()
    assert tuple(outcome.resumable) == tuple(scene.keys[i] for i in resumable)
    assert tuple(outcome.curable) == tuple(scene.keys[i] for i in curable)
    assert scene.statuses()[1] is RunStatus.OUT_OF_MEMORY
    assert not scene.progress.training


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (out_of_memory("the node is low\nand more"), GGASweepError, r"no run in training: the node is low$"),
        (RuntimeError("a bug in Tune"), RuntimeError, "a bug in Tune"),
        (ConnectionError("no answer\nand more"), GGASweepError, r"cluster was lost: no answer\n.* again to continue"),
    ],
    ids=["memory that no run used", "of Tune", "of the cluster"],
)
def test_other_errors_end_the_launch(scene: Scene, error: Exception, expected: type[Exception], message: str) -> None:
    def fit(wave: Wave) -> None:
        raise error

    scene.fit = fit
    with pytest.raises(expected, match=message):
        scene.train()


@pytest.mark.parametrize(
    ("stopped", "overtaken", "expected"),
    [
        (True, False, RunStatus.PREEMPTED),
        (True, True, RunStatus.RUNNING),  # it belongs to the newer launch
        (False, False, RunStatus.RUNNING),  # the next wave resumes it
    ],
)
def test_no_run_of_a_stopped_launch_stays_running(
    scene: Scene, stopped: bool, overtaken: bool, expected: RunStatus
) -> None:
    if stopped:
        scene.lease.ask("enough")
    if overtaken:
        (scene.ledger.folder / "launches" / "000002.json").write_text("{}")
    scene.train()
    assert scene.statuses() == [expected, expected, RunStatus.QUEUED, RunStatus.DONE]


def test_a_wave_starts_with_the_runs_that_take_longest_from_where_they_are(scene: Scene) -> None:
    """Two seeds of ERM, two of GGA; one of these is past its window, and takes less than a whole run of ERM."""
    started: list[str] = []
    scene.fit = lambda wave: started.extend(wave._longest_first())
    plain, other_plain, annealed, other_annealed = scene.keys
    scene.train()
    assert started == [annealed, other_annealed, plain, other_plain]
    folder = scene.ledger.run(str(scene.runs[annealed].folder))
    folder.claim({})
    folder.write_state(RunStatus.PREEMPTED, 4)
    started.clear()
    scene.train()
    assert started == [other_annealed, plain, other_plain, annealed]


@pytest.mark.parametrize("found", ["http://127.0.0.1:8265 (requires the token: [here])", None])
def test_a_launch_prints_rays_dashboard_first(found: str | None, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[object] = []

    @contextmanager
    def joined(*arguments: object) -> Iterator[str | None]:
        requested.extend(arguments)
        yield found

    monkeypatch.setattr(waves, "joined_cluster", joined)
    monkeypatch.setattr(waves.ray, "cluster_resources", lambda: {"CPU": 1.0})
    monkeypatch.setattr(waves, "require_ready", lambda sweep: None)
    scene.options = LaunchOptions(address="auto", dashboard=True)
    scene.lease.ask("enough")  # no wave starts
    with scene.console.capture() as capture:
        waves.train(scene.work, scene.launch())
    begun, then, *_ = capture.get().splitlines()
    assert begun == "Joining the Ray cluster ..."
    assert then == f"Ray:     {found}" if found else then.startswith("The time left is not known yet")
    assert requested[:2] == ["auto", True]


def test_draws_that_turned_out_equal_to_others_are_not_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = LaunchProgress(scene.runs, dict.fromkeys(scene.runs, RunStatus.DONE), unsuggested=1)
    assert progress.counts[RunStatus.QUEUED] == 1
    monkeypatch.setattr(waves, "NextRuns", lambda *args: SimpleNamespace(exhausted=True))
    waves._Waves(scene.work, scene.launch(), progress)._train_in_order()
    assert progress.total == len(scene.runs)
    assert progress.counts[RunStatus.QUEUED] == 0


@pytest.mark.parametrize("in_time", [True, False], ids=["in time", "too late"])
def test_launch_without_a_head_stops_its_runs_and_ends_before_ray_does(
    in_time: bool, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(waves, "_STOP_SECONDS", 0.01)
    monkeypatch.setattr(waves.os, "_exit", codes.append)
    ended = threading.Event()
    if in_time:
        ended.set()
    ledger = Ledger(scene.work.plan.sweep.folder)
    folder = ledger.run(next(iter(scene.work.left.values())).folder)
    folder.claim({})
    folder.write_state(RunStatus.RUNNING, 4)
    with scene.console.capture() as capture:
        waves._stop_without_head(scene.launch(), ledger, "the head does not respond", ended)
    assert capture.get().startswith("Stopping: the head does not respond.\n")
    assert scene.lease.reason == "the head does not respond"
    assert codes == ([] if in_time else [3])
    assert folder.read_state().status is (RunStatus.RUNNING if in_time else RunStatus.PREEMPTED)
    assert ("Launch again to continue." in capture.get()) == (not in_time)
