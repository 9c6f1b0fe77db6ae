"""Our ledger as DomainBed would have left it: read again here by a naive reader of its own."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from naive_domainbed import METHODS
from naive_domainbed import choose as choose_naively
from torch import nn
from torchvision import models
from written_ledger import CONTENTS, DOMAINS, GGA, STEPS, files_below, invented_records, planned, write_all, write_run

from gga_sweep.domainbed import export
from gga_sweep.domainbed.export import MARKER, Exported, export_domainbed, written_names
from gga_sweep.errors import InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.searched_runs import keep_searched
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.networks.network import build_network
from gga_sweep.records import RunStatus, Scalar
from gga_sweep.report.collect import collect
from gga_sweep.selection import build_table, select
from gga_sweep.spec import Plan, PlannedRun, SweepSpec, load, searched_run
from gga_sweep.training.checkpoint import dump_weights, parse_weights

Line = dict[str, Any]


def exported(plan: Plan, out: Path, models: bool = False) -> Exported:
    return export_domainbed(plan.sweep.folder, out, models)


def planned_and_exported(tmp_path: Path, **changes: Any) -> tuple[Plan, Exported]:
    """A sweep whose runs are all done, exported to `out`."""
    plan = planned(tmp_path / "storage", **changes)
    write_all(plan)
    return plan, exported(plan, tmp_path / "out")


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Exported]:
    """The sweep of `planned`, exported; not to be changed."""
    return planned_and_exported(tmp_path_factory.mktemp("default"))


def read_runs(out: Path) -> dict[Path, list[Line]]:
    """The records of each folder, as DomainBed loads them: DIR/*/results.jsonl, whatever else lies there."""
    return {
        file.parent: [json.loads(line) for line in file.read_text().splitlines()]
        for file in sorted(out.glob("*/results.jsonl"))
    }


def read_tree(out: Path) -> list[Line]:
    return [line for lines in read_runs(out).values() for line in lines]


def written_run(out: Path, run: PlannedRun, algorithm: str | None = None) -> tuple[Path, list[Line]]:
    """The folder and lines of a run of the plan, found by what names it."""
    wanted = {
        "algorithm": algorithm or run.cell.arm,
        "trial_seed": run.cell.trial_seed,
        "hparams_seed": max(run.draws),
        "test_envs": sorted(DOMAINS.index(name) for name in run.cell.test_domains),
    }
    found = [item for item in read_runs(out).items() if wanted.items() <= item[1][0]["args"].items()]
    assert len(found) == 1
    return found[0]


def domainbed_table(lines: list[Line], method: str) -> dict[tuple[str, int], list[float]]:
    """(algorithm, test env) -> accuracies in [0, 1] of the runs that DomainBed selects, one a trial seed."""
    table = defaultdict(list)
    for (_, algorithm, test_env, _), (*_, accuracy) in sorted(choose_naively(lines, method).items()):
        table[algorithm, test_env].append(accuracy)
    return dict(table)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(2))
def test_domainbeds_selection_finds_the_numbers_of_our_table_ties_included(
    tmp_path: Path, seed: int, method: str
) -> None:
    selection = ["training-domain-validation", method] if method == "oracle" else [method]
    plan = planned(tmp_path / "storage", trial_seeds=[0, 4], draws=2, selection=selection)
    assert any(len(run.cell.test_domains) == 2 for run in plan.runs) == (method == "leave-one-domain-out")
    ledger = write_all(plan, seed, values=(0.25, 0.5, 0.75) if seed % 2 else None)
    exported(plan, tmp_path / "out")
    theirs = domainbed_table(read_tree(tmp_path / "out"), method)
    ours = build_table(collect(plan, ledger), method)
    assert len(theirs) == 4
    for row in ours.rows:
        for entry, test_env in zip(row.entries, (0, 5), strict=True):
            one, other = theirs[row.arm, test_env]
            assert entry.mean == pytest.approx((one + other) / 2, abs=1e-12)
            assert entry.standard_error == pytest.approx(abs(one - other) / 2 / math.sqrt(2), abs=1e-12)


def test_every_evaluation_is_a_line_with_the_accuracies_of_all_domains(default: tuple[Plan, Exported]) -> None:
    plan, result = default
    assert (result.runs, result.records, result.models) == (8, 24, 0)
    keys = {f"env{index}_{split}_acc" for index in range(6) for split in ("in", "out")}
    keys |= {"args", "hparams", "step", "epoch", "loss", "step_time", "mem_gb"}
    lines = read_tree(result.folder)
    assert len(lines) == 24
    assert all(line.keys() == keys for line in lines)
    for run in plan.runs:
        folder, lines = written_run(result.folder, run)
        records = Ledger(plan.sweep.folder).run(run.folder).read_records()
        assert [line["step"] for line in lines] == list(STEPS)
        for line, record in zip(lines, records, strict=True):
            for index, name in enumerate(DOMAINS):
                tested = name in run.cell.test_domains
                scores = (record.test.domains if tested else record.validation.domains)[name]
                assert line[f"env{index}_in_acc"] == scores.train.accuracy
                assert line[f"env{index}_out_acc"] == scores.validation.accuracy
            assert (line["loss"], line["mem_gb"]) == (1.5, 0)
            assert line["hparams"] == lines[0]["hparams"]
        written = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
        assert (folder / "results.jsonl").read_text() == written


def test_the_arguments_are_those_of_domainbeds_training(tmp_path: Path) -> None:
    training = {"steps": 5, "evaluate_every": 2, "holdout": 0.25}
    plan, _ = planned_and_exported(tmp_path, trial_seeds=[3], training=training)
    folder, lines = written_run(tmp_path / "out", plan.runs[3])
    args = lines[-1]["args"]
    seed = int(hashlib.md5(b"('RotatedDigits', 'ERM', [5], 1, 3)").hexdigest(), 16) % 2**31
    assert args.pop("hparams") == json.dumps(lines[-1]["hparams"], sort_keys=True)
    assert args == {
        "algorithm": "ERM",
        "checkpoint_freq": 2,
        "data_dir": None,
        "dataset": "RotatedDigits",
        "holdout_fraction": 0.25,
        "hparams_seed": 1,
        "output_dir": str(folder),
        "save_model_every_checkpoint": False,
        "seed": seed,
        "skip_model_save": True,
        "steps": 5,
        "task": "domain_generalization",
        "test_envs": [5],
        "trial_seed": 3,
        "uda_holdout_fraction": 0,
    }


def test_a_folder_is_named_by_the_arguments_its_launcher_would_know(default: tuple[Plan, Exported]) -> None:
    by_training = ("checkpoint_freq", "output_dir", "uda_holdout_fraction")
    by_training += ("skip_model_save", "save_model_every_checkpoint")
    runs = read_runs(default[1].folder)
    assert len(runs) == 8
    for folder, [line, *_] in runs.items():
        known = {name: value for name, value in line["args"].items() if name not in by_training}
        assert folder.name == hashlib.md5(json.dumps(known, sort_keys=True).encode()).hexdigest()


def test_where_a_tree_is_written_does_not_name_its_folders(tmp_path: Path) -> None:
    plan = planned(tmp_path / "storage")
    write_all(plan)
    for name in ("one", "other"):
        exported(plan, tmp_path / name)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(
        path.name for path in (tmp_path / "other").iterdir()
    )


def test_hyperparameters_go_by_domainbeds_names_and_the_annealings_are_prefixed(tmp_path: Path) -> None:
    defaults = {"lr": 2e-3, "batch_size": 16, "weight_decay": 1e-4, "dropout": 0.1}
    plan, _ = planned_and_exported(tmp_path, defaults=defaults, search_space={}, draws=1)
    plain = written_run(tmp_path / "out", plan.runs[0])[1][0]["hparams"]
    assert plain == {
        "lr": 2e-3,
        "batch_size": 16,
        "weight_decay": 1e-4,
        "resnet_dropout": 0.1,
        "network": "small-cnn",
        "resnet18": False,
        "freeze_bn": True,
        "data_augmentation": False,
        "class_balanced": False,
        "nonlinear_classifier": False,
        "resnet50_augmix": False,
        "vit": False,
    }
    annealed = written_run(tmp_path / "out", plan.runs[-1])[1][0]["hparams"]
    ours = {name: value for name, value in annealed.items() if name not in plain}
    assert ours["annealing.method"] == "gga"
    assert (ours["annealing.radius"], ours["annealing.num_candidates"]) == (1e-4, 3)
    assert all(name.startswith("annealing.") for name in ours)
    assert {name: annealed[name] for name in plain} == plain


@pytest.mark.parametrize(
    ("algorithm", "hparams"),
    [
        ("ANDMask", {"tau": 1.0}),
        ("Fish", {"meta_lr": 0.5}),
        ("MLDG", {"mldg_beta": 1.0, "n_meta_test": 2}),
        ("Fishr", {"lambda": 1000.0, "penalty_anneal_iters": 1500, "ema": 0.95}),
        ("ERMPlusPlus", {"linear_steps": 500, "linear_lr": 5e-5, "ermpp_average_from": 600}),
        ("GSAM", {"rho": 0.05, "alpha": 0.001}),
        ("SAGM", {"rho": 0.05, "alpha": 0.001}),
        ("IRM", {"irm_lambda": 100.0, "irm_penalty_anneal_iters": 500}),
    ],
)
def test_an_algorithms_own_hyperparameters_go_by_domainbeds_names(
    tmp_path: Path, algorithm: str, hparams: dict[str, Scalar]
) -> None:
    arms = [{"algorithm": "ERM"}, {"algorithm": algorithm}]
    plan, _ = planned_and_exported(tmp_path, arms=arms, search_space={}, draws=1)
    plain, own = (written_run(tmp_path / "out", plan.runs[i])[1][0]["hparams"] for i in (0, -1))
    assert {name: value for name, value in own.items() if name not in plain} == hparams


def coloured(storage: Path, algorithm: str = "ERM", **training: Any) -> tuple[Plan, PlannedRun]:
    """One run on images of three channels, which a ResNet can take."""
    plan = planned(
        storage,
        dataset={"name": "ColoredDigits"},
        arms=[{"algorithm": algorithm}],
        test_domains=["10"],
        draws=1,
        training={"steps": 5, "evaluate_every": 2, **training},
    )
    [run] = plan.runs
    records = invented_records(run, lambda *_: 0.5, domains=("90", "80", "10"))
    write_run(Ledger(plan.sweep.folder), run, records, input_shape=(3, 28, 28))
    return plan, run


@pytest.mark.parametrize("augmentation", ["domainbed", "domainbed-batched"])
def test_the_switches_of_the_training_are_among_the_hyperparameters(augmentation: str, tmp_path: Path) -> None:
    switches = {"network": "resnet18", "freeze_batch_norm": False, "augmentation": augmentation}
    plan, _ = coloured(tmp_path / "storage", **switches)
    exported(plan, tmp_path / "out")
    for line in read_tree(tmp_path / "out"):
        assert line["args"]["test_envs"] == [2]
        hparams = line["hparams"]
        assert (hparams["resnet18"], hparams["freeze_bn"], hparams["data_augmentation"]) == (True, False, True)


def test_an_epoch_is_the_smallest_training_split_over_the_batch(tmp_path: Path) -> None:
    training = {"steps": 5, "evaluate_every": 2, "holdout": 0.201}
    plan, _ = planned_and_exported(tmp_path, defaults={"batch_size": 16}, training=training)
    splits = [size - int(0.201 * size) for size in plan.sweep.dataset.domain_sizes.values()]
    assert set(splits) == {239, 240}
    assert {line["step"]: line["epoch"] for line in read_tree(tmp_path / "out")} == {
        step: step / (239 / 16) for step in STEPS
    }


def test_a_steps_time_counts_training_and_search_but_no_diagnostics(tmp_path: Path) -> None:
    plan = planned(tmp_path / "storage")
    ledger = Ledger(plan.sweep.folder)
    seconds = {"training": 2.0, "search": 8.0, "diagnostics": 100.0, "evaluation": 1000.0}
    write_run(ledger, plan.runs[0], invented_records(plan.runs[0], lambda *_: 0.5), seconds=seconds)
    write_run(ledger, plan.runs[1], invented_records(plan.runs[1], lambda *_: 0.5))
    exported(plan, tmp_path / "out")
    assert [line["step_time"] for line in written_run(tmp_path / "out", plan.runs[0])[1]] == [2.0] * 3
    untimed = [line["step_time"] for line in written_run(tmp_path / "out", plan.runs[1])[1]]
    assert all(math.isnan(value) for value in untimed)


def test_nan_is_written_as_pythons_json_writes_it(tmp_path: Path) -> None:
    plan = planned(tmp_path / "storage")
    run = plan.runs[0]
    write_run(Ledger(plan.sweep.folder), run, invented_records(run, lambda *_: math.nan, batch_loss=math.nan))
    exported(plan, tmp_path / "out")
    folder, [first, *_] = written_run(tmp_path / "out", run)
    assert '"loss": NaN' in (folder / "results.jsonl").read_text()
    assert math.isnan(first["loss"])
    assert math.isnan(first["env3_out_acc"])


@pytest.mark.parametrize("status", list(RunStatus))
def test_only_a_run_that_is_done_has_the_file_done(tmp_path: Path, status: RunStatus) -> None:
    plan = planned(tmp_path / "storage")
    run = plan.runs[0]
    write_run(Ledger(plan.sweep.folder), run, invented_records(run, lambda *_: 0.5, steps=(0, 2)), status)
    result = exported(plan, tmp_path / "out")
    folder, lines = written_run(tmp_path / "out", run)
    assert len(lines) == 2
    if status is RunStatus.DONE:
        assert (folder / "done").read_text() == "done"
    else:
        assert not (folder / "done").exists()
        told = f"Written without `done`: 1 run ({status.value.lower().replace('_', ' ')}: 1)."
        assert [remark for remark in result.remarks if remark.startswith(told)]
    final = "DONE", "DIVERGED", "STOPPED"
    assert any("not final" in remark for remark in result.remarks) == (status.value not in final)


def test_a_run_that_was_never_evaluated_is_left_out_and_counted(tmp_path: Path) -> None:
    plan = planned(tmp_path / "storage")
    ledger = Ledger(plan.sweep.folder)
    write_run(ledger, plan.runs[0], invented_records(plan.runs[0], lambda *_: 0.5))
    write_run(ledger, plan.runs[1], [], RunStatus.FAILED)
    result = exported(plan, tmp_path / "out")
    assert (result.runs, result.records) == (1, 3)
    assert "Left out, because never evaluated: 1 run." in result.remarks


def test_equal_draws_are_one_run_under_the_highest_number(tmp_path: Path) -> None:
    plan = planned(tmp_path / "storage", draws=6, search_space={"lr": {"choice": [1e-3, 2e-3]}}, defaults={"lr": 2e-3})
    first, second = plan.runs[:2]
    assert sorted([*first.draws, *second.draws]) == list(range(6))
    write_all(plan)
    result = exported(plan, tmp_path / "out")
    seeds = {line["hparams"]["lr"]: line["args"]["hparams_seed"] for line in read_tree(tmp_path / "out")}
    assert seeds == {run.hyperparameters["lr"]: run.draws[-1] for run in (first, second)}
    assert 5 in seeds.values()
    assert (result.runs, result.records) == (8, 24)
    merged = sum(len(run.draws) > 1 for run in plan.runs)
    assert f"Written once, under the highest of several equal draws: {merged} runs." in result.remarks


def test_a_pair_of_test_domains_is_written_in_dataset_order_with_its_singles_hyperparameters(tmp_path: Path) -> None:
    planned_and_exported(tmp_path, test_domains=["15", ["75", "15"]])
    lines = read_tree(tmp_path / "out")
    assert {tuple(line["args"]["test_envs"]) for line in lines} == {(1,), (1, 5)}
    hparams = defaultdict(set)
    for line in lines:
        hparams[line["args"]["algorithm"], line["args"]["hparams_seed"]].add(json.dumps(line["hparams"]))
    assert len(hparams) == 4
    assert all(len(values) == 1 for values in hparams.values())


def test_a_run_shared_by_two_arms_is_written_for_each(tmp_path: Path) -> None:
    planned_and_exported(tmp_path, arms=[{"name": "one"}, {"name": "two"}])
    lines = read_tree(tmp_path / "out")
    assert len(lines) == 24
    assert {line["args"]["algorithm"] for line in lines} == {"one", "two"}


def test_a_searchers_run_is_written_under_its_own_number(tmp_path: Path) -> None:
    plan = planned(tmp_path / "storage")
    ledger = Ledger(plan.sweep.folder)
    arm = plan.sweep.arms[1].name
    run = searched_run(plan.sweep, CONTENTS, {"arm": arm, "test_domain": "75", "trial_seed": 0, "lr": 0.02})
    keep_searched(ledger, run)
    write_run(ledger, run, invented_records(run, lambda *_: 0.5))
    exported(plan, tmp_path / "out")
    _, [first, *_] = written_run(tmp_path / "out", run)
    assert first["args"]["hparams_seed"] == int(run.key[:8], 16)
    assert first["hparams"]["lr"] == 0.02


@pytest.mark.parametrize(
    ("arms", "names"),
    [
        ([{"algorithm": "ERM"}, GGA], ["ERM", None]),
        ([{"name": "Baseline"}, GGA], ["ERM", None]),
        ([{"name": "one"}, {"name": "two"}], [None, None]),
        ([{"vary": {"lr": [1e-3, 2e-3]}}], [None, None]),
        ([{"name": "Baseline"}, {**GGA, "name": "ERM"}], [None, None]),
        ([{"name": "Baseline"}, {"vary": {"lr": [1e-3]}}], ["ERM", None]),
    ],
    ids=["plain", "named", "two plain", "factors", "name taken", "one factor"],
)
def test_an_arm_keeps_its_name_unless_it_alone_is_the_plain_algorithm(
    tmp_path: Path, arms: list[dict[str, Any]], names: list[str | None]
) -> None:
    found = load({"name": "n", "dataset": {"name": "RotatedDigits"}, "arms": arms}, storage=tmp_path).arms
    expected = {arm.name: name or arm.name for arm, name in zip(found, names, strict=True)}
    assert written_names(found) == expected


def test_a_plain_arm_of_an_installed_class_keeps_its_name(tmp_path: Path) -> None:
    arms = [{"name": "Mine", "algorithm": "written_ledger:Mine"}]
    sweep = load({"name": "n", "dataset": {"name": "RotatedDigits"}, "arms": arms}, storage=tmp_path)
    assert written_names(sweep.arms) == {"Mine": "Mine"}


def test_renamed_arms_and_names_that_domainbed_cuts_to_equal_ones_are_remarked(tmp_path: Path) -> None:
    arms = [{"name": "Baseline"}, *({**GGA, "name": f"ERM + GGA with radius 1e-{power}"} for power in (4, 5))]
    plan = planned(tmp_path / "storage", arms=arms, draws=1)
    write_all(plan)
    remarks = exported(plan, tmp_path / "out").remarks
    assert "The arm Baseline is written as the algorithm ERM." in remarks
    [cut] = [remark for remark in remarks if "show 20 characters of a name" in remark]
    assert cut.endswith("equal: ERM + GGA with radius 1e-4; ERM + GGA with radius 1e-5.")
    assert {line["args"]["algorithm"] for line in read_tree(tmp_path / "out")} == {
        "ERM",
        "ERM + GGA with radius 1e-4",
        "ERM + GGA with radius 1e-5",
    }


def test_a_remark_says_that_domainbed_does_not_know_the_dataset(default: tuple[Plan, Exported]) -> None:
    [remark] = default[1].remarks
    assert remark.startswith("DomainBed's collect_results prints no table of the dataset RotatedDigits")


def test_runs_outside_the_plan_are_counted_in_a_remark(tmp_path: Path) -> None:
    write_all(planned(tmp_path / "storage"))
    smaller = planned(tmp_path / "storage", draws=1)
    result = exported(smaller, tmp_path / "out")
    assert result.runs == 4
    assert "Left out: 4 runs of the ledger outside the present plan." in result.remarks


def test_the_ledger_stays_as_it_is(tmp_path: Path) -> None:
    plan = planned(tmp_path / "storage")
    write_all(plan)
    before = files_below(tmp_path / "storage")
    exported(plan, tmp_path / "out", models=True)
    after = files_below(tmp_path / "storage")
    assert {name: content for name, content in after.items() if "/index/" not in name} == before


def test_an_export_replaces_an_earlier_one(tmp_path: Path) -> None:
    larger = planned(tmp_path / "storage", draws=2)
    ledger = write_all(larger)
    out = tmp_path / "out"
    exported(larger, out)
    (out / "results.txt").write_text("printed by collect_results")
    gone = written_run(out, larger.runs[1])[0]
    with_more = written_run(out, larger.runs[3])[0]
    (with_more / "err.txt").write_text("not ours")
    plan = planned(tmp_path / "storage", draws=1)
    write_run(ledger, plan.runs[0], invented_records(plan.runs[0], lambda *_: 0.125), RunStatus.DIVERGED)
    assert exported(plan, out).runs == 4
    assert not gone.exists()
    assert [path.name for path in with_more.iterdir()] == ["err.txt"]
    assert (out / "results.txt").exists()
    folder, lines = written_run(out, plan.runs[0])
    assert {line["env2_in_acc"] for line in lines} == {0.125}
    assert [path.name for path in folder.iterdir()] == ["results.jsonl"]
    assert len(read_tree(out)) == 12


def test_exporting_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    plan, _ = planned_and_exported(tmp_path)
    before = files_below(tmp_path / "out")
    exported(plan, tmp_path / "out")
    assert files_below(tmp_path / "out") == before


def test_an_export_after_an_interrupted_one_deletes_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    larger = planned(tmp_path / "storage", draws=2)
    write_all(larger)
    exported(larger, tmp_path / "out")
    smaller = planned(tmp_path / "storage", draws=1)

    def break_off(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export, "_write_run", break_off)
        with pytest.raises(KeyboardInterrupt):
            exported(smaller, tmp_path / "out")
    assert len(read_tree(tmp_path / "out")) == 24
    for name in ("out", "whole"):
        exported(smaller, tmp_path / name)
    assert set(files_below(tmp_path / "out")) == set(files_below(tmp_path / "whole"))


def test_the_tree_names_its_protocol(default: tuple[Plan, Exported]) -> None:
    marker = json.loads((default[1].folder / MARKER).read_text())
    assert (marker["sweep"], marker["protocol"]) == ("invented", "quick")
    assert marker["deviations"] == ["steps is 5 (the protocol's: 300)", "evaluate_every is 2 (the protocol's: 50)"]


def refusal(plan: Plan, out: Path) -> str:
    with pytest.raises(InputError) as caught:
        exported(plan, out)
    return str(caught.value)


def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(
    default: tuple[Plan, Exported], tmp_path: Path
) -> None:
    plan, _ = default
    for name, content in (("notes.txt", "mine"), (MARKER, "{broken"), (MARKER, "[1]"), (MARKER, "{}")):
        out = tmp_path / f"out-{len(content)}"
        out.mkdir()
        (out / name).write_text(content)
        assert "--domainbed: must be a new or empty folder, or a former export" in refusal(plan, out)
        assert files_below(out) == {name: content.encode()}


def test_the_export_of_another_sweep_is_refused(tmp_path: Path) -> None:
    plan, other = planned(tmp_path / "storage"), planned(tmp_path / "elsewhere")
    for each in (plan, other):
        write_all(each)
    exported(other, tmp_path / "out")
    before = files_below(tmp_path / "out")
    assert "former export of the same sweep" in refusal(plan, tmp_path / "out")
    assert files_below(tmp_path / "out") == before


def test_a_folder_inside_the_sweep_or_a_file_is_refused(default: tuple[Plan, Exported], tmp_path: Path) -> None:
    plan, _ = default
    (tmp_path / "link").symlink_to(plan.sweep.folder)
    for out in (plan.sweep.folder, plan.sweep.folder / "runs" / "new", tmp_path / "link" / "domainbed"):
        assert "must lie outside the sweep's own folder" in refusal(plan, out)
    assert not (plan.sweep.folder / "domainbed").exists()
    (tmp_path / "out").write_text("")
    assert "--domainbed: must be a folder" in refusal(plan, tmp_path / "out")
    assert "--domainbed: cannot be written" in refusal(plan, tmp_path / "out" / "below")


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a sweep's folder"):
        export_domainbed(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sweep_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    plan = planned(tmp_path / "storage")
    write_run(Ledger(plan.sweep.folder), plan.runs[0], [], RunStatus.FAILED)
    assert "DIR: must hold a run that was evaluated" in refusal(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_selected_run_of_each_cell_has_its_weights(trained: SweepSpec, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = export_domainbed(trained.folder, out, models=True)
    assert (result.runs, result.records, result.models) == (8, 24, 4)
    [remark] = [remark for remark in result.remarks if "model.pkl" in remark]
    assert remark == "DomainBed has no network like small-cnn: the weights in model.pkl have our own names."
    plan, ledger = read_plan(trained.folder), Ledger(trained.folder)
    selected = select(collect(plan, ledger).records)
    assert len(selected) == 4
    for each in selected:
        run = next(run for run in plan.runs if (run.cell, run.key) == (each.cell, each.key))
        folder, [line, *_] = written_run(out, run)
        model = torch.load(folder / "model.pkl", weights_only=True)
        assert model["args"] == line["args"]
        assert line["args"]["skip_model_save"] is False
        assert model["model_hparams"] == line["hparams"]
        assert model["model_input_shape"] == (1, 28, 28)
        assert (model["model_num_classes"], model["model_num_domains"]) == (10, 5)
        content = ledger.run(each.folder).read_selected()
        assert content is not None
        expected = parse_weights(content)
        assert model["model_dict"].keys() == expected.keys()
        assert all(torch.equal(model["model_dict"][name], tensor) for name, tensor in expected.items())
    assert len(list(out.glob("*/model.pkl"))) == 4
    assert sum(line["args"]["skip_model_save"] for line in read_tree(out)) == 12


def test_an_export_without_models_deletes_those_of_an_earlier_one(trained: SweepSpec, tmp_path: Path) -> None:
    export_domainbed(trained.folder, tmp_path / "out", models=True)
    assert export_domainbed(trained.folder, tmp_path / "out").models == 0
    assert list((tmp_path / "out").glob("*/model.pkl")) == []
    assert all(line["args"]["skip_model_save"] for line in read_tree(tmp_path / "out"))


def flip_the_last_bit(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("damage", [Path.unlink, flip_the_last_bit])
def test_missing_or_damaged_weights_are_counted_in_a_remark(
    own_copy: Callable[[], SweepSpec], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    sweep = own_copy()
    for file in sweep.folder.glob("runs/*/selected"):
        damage(file)
    result = export_domainbed(sweep.folder, tmp_path / "out", models=True)
    assert result.models == 0
    lost = "Without a model: 4 selected runs. Their weights are missing or damaged in the ledger."
    assert lost in result.remarks


def with_weights(plan: Plan, accuracy: Callable[[PlannedRun, int, bool], float]) -> Ledger:
    """Every run of the plan, with weights that tell its draw."""
    ledger = Ledger(plan.sweep.folder)
    for run in plan.runs:
        write_run(ledger, run, invented_records(run, lambda step, tested, run=run: accuracy(run, step, tested)))
        layer = nn.Linear(1, 1)
        nn.init.constant_(layer.weight, run.draws[-1])
        leave_weights(ledger, run, layer)
    return ledger


def leave_weights(ledger: Ledger, run: PlannedRun, module: nn.Module) -> None:
    """As those that a run which is done had selected."""
    folder = ledger.run(run.folder)
    state = folder.read_state()
    folder.claim({})
    folder.write_selected(dump_weights(module))
    folder.write_state(state.status, state.step)


@pytest.mark.parametrize(("method", "draw"), [("training-domain-validation", 0), ("leave-one-domain-out", 1)])
def test_weights_are_those_selected_by_the_first_method(tmp_path: Path, method: str, draw: int) -> None:
    plan = planned(tmp_path / "storage", selection=[method], test_domains=["0"])
    # Draw 0 validates better by its own training domains, draw 1 where one of them was left out.
    with_weights(plan, lambda run, step, tested: step / 100 + 0.5 * (tested == (run.draws[-1] == 1)))
    assert exported(plan, tmp_path / "out", models=True).models == 2
    for file in (tmp_path / "out").glob("*/model.pkl"):
        assert torch.load(file, weights_only=True)["model_dict"]["weight"].item() == draw


def test_a_selected_step_without_kept_weights_is_remarked(tmp_path: Path) -> None:
    plan = planned(tmp_path / "storage", select_from="after-window")
    with_weights(plan, lambda run, step, tested: 0.9 if step == (0 if run.cell.test_domains == ("0",) else 2) else 0.5)
    result = exported(plan, tmp_path / "out", models=True)
    assert result.models == 2
    told = (
        "Without a model: 2 selected runs. The ledger keeps only the weights of the best step by training-domain "
        "validation, and another step was selected."
    )
    assert told in result.remarks
    lines = [read_runs(tmp_path / "out")[file.parent][0] for file in (tmp_path / "out").glob("*/model.pkl")]
    assert [line["args"]["test_envs"] for line in lines] == [[5], [5]]


class TheirResNet(nn.Module):
    """DomainBed's featurizer, in the parts that name its weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        network.fc = nn.Identity()
        self.network = network
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.dropout(self.network(images))
        return features


class TheirERM(nn.Module):
    """DomainBed's ERM: its featurizer and classifier, and both again in a sequence."""

    def __init__(self, network: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.featurizer = TheirResNet(network)
        self.classifier = nn.Linear(features, classes)
        self.network = nn.Sequential(self.featurizer, self.classifier)


@pytest.mark.parametrize(("network", "features"), [("resnet18", 512), ("resnet50", 2048)])
def test_a_resnet_predicts_the_same_in_domainbeds_model(tmp_path: Path, network: str, features: int) -> None:
    plan, run = coloured(tmp_path / "storage", network=network)
    ours = build_network(network, (3, 28, 28), 10, None, torch.Generator().manual_seed(7))
    ours.train()
    ours(torch.rand(4, 3, 64, 64))  # so that its batch norm has statistics of its own
    leave_weights(Ledger(plan.sweep.folder), run, ours)
    result = exported(plan, tmp_path / "out", models=True)
    assert result.models == 1
    told = [remark for remark in result.remarks if "ERM" in remark or "ResNet" in remark]
    assert told == [
        "The weights in model.pkl fit DomainBed's class ERM, whatever the arm's name.",
        "DomainBed builds a ResNet for images of 224 x 224 alone; these models were trained on 28 x 28.",
    ]
    [file] = (tmp_path / "out").glob("*/model.pkl")
    stored = torch.load(file, weights_only=True)
    assert stored["model_hparams"]["resnet18"] == (network == "resnet18")
    theirs = TheirERM(getattr(models, network)(weights=None), features, 10)
    theirs.load_state_dict(stored["model_dict"])
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(theirs.eval().network(images), ours.eval()(images))


@pytest.mark.parametrize("algorithm", ["ARM", "MTL"])
def test_a_resnet_that_sees_more_than_an_image_keeps_its_own_names(tmp_path: Path, algorithm: str) -> None:
    plan, run = coloured(tmp_path / "storage", algorithm, network="resnet18")
    ours = nn.ModuleDict({"featurizer": nn.Linear(2, 2), "context_net": nn.Linear(2, 2), "classifier": nn.Linear(2, 2)})
    leave_weights(Ledger(plan.sweep.folder), run, ours)
    result = exported(plan, tmp_path / "out", models=True)
    told = f"DomainBed has no network like the resnet18 of {algorithm}: the weights in model.pkl have our own names."
    assert told in result.remarks
    assert not any("class ERM" in remark for remark in result.remarks)
    [file] = (tmp_path / "out").glob("*/model.pkl")
    assert torch.load(file, weights_only=True)["model_dict"].keys() == ours.state_dict().keys()


def test_importing_the_export_loads_nothing_heavy() -> None:
    heavy = "{'matplotlib', 'pandas', 'pyarrow', 'scipy', 'torch', 'ray', 'mlflow'}"
    code = f"import sys, gga_sweep.domainbed.export; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
