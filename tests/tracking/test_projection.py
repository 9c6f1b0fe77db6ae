"""What MLflow shows of a ledger."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import yaml
from invented_ledger import (
    ANNEALED_ARM,
    CONTENTS,
    GGA_L_ARM,
    START_TIME,
    finish,
    invented_noisy_step,
    invented_plan,
    invented_record,
    progress,
    show,
    start,
)
from memory_store import MemoryStore
from tracked_sweep import TrackedSweep

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import Averaged, RunStatus
from gga_sweep.spec import Plan
from gga_sweep.spec.models import SweepConfig
from gga_sweep.tracking import names, points, tracked_run
from gga_sweep.tracking.changes import Changes
from gga_sweep.tracking.descriptions import varied_params
from gga_sweep.tracking.mlflow_api import MlflowClient
from gga_sweep.tracking.projection import Projection


def tags_of_ours(tags: dict[str, str]) -> dict[str, str]:
    return {key.removeprefix(names.PREFIX): value for key, value in tags.items() if key.startswith(names.PREFIX)}


# Names, tags and parameters


def test_a_run_is_a_child_of_the_sweep_with_flat_tags(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[-1]
    tracked.finish(run)
    projection = tracked.project(run)
    tags = tracked.child(run).tags
    assert tags["mlflow.parentRunId"] == projection.parent.run_id
    assert tags["mlflow.runName"] == "ERM + GGA · test 75 · seed 0 · draw 1"
    ours = tags_of_ours(tags)
    assert len(ours.pop("logged")) == 32
    assert ours.pop("ledger") == projection.parent.tags["gga_sweep.ledger"]
    assert ours == {
        "role": "run",
        "sweep": "demo",
        "dataset": "RotatedDigits",
        "protocol": "quick",
        "metric": "accuracy",
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
        "attempt": "1",
    }


def test_the_parent_describes_the_sweep_and_starts_with_its_first_run(tracked: TrackedSweep) -> None:
    for number, run in enumerate(tracked.plan.runs[:2]):
        start(tracked.ledger, run, START_TIME + 100 - number)
    tracked.open()
    [parent] = tracked.runs("sweep")
    assert parent.status == "RUNNING"
    assert parent.start_time == int((START_TIME + 99) * 1000)
    assert parent.tags["mlflow.runName"] == "demo"
    assert parent.tags["gga_sweep.protocol"] == "quick"


def test_the_parameters_are_all_that_decides_a_run(tracked: TrackedSweep) -> None:
    plain, annealed = tracked.plan.runs[0], tracked.plan.runs[-1]
    tracked.finish(plain, annealed)
    tracked.project(plain, annealed)
    params = tracked.child(annealed).params
    assert params["lr"] == str(annealed.config.hyperparameters["lr"])
    assert params["annealing.method"] == "gga"
    assert params["annealing.radius"] == "0.0001"
    assert params["annealing.num_candidates"] == "4"
    assert params["training.freeze_batch_norm"] == "true"
    assert (params["arm"], params["draw"], params["trial_seed"]) == ("ERM + GGA", "1", "0")
    assert params["test_domains"] == "75"
    assert "training.weights" not in params  # there are none
    of_plain = tracked.child(plain).params
    assert {name: of_plain[name] for name in of_plain if name.startswith("annealing.")} == {"annealing.method": "none"}
    assert "gga_sweep.annealing" not in tracked.child(plain).tags


def test_the_varied_parameters_are_those_by_which_arms_differ(storage: Path) -> None:
    assert varied_params(invented_plan(storage).runs) == ["annealing.method"]
    arms = [
        {**ANNEALED_ARM, "name": name, "annealing": {"radius": radius}} for name, radius in (("a", 1e-4), ("b", 1e-3))
    ]
    assert varied_params(invented_plan(storage, arms=arms).runs) == ["annealing.radius"]


def test_tag_and_parameter_have_the_draw_number_of_the_tables(storage: Path, store: MemoryStore) -> None:
    grown = {"search_space": {"lr": {"choice": [1e-3]}}}
    short = TrackedSweep(invented_plan(storage, draws=1, **grown), store)
    long = TrackedSweep(invented_plan(storage, draws=3, **grown), store)
    first, same = short.plan.runs[0], long.plan.runs[0]
    short.finish(first)
    short.project(first)
    assert (first.draws, same.draws) == ((0,), (0, 1, 2))
    assert not long.open().is_complete(same)
    assert long.project(same).is_complete(same)
    child = long.child(same)  # a parameter cannot change: it was logged anew
    assert child.tags["mlflow.runName"] == "ERM · test 0 · seed 0 · draws 0, 1, 2"
    assert child.tags["gga_sweep.draws"] == "0, 1, 2"
    assert child.tags["gga_sweep.draw"] == child.params["draw"] == str(long.report.table.selected[0].draw) == "2"


def test_the_inputs_of_a_run_are_its_splits(tracked: TrackedSweep) -> None:
    first, other = tracked.plan.runs[0], tracked.plan.runs[-1]
    tracked.finish(first, other)
    tracked.project(first, other)
    inputs = tracked.child(first).inputs
    profiles = dict(inputs.values())
    assert profiles.keys() == {"train", "validation", "test"}
    assert profiles["train"]["domains"] == profiles["validation"]["domains"] == ["15", "30", "45", "60", "75"]
    assert profiles["test"]["domains"] == ["0"]
    assert {profile["dataset_digest"] for profile in profiles.values()} == {CONTENTS.dataset}
    assert {name for name, _ in inputs} == {"RotatedDigits"}
    assert not inputs.keys() & tracked.child(other).inputs.keys()  # it is tested on another domain
    assert all(len(digest) <= 36 for _, digest in inputs)


def test_a_real_store_shows_the_inputs_of_a_run(plan: Plan, ledger: Ledger, uri: str) -> None:
    finish(ledger, plan.runs[0])
    projection = Projection(MlflowClient(uri), plan.sweep, ledger)
    show(projection, plan.runs[0], ledger)
    [child] = projection.runs.values()
    shown = MlflowClient(uri).get_run(child.run_id).inputs.dataset_inputs
    assert {tag.value for each in shown for tag in each.tags} == {"train", "validation", "test"}
    assert len({each.dataset.digest for each in shown}) == 3


def test_two_arms_that_came_out_equal_share_a_folder_and_are_two_children(storage: Path, store: MemoryStore) -> None:
    arms = [{"algorithm": "ERM", "name": "one"}, {"algorithm": "ERM", "name": "two"}]
    tracked = TrackedSweep(invented_plan(storage, arms=arms, defaults={}), store)
    first, second = tracked.plan.runs[0], tracked.plan.runs[4]
    assert (first.folder, first.cell.arm, second.cell.arm) == (second.folder, "one", "two")
    tracked.finish(first)
    tracked.project(first, second)
    assert tracked.child(first).params["arm"] == "one"
    assert tracked.child(second).params["arm"] == "two"


# Metrics


def test_points_stand_at_their_steps_at_the_start_plus_a_second_a_step(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[-1]
    tracked.finish(run)
    tracked.project(run)
    shown, first = tracked.points(run), int(START_TIME * 1000)
    assert [(step, time - first) for step, _, time in shown["val/accuracy"]] == [(0, 0), (2, 2000), (4, 4000)]
    assert [value for _, value, _ in shown["test/accuracy/75"]] == [
        invented_record(run, step).test.domains["75"].train.accuracy for step in (0, 2, 4)
    ]
    assert [step for step, _, _ in shown["annealing/alignment_after"]] == [1, 2, 3]


@pytest.mark.parametrize("requested", [True, False])
def test_measurements_of_the_machine_are_points_once_the_run_has_ended(
    requested: bool, storage: Path, store: MemoryStore
) -> None:
    tracked = TrackedSweep(invented_plan(storage, tracking={"system_metrics": requested}), store)
    run = tracked.plan.runs[0]
    folder, name = start(tracked.ledger, run), "system/cpu_utilization_percentage"
    progress(folder, run, 1)
    for number in range(2):
        folder.add_measurement(START_TIME + 10 * number, {name: 50.5 + number})
    tracked.project(run)
    assert name not in tracked.points(run)
    finish(tracked.ledger, run)
    broken = (folder.read_file("system.jsonl") or b"") + b'{"time":1'
    tracked.ledger.store.replace(f"runs/{run.folder}/system.jsonl", broken)
    for _ in range(2):  # a second time sends nothing new
        tracked.project(run)
        first = int(START_TIME * 1000)
        expected = [(0, 50.5, first), (1, 51.5, first + 10_000)]
        assert tracked.points(run).get(name, []) == (expected if requested else [])


def test_a_growing_run_sends_only_what_is_new(tracked: TrackedSweep) -> None:
    run, changes = tracked.plan.runs[-1], Changes()
    folder, projection = start(tracked.ledger, run), tracked.open(changes=changes)
    for evaluations in (0, 1, 2, 2, 3):
        if evaluations:
            progress(folder, run, evaluations)
        tracked.project(run, projection=projection)
        assert changes.points == len(tracked.child(run).points)
    assert (changes.found, changes.written) == (set(), {("ERM + GGA", run.key)})
    assert tracked.child(run).end_time is None


@pytest.fixture
def noisy(storage: Path, store: MemoryStore) -> TrackedSweep:
    """With a run of GGA-L at its end."""
    return TrackedSweep(invented_plan(storage, arms=[{"algorithm": "ERM"}, GGA_L_ARM], defaults={}), store)


def test_a_run_of_gga_l_shows_its_fields_and_the_noise_of_evaluated_steps(noisy: TrackedSweep) -> None:
    run = noisy.plan.runs[-1]
    noisy.finish(run)
    noisy.project(run)
    child, shown = noisy.child(run), noisy.points(run)
    assert child.tags["gga_sweep.annealing"] == "gga-l"
    assert {name: value for name, value in child.params.items() if name.startswith("annealing.")} == {
        "annealing.method": "gga-l",
        "annealing.gamma": "0.01",
        "annealing.noise": "gaussian",
        "annealing.alpha": "adaptive",
        "annealing.domain_gradients": "loop",
    }
    for key, expected in names.noise_metrics(invented_noisy_step(2)).items():
        assert [step for step, _, _ in shown[key]] == [0, 2, 4]
        assert shown[key][1][1] == expected
    assert "annealing/tried" not in shown


def test_the_last_step_is_evaluated_wherever_it_lies(storage: Path, store: MemoryStore) -> None:
    training = {"steps": 5, "evaluate_every": 3}
    plan = invented_plan(storage, arms=[GGA_L_ARM], defaults={}, training=training)
    tracked = TrackedSweep(plan, store)
    tracked.finish(plan.runs[0])
    tracked.project(plan.runs[0])
    assert [step for step, _, _ in tracked.points(plan.runs[0])["annealing/alpha"]] == [0, 3, 4]


def test_noise_written_before_its_evaluation_is_sent_once(noisy: TrackedSweep) -> None:
    run, changes = noisy.plan.runs[-1], Changes()
    folder, projection = start(noisy.ledger, run), noisy.open(changes=changes)
    folder.write_annealed([invented_noisy_step(step) for step in range(3)])  # the record of step 2 is still to come
    noisy.project(run, projection=projection)
    for evaluations in (2, 3):
        progress(folder, run, evaluations)
        noisy.project(run, projection=projection)
    assert [step for step, _, _ in noisy.points(run)["annealing/alpha"]] == [0, 2, 4]
    assert changes.points == len(noisy.child(run).points)


def test_selected_values_are_those_of_the_runs_own_best_step(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    progress(start(tracked.ledger, run), run, 3)
    projection = tracked.project(run)
    assert not any(key.startswith("selected/") for key in tracked.points(run))  # it may still get better
    tracked.finish(run)
    tracked.project(run, projection=projection)
    shown = {key: points[-1][:2] for key, points in tracked.points(run).items()}
    best = invented_record(run, 2)
    assert shown["selected/step"] == (2, 2)
    assert shown["selected/val_accuracy"] == (2, best.validation.accuracy)
    assert shown["selected/test_accuracy"] == (2, best.test.domains["0"].train.accuracy)


def test_a_final_run_without_an_evaluation_has_no_selected_values(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    finish(tracked.ledger, run, RunStatus.DIVERGED, evaluations=0)
    tracked.project(run)
    assert not any(key.startswith("selected/") for key in tracked.points(run))


def test_averaged_weights_have_metrics_of_their_own_once_the_run_is_over(storage: Path, store: MemoryStore) -> None:
    plan = invented_plan(storage, training={"steps": 5, "evaluate_every": 2, "averaging": "swad"})
    tracked, run = TrackedSweep(plan, store), plan.runs[0]
    record, folder = invented_record(run, 4), start(tracked.ledger, run)
    progress(folder, run, 3)
    folder.write_averaged(Averaged(1, 3, 1.25, record), b"weights")
    folder.write_state(RunStatus.RUNNING, 4)
    projection = tracked.project(run)
    assert not any(name.startswith("averaged/") for name in tracked.points(run))
    folder.write_state(RunStatus.DONE, 4)
    tracked.project(run, projection=projection)
    expected = {
        "averaged/val_accuracy": record.validation.accuracy,
        "averaged/val_loss": record.validation.loss,
        "averaged/test_accuracy": record.test.domains["0"].train.accuracy,
        "averaged/first_step": 1,
        "averaged/last_step": 3,
    }
    assert {name: shown for name, shown in tracked.points(run).items() if name.startswith("averaged/")} == {
        name: [(4, value, int((START_TIME + 4) * 1000))] for name, value in expected.items()
    }
    for name, value in {"method": "swad", "n_converge": "3", "n_tolerance": "6", "tolerance_ratio": "0.3"}.items():
        assert tracked.child(run).params[f"training.averaging.{name}"] == value


def test_infinite_values_are_shown_as_nan() -> None:
    values = {"val/loss": math.inf, "train/loss": -math.inf, "val/accuracy": math.nan, "step": 3.0}
    assert [math.isnan(point.value) for point in points.points_at(values, 3, START_TIME)] == [True, True, True, False]


def test_an_annealed_run_over_six_domains_has_42_metrics(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[-1]
    finish(tracked.ledger, run).add_timing(4, {"search": 1.0, "diagnostics": 1.0})
    tracked.project(run)
    assert len(tracked.points(run)) == 42


def test_many_points_are_sent_in_several_requests(tracked: TrackedSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tracked.plan.runs[-1]
    tracked.finish(run)
    tracked.project(run)
    before, requests = tracked.content, tracked.store.requests
    tracked.forget_children()
    monkeypatch.setattr(tracked_run, "_METRICS_A_BATCH", 7)
    tracked.project(run)
    assert tracked.content == before
    assert tracked.store.requests - requests > len(tracked.child(run).points) / 7


# States


def test_a_run_that_was_never_started_is_not_shown(tracked: TrackedSweep) -> None:
    tracked.project(tracked.plan.runs[0])
    assert tracked.runs("run") == []


def test_a_run_that_failed_before_it_began_is_shown(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    tracked.ledger.run(run.folder).mark(RunStatus.FAILED, "no such device")
    tracked.project(run)
    assert tracked.child(run).status == "FAILED"
    assert tracked.child(run).tags["gga_sweep.reason"] == "no such device"


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
def test_every_status_is_shown_in_both_vocabularies(status: RunStatus, shown: str, tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    tracked.finish(run, status=status)
    tracked.project(run)
    assert tracked.child(run).status == shown
    assert tracked.child(run).tags["gga_sweep.status"] == status


def test_a_failed_run_that_is_resumed_runs_and_ends(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    finish(tracked.ledger, run, RunStatus.FAILED, evaluations=1, reason="a disk was full")
    tracked.project(run)
    before = tracked.ids("run")
    folder = start(tracked.ledger, run, start_time=START_TIME + 500)  # the header of the first attempt stays
    projection = tracked.project(run)
    assert tracked.child(run).status == "RUNNING"
    progress(folder, run, 3)
    folder.write_state(RunStatus.DONE, 4)
    tracked.project(run, projection=projection)
    assert tracked.child(run).status == "FINISHED"
    assert tracked.child(run).tags["gga_sweep.reason"] == ""
    assert [step for step, _, _ in tracked.points(run)["val/accuracy"]] == [0, 2, 4]
    assert tracked.ids("run") == before


def test_the_duration_is_the_device_time_of_the_run(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    tracked.finish(run)
    tracked.project(run)
    assert tracked.child(run).end_time - tracked.child(run).start_time == 2000
    assert [tracked.points(run)[key][0][1] for key in ("seconds/training", "seconds/evaluation")] == [1.5, 0.5]


# The sweep


def test_the_sweep_file_is_attached_to_the_parent_and_can_be_run_again(tracked: TrackedSweep) -> None:
    projection = tracked.open()
    projection.write_sweep([])
    text = tracked.store.artifacts[projection.parent.run_id]["sweep.yaml"]
    assert SweepConfig.model_validate(yaml.safe_load(text)) == tracked.plan.sweep.config


def test_a_ledger_begun_anew_in_the_same_place_gets_a_parent_of_its_own(tracked: TrackedSweep) -> None:
    first = tracked.open()
    tracked.ledger.store.delete("tracking-id")  # as if the folder had been removed
    second = tracked.open()
    assert second.experiment_id == first.experiment_id
    assert second.parent.run_id != first.parent.run_id
    assert tracked.open().parent.run_id == second.parent.run_id


def test_a_renamed_copy_of_a_sweep_has_an_experiment_of_its_own(plan: Plan, ledger: Ledger, uri: str) -> None:
    for run in plan.runs:
        finish(ledger, run)
    own = Projection(MlflowClient(uri), plan.sweep, ledger)
    copied = ledger.folder.with_name("kept")
    shutil.copytree(ledger.folder, copied)  # type: ignore[arg-type]
    copy = Projection(MlflowClient(uri), plan.sweep, Ledger(copied))
    assert copy.experiment_id != own.experiment_id
    experiment = MlflowClient(uri).get_experiment(copy.experiment_id)
    assert (experiment.name, experiment.artifact_location) == ("kept", f"{copied.as_uri()}/mlflow-artifacts")


def test_in_a_real_store_children_are_found_page_by_page_and_artifacts_lie_in_the_sweeps_folder(
    plan: Plan, ledger: Ledger, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    projection = Projection(MlflowClient(uri), plan.sweep, ledger)
    for run in plan.runs:
        finish(ledger, run)
        show(projection, run, ledger)
    projection.write_sweep([])
    monkeypatch.setattr(tracked_run, "_RUNS_A_PAGE", 3)
    again = Projection(MlflowClient(uri), plan.sweep, ledger)
    assert again.runs.keys() == projection.runs.keys()
    assert len(plan.runs) == 8
    folder = plan.sweep.folder / "mlflow-artifacts" / projection.parent.run_id  # type: ignore[operator]
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["sweep.yaml"]
