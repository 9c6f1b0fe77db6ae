"""Results of swad, miro, SAGM and the GGA release: read, told apart, and tabled by DomainBed's rules."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from domainbed_tree import line, write_run
from swad_tree import Process

from gga_sweep.domainbed.rendering import render
from gga_sweep.domainbed.results import Results, read_results
from gga_sweep.domainbed.tables import build_tables
from gga_sweep.errors import InputError

VALIDATION, ORACLE = "training-domain-validation", "oracle"


def chosen(tree: Path, method: str) -> dict[tuple[str, int, int], tuple[float, float, int]]:
    """By algorithm, trial seed and test domain: accuracy on the test domain, validation accuracy, draw."""
    choices = build_tables(read_results(tree)).choices[method]
    return {
        (cell.algorithm, cell.trial_seed, cell.test_domain): (choice.best.test, choice.best.validation, choice.draw)
        for cell, choice in choices.items()
    }


def said(results: Results) -> list[str]:
    return [str(fault) for fault in (*results.left_out, *results.doubtful)]


def notes(tree: Path) -> str:
    """Without line breaks."""
    return " ".join(render("text", read_results(tree)).split("\nNotes\n")[1].split())


@pytest.mark.parametrize("program", ["swad", "SAGM", "miro", "GGA", "like swad"])
@pytest.mark.parametrize("results", [True, False], ids=["results.jsonl", "log.txt alone"])
def test_the_tables_have_the_rows_that_the_program_itself_prints(program: str, results: bool, tmp_path: Path) -> None:
    algorithm = "SAGM_DG" if program == "SAGM" else "ERM"
    processes = [Process(program, algorithm, trial_seed=seed, averages=True, seed=10 + seed) for seed in range(3)]
    for process in processes:
        process.write(tmp_path / "train_output" / "PACS" / f"2611{process.trial_seed}", results=results)
    read = read_results(tmp_path)
    assert {run.key.program for run in read.runs} == {program}
    assert said(read) == []
    by_validation, by_oracle = chosen(tmp_path, VALIDATION), chosen(tmp_path, ORACLE)
    assert len(by_validation) == len(by_oracle) == 2 * 3 * 4
    for process in processes:
        summary = process.summary()
        for target in range(4):
            key, averaged = (algorithm, process.trial_seed, target), (f"{algorithm} + SWAD", process.trial_seed, target)
            assert by_validation[key][0] == summary["iid"][target]
            assert by_oracle[key][0] == summary["last"][target]
            assert by_validation[averaged][:2] == (
                summary["SWAD"][target],
                pytest.approx(summary["SWAD (inD)"][target], abs=1e-12),
            )
            assert by_oracle[averaged][0] == summary["SWAD"][target]
    tables, below = render("text", read).split("\nNotes\n")
    assert tables.count("leave-one-domain-out") == 0
    assert "*" not in tables
    assert f"- {program} (" in below
    assert ("more than six decimals, in 12 runs" if results else "more than six decimals, in 24 runs") in below


def test_both_evaluation_modes_give_the_same_numbers(tmp_path: Path) -> None:
    for fast in (True, False):
        Process(fast=fast).write(tmp_path / str(fast) / "1")
    assert chosen(tmp_path / "True", VALIDATION) == chosen(tmp_path / "False", VALIDATION)
    assert "training splits of training domains, in 4 runs" in notes(tmp_path / "True")
    assert "training splits of training domains" not in notes(tmp_path / "False")


def test_a_run_folder_itself_is_read_and_one_at_any_depth(tmp_path: Path) -> None:
    folder = Process().write(tmp_path / "a" / "b" / "[0, 1]" / "1")
    for tree in (folder, folder.parent, tmp_path):
        assert len(chosen(tree, VALIDATION)) == 4
    (run, *_) = read_results(folder).runs
    assert run.place(0) == "./results.jsonl:1"


def test_different_hyperparameters_are_draws_and_the_better_validation_wins(tmp_path: Path) -> None:
    processes = [
        Process("GGA", "ERM_GGA", trial_seed=trial_seed, hparams={"lr": lr}, seed=seed)
        for seed, (trial_seed, lr) in enumerate([(0, 1e-5), (0, 3e-5), (1, 1e-5), (1, 3e-5)])
    ]
    for i, process in enumerate(processes):
        process.write(tmp_path / str(i))
    found = chosen(tmp_path, VALIDATION)
    for trial_seed in (0, 1):
        of_seed = processes[2 * trial_seed : 2 * trial_seed + 2]
        for target in range(4):
            _, test, draw = max(
                (one.validation(target, step), one.test(target, step), draw)
                for draw, one in enumerate(of_seed)
                for step in one.steps
            )
            assert found["ERM_GGA", trial_seed, target][::2] == (test, draw)
    assert "(ERM_GGA on PACS: 2, by lr)" in notes(tmp_path)
    draws = json.loads(render("json", read_results(tmp_path)))["draws"]
    assert [(one["hparams_seed"], "lr: 3e-05" in one["hparams"]) for one in draws] == [(0, False), (1, True)]


@pytest.mark.parametrize("program", ["swad", "GGA", "miro"])
def test_hyperparameters_from_a_log_are_those_from_results(program: str, tmp_path: Path) -> None:
    for i, results in enumerate((True, False)):
        Process(program, hparams={"pretrained": True, "name": None}).write(tmp_path / str(i), results=results)
    results = read_results(tmp_path)
    assert {run.key.draw for run in results.runs} == {0}
    assert results.repeated == 4 * 3
    assert said(results) == []


def test_a_missing_target_marks_the_averages(tmp_path: Path) -> None:
    Process(targets=(0, 1, 3), averages=True).write(tmp_path / "1")
    tables, below = render("text", read_results(tmp_path)).split("\nNotes\n")
    for row in ("ERM  ", "ERM + SWAD  "):
        of_pacs, averages, *_ = [one for one in tables.splitlines() if one.startswith(row)]
        assert of_pacs.split()[-3:] == ["+/-", "0.0", "X"] or "X " in of_pacs
        assert averages.count(" *") == 2
    assert "training-domain validation set: PACS, ERM: P (trial seed 0)" in below
    assert "training-domain validation set: PACS, ERM + SWAD: P (trial seed 0)" in below


def test_a_target_at_work_is_used_and_counted(tmp_path: Path) -> None:
    folder = Process().write(tmp_path / "1", results=False)
    log = (folder / "log.txt").read_text()
    (folder / "log.txt").write_text(log[: log.rindex("iid = ")])  # within the last target's results
    results = read_results(tmp_path)
    assert [run.done for run in results.runs] == [True, True, True, False]
    assert "- 1 run without final results in log.txt: unfinished, but used" in notes(tmp_path)


def test_a_log_cut_anywhere_gives_whole_records_and_names_the_cut_line(tmp_path: Path) -> None:
    process = Process(targets=(0, 1), steps=(0, 100), averages=True)
    folder = process.write(tmp_path / "1", results=False)
    log = (folder / "log.txt").read_bytes()
    whole = {run.key: run for run in read_results(tmp_path).runs}
    with_records = log.index(b"\n", log.index(b"test_in")) + 200  # behind the first row
    for end in range(with_records, len(log), 7):
        (folder / "log.txt").write_bytes(log[:end])
        results = read_results(tmp_path)
        for run in results.runs:
            n = len(run.steps)
            assert run.steps.tolist() == whole[run.key].steps.tolist()[:n]
            assert (run.validation_split == whole[run.key].validation_split[:n]).all()
        number = log[:end].count(b"\n") + 1
        at_end = log[end - 1 : end] == b"\n"
        assert [fault.field for fault in results.left_out] == ([] if at_end else [f"1/log.txt:{number}"])
    (folder / "log.txt").write_bytes(log[:-3])
    with pytest.raises(InputError, match=r"1/log\.txt:\d+: must end in a line feed; .* this line is cut off"):
        read_results(tmp_path, strict=True)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda row: row[:120], "must be a row with a number for each column above it, got '"),
        (lambda row: row.replace("0.5", "o.5"), "must be a row with a number for each column above it, got '"),
        (lambda row: row[:30], "must be a message `LEVEL date time | text`; this line is cut off, got 'INFO 11/"),
        (
            lambda row: row[row.index("|") + 2 :],
            "must be a message `LEVEL date time | text`; this line is cut off, got '0.",
        ),
        (lambda row: row.replace("| 0.", "| 7."), "must have accuracies in [0, 1], or NaN, got 'env0_in 7."),
    ],
)
def test_a_spoiled_row_within_a_log_is_named_and_the_others_used(
    spoil: Callable[[str], str], words: str, tmp_path: Path
) -> None:
    process = Process(targets=(0,))
    folder = process.write(tmp_path / "1", results=False)
    lines = (folder / "log.txt").read_text().split("\n")
    at = next(i for i, one in enumerate(lines) if "test_in" in one) + 2
    if "7." in words:  # in the column of an accuracy that is read, not in that of a mean
        value = f"{process.accuracies[0, 100, 'env0_in']:.6f}"
        lines[at] = lines[at].replace(f"  {value}", f"  7{value[1:]}")
    else:
        lines[at] = spoil(lines[at])
    (folder / "log.txt").write_text("\n".join(lines))
    results = read_results(tmp_path)
    (fault,) = said(results)
    assert fault.startswith(f"1/log.txt:{at + 1}: {words}")
    assert [run.steps.tolist() for run in results.runs] == [[0, 200]]
    with pytest.raises(InputError, match=rf"1/log\.txt:{at + 1}"):
        read_results(tmp_path, strict=True)


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda one: one.update({name: value})


def put_arg(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda one: one["args"].update({name: value})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda one: one.pop("env1_out"), "must have the accuracies of its domains without a gap, got 'no env1_out'"),
        (lambda one: one.pop("env0_in"), "must have the accuracies of its domains without a gap, got 'no env0_in'"),
        (put("env1_out", 1.5), "must have accuracies in [0, 1], or NaN, got 'env1_out 1.5'"),
        (put("step", None), "must have a `step`, a whole number from 0"),
        (put("hparams", None), "must have `hparams`"),
        (
            put_arg("real_test_envs", 0),
            "must have `args.real_test_envs`, numbers of domains that leave one",
        ),
        (put_arg("trial_seed", "0"), "must have `args.trial_seed`, a whole number, got '0'"),
        (put_arg("algorithm", None), "must have `args.algorithm`, a name"),
    ],
)
def test_a_record_that_cannot_be_used_is_named(
    spoil: Callable[[dict[str, Any]], object], words: str, tmp_path: Path
) -> None:
    folder = Process(targets=(0,)).write(tmp_path / "1")
    first, second, last = (folder / "results.jsonl").read_text().splitlines(keepends=True)
    spoiled = json.loads(second)
    spoil(spoiled)
    (folder / "results.jsonl").write_text(first + json.dumps(spoiled) + "\n" + last[:50])
    found = said(read_results(tmp_path))
    assert found[0].startswith(f"1/results.jsonl:2: {words}")
    assert found[1].startswith("1/results.jsonl:3: must be a JSON object, got")
    assert len(found) == 2


def test_programs_in_one_tree_have_rows_of_their_own(tmp_path: Path) -> None:
    alone = {}
    for i, program in enumerate(("swad", "miro", "GGA")):
        process = Process(program, averages=program != "GGA", seed=i)
        process.write(tmp_path / "all" / program)
        process.write(tmp_path / program / "1")
        alone |= {
            (f"{algorithm} ({program})", *rest): found
            for (algorithm, *rest), found in chosen(tmp_path / program, VALIDATION).items()
        }
    domainbed = [line(accuracies=((0.25, 0.5),) * 4, test_envs=(env,)) for env in range(4)]
    write_run(tmp_path / "all", "domainbed", domainbed)
    alone |= {("ERM", 0, env): (0.25, 0.5, 0) for env in range(4)}
    assert chosen(tmp_path / "all", VALIDATION) == alone
    text = render("text", read_results(tmp_path / "all"))
    assert "\nERM + SWAD (swad)     " in text
    assert "Their rows have the program in brackets, DomainBed's have none." in notes(tmp_path / "all")
    assert "leave-one-domain-out cross-validation: PACS, ERM: all" in text


def test_sagm_beside_swad_is_one_program_as_their_files_are_alike(tmp_path: Path) -> None:
    Process("SAGM", "SAGM_DG").write(tmp_path / "1")
    Process("swad", "ERM").write(tmp_path / "2")
    assert {algorithm for algorithm, *_ in chosen(tmp_path, VALIDATION)} == {"SAGM_DG", "ERM"}


def test_programs_in_one_file_are_named(tmp_path: Path) -> None:
    folder = Process(targets=(0,)).write(tmp_path / "1", log=False)
    with (folder / "results.jsonl").open("a") as file:
        file.writelines(Process("miro", targets=(1,)).records())
    (fault,) = said(read_results(tmp_path))
    assert fault.startswith("1/results.jsonl:4: must have the program, dataset, algorithm, trial_seed and hparams of")
    assert fault.endswith("got 'ERM on PACS, test_envs [1], trial_seed 0, of miro'")


def test_targets_of_one_process_are_no_contradiction_and_another_process_with_other_numbers_is(tmp_path: Path) -> None:
    Process(seed=1).write(tmp_path / "1")
    assert said(read_results(tmp_path)) == []
    Process(seed=2).write(tmp_path / "2")
    found = said(read_results(tmp_path))
    assert len(found) == 4
    assert found[0].startswith("2/results.jsonl:1: must give the numbers that an earlier record of the same run gives")


def test_averages_without_a_valley_and_without_an_evaluation_are_named(tmp_path: Path) -> None:
    folder = Process(averages=True, converged=False).write(tmp_path / "1")
    assert "- a valley, in 4 averages, each of its last segment alone (1/log.txt:" in notes(tmp_path)
    (folder / "log.txt").unlink()
    assert "- the average, in 4 runs with SWAD: no log.txt evaluates it" in notes(tmp_path)
    (tmp_path / "2").mkdir()
    assert "with SWAD" not in notes(Process(seed=3).write(tmp_path / "2" / "1").parent)


def test_averages_that_iid_max_tries_on_the_way_are_no_results(tmp_path: Path) -> None:
    process = Process(averages=True, targets=(0,))
    folder = process.write(tmp_path / "1")
    log = (folder / "log.txt").read_text()
    final = next(one for one in log.splitlines() if "(N=2)" in one)
    tried = final.replace("  (N=2)", "").replace("0.", "0.9")
    header = next(one for one in log.splitlines() if "test_in" in one)
    (folder / "log.txt").write_text(log.replace(header, f"{header}\n{tried}"))
    results = read_results(tmp_path)
    assert said(results) == []
    assert [(run.key.algorithm, len(run.steps)) for run in results.runs] == [("ERM", 3), ("ERM + SWAD", 1)]
    assert results.runs[1].training_split[0, 0] == process.test(0, "SWAD")


def test_a_foreign_log_is_passed_over_unless_it_lies_beside_results_of_the_family(tmp_path: Path) -> None:
    write_run(tmp_path, "domainbed", [line()])
    (tmp_path / "domainbed" / "log.txt").write_text("an output\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "log.txt").write_text("0.5\n")
    assert said(read_results(tmp_path)) == []
    folder = Process().write(tmp_path / "swad" / "1", log=False)
    (folder / "log.txt").write_text("an output\n")
    results = read_results(tmp_path / "swad")
    assert said(results) == ["1/log.txt: must be a log of swad's trainer"]
    assert results.files_left_out == 1
    with pytest.raises(InputError, match=r"must hold run folders with a results\.jsonl or log\.txt"):
        read_results(tmp_path / "other")


def test_half_a_validation_split_is_named(tmp_path: Path) -> None:
    Process(hparams={"indomain_test": True}).write(tmp_path / "1")
    assert "- half of each validation split, in 4 runs with `indomain_test`" in notes(tmp_path)


def test_nan_is_read_from_both_files(tmp_path: Path) -> None:
    for i, results in enumerate((True, False)):
        process = Process(targets=(0,))
        process.accuracies[0, 0, "env1_out"] = math.nan
        process.write(tmp_path / str(i), results=results)
    read = read_results(tmp_path)
    assert (said(read), read.repeated) == ([], 3)
    assert all(math.isnan(run.validation_split[0, 1]) for run in read.runs)
