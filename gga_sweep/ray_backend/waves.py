"""Training on Ray Tune in waves: all that is left, then once more, with other resources, what that may cure."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import ray
import ray.exceptions
from ray import tune
from ray.air._internal import usage
from rich.console import Console

from gga_sweep.errors import GGASweepError
from gga_sweep.execution.recorded_run import RecordingOptions
from gga_sweep.ledger.branching import PREFIXES, delete_prefixes
from gga_sweep.ledger.lease import Lease
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ray_backend.callbacks import HOST_OUT_OF_MEMORY, Launch, SweepCallback
from gga_sweep.ray_backend.cluster import joined_cluster, replaced
from gga_sweep.ray_backend.display import Display
from gga_sweep.ray_backend.fifo import FIFO
from gga_sweep.ray_backend.gpu_sharing import measured_share
from gga_sweep.ray_backend.in_order import InOrder
from gga_sweep.ray_backend.options import LaunchOptions
from gga_sweep.ray_backend.progress import LaunchProgress, outlook
from gga_sweep.ray_backend.readiness import require_ready
from gga_sweep.ray_backend.signals import StopSignals
from gga_sweep.ray_backend.stopping import Stopping
from gga_sweep.ray_backend.trainable import RUN, bind_trainable
from gga_sweep.records import FINAL, RunState, RunStatus
from gga_sweep.scheduling.cost_model import CostModel
from gga_sweep.scheduling.next_runs import NextRuns, RunSource
from gga_sweep.scheduling.planned_runs import PlannedRuns, longest_first
from gga_sweep.scheduling.prefix_sharing import PrefixSharing
from gga_sweep.scheduling.shared_steps import inherited_steps
from gga_sweep.spec import Contents, Plan, PlannedRun, Sweep
from gga_sweep.spec.adaptive import needs_order, open_ended_arms, unsuggested_runs
from gga_sweep.tracking.projector import Projector

LOST_ACTORS = 3
"""How often a run is taken up again in one wave after its actor or node was lost."""

_UNDER_WAY = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PREEMPTED)
_ACTOR = re.compile(r"Actor\(([0-9a-f]+)\)")


def train(
    plan: Plan,
    contents: Contents,
    left: Mapping[str, PlannedRun],
    final: Mapping[str, RunStatus],
    states: Mapping[str, RunState],
    costs: CostModel,
    projector: Projector,
    lease: Lease,
    signals: StopSignals,
    options: LaunchOptions,
    console: Console,
) -> None:
    """Train what is left of a plan, wave after wave, until nothing is or the lease says to stop.

    Args:
        left: the runs to train, by key.
        final: the statuses of those that need no training.
        states: by folder, of the runs that were started.
        costs: what the runs take.

    Raises:
        InputError: the cluster cannot train it.
        GGASweepError: there is no Ray cluster at the address, or it was lost.
    """
    progress = LaunchProgress(
        {run.key: run for run in plan.runs if run.key is not None},
        final,
        unsuggested=unsuggested_runs(plan),
        expected=_expected(left, states, costs, options),
        in_seconds=costs.known,
    )
    launch = Launch(lease, projector, progress, signals, options)
    with joined_cluster(options.address, options.dashboard) as dashboard:
        if dashboard is not None:
            console.print(f"Ray:     {dashboard}", highlight=False, markup=False, soft_wrap=True)
        require_ready(plan.sweep)
        plan = measured_share(plan, [run.config for run in left.values() or plan.runs])
        progress.concurrent = _concurrency(plan.sweep, options)
        console.print(outlook(progress), highlight=False)
        with Display(progress, console), signals.gentle():
            if needs_order(plan.sweep.config):
                alone = _train_in_order(plan, contents, costs, launch)
            else:
                alone = _train_in_any_order(plan, contents, left, costs, launch)
            while alone and lease.reason is None:
                alone, _ = _wave(_alone(plan.sweep), plan, contents, alone, costs, launch)
        if lease.reason is None:
            delete_prefixes(Ledger(plan.sweep.folder).store)


def _expected(
    left: Mapping[str, PlannedRun],
    states: Mapping[str, RunState],
    costs: CostModel,
    options: LaunchOptions,
) -> dict[str, float]:
    """What is left of each run, less what others train for it."""
    trained = {key: states.get(str(run.folder), RunState()).step + 1 for key, run in left.items()}
    expected = {key: costs.total(run.config, trained[key]) for key, run in left.items()}
    if options.unshared:
        return expected
    keys = longest_first(expected)
    inherited = dict(zip(keys, inherited_steps(left[key].config for key in keys), strict=True))
    return {key: costs.total(run.config, max(trained[key], inherited[key])) for key, run in left.items()}


def _prefix_sharing(plan: Plan, contents: Contents, left: Collection[str], launch: Launch) -> PrefixSharing | None:
    """Of the runs left of a plan; None where they have nothing in common, or each is to train its own."""
    if launch.options.unshared:
        return None
    present = Ledger(plan.sweep.folder).store.list(PREFIXES)
    sharing = PrefixSharing(contents, present, open_ended_arms(plan))
    for run in plan.runs:
        sharing.add(run, waits=run.key in left)
    return sharing if present or sharing.has_shared else None


def _train_in_any_order(
    plan: Plan, contents: Contents, left: Mapping[str, PlannedRun], costs: CostModel, launch: Launch
) -> dict[str, PlannedRun]:
    """Gives the runs that a device of their own may cure."""
    crowd, alone = dict(left), dict[str, PlannedRun]()
    while crowd and launch.lease.reason is None:
        sharing = _prefix_sharing(plan, contents, crowd, launch)
        if sharing is None:
            runs, source = crowd, None
        else:
            runs, source = {}, PlannedRuns(crowd, launch.progress.expected, sharing, Ledger(plan.sweep.folder))
        again, curable = _wave(plan.sweep, plan, contents, runs, costs, launch, source)
        crowd = {key: run for key, run in crowd.items() if key in again or key not in runs}
        alone |= curable
    return alone


def _train_in_order(plan: Plan, contents: Contents, costs: CostModel, launch: Launch) -> dict[str, PlannedRun]:
    """The same where what is trained depends on the runs before. A run that failed is given up: its cell goes on."""
    ledger, alone, given_up = Ledger(plan.sweep.folder), dict[str, PlannedRun](), set[str]()
    while launch.lease.reason is None:
        sharing = _prefix_sharing(plan, contents, (), launch)
        source = NextRuns(plan.sweep, contents, ledger, given_up, sharing)
        if source.exhausted:
            break
        runs: dict[str, PlannedRun] = {}
        again, curable = _wave(plan.sweep, plan, contents, runs, costs, launch, source)
        alone |= curable
        states = _states(ledger, runs)
        given_up |= {key for key in runs if key not in again and states[key].status not in FINAL}
    return alone


def _wave(
    sweep: Sweep,
    plan: Plan,
    contents: Contents,
    runs: dict[str, PlannedRun],
    costs: CostModel,
    launch: Launch,
    source: RunSource | None = None,
) -> tuple[dict[str, PlannedRun], dict[str, PlannedRun]]:
    """Train these runs once, those that take longest first.

    Args:
        sweep: with the resources of this wave.
        runs: to train, by key; with a source none at first, and in the end those that it gave.
        source: of the runs whose order matters.

    Returns:
        The runs to go on with as they are: lost with their actors, but further than before, or left when the wave broke
        off. Then those that a device of their own may cure: out of memory, or lost where they began.

    Raises:
        GGASweepError: the cluster was lost.
    """
    ledger = Ledger(sweep.folder)
    before = _states(ledger, runs)
    keys = longest_first({key: costs.total(run.config, before[key].step + 1) for key, run in runs.items()})
    callback = SweepCallback(plan, contents, launch)

    def given(run: PlannedRun) -> None:
        runs[str(run.key)] = run
        before.update(_states(ledger, {str(run.key): run}))
        callback.add(run)

    order = None if source is None else InOrder(source, launch.lease, given)
    launch.lost.clear()
    launch.actors.clear()
    broke_off = False
    try:
        _fit(sweep, plan, contents, keys, runs, launch, callback, order)
    except RuntimeError as error:
        # Tune gives up where Ray's memory monitor kills an actor in the middle of a task
        # (ray/air/execution/_internal/actor_manager.py, _actor_task_failed).
        if not isinstance(error.__cause__, ray.exceptions.OutOfMemoryError):
            raise
        broke_off = True
        _mark_killed(ledger, runs, launch, str(error.__cause__))
    except (ray.exceptions.RayError, tune.TuneError, ConnectionError) as error:
        raise GGASweepError(
            f"the Ray cluster was lost: {str(error).strip().splitlines()[0]}\n"
            "What was trained is kept; launching again continues."
        ) from error
    finally:
        _settle(ledger, runs, launch.lease)
    after = _states(ledger, runs)
    moved = {key for key in launch.lost if after[key].step > before[key].step}
    curable = (launch.lost - moved) | {key for key in runs if after[key].status is RunStatus.OUT_OF_MEMORY}
    again = moved | ({key for key in runs if after[key].status in _UNDER_WAY} if broke_off else set())
    return {key: runs[key] for key in runs if key in again}, {key: runs[key] for key in runs if key in curable}


def _mark_killed(ledger: Ledger, runs: Mapping[str, PlannedRun], launch: Launch, message: str) -> None:
    """The runs of the actors that Ray says it killed; where it names none, all that were left in training."""
    states = _states(ledger, runs)
    left = {key for key, state in states.items() if state.status is RunStatus.RUNNING}
    named = {launch.actors[actor] for actor in _ACTOR.findall(message) if actor in launch.actors} & left
    if not left:
        raise GGASweepError(f"Ray ran out of memory with no run in training: {message.splitlines()[0]}")
    for key in named or left:
        ledger.run(str(runs[key].folder)).mark(RunStatus.OUT_OF_MEMORY, HOST_OUT_OF_MEMORY)
        launch.progress.ended_with(key, RunStatus.OUT_OF_MEMORY)
    for key in runs:
        launch.progress.broke_off(key)


def _fit(
    sweep: Sweep,
    plan: Plan,
    contents: Contents,
    keys: Sequence[str],
    runs: Mapping[str, PlannedRun],
    launch: Launch,
    callback: SweepCallback,
    order: InOrder | None,
) -> None:
    """Train these runs, begun in the order of the keys; where runs follow from each other, as `order` gives them."""
    options = launch.options
    bound = bind_trainable(
        sweep,
        contents,
        runs,
        launch.lease.number,
        RecordingOptions(kept=options.keep_checkpoints, strict_environment=options.strict_environment),
    )
    limit = sweep.config.resources.max_concurrent
    if sweep is plan.sweep:
        limit = options.max_concurrent or limit
    # Tune's own files are never restored from (the ledger is the truth), and are pickles: not for a shared storage.
    with tempfile.TemporaryDirectory(prefix="gga-sweep-tune-", ignore_cleanup_errors=True) as folder:
        tuner = tune.Tuner(
            bound,
            param_space={} if order else {RUN: tune.grid_search(list(keys))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=limit,
                reuse_actors=True,
                scheduler=FIFO(),
                search_alg=order,
                num_samples=-1 if order else 1,
            ),
            run_config=tune.RunConfig(
                name=f"wave-{os.getpid()}",
                storage_path=folder,
                callbacks=[callback],
                stop=Stopping(launch.lease, lambda: bool(launch.progress.training)),
                failure_config=tune.FailureConfig(max_failures=LOST_ACTORS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        # Tune would import MLflow, which takes seconds, only to count our callback in its usage statistics.
        with replaced(usage, "tag_callbacks", lambda callbacks: False):
            tuner.fit()


def _settle(ledger: Ledger, runs: Mapping[str, PlannedRun], lease: Lease) -> None:
    """No run of a launch that stopped stays RUNNING; whoever still trains one notices at its next write."""
    if lease.reason is None or not lease.is_newest():
        return
    for run in runs.values():
        folder = ledger.run(str(run.folder))
        if folder.read_state().status is RunStatus.RUNNING:
            folder.mark(RunStatus.PREEMPTED, lease.reason)


def _alone(sweep: Sweep) -> Sweep:
    """The sweep with a whole device for each run: what cures a lack of memory, if anything does."""
    resources = sweep.config.resources
    whole = resources.model_copy(update={"gpus": 1.0 if resources.on_gpu else 0.0, "max_concurrent": 1})
    return replace(sweep, config=sweep.config.model_copy(update={"resources": whole}))


def _concurrency(sweep: Sweep, options: LaunchOptions) -> int:
    """Runs at once, for the estimate of the time left."""
    resources, available = sweep.config.resources, ray.cluster_resources()
    fits = available.get("CPU", 1) / resources.cpus
    if resources.on_gpu:
        fits = min(fits, available.get("GPU", 0) / float(resources.gpus))
    limit = options.max_concurrent or resources.max_concurrent
    return max(1, min(int(fits), limit) if limit else int(fits))


def _states(ledger: Ledger, runs: Mapping[str, PlannedRun]) -> dict[str, RunState]:
    """By key."""
    states = ledger.read_states(str(run.folder) for run in runs.values())
    return {key: states[str(run.folder)] for key, run in runs.items()}
