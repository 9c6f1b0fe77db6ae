"""Our trainable, space and callbacks in a user's own `tune.Tuner`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from small_sweep import small_sweep

import gga_sweep
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.records import RunStatus
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
    assert (sweep.folder / "report.html").exists()


@pytest.mark.slow  # the refusal itself is tested in test_trainable.py
def test_population_based_training_is_refused_with_a_reason(tmp_path: Path) -> None:
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    sweep = searched_sweep(tmp_path, training={"steps": 60, "evaluate_every": 1})
    scheduler = PopulationBasedTraining(
        time_attr="step",
        perturbation_interval=1,
        hyperparam_mutations={"lr": tune.loguniform(1e-4, 1e-1)},
        quantile_fraction=0.5,
    )
    results = tune.Tuner(
        gga_sweep.trainable(sweep),
        param_space={**gga_sweep.param_space(sweep), "arm": "ERM"},
        tune_config=tune.TuneConfig(
            metric="val/accuracy", mode="max", num_samples=2, scheduler=scheduler, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), callbacks=gga_sweep.callbacks(sweep), verbose=0),
    ).fit()
    assert results.errors  # the trial that should have taken over the other one
    assert all("changed the configuration of a running trial" in str(error) for error in results.errors)
