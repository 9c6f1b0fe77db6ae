"""DomainBed's tables: to the character where nothing is missing, marked where something is; and their other formats."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from domainbed_tree import N_DOMAINS, Line, line, random_sweep, spread, write_tree
from naive_domainbed import print_tables

from gga_sweep.domainbed.registry import ALGORITHMS, DOMAINS
from gga_sweep.domainbed.rendering import render
from gga_sweep.domainbed.results import read_results
from gga_sweep.domainbed.tables import build_tables

MARK = " *"


def sweep(
    dataset: str = "PACS",
    algorithm: str = "ERM",
    seeds: Sequence[int] = (0, 1, 2),
    value: float = 0.5,
    pairs: bool = True,
) -> list[Line]:
    """A record of every run that all three methods need, with `value` plus a little more for each trial seed."""
    n = N_DOMAINS[dataset]
    sets = [envs for size in (1, 2)[: 1 + pairs] for envs in itertools.combinations(range(n), size)]
    return [
        line(
            accuracies=((value + seed / 10,) * 2,) * n,
            dataset=dataset,
            algorithm=algorithm,
            test_envs=envs,
            trial_seed=seed,
        )
        for seed in seeds
        for envs in sets
    ]


def text_of(tree: Path, lines: list[Line], report_format: str = "text") -> str:
    return render(report_format, read_results(write_tree(tree, {"run": lines})))


def tables_and_notes(text: str) -> tuple[str, str]:
    tables, notes = text.split("\nNotes\n")
    return tables, notes


@pytest.mark.parametrize("block", range(5))
def test_the_text_is_that_of_the_naive_program_but_for_marks(block: int, tmp_path: Path) -> None:
    compared = marked = 0
    for seed in range(1000 + 10 * block, 1000 + 10 * (block + 1)):
        files = [lines for lines in random_sweep(seed) if lines]
        if files:
            tree = write_tree(tmp_path / str(seed), spread(files, seed))
            tables, _ = tables_and_notes(render("text", read_results(tree)))
            assert tables.replace(MARK, "  ") == print_tables([one for lines in files for one in lines])
            compared += 1
            marked += tables.count(MARK)
    assert compared >= 5
    assert marked


def test_three_trial_seeds_print_as_in_domainbeds_own_example(tmp_path: Path) -> None:
    tables, notes = tables_and_notes(text_of(tmp_path, sweep(value=0.1)))
    cell = "20.0 +/- 4.7        "  # of 10, 20 and 30: the population's deviation over sqrt(3)
    assert tables.count("ERM                   " + f"{cell}  " * 4 + "20.0" + " " * 17 + "\n") == 3
    assert tables.count("ERM" + " " * 24 + f"{cell}       20.0" + " " * 22 + "\n") == 3
    assert MARK not in tables
    assert "Incomplete" not in notes


def test_missing_cells_are_marked_and_listed(tmp_path: Path) -> None:
    lines = sweep(pairs=False)
    lines.remove(next(one for one in lines if one["args"]["test_envs"] == [3] and one["args"]["trial_seed"] == 1))
    tables, notes = tables_and_notes(text_of(tmp_path, lines))
    by_validation, averages = tables.split("--------")[1:3]
    assert by_validation.count("60.0 +/- 4.7 " + " " * 7) == 3
    assert by_validation.count("60.0 +/- 5.8 * " + " " * 5) == 0
    assert by_validation.count(MARK) == 2  # of domain S, and the average
    assert averages.count(MARK) == 2
    assert "- training-domain validation set: PACS, ERM: S (trial seed 1)\n" in notes
    assert "- leave-one-domain-out cross-validation: PACS, ERM: all\n" in notes
    assert "a number marked * misses" in notes


def test_an_average_with_a_test_domain_missing_is_domainbeds_number_marked(tmp_path: Path) -> None:
    low = [line(accuracies=((0.2, 0.2),) * 4, test_envs=(env,)) for env in (0, 1)]
    high = [line(accuracies=((0.8, 0.2),) * 4, test_envs=(2,))]
    tables, _ = tables_and_notes(text_of(tmp_path, [*low, *high]))
    of_pacs, averages = tables.split("--------")[1:3]
    assert of_pacs.splitlines()[2].split()[-2:] == ["X", "X"]
    assert averages.splitlines()[2].split()[1:5] == ["40.0", "+/-", "0.0", "*"]


def test_an_algorithm_without_runs_on_a_dataset_is_x_and_not_incomplete(tmp_path: Path) -> None:
    lines = [*sweep("PACS", "ERM"), *sweep("ColoredMNIST", "ERM"), *sweep("PACS", "IRM")]
    tables, notes = tables_and_notes(text_of(tmp_path, lines))
    colored = next(part for part in tables.split("--------") if part.startswith(" Dataset: ColoredMNIST"))
    assert colored.splitlines()[3].split() == ["IRM", "X", "X", "X", "X"]
    assert MARK not in tables
    assert "Incomplete" not in notes


def test_trial_seeds_are_added_up_as_they_came_beside_the_domains_and_sorted_in_the_averages(tmp_path: Path) -> None:
    lines = [line(accuracies=((seed / 10, 0.5),) * 4, trial_seed=seed) for seed in (2, 3, 1)]
    tables = build_tables(read_results(write_tree(tmp_path, {"run": lines})))
    of_pacs, averages = tables.blocks[0].tables
    assert of_pacs.rows["ERM"][0].mean == 100 * ((0.2 + 0.3 + 0.1) / 3)
    assert averages.rows["ERM"][0].mean == 100 * ((0.1 + 0.2 + 0.3) / 3)
    assert of_pacs.rows["ERM"][0].mean != averages.rows["ERM"][0].mean  # by the last bit


def test_a_nan_on_the_test_domain_is_printed_as_domainbed_prints_it(tmp_path: Path) -> None:
    lines = sweep(seeds=[0], pairs=False)
    lines[0]["env0_in_acc"] = math.nan
    tables, _ = tables_and_notes(text_of(tmp_path, lines))
    assert "nan +/- nan" in tables


def test_known_algorithms_stand_in_domainbeds_order_and_others_behind_as_they_came(tmp_path: Path) -> None:
    lines = [one for name in ("zeta", "URM", "alpha", "Fish", "ERM") for one in sweep(algorithm=name, seeds=[0])]
    tables = build_tables(read_results(write_tree(tmp_path, {"run": lines})))
    assert tables.algorithms == ("ERM", "Fish", "URM", "zeta", "alpha")


def test_unknown_datasets_have_tables_of_their_own_that_leave_domainbeds_alone(tmp_path: Path) -> None:
    known = sweep("PACS")
    without = text_of(tmp_path / "a", known)
    with_one = text_of(tmp_path / "b", [*known, *sweep("Invented", value=0.7)])
    rest = [part for part in with_one.split("\nNotes")[0].split("\n--------") if "unknown to DomainBed" not in part]
    expected = without.split("\nNotes")[0].split("\n--------")
    assert rest[1:] == expected[1:]
    assert "Dataset: Invented (unknown to DomainBed), model selection method: training-domain" in with_one
    assert "env0                  env1                  env2                  Avg" in with_one
    assert "left out by DomainBed" in with_one


def test_a_tree_of_unknown_datasets_alone_is_printed(tmp_path: Path) -> None:
    text = text_of(tmp_path, sweep("Invented", value=0.7))
    assert text.count("--------") == 6
    assert text.count("80.0 +/- 4.7") == 3 * (3 + 1)


def test_domains_beyond_those_of_domainbed_are_named_and_count_in_the_averages_alone(tmp_path: Path) -> None:
    accuracies = [(0.2, 0.5)] * 4 + [(0.7, 0.5)]
    lines = [line(accuracies=accuracies, test_envs=(env,)) for env in range(5)]
    tables, notes = tables_and_notes(text_of(tmp_path, lines))
    of_pacs, averages = tables.split("--------")[1:3]
    assert "70.0" not in of_pacs
    assert averages.splitlines()[2].split()[1] == "30.0"
    assert "PACS: 5 instead of 4" in notes


def test_a_long_name_is_cut_as_domainbed_cuts_it_and_given_in_full_below(tmp_path: Path) -> None:
    names = ["ERM + GGA, radius 1e-05", "ERM + GGA, radius 1e-04"]
    tables, notes = tables_and_notes(text_of(tmp_path, [one for name in names for one in sweep(algorithm=name)]))
    assert "\nERM + GGA, radius 1e  60.0" in tables
    for name in names:
        assert tables.count(f"\n{name}    60.0") == 3  # the averages are wider
        assert f"- ERM + GGA, radius 1e stands for {name}\n" in notes


def test_notes_count_what_was_read(tmp_path: Path) -> None:
    lines = [*sweep(), line(test_envs=(0, 1, 2)), line(hparams_seed=7)]
    _, notes = tables_and_notes(text_of(tmp_path, lines))
    assert f"Read:32recordsof32runsin{tmp_path}." in "".join(notes.split())  # a long path is broken
    assert "- 13 runs with 1 test domain\n" in notes
    assert "- 18 runs with 2 test domains, which leave-one-domain-out validates with\n" in notes
    assert "- 1 run with 3 test domains, which no method uses\n" in notes
    assert "between 1 and 2 draws a cell" in notes


def test_text_lists_ten_of_many_and_json_all(tmp_path: Path) -> None:
    lines = [*sweep(), *(line(step=-1) for _ in range(13))]
    results = read_results(write_tree(tmp_path, {"run": lines}))
    text = render("text", results)
    assert text.count("must have a `step`") == 10
    assert "- and 3 more, which the other formats list\n" in text
    assert "Left out: 13 records and 0 files of which nothing is used." in text
    assert render("json", results).count("must have a `step`") == 13


def test_latex_and_markdown_have_the_same_numbers_and_escape_names(tmp_path: Path) -> None:
    lines = [*sweep("ColoredMNIST"), *sweep("ColoredMNIST", "IB_ERM", seeds=[0], pairs=False)[:2]]
    results = read_results(write_tree(tmp_path, {"run": lines}))
    latex = render("latex", results)
    assert latex.count("ColoredMNIST, training-domain validation set.}") == 1
    heads = r"Algorithm & \multicolumn{2}{c}{+90\%} & \multicolumn{2}{c}{+80\%} & \multicolumn{2}{c}{-90\%}"
    row = r"ERM & 60 & .0~$\pm$~4.7 & 60 & .0~$\pm$~4.7 & 60 & .0~$\pm$~4.7 &"
    assert latex.count(heads) == latex.count(row) == 3
    assert r"IB\_ERM & 50 & .0~$\pm$~0.0 & " in latex
    markdown = render("markdown", results)
    assert markdown.count("| Algorithm | +90% | +80% | -90% | Avg |\n") == 3
    assert markdown.count("| ERM | 60.0 ± 4.7 | 60.0 ± 4.7 | 60.0 ± 4.7 | 60.0 |\n") == 3
    assert markdown.count("| IB\\_ERM | 50.0 ± 0.0") == 4
    for text in (latex, markdown):
        assert "The oracle takes the last record of the highest step" in text


def test_json_has_the_entries_of_the_csv_and_what_was_chosen(tmp_path: Path) -> None:
    lines = [*sweep(value=0.1), line(accuracies=((math.nan, 0.9),) * 4, test_envs=(0,), hparams_seed=3, step=20)]
    results = read_results(write_tree(tmp_path, {"run": lines}))
    read = json.loads(render("json", results))
    assert (read["records_read"], read["runs_read"], len(read["records"])) == (31, 31, 3 * (5 + 2))
    first, second, *_ = read["records"]
    assert (first["method"], first["dataset"], first["column"]) == ("training-domain-validation", "PACS", "A")
    assert (first["mean"], second["mean"]) == (None, pytest.approx(20))
    assert read["records"][5]["dataset"] is None  # an average over datasets
    assert read["chosen"][0] == {
        "method": "training-domain-validation",
        "dataset": "PACS",
        "algorithm": "ERM",
        "test_domain": 0,
        "trial_seed": 0,
        "hparams_seed": 3,
        "step": 20,
        "validation_accuracy": pytest.approx(90),
        "test_accuracy": None,
    }
    rows = [*csv.DictReader(io.StringIO(render("csv", results)))]
    in_json = [{name: "" if value is None else str(value) for name, value in one.items()} for one in read["records"]]
    assert rows == in_json


def test_an_entry_without_a_choice_is_empty_and_incomplete(tmp_path: Path) -> None:
    rows = [*csv.DictReader(io.StringIO(text_of(tmp_path, sweep(pairs=False), "csv")))]
    left_out = [row for row in rows if row["method"] == "leave-one-domain-out"]
    assert {(row["mean"], row["n"], row["incomplete"]) for row in left_out} == {("", "0", "True")}


def test_the_registry_has_no_name_twice() -> None:
    assert len(set(ALGORITHMS)) == len(ALGORITHMS) == 34
    assert [*DOMAINS][4:9] == ["VLCS", "PACS", "OfficeHome", "TerraIncognita", "DomainNet"]
