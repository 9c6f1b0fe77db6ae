"""The trial actor, called in this process."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from data_workers import runs, started
from small_sweep import small_sweep, train_without_ray

import gga_sweep
from gga_sweep.errors import GGASweepError
from gga_sweep.execution.open_run import open_run
from gga_sweep.execution.prepare import prepare_ledger
from gga_sweep.execution.recorded_run import RecordedRun
from gga_sweep.ledger import lease as leases
from gga_sweep.ledger.lease import LAUNCHES, ask_to_stop, held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.ray_backend import trainable as trainables
from gga_sweep.ray_backend.trainable import RUN, RunTrainable
from gga_sweep.records import RunStatus
from gga_sweep.report.collect import collect
from gga_sweep.spec import plan_sweep


def actor(
    sweep: gga_sweep.SweepSpec, config: dict[str, Any], launch: int | None = None, trial: str = "default"
) -> RunTrainable:
    """An actor as Tune makes it, in this process: of a launch, or of a user's own Tuner."""
    contents = prepare_ledger(sweep)
    runs = {run.key: run for run in plan_sweep(sweep, contents).runs}
    made = RunTrainable.__new__(RunTrainable)
    made._trial_info = SimpleNamespace(trial_id=trial)
    RunTrainable.setup(made, config, sweep=sweep, contents=contents, runs=runs, launch=launch)
    return made


def loaded(storage: Path, **fields: Any) -> gga_sweep.SweepSpec:
    return gga_sweep.load(small_sweep(**fields), storage=storage)


def keys(sweep: gga_sweep.SweepSpec) -> list[str]:
    return [run.key for run in plan_sweep(sweep, prepare_ledger(sweep)).runs]


def only_run(sweep: gga_sweep.SweepSpec) -> RunFolder:
    ledger = Ledger(sweep.folder)
    [name] = ledger.run_names()
    return ledger.run(name)


def results_of(made: RunTrainable) -> list[dict[str, Any]]:
    results = [made.step()]
    while not results[-1]["done"]:
        results.append(made.step())
    return results


def test_a_result_holds_key_step_and_numbers_of_training_domains_alone(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    for result in results_of(actor(sweep, {RUN: keys(sweep)[1]})):
        assert result["key"] == keys(sweep)[1]
        ours = set(result) - {"key", "step", "progress/step", "done"}
        assert all(name.startswith(("val/", "train/")) for name in ours)
        assert not any("north" in name for name in ours)


@pytest.mark.usefixtures("quick_launches")
def test_data_of_the_test_domain_change_no_result_no_weight_and_no_selection(tmp_path: Path) -> None:
    def sweep_of(dataset: str) -> gga_sweep.SweepSpec:
        space = {"lr": {"loguniform": [1e-3, 1e-1]}}
        return loaded(tmp_path / dataset, dataset={"name": f"small_sweep:{dataset}"}, draws=2, search_space=space)

    real, noise = sweep_of("stripes"), sweep_of("stripes_with_noise_in_north")
    for key, other in zip(keys(real), keys(noise), strict=True):
        assert key != other
        pairs = zip(results_of(actor(real, {RUN: key})), results_of(actor(noise, {RUN: other})), strict=True)
        for result, under_noise in pairs:
            assert {**result, "key": ""} == {**under_noise, "key": ""}
    of_real, of_noise = gga_sweep.run_sweep(real), gga_sweep.run_sweep(noise)
    for one, another in zip(of_real.records, of_noise.records, strict=True):
        assert [record.test for record in one.records] != [record.test for record in another.records]
        weights = of_real.ledger.run(one.folder).read_selected()
        assert weights == of_noise.ledger.run(another.folder).read_selected()
    assert [(one.draw, one.step) for one in of_real.selected()] == [(one.draw, one.step) for one in of_noise.selected()]


def test_reuse_of_an_actor_changes_no_result(tmp_path: Path) -> None:
    sweep, fresh = loaded(tmp_path / "reused"), loaded(tmp_path / "fresh")
    made = actor(sweep, {RUN: keys(sweep)[1]})
    results_of(made)
    assert made.reset_config({RUN: keys(sweep)[0]})
    assert results_of(made) == results_of(actor(fresh, {RUN: keys(fresh)[0]}))


def test_each_run_of_a_reused_actor_has_data_workers_of_its_own(tmp_path: Path) -> None:
    sweep = loaded(tmp_path / "reused", resources={"cpus": 2})
    fresh = loaded(tmp_path / "fresh", resources={"cpus": 2, "workers": 0})
    made, processes = actor(sweep, {RUN: keys(sweep)[1]}), []
    for key in (keys(sweep)[0], keys(sweep)[1]):
        assert made.reset_config({RUN: key})
        results = [made.step()]
        assert isinstance(made._run, RecordedRun)
        processes += started(made._run._training.trainer._reader).processes
        while not results[-1]["done"]:
            results.append(made.step())
        assert results == results_of(actor(fresh, {RUN: key}))
        assert not any(map(runs, processes))
    assert len(set(processes)) == 2
    assert keys(sweep) == keys(fresh)


def test_a_stopped_trial_leaves_no_data_worker(tmp_path: Path) -> None:
    sweep = loaded(tmp_path, resources={"cpus": 2, "workers": 2})
    made = actor(sweep, {RUN: keys(sweep)[1]})
    made.step()
    assert isinstance(made._run, RecordedRun)
    processes = started(made._run._training.trainer._reader).processes
    made.cleanup()
    assert not any(map(runs, processes))


def test_a_slice_without_an_evaluation_repeats_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gga_sweep.execution.recorded_run.RecordedRun.advance.__defaults__", (0.0,))
    sweep = loaded(tmp_path)
    results = results_of(actor(sweep, {RUN: keys(sweep)[1]}))
    assert [result["progress/step"] for result in results] == [0, 1, 2, 3, 4, 5, 6]
    assert [result["step"] for result in results] == [0, 0, 0, 3, 3, 3, 6]
    assert results[1]["val/accuracy"] == results[0]["val/accuracy"]


def test_a_run_of_a_stopped_trial_can_be_resumed(tmp_path: Path) -> None:
    sweep, undisturbed = loaded(tmp_path / "stopped"), loaded(tmp_path / "undisturbed")
    key = keys(sweep)[0]
    made = actor(sweep, {RUN: key})
    made.step()
    made.cleanup()
    folder = only_run(sweep)
    assert folder.read_state().status is RunStatus.PREEMPTED
    results_of(actor(sweep, {RUN: key}))
    assert folder.read_state().status is RunStatus.DONE
    results_of(actor(undisturbed, {RUN: key}))
    assert folder.read_records() == Ledger(undisturbed.folder).run(folder.name).read_records()


def test_a_finished_run_is_reported_again_and_not_trained_again(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    folders = train_without_ray(sweep)
    results = results_of(actor(sweep, {RUN: keys(sweep)[0]}))
    assert [result["step"] for result in results] == [0, 3, 6]
    assert folders[0].newest_attempt() == 1


def test_a_trial_whose_run_was_taken_over_stops_and_writes_nothing(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    made = actor(sweep, {RUN: keys(sweep)[0]})
    before = made.step()
    folder = only_run(sweep)
    folder.claim({"somebody": "else"})
    assert made.step() == {**before, "done": True, "superseded": True}
    assert len(folder.read_records()) == 1


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    one, other = (actor(sweep, {RUN: key}) for key in keys(sweep))
    checkpoint = str(tmp_path)
    one.save_checkpoint(checkpoint)
    one.load_checkpoint(checkpoint)
    with pytest.raises(GGASweepError, match=f"{keys(sweep)[0][:8]} became {keys(sweep)[1][:8]}"):
        other.load_checkpoint(checkpoint)


def test_a_run_that_was_not_opened_stays_queued_when_its_launch_stops(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    with held(Ledger(sweep.folder).store) as lease:
        stopping = actor(sweep, {RUN: keys(sweep)[0]}, launch=lease.number)
        ask_to_stop(Ledger(sweep.folder).store, LAUNCHES, lease.number, "why not")
        assert stopping.step() == {"done": True}
    assert Ledger(sweep.folder).run_names() == []


def test_a_run_in_training_is_preempted_when_its_launch_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_LOOK_SECONDS", 0.0)
    sweep = loaded(tmp_path)
    store = Ledger(sweep.folder).store
    with held(store) as lease:
        stopping = actor(sweep, {RUN: keys(sweep)[0]}, launch=lease.number)
        assert not stopping.step()["done"]
        ask_to_stop(store, LAUNCHES, lease.number, "stopped by `gga-sweep stop`")
        result = stopping.step()  # one step of training at most
    state = only_run(sweep).read_state()
    assert result["done"]
    assert (state.status, state.reason) == (RunStatus.PREEMPTED, "stopped by `gga-sweep stop`")
    assert state.step == result["progress/step"] == 1


def test_the_draw_of_a_searchers_run_is_its_hash(tmp_path: Path) -> None:
    sweep = loaded(tmp_path, search_space={"lr": {"loguniform": [1e-3, 1e-1]}})
    config = {"arm": "ERM", "test_domain": "north", "trial_seed": np.int64(0), "lr": np.float64(0.02)}
    results_of(actor(sweep, config))
    view = collect(read_plan(sweep.folder), Ledger(sweep.folder))
    (run,) = view.records
    assert run.draws == (int(run.key[:8], 16),)
    assert dict(run.hyperparameters) == {"lr": 0.02}
    assert view.searched == {"ERM"}


def test_an_invalid_configuration_is_refused(tmp_path: Path) -> None:
    """By the first step: Tune takes an error of `setup` for the loss of an actor, and drops its reason."""
    made = actor(loaded(tmp_path), {"arm": "CORAL", "test_domain": "north", "trial_seed": 0})
    with pytest.raises(gga_sweep.InputError, match="arm: must be one of the sweep's, got 'CORAL'"):
        made.step()


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a machine with a GPU it can be opened")
def test_a_run_that_cannot_be_opened_fails_with_a_reason(tmp_path: Path) -> None:
    sweep = loaded(tmp_path, resources={"cpus": 1, "gpus": 1})
    with held(Ledger(sweep.folder).store) as lease:
        (result,) = results_of(actor(sweep, {RUN: keys(sweep)[0]}, launch=lease.number))
    assert math.isnan(result["val/accuracy"])
    folder = only_run(sweep)
    assert folder.read_state().status is RunStatus.FAILED
    assert "sees no CUDA device" in str(folder.read_state().reason)


SEARCHED = {"arm": "ERM", "test_domain": "north", "trial_seed": 0}


def test_two_trials_of_one_run_train_it_once_and_report_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial that waits reports what the other one records, one evaluation a step."""
    monkeypatch.setattr(trainables, "SLICE_SECONDS", 0.0)
    sweep = loaded(tmp_path)
    first, second = (actor(sweep, SEARCHED, trial=name) for name in ("first", "second"))
    reports: list[list[dict[str, Any]]] = [[], []]
    while not all(of_trial and of_trial[-1]["done"] for of_trial in reports):
        for trial, of_trial in zip((first, second), reports, strict=True):
            if not (of_trial and of_trial[-1]["done"]):
                of_trial.append(trial.step())
    curves = [{result["step"]: result["val/accuracy"] for result in of_trial} for of_trial in reports]
    assert list(curves[0]) == [0, 3, 6]
    assert curves[0] == curves[1]
    assert only_run(sweep).newest_attempt() == 1
    assert only_run(sweep).read_state().status is RunStatus.DONE


def test_a_trial_goes_on_with_a_run_that_another_trial_left(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    first, second = (actor(sweep, SEARCHED, trial=name) for name in ("first", "second"))
    first.step()
    first.cleanup()
    assert [result["step"] for result in results_of(second)] == [3, 6]
    assert only_run(sweep).read_state().status is RunStatus.DONE


def test_a_trial_whose_run_another_trial_took_over_reports_that_one(tmp_path: Path) -> None:
    """Both opened it at once."""
    sweep = loaded(tmp_path)
    first, second = (actor(sweep, SEARCHED, trial=name) for name in ("first", "second"))
    first.step()
    second._run = open_run(
        second._planned, second._ledger, sweep.storage, second._contents.dataset, False, second._recording
    )
    assert results_of(second)[-1]["step"] == 6
    assert [result["step"] for result in results_of(first)] == [3, 6]


def test_a_trial_waits_for_no_run_of_an_earlier_experiment(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    actor(sweep, SEARCHED, trial="killed").step()
    with held(Ledger(sweep.folder).store):
        assert [result["step"] for result in results_of(actor(sweep, SEARCHED, trial="later"))] == [3, 6]


def test_a_run_that_fails_raises_in_a_users_own_tuner_and_can_be_tried_again(tmp_path: Path, orders: Path) -> None:
    sweep = loaded(tmp_path, arms=[{"algorithm": "small_sweep:Fragile"}])
    config = {**SEARCHED, "arm": sweep.arms[0].name}
    orders.write_text("raise")
    made = actor(sweep, config)
    with pytest.raises(GGASweepError, match="failed: RuntimeError: told to fail"):
        results_of(made)
    state = only_run(sweep).read_state()
    assert (state.status, state.reason) == (RunStatus.FAILED, "RuntimeError: told to fail")
    orders.unlink()
    assert results_of(actor(sweep, config))[-1]["step"] == 6


def bound_resources(sweep: gga_sweep.SweepSpec, **changes: Any) -> Any:
    """What Tune does with a configuration before it starts an actor."""
    return gga_sweep.trainable(sweep).default_resource_request({**SEARCHED, **changes})


def test_names_that_no_arm_has_are_refused_when_tune_makes_the_trial(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    with pytest.raises(gga_sweep.InputError, match=r"momentum: no arm has this hyperparameter \(allowed: .*lr"):
        bound_resources(sweep, momentum=0.9)
    with pytest.raises(
        gga_sweep.InputError, match=r"annealing: must not be nested: use dotted names, as annealing\.rad"
    ):
        bound_resources(sweep, annealing={"radius": 1e-3})
    asked = bound_resources(sweep, lr=np.float64(-1.0), trial_seed=np.int64(0), __trial_index__=3)
    assert asked.bundles == [{"CPU": 1.0}]  # a value out of range fails its own trial


def test_sweeps_of_one_process_have_trainables_of_their_own(tmp_path: Path) -> None:
    """Tune registers them, and their parameters, by name; `Tuner.restore` needs the same name again."""
    names = [gga_sweep.trainable(loaded(tmp_path / place)).__name__ for place in ("one", "other", "one")]
    assert names[0] == names[2] != names[1]
