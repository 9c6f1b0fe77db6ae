"""Reading DomainBed trees: what is used, what is left out and named, and what is refused."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from domainbed_tree import Line, dump, line, random_sweep, write_run, write_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from gga_sweep.domainbed import results as module
from gga_sweep.domainbed.results import RunKey, read_results
from gga_sweep.errors import InputError

KEY = RunKey("PACS", "ERM", (0,), 0, 0)


def said(tree: Path) -> list[str]:
    results = read_results(tree)
    return [str(fault) for fault in (*results.left_out, *results.doubtful)]


def test_a_run_is_read_in_file_order_with_nan(tmp_path: Path) -> None:
    accuracies = [(0.25, 0.5), (math.nan, 1), (0, 0.125), (0.75, math.nan)]
    write_run(tmp_path, "a", [line(300, accuracies=accuracies), line(0)], done=False)
    (run,) = read_results(tmp_path).runs
    assert (run.key, run.folder, run.done, [*run.lines]) == (KEY, "a", False, [1, 2])
    assert run.steps.tolist() == [300, 0]
    np.testing.assert_array_equal(run.training_split[0], [0.25, math.nan, 0, 0.75])
    np.testing.assert_array_equal(run.validation_split[0], [0.5, 1, 0.125, math.nan])
    assert run.place(1) == "a/results.jsonl:2"


def test_folders_are_read_in_the_order_of_their_names_and_other_things_passed_over(tmp_path: Path) -> None:
    write_tree(tmp_path, {"b": [line(1)], "a": [line(2)], "c": [line(3)]})
    (tmp_path / "results.txt").write_text("an earlier output")
    (tmp_path / "empty").mkdir()
    assert [run.folder for run in read_results(tmp_path).runs] == ["a", "b", "c"]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_the_quick_way_reads_what_the_careful_one_reads(seed: int) -> None:
    lines = [one for of_file in random_sweep(seed) for one in of_file]
    content = dump(lines).encode()
    quick = module._parse(content, "a", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Parser, "parse", lambda self, line: module._parse_carefully(line))
        careful = module._parse(content, "a", True)
    assert len(quick.runs) == len(careful.runs)
    assert quick.doubtful == careful.doubtful
    for one, other in zip(quick.runs, careful.runs, strict=True):
        assert (one.key, one.lines) == (other.key, other.lines)
        np.testing.assert_array_equal(one.steps, other.steps)
        np.testing.assert_array_equal(one.accuracies, other.accuracies)


def without(name: str) -> Callable[[Line], None]:
    return lambda one: one.pop(name)


def put(name: str, value: Any) -> Callable[[Line], None]:
    return lambda one: one.update({name: value})


def put_arg(name: str, value: Any) -> Callable[[Line], None]:
    return lambda one: one["args"].update({name: value})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("env0_in_acc"), "must have the accuracies of its domains without a gap, got 'no env0_in_acc'"),
        (without("env2_out_acc"), "must have the accuracies of its domains without a gap, got 'no env2_out_acc'"),
        (without("env0_out_acc"), "must have the accuracies of its domains without a gap, got 'no env0_out_acc'"),
        (put("env5_out_acc", 0.5), "got 'no env4_out_acc'"),
        (put("env1_out_acc", 1.5), "must have accuracies in [0, 1], or NaN, got 'env1_out_acc 1.5'"),
        (put("env1_in_acc", -0.1), "must have accuracies in [0, 1], or NaN, got 'env1_in_acc -0.1'"),
        (put("env1_out_acc", math.inf), "got 'env1_out_acc inf'"),
        (put("env1_out_acc", "0.5"), "got \"env1_out_acc '0.5'\""),
        (put("env1_out_acc", True), "got 'env1_out_acc True'"),
        (put("env1_out_acc", None), "got 'env1_out_acc None'"),
        (without("step"), "must have a `step`, a whole number from 0"),
        (put("step", 1.5), "must have a `step`, a whole number from 0, got 1.5"),
        (put("step", -1), "must have a `step`, a whole number from 0, got -1"),
        (put("step", 2**70), "must have a `step`, a whole number from 0, got"),
        (without("args"), "must have `args`"),
        (put_arg("dataset", None), "must have `args.dataset`, a name"),
        (put_arg("algorithm", ""), "must have `args.algorithm`, a name, got ''"),
        (put_arg("trial_seed", "0"), "must have `args.trial_seed`, a whole number, got '0'"),
        (put_arg("hparams_seed", 0.5), "must have `args.hparams_seed`, a whole number, got 0.5"),
        (put_arg("test_envs", []), "must have `args.test_envs`, numbers of domains"),
        (put_arg("test_envs", [4]), "must have `args.test_envs`, numbers of domains"),
        (put_arg("test_envs", [1, 1]), "must have `args.test_envs`, numbers of domains"),
        (
            put_arg("test_envs", [0, 1, 2, 3]),
            "to train on (accuracies are there of 4), got [0, 1, 2, 3]",
        ),
        (put_arg("test_envs", 0), "must have `args.test_envs`, numbers of domains"),
    ],
)
def test_a_record_that_cannot_be_used_is_named_by_file_and_line(
    spoil: Callable[[Line], None], words: str, tmp_path: Path
) -> None:
    spoiled = line(100)
    spoil(spoiled)
    write_tree(tmp_path, {"first": [line(0), spoiled, line(200)]})
    results = read_results(tmp_path)
    (fault,) = results.left_out
    assert str(fault).startswith("first/results.jsonl:2: ")
    assert words in str(fault)
    assert [run.steps.tolist() for run in results.runs] == [[0, 200]]
    assert (results.records, results.lines_left_out) == (2, 1)
    with pytest.raises(InputError) as refused:
        read_results(tmp_path, strict=True)
    assert refused.value.faults == (fault,)


@pytest.mark.parametrize("text", [b'{"args": {"data', b"[]", b"\xff\xfe", b"{} {}", b"[" * 100_000])
def test_a_line_that_is_no_json_object_is_named_and_the_others_used(text: bytes, tmp_path: Path) -> None:
    content = dump([line(0)]).encode() + text + b"\n" + dump([line(100)]).encode()
    write_run(tmp_path, "a", content)
    results = read_results(tmp_path)
    (fault,) = results.left_out
    assert str(fault).startswith("a/results.jsonl:2: must be a JSON object, got ")
    assert len(str(fault)) < 200
    assert results.runs[0].steps.tolist() == [0, 100]


def test_records_without_accuracies_are_refused_for_that_and_nothing_else(tmp_path: Path) -> None:
    bare = {name: value for name, value in line().items() if not name.endswith("_acc")}
    write_tree(tmp_path, {"a": [bare]})
    with pytest.raises(InputError) as refused:
        read_results(tmp_path)
    assert [*map(str, refused.value.faults)] == [
        "a/results.jsonl:1: must have the accuracies of its domains without a gap, got 'no env0_out_acc'"
    ]


def test_of_each_kind_of_fault_few_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    spoiled = [line(step, trial_seed=None) for step in range(400)] + [line(-1)]
    write_tree(tmp_path, {"a": spoiled})
    with pytest.raises(InputError) as refused:
        read_results(tmp_path)
    assert [fault.field for fault in refused.value.faults] == [
        *(f"a/results.jsonl:{number}" for number in (1, 2, 3)),
        "",
        "a/results.jsonl:401",
    ]
    assert "397 more faults of this kind" in str(refused.value)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "one line"])
def test_a_results_file_that_would_hang_its_reader_is_named(tmp_path: Path, kind: str) -> None:
    write_tree(tmp_path, {"b": [line()]})
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "results.jsonl"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "huge":
        with file.open("wb") as opened:
            opened.truncate(2**40)
    else:
        file.write_bytes(b'{"a": [' + b"[]," * 2**20 + b"[]]}")
    [fault] = said(tmp_path)
    assert fault.startswith(
        ("a/results.jsonl: cannot be read: ", "a/results.jsonl:1: must be a JSON object of at most")
    )


def test_arguments_that_only_python_reads_are_named(tmp_path: Path) -> None:
    write_run(tmp_path, "a", dump([line(0)]) + dump([line(100)]).replace('"ERM"', "1e999"))
    assert said(tmp_path) == ["a/results.jsonl:2: must have `args.algorithm`, a name, got inf"]


def test_every_fault_of_a_record_is_reported(tmp_path: Path) -> None:
    spoiled = line(-1, accuracies=((2, 0.5), (0.5, 0.5)))
    spoiled["args"]["dataset"] = 7
    write_tree(tmp_path, {"a": [line(), spoiled]})
    assert len(said(tmp_path)) == 3


def test_a_training_domain_may_lack_its_training_split(tmp_path: Path) -> None:
    one = line()
    del one["env3_in_acc"]
    write_tree(tmp_path, {"a": [one]})
    results = read_results(tmp_path)
    assert np.isnan(results.runs[0].training_split[0, 3])
    assert [*map(str, results.doubtful)] == [
        "a/results.jsonl:1: must have the accuracies of its training domains, got 'no env3_in_acc'"
    ]
    with pytest.raises(InputError, match="no env3_in_acc"):
        read_results(tmp_path, strict=True)


def test_a_file_without_a_line_is_left_out_and_named(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a": [line()]})
    write_run(tmp_path, "b", "\n")
    results = read_results(tmp_path)
    assert [*map(str, results.left_out)] == ["b/results.jsonl: must hold a record"]
    assert (results.files_left_out, results.lines_left_out) == (1, 0)
    with pytest.raises(InputError, match="must hold a record"):
        read_results(tmp_path, strict=True)


def test_blank_lines_are_skipped_and_a_last_line_without_its_line_feed_is_read(tmp_path: Path) -> None:
    write_run(tmp_path, "a", "\n" + dump([line(0)]) + "  \n\r\n" + dump([line(100)]).rstrip("\n"))
    (run,) = read_results(tmp_path, strict=True).runs
    assert [*run.lines] == [2, 5]


def test_records_of_another_key_in_a_file_are_used_under_their_own_and_named(tmp_path: Path) -> None:
    lines = [line(0), line(0, dataset="VLCS"), line(100), line(100, dataset="VLCS")]
    write_tree(tmp_path, {"a": lines})
    results = read_results(tmp_path)
    assert [(run.key.dataset, run.steps.tolist()) for run in results.runs] == [("PACS", [0, 100]), ("VLCS", [0, 100])]
    (fault,) = results.doubtful
    assert str(fault).startswith("a/results.jsonl:2: must have the dataset, algorithm, test_envs")
    assert "ERM on VLCS" in str(fault)


def test_records_with_another_number_of_domains_than_most_of_their_dataset_are_left_out(tmp_path: Path) -> None:
    three = [line(step, accuracies=((0.5, 0.5),) * 3, trial_seed=1) for step in (0, 1)]
    write_tree(tmp_path, {"a": three, "b": [line(step) for step in (0, 1, 2)]})
    results = read_results(tmp_path)
    assert results.domains == {"PACS": 4}
    assert (results.records, results.lines_left_out) == (3, 2)
    (fault,) = results.left_out
    assert str(fault).startswith("a/results.jsonl:1: must have as many domains as most records")
    assert "2 from here on with 3; most of PACS have 4" in str(fault)


def test_the_same_numbers_once_more_are_counted_and_no_fault(tmp_path: Path) -> None:
    nan = line(0, accuracies=((math.nan, 0.5),) * 4)
    write_tree(tmp_path, {"a": [nan, line(100), nan], "b": [line(100)]})
    results = read_results(tmp_path, strict=True)
    assert (results.repeated, results.records) == (2, 4)


@pytest.mark.parametrize("folders", [("a", "a"), ("a", "b")], ids=["in one file", "in two folders"])
def test_other_numbers_for_a_step_of_a_run_are_named_with_both_places(folders: tuple[str, str], tmp_path: Path) -> None:
    again = [line(step, accuracies=((0.25, 0.5),) * 4) for step in (0, 100)]
    tree: dict[str, list[Line]] = {}
    for folder, lines in zip(folders, ([line(0), line(100)], again), strict=True):
        tree.setdefault(folder, []).extend(lines)
    write_tree(tmp_path, tree)
    results = read_results(tmp_path)
    assert (results.records, results.repeated) == (4, 0)
    (fault,) = results.doubtful
    place = "a/results.jsonl:3" if folders == ("a", "a") else "b/results.jsonl:1"
    assert str(fault).startswith(f"{place}: must give the numbers that an earlier record of the same run gives")
    assert "step 0 differs from a/results.jsonl:1, and 1 more" in str(fault)
    with pytest.raises(InputError, match="must give the numbers"):
        read_results(tmp_path, strict=True)


def test_a_pair_written_in_either_order_is_one_run(tmp_path: Path) -> None:
    other = line(0, test_envs=(1, 0), accuracies=((0.25, 0.5),) * 4)
    write_tree(tmp_path, {"a": [line(0, test_envs=(0, 1)), other]})
    results = read_results(tmp_path)
    assert len(results.runs) == 1
    assert len(results.doubtful) == 1


def test_strict_names_every_fault_of_every_file(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a": [line(-1), line(0), line(0, dataset="VLCS")], "b": [line(-2), line(5)]})
    with pytest.raises(InputError) as refused:
        read_results(tmp_path, strict=True)
    assert [fault.field for fault in refused.value.faults] == [
        "a/results.jsonl:1",
        "b/results.jsonl:1",
        "a/results.jsonl:3",
    ]


def test_a_results_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "a" / "results.jsonl").mkdir(parents=True)
    write_tree(tmp_path, {"b": [line()]})
    assert said(tmp_path)[0].startswith("a/results.jsonl: cannot be read: ")


@pytest.mark.parametrize("strict", [False, True])
def test_a_tree_without_a_usable_record_is_always_refused(strict: bool, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a folder"):
        read_results(tmp_path / "nowhere", strict)
    with pytest.raises(InputError, match=r"must hold run folders with a results\.jsonl"):
        read_results(tmp_path, strict)
    write_run(tmp_path, "a", "")
    with pytest.raises(InputError, match=r"a/results\.jsonl: must hold a record"):
        read_results(tmp_path, strict)
    write_run(tmp_path, "b", json.dumps({}) + "\n")
    with pytest.raises(InputError, match=r"b/results\.jsonl:1: must have `args`"):
        read_results(tmp_path, strict)


def test_a_folder_above_or_below_a_tree_is_refused_with_the_path_of_the_tree(tmp_path: Path) -> None:
    write_tree(tmp_path / "sweeps" / "mine", {"a": [line()]})
    for given_folder in (tmp_path / "sweeps", tmp_path / "sweeps" / "mine" / "a"):
        with pytest.raises(InputError, match="such folders lie in ") as refused:
            read_results(given_folder)
        assert str(tmp_path / "sweeps" / "mine") in str(refused.value)
