from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from invented_ledger import (
    GGA_L_ARM,
    START_TIME,
    finish,
    invented_noisy_step,
    invented_plan,
    invented_record,
    progress,
    start,
)

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import Averaged, RunStatus
from gga_sweep.spec import Plan, PlannedRun
from gga_sweep.spec.models import SweepConfig
from gga_sweep.tracking import names, tracked_run
from gga_sweep.tracking.mlflow_api import MlflowClient, Run, ViewType
from gga_sweep.tracking.projection import Projection


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


@pytest.fixture
def projection(client: MlflowClient, plan: Plan, ledger: Ledger) -> Projection:
    return Projection(client, plan.sweep, ledger, START_TIME)


def again(projection: Projection, **changes: Any) -> Projection:
    """As a later launch would find things."""
    use = {"sweep": projection.sweep, "ledger": projection.ledger, **changes}
    return Projection(projection.client, use["sweep"], use["ledger"], START_TIME + 1000)


def project(projection: Projection, run: PlannedRun) -> None:
    projection.project(run, projection.ledger.run(str(run.folder)).read())


def test_averaged_weights_have_metrics_of_their_own_once_the_run_is_over(client: MlflowClient, storage: Path) -> None:
    plan = invented_plan(storage, training={"steps": 5, "evaluate_every": 2, "averaging": "swad"})
    run, ledger = plan.runs[0], Ledger(plan.sweep.folder)
    projection = Projection(client, plan.sweep, ledger, START_TIME)
    record = invented_record(run, 4)
    folder = start(ledger, run)
    progress(folder, run, 3)
    folder.write_averaged(Averaged(1, 3, 1.25, record), b"weights")
    folder.write_state(RunStatus.RUNNING, 4)
    project(projection, run)
    assert not any(name.startswith("averaged/") for name in child_of(projection, run).data.metrics)
    folder.write_state(RunStatus.DONE, 4)
    project(projection, run)
    child = child_of(projection, run)
    averaged = {name: value for name, value in points(projection, child).items() if name.startswith("averaged/")}
    expected = {
        "averaged/val_accuracy": record.validation.accuracy,
        "averaged/val_loss": record.validation.loss,
        "averaged/test_accuracy": record.test.domains["0"].train.accuracy,
        "averaged/first_step": 1,
        "averaged/last_step": 3,
    }
    assert averaged == {name: [(4, value, int((START_TIME + 4) * 1000))] for name, value in expected.items()}
    for name, value in {"method": "swad", "n_converge": "3", "n_tolerance": "6", "tolerance_ratio": "0.3"}.items():
        assert child.data.params[f"training.averaging.{name}"] == value


def all_runs(projection: Projection) -> list[Run]:
    return list(projection.client.search_runs([projection.experiment_id], run_view_type=ViewType.ALL))


def child_of(projection: Projection, run: PlannedRun) -> Run:
    child = projection.find(run.cell.arm, run.key)
    assert child is not None
    return projection.client.get_run(child.run_id)


def points(projection: Projection, run: Run) -> dict[str, list[tuple[int, float, int]]]:
    """Every stored point of every metric: step, value, timestamp."""
    return {
        key: [(m.step, m.value, m.timestamp) for m in projection.client.get_metric_history(run.info.run_id, key)]
        for key in run.data.metrics
    }


def test_a_run_is_a_child_of_the_sweep_with_flat_tags(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    run = plan.runs[-1]
    finish(ledger, run)
    project(projection, run)
    tags = child_of(projection, run).data.tags
    assert tags["mlflow.parentRunId"] == projection.parent.run_id
    assert tags["mlflow.runName"] == "ERM + GGA · test 75 · seed 0 · draw 1"
    ours = {key.removeprefix("gga_sweep."): value for key, value in tags.items() if key.startswith("gga_sweep.")}
    assert len(ours.pop("shown_digest")) == 32
    assert ours == {
        "role": "run",
        "sweep": "demo",
        "dataset": "RotatedDigits",
        "protocol": "quick",
        "arm": "ERM + GGA",
        "algorithm": "ERM",
        "annealing": "gga",
        "test_domains": "75",
        "trial_seed": "0",
        "draw": "1",
        "draws": "1",
        "key": run.key,
        "folder": run.folder,
        "status": "DONE",
        "records": "3",
        "annealed_steps": "3",
    }


def test_the_parent_tells_the_sweep(projection: Projection) -> None:
    parent = projection.client.get_run(projection.parent.run_id)
    assert parent.info.status == "RUNNING"
    assert parent.data.tags["mlflow.runName"] == "demo"
    assert parent.data.tags["gga_sweep.role"] == "sweep"
    assert parent.data.tags["gga_sweep.protocol"] == "quick"


def test_the_parameters_are_all_that_decides_a_run(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    plain, annealed = plan.runs[0], plan.runs[-1]
    for run in (plain, annealed):
        finish(ledger, run)
        project(projection, run)
    params = child_of(projection, annealed).data.params
    assert params["lr"] == str(annealed.config.hyperparameters["lr"])
    assert params["annealing.method"] == "gga"
    assert params["annealing.radius"] == "0.0001"
    assert params["annealing.num_candidates"] == "4"
    assert params["training.freeze_batch_norm"] == "true"
    assert (params["arm"], params["draw"], params["trial_seed"]) == ("ERM + GGA", "1", "0")
    assert params["test_domains"] == "75"
    assert "training.weights" not in params  # there are none
    assert not any(name.startswith("annealing.") for name in child_of(projection, plain).data.params)
    assert "gga_sweep.annealing" not in child_of(projection, plain).data.tags


def test_metrics_stand_at_their_steps_with_the_start_time_plus_a_second_a_step(
    projection: Projection, plan: Plan, ledger: Ledger
) -> None:
    run = plan.runs[-1]
    finish(ledger, run)
    project(projection, run)
    stored = points(projection, child_of(projection, run))
    first = int(START_TIME * 1000)
    assert [(step, time) for step, _, time in stored["val/accuracy"]] == [
        (0, first),
        (2, first + 2000),
        (4, first + 4000),
    ]
    assert [value for _, value, _ in stored["test/accuracy/75"]] == [
        invented_record(run, step).test.domains["75"].train.accuracy for step in (0, 2, 4)
    ]
    assert [step for step, _, _ in stored["annealing/alignment_after"]] == [1, 2, 3]


@pytest.fixture
def noisy(storage: Path, client: MlflowClient) -> tuple[Projection, PlannedRun]:
    """A run of GGA-L that nobody has started."""
    plan = invented_plan(storage, arms=[{"algorithm": "ERM"}, GGA_L_ARM], defaults={})
    return Projection(client, plan.sweep, Ledger(plan.sweep.folder), START_TIME), plan.runs[-1]


def test_a_run_of_gga_l_tells_its_method_and_its_fields(noisy: tuple[Projection, PlannedRun]) -> None:
    projection, run = noisy
    finish(projection.ledger, run)
    project(projection, run)
    data = child_of(projection, run).data
    assert data.tags["gga_sweep.annealing"] == "gga-l"
    assert {name: value for name, value in data.params.items() if name.startswith("annealing.")} == {
        "annealing.method": "gga-l",
        "annealing.gamma": "0.01",
        "annealing.noise": "gaussian",
        "annealing.alpha": "adaptive",
        "annealing.domain_gradients": "loop",
    }


def test_of_a_run_of_gga_l_the_evaluated_steps_show_their_noise(noisy: tuple[Projection, PlannedRun]) -> None:
    projection, run = noisy
    finish(projection.ledger, run)
    project(projection, run)
    stored = points(projection, child_of(projection, run))
    for key, expected in names.noise_metrics(invented_noisy_step(2)).items():
        assert [step for step, _, _ in stored[key]] == [0, 2, 4]
        assert stored[key][1][1] == expected
    assert "annealing/tried" not in stored


def test_the_last_step_is_evaluated_wherever_it_lies(storage: Path, client: MlflowClient) -> None:
    training = {"steps": 5, "evaluate_every": 3}
    plan = invented_plan(storage, arms=[GGA_L_ARM], defaults={}, training=training)
    projection, run = Projection(client, plan.sweep, Ledger(plan.sweep.folder), START_TIME), plan.runs[0]
    finish(projection.ledger, run)
    project(projection, run)
    assert [step for step, _, _ in points(projection, child_of(projection, run))["annealing/alpha"]] == [0, 3, 4]


def test_noisy_steps_seen_before_their_evaluation_are_shown_and_none_is_sent_twice(
    noisy: tuple[Projection, PlannedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    projection, run = noisy
    sent: list[int] = []
    log_batch = MlflowClient.log_batch

    def spy(client: MlflowClient, run_id: str, metrics: Any = (), **others: Any) -> None:
        sent.extend(metric.step for metric in metrics if metric.key == "annealing/alpha")
        log_batch(client, run_id, metrics=metrics, **others)

    monkeypatch.setattr(MlflowClient, "log_batch", spy)
    folder = start(projection.ledger, run)
    folder.write_annealed([invented_noisy_step(step) for step in range(3)])  # the record of step 2 is still to come
    project(projection, run)
    progress(folder, run, 2)
    project(projection, run)
    progress(folder, run, 3)
    project(projection, run)
    assert sent == [0, 2, 4]
    assert child_of(projection, run).data.tags["gga_sweep.annealed_steps"] == "5"


def test_projecting_twice_changes_nothing(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    for run in plan.runs:
        finish(ledger, run)
        project(projection, run)
    before = [(run.to_dictionary(), points(projection, run)) for run in all_runs(projection)]
    second = again(projection)
    for run in plan.runs:
        assert second.up_to_date(run)
        project(second, run)
        project(projection, run)
    second.parent.tags.clear()
    after = [(run.to_dictionary(), points(projection, run)) for run in all_runs(projection)]
    assert len(after) == 1 + len(plan.runs)
    assert after == before


def test_a_projection_cut_off_before_its_last_word_is_repeated_without_doubling(
    projection: Projection, plan: Plan, ledger: Ledger
) -> None:
    run = plan.runs[-1]
    finish(ledger, run)
    project(projection, run)
    before = points(projection, child_of(projection, run))
    child = projection.find(run.cell.arm, run.key)
    assert child is not None
    for tag in ("records", "annealed_steps", "status"):  # as if the crash had come before they were written
        projection.client.delete_tag(child.run_id, f"gga_sweep.{tag}")
    second = again(projection)
    assert not second.up_to_date(run)
    project(second, run)
    assert points(second, child_of(second, run)) == before


def test_a_growing_run_is_followed_and_only_what_is_new_is_sent(
    projection: Projection, plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan.runs[-1]
    folder = start(ledger, run)
    project(projection, run)
    assert child_of(projection, run).info.status == "RUNNING"
    progress(folder, run, 1)
    project(projection, run)
    progress(folder, run, 2)
    sent: list[tuple[str, int]] = []
    log_batch = MlflowClient.log_batch

    def spy(client: MlflowClient, run_id: str, metrics: Any = (), **others: Any) -> None:
        sent.extend((metric.key, metric.step) for metric in metrics)
        log_batch(client, run_id, metrics=metrics, **others)

    monkeypatch.setattr(MlflowClient, "log_batch", spy)
    project(projection, run)
    assert {step for key, step in sent if key == "val/accuracy"} == {2}
    assert {step for key, step in sent if key == "annealing/tried"} == {1, 2}
    assert child_of(projection, run).info.end_time is None


def test_a_run_that_was_never_started_is_not_shown(projection: Projection, plan: Plan) -> None:
    project(projection, plan.runs[0])
    assert len(all_runs(projection)) == 1  # the parent


def test_a_run_that_failed_before_it_began_is_shown(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    run = plan.runs[0]
    ledger.run(str(run.folder)).mark(RunStatus.FAILED, "no such device")
    project(projection, run)
    assert child_of(projection, run).info.status == "FAILED"
    assert child_of(projection, run).data.tags["gga_sweep.reason"] == "no such device"


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (RunStatus.DONE, "FINISHED"),
        (RunStatus.DIVERGED, "FINISHED"),
        (RunStatus.STOPPED, "FINISHED"),
        (RunStatus.FAILED, "FAILED"),
        (RunStatus.OUT_OF_MEMORY, "FAILED"),
        (RunStatus.PREEMPTED, "KILLED"),
        (RunStatus.RUNNING, "RUNNING"),
    ],
)
def test_every_status_is_shown_in_both_vocabularies(
    status: RunStatus, shown: str, projection: Projection, plan: Plan, ledger: Ledger
) -> None:
    finish(ledger, plan.runs[0], status)
    project(projection, plan.runs[0])
    child = child_of(projection, plan.runs[0])
    assert child.info.status == shown
    assert child.data.tags["gga_sweep.status"] == status


def test_a_failed_run_that_is_taken_up_again_runs_and_ends(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    run = plan.runs[0]
    finish(ledger, run, RunStatus.FAILED, evaluations=1, reason="a disk was full")
    project(projection, run)
    folder = start(ledger, run, start_time=START_TIME + 500)  # the header of the first attempt stays
    second = again(projection)
    project(second, run)
    assert child_of(second, run).info.status == "RUNNING"
    progress(folder, run, 3)
    folder.write_state(RunStatus.DONE, 4)
    project(second, run)
    child = child_of(second, run)
    assert child.info.status == "FINISHED"
    assert child.data.tags["gga_sweep.reason"] == ""
    assert [step for step, _, _ in points(second, child)["val/accuracy"]] == [0, 2, 4]
    assert len(all_runs(second)) == 2


def test_the_duration_is_the_time_the_run_itself_took(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    finish(ledger, plan.runs[0])
    project(projection, plan.runs[0])
    child = child_of(projection, plan.runs[0])
    assert child.info.end_time - child.info.start_time == 2000
    assert child.data.metrics["seconds/training"] == 1.5
    assert child.data.metrics["seconds/evaluation"] == 0.5


def test_selected_values_are_those_of_the_runs_own_best_step(
    projection: Projection, plan: Plan, ledger: Ledger
) -> None:
    run = plan.runs[0]
    finish(ledger, run)
    project(projection, run)
    metrics = child_of(projection, run).data.metrics
    best = invented_record(run, 2)
    assert metrics["selected/step"] == 2
    assert metrics["selected/val_accuracy"] == best.validation.accuracy
    assert metrics["selected/test_accuracy"] == best.test.domains["0"].train.accuracy
    assert metrics["val/accuracy"] == invented_record(run, 4).validation.accuracy  # the last, which is not selected


def test_a_running_run_has_no_selected_values(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    progress(start(ledger, plan.runs[0]), plan.runs[0], 2)
    project(projection, plan.runs[0])
    assert not any(key.startswith("selected/") for key in child_of(projection, plan.runs[0]).data.metrics)


def test_a_final_run_without_a_finite_validation_has_no_selected_values(
    projection: Projection, plan: Plan, ledger: Ledger
) -> None:
    finish(ledger, plan.runs[0], RunStatus.DIVERGED, evaluations=0)
    project(projection, plan.runs[0])
    assert not any(key.startswith("selected/") for key in child_of(projection, plan.runs[0]).data.metrics)


def test_infinite_values_are_shown_as_nan(client: MlflowClient) -> None:
    values = {"val/loss": math.inf, "train/loss": -math.inf, "val/accuracy": math.nan, "step": 3.0}
    metrics = tracked_run.metrics_at(values, 3, START_TIME)
    assert [math.isnan(metric.value) for metric in metrics] == [True, True, True, False]


def test_an_annealed_run_over_six_domains_has_42_metrics(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    run = plan.runs[-1]
    finish(ledger, run).add_timing(4, {"search": 1.0, "diagnostics": 1.0})
    project(projection, run)
    assert len(child_of(projection, run).data.metrics) == 42


def test_two_arms_that_came_out_equal_share_a_folder_and_are_two_children(storage: Path, client: MlflowClient) -> None:
    arms = [{"algorithm": "ERM", "name": "one"}, {"algorithm": "ERM", "name": "two"}]
    plan = invented_plan(storage, arms=arms, defaults={})
    first, second = plan.runs[0], plan.runs[4]
    assert (first.folder, first.cell.arm, second.cell.arm) == (second.folder, "one", "two")
    ledger = Ledger(plan.sweep.folder)
    projection = Projection(client, plan.sweep, ledger, START_TIME)
    finish(ledger, first)
    for run in (first, second):
        project(projection, run)
    assert child_of(projection, first).data.params["arm"] == "one"
    assert child_of(projection, second).data.params["arm"] == "two"


def test_a_run_that_gains_a_draw_number_keeps_its_parameters(storage: Path, client: MlflowClient) -> None:
    grown = {"search_space": {"lr": {"choice": [1e-3]}}}
    short, long = invented_plan(storage, draws=1, **grown), invented_plan(storage, draws=3, **grown)
    ledger = Ledger(short.sweep.folder)
    finish(ledger, short.runs[0])
    projection = Projection(client, short.sweep, ledger, START_TIME)
    project(projection, short.runs[0])
    later = again(projection, sweep=long.sweep)
    assert long.runs[0].draws == (0, 1, 2)
    assert not later.up_to_date(long.runs[0])
    project(later, long.runs[0])
    child = child_of(later, long.runs[0])
    assert child.info.run_name == "ERM · test 0 · seed 0 · draws 0, 1, 2"
    assert (child.data.tags["gga_sweep.draw"], child.data.tags["gga_sweep.draws"]) == ("2", "0, 1, 2")
    assert child.data.params["draw"] == "0"
    assert again(projection, sweep=long.sweep).up_to_date(long.runs[0])


def test_children_are_found_page_by_page(
    projection: Projection, plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in plan.runs:
        finish(ledger, run)
        project(projection, run)
    monkeypatch.setattr(tracked_run, "_RUNS_A_PAGE", 3)
    assert again(projection).runs.keys() == projection.runs.keys()
    assert len(plan.runs) == 8


def test_many_metrics_are_sent_in_several_batches(
    projection: Projection, plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracked_run, "_METRICS_A_BATCH", 7)
    run = plan.runs[-1]
    finish(ledger, run)
    project(projection, run)
    assert len(points(projection, child_of(projection, run))["val/accuracy"]) == 3
    assert child_of(projection, run).data.tags["gga_sweep.records"] == "3"


def test_the_sweep_file_hangs_on_the_parent_and_can_be_run_again(projection: Projection, plan: Plan) -> None:
    for _ in range(2):
        projection.write_sweep_file()
    path = Path(projection.client.download_artifacts(projection.parent.run_id, "sweep.yaml"))
    assert SweepConfig.model_validate(yaml.safe_load(path.read_text())) == plan.sweep.config


def test_artifacts_lie_in_the_sweeps_folder(projection: Projection, plan: Plan) -> None:
    projection.write_sweep_file()
    folder = plan.sweep.folder / "mlflow-artifacts" / projection.parent.run_id
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["sweep.yaml"]


def test_a_ledger_begun_anew_in_the_same_place_gets_a_parent_of_its_own(projection: Projection, plan: Plan) -> None:
    projection.ledger.store.delete("tracking-id")  # as if the folder had been removed
    second = again(projection)
    assert second.experiment_id == projection.experiment_id
    assert second.parent.run_id != projection.parent.run_id
    assert again(second).parent.run_id == second.parent.run_id
