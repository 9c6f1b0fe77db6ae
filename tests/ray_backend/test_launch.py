from __future__ import annotations

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image
from ray.air._internal import usage
from ray.tune.schedulers import FIFOScheduler
from rich.console import Console
from small_sweep import small_sweep, train_without_ray

import gga_sweep
from gga_sweep.execution.replay import compare, replay
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ray_backend.fifo import FIFO
from gga_sweep.records import RunStatus
from gga_sweep.tracking.sole_writer import SoleWriter

pytestmark = pytest.mark.usefixtures("local_ray", "quick_launches")


def launch(storage: Path, **fields: Any) -> gga_sweep.SweepResult:
    return gga_sweep.run_sweep(gga_sweep.load(small_sweep(**fields), storage=storage))


def attempts(result: gga_sweep.SweepResult) -> dict[str, int]:
    return {run.folder: result.ledger.run(run.folder).newest_attempt() for run in result.records}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, local_ray: None, quick_launches: None) -> gga_sweep.SweepResult:
    """Two arms, two test domains, two draws."""
    return launch(
        tmp_path_factory.mktemp("swept"),
        test_domains=["north", "south"],
        draws=2,
        search_space={"lr": {"loguniform": [1e-3, 1e-1]}},
    )


def test_every_run_of_the_plan_is_trained_and_takes_part_in_selection(swept: gga_sweep.SweepResult) -> None:
    assert len(swept.records) == 8
    assert {run.status for run in swept.records} == {RunStatus.DONE}
    assert [record.step for record in swept.records[0].records] == [0, 3, 6]
    assert len(swept.selected()) == 4
    assert not swept.table().incomplete


def test_every_run_replayed_outside_ray_has_the_same_bytes(swept: gga_sweep.SweepResult, tmp_path: Path) -> None:
    """Neither the order of runs, nor the reuse of actors, nor other arms change them."""
    sweep = swept.plan.sweep
    for number, run in enumerate(swept.records[::3]):
        folder, _ = replay(sweep, run.key, tmp_path / str(number), show=lambda progress: None)
        assert compare(folder, sweep) == {"records.jsonl": True, "annealing.jsonl": True, "selected": True}


def test_mlflow_shows_parent_children_and_summaries(swept: gga_sweep.SweepResult) -> None:
    assert swept.tracked
    client = MlflowClient(swept.tracking_uri)
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    roles = [run.data.tags["gga_sweep.role"] for run in runs]
    assert (roles.count("sweep"), roles.count("run"), roles.count("summary")) == (1, 8, 6)
    child = next(run for run in runs if run.data.tags["gga_sweep.role"] == "run")
    record = next(run for run in swept.records if run.key == child.data.tags["gga_sweep.key"]).records[-1]
    assert child.data.metrics["val/accuracy"] == record.validation.accuracy


def test_the_report_is_written_to_the_sweeps_folder(swept: gga_sweep.SweepResult) -> None:
    table = json.loads(swept.paths["json"].read_text())
    assert table["sweep"] == "small"
    assert "<html" in swept.paths["html"].read_text()


def test_launching_again_trains_nothing_and_selects_the_same(swept: gga_sweep.SweepResult) -> None:
    before = attempts(swept)
    again = gga_sweep.run_sweep(swept.plan.sweep)
    assert attempts(again) == before
    assert again.table() == swept.table()


def test_a_first_launch_decodes_images_and_a_second_extends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each prints before it trains; and the first run, which the second does not train again.

    Importing MLflow waits until the first run has reported, and Ray does not import it to count callbacks.
    """
    for index in range(24):
        folder = tmp_path / "tree" / "abc"[index % 3] / ("cat", "dog")[index // 3 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((20, 30), 10 * index).save(folder / f"{index}.png")
    fields = {
        "dataset": {"name": "ImageFolder", "root": str(tmp_path / "tree"), "image_size": 16},
        "test_domains": ["a"],
        "arms": [{"algorithm": "ERM"}],
        "training": {"steps": 2, "evaluate_every": 1, "augmentation": "domainbed-batched"},
    }
    ledger = Ledger(tmp_path / "storage" / "small")
    evaluated: list[int] = []
    counted: list[object] = []
    take = SoleWriter.take

    def take_and_count(self: SoleWriter) -> bool:
        evaluated.append(sum(len(run.records) for run in ledger.read_results(ledger.run_names()).values()))
        return take(self)

    monkeypatch.setattr(SoleWriter, "take", take_and_count)
    monkeypatch.setattr(usage, "_count_callbacks", counted.append)
    printed, results = [], []
    for seeds in ([0], [0, 1]):
        console = Console(file=io.StringIO(), width=200)
        sweep = gga_sweep.load(small_sweep(**fields, trial_seeds=seeds), storage=tmp_path / "storage")
        with console.capture() as captured:
            results.append(gga_sweep.run_sweep(sweep, console=console))
        printed.append(captured.get().splitlines())
    assert printed[0][:2] == [
        f"small: looking for finished runs in {tmp_path / 'storage' / 'small'} ...",
        "small: 1 of 1 run left to train.",
    ]
    assert printed[0][2] == "Loading Ray ..."
    assert re.fullmatch(r"Decoded 24 images in \d+ s\.", printed[0][3])
    assert printed[0][4:6] == [
        "Starting Ray ...",
        "The time left is not known yet: no run is done.",
    ]
    assert printed[0][-1] == "Writing the report and updating MLflow ..."
    assert "small: 1 of 2 runs left to train." in printed[1]
    assert any(re.fullmatch(r"About \S+ device-\w+ left: .* with 1 run at once\.", line) for line in printed[1])
    first, second = results
    assert any("whole minibatches in float32" in deviation for deviation in first.report.table.deviations)
    assert [(run.cell.trial_seed, run.status) for run in second.records] == [(0, "DONE"), (1, "DONE")]
    assert second.records[0].records == first.records[0].records
    assert set(attempts(second).values()) == {1}
    assert first.tracked
    assert second.tracked
    assert evaluated[0] > 0
    assert counted == []


def test_a_file_that_changed_under_its_name_is_refused_unless_allowed(tmp_path: Path) -> None:
    train_without_ray(gga_sweep.load(small_sweep(arms=[{"algorithm": "ERM"}]), storage=tmp_path))
    changed = small_sweep(arms=[{"algorithm": "ERM"}], training={"steps": 4, "evaluate_every": 3})
    sweep = gga_sweep.load(changed, storage=tmp_path)
    with pytest.raises(gga_sweep.InputError, match=r"training: changed since .* got .*'steps': 4"):
        gga_sweep.run_sweep(sweep)
    result = gga_sweep.run_sweep(sweep, gga_sweep.LaunchOptions(allow_change=True))
    assert [record.step for record in result.records[0].records] == [0, 3]
    assert any("outside the present plan" in note for note in result.table().notes)


def test_a_failed_run_stops_the_launch_on_request_and_is_retried_by_the_next(tmp_path: Path, orders: Path) -> None:
    arms = [{"algorithm": "small_sweep:Fragile"}, {"algorithm": "ERM"}]
    sweep = gga_sweep.load(small_sweep(arms=arms, trial_seeds=[0, 1]), storage=tmp_path)
    orders.write_text("raise")
    stopped = gga_sweep.run_sweep(sweep, gga_sweep.LaunchOptions(on_error="stop"))
    assert str(stopped.stopped).endswith("failed: RuntimeError: told to fail (--on-error stop)")
    assert len(stopped.failed) < 2

    continued = gga_sweep.run_sweep(sweep)
    assert continued.stopped is None
    assert [run.reason for run in continued.failed] == 2 * ["RuntimeError: told to fail"]
    assert continued.table().incomplete
    before, failed = attempts(continued), {run.folder for run in continued.failed}

    orders.unlink()
    repaired = gga_sweep.run_sweep(sweep)
    assert {run.status for run in repaired.records} == {RunStatus.DONE}
    assert attempts(repaired) == {name: number + (name in failed) for name, number in before.items()}


def test_a_run_out_of_memory_is_trained_again_alone(tmp_path: Path, orders: Path) -> None:
    orders.write_text("out of memory")
    result = launch(tmp_path, arms=[{"algorithm": "small_sweep:Fragile"}])
    assert result.records[0].status is RunStatus.DONE
    assert attempts(result) == {result.records[0].folder: 2}


def test_a_run_whose_actor_dies_resumes_to_the_same_bits(
    tmp_path: Path, orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step, the trial to start is the one that Tune's own scheduler would choose."""
    agreed: list[bool] = []
    choose = FIFO.choose_trial_to_run

    def compared(self: FIFO, controller: Any) -> Any:
        chosen = choose(self, controller)
        agreed.append(chosen is FIFOScheduler.choose_trial_to_run(self, controller))
        return chosen

    monkeypatch.setattr(FIFO, "choose_trial_to_run", compared)
    orders.write_text("die")
    result = launch(tmp_path, arms=[{"algorithm": "small_sweep:Fragile"}], trial_seeds=[0, 1, 2])
    assert not orders.exists()  # it did die
    assert {run.status for run in result.records} == {RunStatus.DONE}
    assert sorted(attempts(result).values()) == [1, 1, 2]
    [died] = [run for run in result.records if attempts(result)[run.folder] == 2]
    folder, _ = replay(result.plan.sweep, died.key, tmp_path / "replay", show=lambda progress: None)
    assert set((compare(folder, result.plan.sweep) or {}).values()) == {True}
    assert len(agreed) > 3
    assert all(agreed)


def test_two_equal_arms_share_one_run(tmp_path: Path) -> None:
    arms = [{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "the same again"}]
    sweep = gga_sweep.load(small_sweep(arms=arms), storage=tmp_path)
    assert len(train_without_ray(sweep)) == 1
    result = gga_sweep.run_sweep(sweep)
    assert [row.arm for row in result.table().rows] == ["ERM", "the same again"]
    assert result.table().rows[0].entries == result.table().rows[1].entries


def test_launches_in_two_threads_train_each_its_own_runs(tmp_path: Path) -> None:
    arms = [{"algorithm": "ERM"}]
    sweeps = [gga_sweep.load(small_sweep(name, arms=arms), storage=tmp_path) for name in ("one", "other")]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(gga_sweep.run_sweep, sweeps))
    assert [[run.status for run in result.records] for result in results] == [[RunStatus.DONE]] * 2
    assert [list(attempts(result).values()) for result in results] == [[1], [1]]


def test_a_second_live_launch_is_refused(tmp_path: Path) -> None:
    sweep = gga_sweep.load(small_sweep(), storage=tmp_path)
    with held(Ledger(sweep.folder).store), pytest.raises(gga_sweep.SweepOwnedError, match="another launch owns"):
        gga_sweep.run_sweep(sweep)


def test_a_module_that_workers_lack_is_named_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("from small_sweep import Fragile\n")
    monkeypatch.syspath_prepend(tmp_path)
    rule = r"arms\[0\]\.algorithm: cannot be imported on .* \(ModuleNotFoundError: No module named 'only_here'\)"
    with pytest.raises(gga_sweep.InputError, match=rule):
        launch(tmp_path / "results", arms=[{"algorithm": "only_here:Fragile"}])
    assert Ledger(tmp_path / "results" / "small").run_names() == []
