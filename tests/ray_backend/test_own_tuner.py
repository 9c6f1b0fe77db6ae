"""Our trainable, space and callbacks in a user's own `tune.Tuner`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from small_sweep import small_sweep

import gga_sweep
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import read_plan, read_present_plan
from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.report.collect import collect

pytestmark = [
    pytest.mark.usefixtures("local_ray", "quick_launches"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def searched_sweep(storage: Path, **fields: Any) -> gga_sweep.SweepSpec:
    space = {"lr": {"loguniform": [1e-4, 1e-1]}, "annealing.radius": {"loguniform": [1e-5, 1e-2]}}
    return gga_sweep.load(small_sweep(search_space=space, **fields), storage=storage)


def test_trials_of_a_searcher_and_scheduler_are_stored_and_tracked(tmp_path: Path) -> None:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    sweep = searched_sweep(tmp_path)
    results = tune.Tuner(
        gga_sweep.trainable(sweep),
        param_space=gga_sweep.param_space(sweep),
        tune_config=tune.TuneConfig(
            metric="val/accuracy",
            mode="max",
            num_samples=5,
            max_concurrent_trials=1,
            reuse_actors=True,
            search_alg=OptunaSearch(seed=1),
            scheduler=ASHAScheduler(time_attr="step", max_t=6, grace_period=1, reduction_factor=2),
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), callbacks=gga_sweep.callbacks(sweep), verbose=0),
    ).fit()
    assert not results.errors
    view = collect(read_plan(sweep.folder), Ledger(sweep.folder))
    assert len(view.records) == len({trial.metrics["key"] for trial in results if trial.metrics})
    assert {run.status for run in view.records} == {RunStatus.DONE, RunStatus.STOPPED}
    assert view.searched == {run.cell.arm for run in view.records}
    assert not any(name.startswith("test/") for trial in results for name in trial.metrics or {})
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    children = client.search_runs([experiment.experiment_id], "tags.`gga_sweep.role` = 'run'")
    assert {run.data.tags["gga_sweep.key"] for run in children} == {run.key for run in view.records}
    assert {run.info.status for run in children} == {"FINISHED"}
    assert parent_of(tmp_path).info.status == "FINISHED"
    assert len(results.get_dataframe()) == 5  # Tune's own files are written
    assert {run.key for run in read_present_plan(sweep.folder).runs} == {run.key for run in view.records}
    assert view.seed_use.startswith("Tune drew the hyperparameters")
    found = gga_sweep.result(sweep)
    assert (found.records, found.tracked) == (view.records, None)
    assert found.best().selected.key in {run.key for run in view.records}
    assert len(repr(found)) < 200
    assert (sweep.folder / "report.html").exists()


@pytest.mark.parametrize("kind", ["scheduler", "name", "nested"])
def test_what_no_trial_could_do_is_refused_before_the_first_one(tmp_path: Path, kind: str) -> None:
    from ray.tune.schedulers import PopulationBasedTraining

    sweep = searched_sweep(tmp_path)
    changes = PopulationBasedTraining(time_attr="step", hyperparam_mutations={"lr": [1e-3, 1e-2]})
    space, rule = {
        "scheduler": ({}, "must leave the configurations of trials alone.*PopulationBasedTraining"),
        "name": ({"momentum": 0.9}, "momentum: no arm has this hyperparameter"),
        "nested": ({"annealing": {"radius": 1e-3}}, r"use dotted names, as annealing\.radius"),
    }[kind]
    with pytest.raises(gga_sweep.InputError, match=rule):
        tuner(sweep, tmp_path, space, scheduler=changes if kind == "scheduler" else None).fit()
    assert Ledger(sweep.folder).run_names() == []
    with held(Ledger(sweep.folder).store):
        pass  # the sweep is free again


def test_duplicate_trials_and_a_lost_actor(tmp_path: Path, orders: Path) -> None:
    """Two trials are one run, in training at once; one loses its actor for good."""
    from ray import tune

    arms = [{"algorithm": "ERM"}, {"algorithm": "small_sweep:Fragile"}]
    space = {"lr": {"loguniform": [1e-4, 1e-1]}}
    content = small_sweep(arms=arms, search_space=space, training={"steps": 7, "evaluate_every": 1})
    sweep = gga_sweep.load(content, storage=tmp_path)
    orders.write_text("die")
    names = {"arm": tune.grid_search(["ERM", "ERM", "small_sweep:Fragile"])}
    results = tuner(sweep, tmp_path, {**names, "lr": 1e-2}).fit()
    [error] = results.errors
    assert "actor" in str(error).lower()
    first, second = (trial.metrics_dataframe for trial in results if trial.error is None)
    assert set(first["step"]) == set(second["step"]) == set(range(7))
    assert dict(zip(first["step"], first["val/accuracy"], strict=True)) == dict(
        zip(second["step"], second["val/accuracy"], strict=True)
    )
    assert len(results.get_dataframe()) == 3
    done, lost = (run_of(sweep, arm) for arm in ("ERM", "small_sweep:Fragile"))
    assert (done.status, lost.status) == (RunStatus.DONE, RunStatus.FAILED)
    assert str(lost.reason).startswith("its actor was lost repeatedly: ")
    assert parent_of(tmp_path).info.status == "FAILED"


def tuner(sweep: gga_sweep.SweepSpec, storage: Path, space: dict[str, Any], scheduler: Any = None) -> Any:
    from ray import tune

    return tune.Tuner(
        gga_sweep.trainable(sweep),
        param_space={**gga_sweep.param_space(sweep), **space},
        tune_config=tune.TuneConfig(metric="val/accuracy", mode="max", scheduler=scheduler),
        run_config=tune.RunConfig(storage_path=str(storage / "tune"), callbacks=gga_sweep.callbacks(sweep), verbose=0),
    )


def run_of(sweep: gga_sweep.SweepSpec, arm: str) -> RunRecords:
    [run] = [run for run in gga_sweep.result(sweep.folder).records if run.cell.arm == arm]
    return run


def parent_of(storage: Path) -> Any:
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    [parent] = client.search_runs([experiment.experiment_id], "tags.`gga_sweep.role` = 'sweep'")
    return parent
