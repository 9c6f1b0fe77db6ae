"""Every number of a report as CSV and as JSON, read back with the csv module, pandas and json."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invented_sweep import ARMS, NOISY, PUBLISHED, invented_report, invented_sweep, several_algorithms

from gga_sweep.report.long_table import COLUMNS, render_csv, render_json
from gga_sweep.report.make_report import Report
from gga_sweep.report.published import published, published_name, published_section
from gga_sweep.selection import Comparison, Entry, SeedEstimate, build_table, mean_gain

Row = dict[str, str]


@pytest.fixture(scope="module")
def report() -> Report:
    """With troubled runs, searching and noisy arms, and four trial seeds."""
    return invented_report(invented_sweep(arms=(*ARMS, NOISY), trial_seeds=(0, 1, 2, 5)))


@pytest.fixture(scope="module")
def rows(report: Report) -> list[Row]:
    return read(render_csv(report))


def read(text: str) -> list[Row]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def where(rows: Iterable[Row], **columns: str) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in columns.items())]


def values(rows: Iterable[Row]) -> dict[str, float]:
    """By quantity."""
    return {row["quantity"]: number(row) for row in rows}


def number(row: Row, column: str = "value") -> float:
    return float(row[column]) if row[column] else math.nan


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


def check(rows: Sequence[Row], estimate: Entry | SeedEstimate, seeds: Sequence[int], ddof: str) -> None:
    """A row of the mean, then one a trial seed; every number to the last bit."""
    mean, *of_seeds = rows
    assert mean["trial_seed"] == ""
    assert same(number(mean), estimate.mean)
    columns = ["standard_error", "n", "expected"]
    columns += ["low", "high", "p", "detectable"] * isinstance(estimate, SeedEstimate)
    assert all(same(number(mean, column), getattr(estimate, column)) for column in columns)
    assert mean["ddof"] == ddof
    assert [row["trial_seed"] for row in of_seeds] == [*map(str, seeds)]
    assert all(same(number(row), value) for row, value in zip(of_seeds, estimate.values, strict=True))
    assert all(row[column] == "" for row in of_seeds for column in ("n", "expected", "standard_error", "ddof", "p"))


def test_accuracies_and_averages_are_there_by_trial_seed(report: Report, rows: list[Row]) -> None:
    table = report.table
    for row in table.rows:
        for (domain,), entry in zip(table.columns, row.entries, strict=True):
            check(where(rows, kind="accuracy", arm=row.arm, test_domains=domain), entry, table.trial_seeds, "0")
        check(where(rows, kind="average", arm=row.arm, test_domains=""), row.average, table.trial_seeds, "0")
        assert values(where(rows, kind="draws", arm=row.arm)) == {"planned": row.draws}
        assert values(where(rows, kind="ties", arm=row.arm)) == {"steps": row.tied_steps, "draws": row.tied_draws}
        runs = {status.value.lower(): n for status, n in row.runs.items()}
        assert values(where(rows, kind="runs", arm=row.arm)) == runs
    assert len(where(rows, kind="accuracy")) == 4 * 3 * 5
    assert len(where(rows, kind="average")) == 4 * 5


def test_differences_have_all_their_statistics(report: Report, rows: list[Row]) -> None:
    for kind, contrasts in (("selected", report.comparison.selected), ("matched", report.comparison.matched)):
        assert len(where(rows, kind=f"difference-{kind}")) == 5 * len(contrasts) > 0
        for contrast in contrasts:
            found = where(rows, kind=f"difference-{kind}", arm=contrast.arm, baseline=contrast.baseline)
            check(found, contrast.difference, report.table.trial_seeds, "1")
            assert same(number(found[0], "holm_p"), contrast.holm_p)
            assert int(found[0]["pairs"]) == contrast.pairs
            assert found[0]["incomplete"] == str(contrast.incomplete)
    for verdict in report.comparison.verdicts:
        mean, *_ = where(rows, kind="difference-selected", arm=verdict.contrast.arm)
        assert mean["finding"] == verdict.finding.value
        assert same(number(mean, "detectable_adjusted"), verdict.detectable)


def test_gains_by_algorithm_and_their_mean_have_all_their_statistics() -> None:
    report = invented_report(several_algorithms())
    rows = read(render_csv(report))
    for gain in report.comparison.algorithms:
        found = where(rows, kind="difference-algorithms", quantity=gain.algorithm, arm=gain.contrast.arm)
        check(found, gain.contrast.difference, report.table.trial_seeds, "1")
        assert (found[0]["baseline"], found[0]["pairs"]) == (gain.algorithm, "9")
        assert same(number(found[0], "holm_p"), gain.contrast.holm_p)
        alone, annealed = (where(rows, kind="average", arm=arm) for arm in (gain.algorithm, gain.contrast.arm))
        check(alone, gain.alone, report.table.trial_seeds, "0")
        check(annealed, gain.annealed, report.table.trial_seeds, "0")
    mean = mean_gain(report.comparison.algorithms)
    assert mean is not None
    check(where(rows, kind="difference-algorithms", quantity="mean"), mean, report.table.trial_seeds, "1")
    assert len(where(rows, kind="difference-algorithms")) == 3 * 4


def test_a_value_of_an_incomplete_trial_seed_is_marked(report: Report, rows: list[Row]) -> None:
    lacking = {(one.cell.arm, one.cell.test_domains[0], one.cell.trial_seed) for one in report.table.incomplete}
    assert lacking
    for row in where(rows, kind="accuracy"):
        if row["trial_seed"]:
            place = (row["arm"], row["test_domains"], int(row["trial_seed"]))
            assert row["incomplete"] == str(place in lacking)
    for row in (*where(rows, kind="average"), *where(rows, kind="difference-selected")):
        if row["trial_seed"]:
            seeds = {seed for arm, _, seed in lacking if arm in (row["arm"], row["baseline"])}
            assert row["incomplete"] == str(int(row["trial_seed"]) in seeds)
    for contrast in report.comparison.matched:
        missing = {str(pair.trial_seed) for pair in contrast.missing}
        found = where(rows, kind="difference-matched", arm=contrast.arm)[1:]
        assert {row["trial_seed"] for row in found if row["incomplete"] == "True"} == missing


def test_effects_of_annealing_are_there_by_quantity(report: Report, rows: list[Row]) -> None:
    for one in report.comparison.annealing:
        quantities = {**one.searches, **one.noise}
        for quantity, found in quantities.items():
            of_quantity = where(rows, kind="annealing", arm=one.arm, quantity=quantity)
            check(of_quantity, found.mean, report.table.trial_seeds, "1")
        counts = {row["quantity"]: number(row) for row in where(rows, kind="annealing", arm=one.arm)}
        assert counts.keys() == {*quantities, "runs", "steps"}
        assert (counts["runs"], counts["steps"]) == (one.runs, one.steps)
        left_out = {quantity: found.left_out for quantity, found in quantities.items()}
        assert values(where(rows, kind="annealing-left-out", arm=one.arm)) == left_out
    for gains in report.comparison.gains:
        at = {"kind": "alignment-and-accuracy", "arm": gains.arm, "baseline": gains.baseline}
        for quantity, field in (("alignment_gained", "alignment_gained"), ("accuracy_gained", "score_gained")):
            found = where(rows, **at, quantity=quantity)
            assert [number(row) for row in found] == [*getattr(gains, field)]
            assert [row["trial_seed"] for row in found] == [*map(str, gains.trial_seeds)]
        (correlation,) = where(rows, **at, quantity="correlation")
        assert (number(correlation), correlation["n"]) == (gains.correlation, str(len(gains.points)))
    for steps in report.comparison.steps:
        places = {"before": steps.before, "inside": steps.inside, "after": steps.after}
        assert values(where(rows, kind="selected-steps", arm=steps.arm)) == places


def test_search_budgets_are_there_by_number_of_draws(report: Report, rows: list[Row]) -> None:
    assert report.comparison.budget
    for budget in report.comparison.budget:
        for k, accuracy in zip(budget.draws, budget.scores, strict=True):
            found = where(rows, kind="search-budget", quantity="accuracy", arm=budget.arm, draws=str(k))
            check(found, accuracy, report.table.trial_seeds, "1")
        for quantity in ("seconds_a_draw", "largest_cell", "left_out"):
            (found_one,) = where(rows, kind="search-budget", quantity=quantity, arm=budget.arm)
            assert number(found_one) == getattr(budget, quantity)


def test_costs_are_there_by_phase_and_relative_to_the_baseline(report: Report, rows: list[Row]) -> None:
    for cost in report.comparison.costs:
        found = where(rows, kind="cost", arm=cost.arm)
        assert {row["baseline"] for row in found} == {cost.baseline or ""}
        names = ("runs", "done", "of_pairs", "total", "inherited", "a_run", "ratio", "ratio_without_diagnostics")
        expected = {name: getattr(cost, name) for name in names}
        expected |= {f"total_{phase}": seconds for phase, seconds in cost.seconds.items()}
        expected |= {f"a_run_{phase}": seconds for phase, seconds in cost.seconds_a_run.items()}
        assert values(found).keys() == expected.keys()
        assert all(same(value, expected[quantity]) for quantity, value in values(found).items())


def test_selected_runs_are_there_by_cell(report: Report, rows: list[Row]) -> None:
    for one in report.table.selected:
        cell = {"arm": one.cell.arm, "test_domains": one.cell.test_domains[0], "trial_seed": str(one.cell.trial_seed)}
        numbers = {name: getattr(one, name) for name in ("draw", "step", "tied_steps", "tied_draws")}
        assert values(where(rows, kind="selected", **cell)) == {**numbers, "validation_accuracy": one.score}


def test_what_holds_for_the_table_is_in_every_row(report: Report) -> None:
    table = replace(report.table, exclude_diverged=True, select_from="after-window", seed_use="Each seed searches.")
    found = read(render_csv(replace(report, table=table)))
    assert {tuple(row[column] for column in COLUMNS[:9]) for row in found} == {
        (
            "demo",
            "RotatedDigits",
            "quick",
            "evaluated every 50 steps, not 100; augmentation: none",
            "accuracy",
            "training-domain-validation",
            "after-window",
            "True",
            "Each seed searches.",
        )
    }


def test_tables_by_other_methods_follow_under_their_own_name(report: Report, rows: list[Row]) -> None:
    oracle = build_table(report.view, "oracle")
    both = read(render_csv(replace(report, others=(oracle,))))
    assert both[: len(rows)] == rows
    others = both[len(rows) :]
    assert {row["selection"] for row in others} == {"oracle"}
    for row in oracle.rows:
        check(where(others, kind="average", arm=row.arm), row.average, oracle.trial_seeds, "0")


def test_published_rows_follow_where_the_report_shows_them(report: Report) -> None:
    table = replace(report.table, dataset="PACS", incomplete=(), selected=())
    without = read(render_csv(replace(report, table=table)))
    shown = read(render_csv(replace(report, table=table, published=published_section(table))))
    assert shown[: len(without)] == without
    found = shown[len(without) :]
    assert {(row["kind"], row["sweep"]) for row in found} == {("published", "")}
    for one in published("PACS"):
        of_row = where(found, arm=published_name(one), selection=one.selection)
        numbers = [*one.domains.values(), one.average]
        assert [row["test_domains"] for row in of_row] == [*one.domains, ""]
        assert [f"{100 * number(row):.1f}" for row in of_row] == [f"{each.mean:.1f}" for each in numbers]
        errors = [f"{100 * number(row, 'standard_error'):.1f}" for row in of_row]
        assert errors == [f"{each.error:.1f}" for each in numbers]
        assert {row["protocol"] for row in of_row} == {one.protocol}
    erm = where(found, arm="published: ERM, DomainBed", test_domains="art_painting")
    assert [row["value"] for row in erm] == ["0.847"]  # the digits that were printed, no others


def test_what_is_absent_is_empty_in_csv_and_null_in_json() -> None:
    sweep = invented_sweep(troubled=False)
    left = invented_report(replace(sweep, records=tuple(run for run in sweep.records if run.cell.arm == "ERM")))
    text = render_csv(left)
    assert "nan" not in text.lower()
    found = where(read(text), kind="average", arm=ARMS[1])
    assert [row["value"] for row in found] == ["", "", "", ""]
    assert (found[0]["n"], found[0]["expected"], found[0]["incomplete"]) == ("0", "3", "True")
    records = json.loads(render_json(left))["records"]
    averages = [record for record in records if record["kind"] == "average" and record["arm"] == ARMS[1]]
    assert [record["value"] for record in averages] == [None] * 4


def test_no_two_rows_are_of_the_same_number(rows: list[Row]) -> None:
    names = ("selection", "kind", "quantity", "arm", "baseline", "test_domains", "trial_seed", "draws")
    assert len({tuple(row[name] for name in names) for row in rows}) == len(rows)


def test_pandas_reads_the_csv_in_the_call_of_the_docstring(report: Report, rows: list[Row]) -> None:
    frame = pd.read_csv(
        io.StringIO(render_csv(report), newline=""),
        dtype={"test_domains": str},
        keep_default_na=False,
        na_values=[""],
        **({"float_precision": "round_trip"} if pd.__version__ < "3" else {}),
    )
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == len(rows)
    for column in ("value", "standard_error", "low", "high", "p", "holm_p", "detectable", "n", "trial_seed"):
        assert frame[column].dtype.kind == "f"
        assert all(same(left, number(row, column)) for left, row in zip(frame[column], rows, strict=True))
    assert set(frame.test_domains.dropna()) == {"0", "45", "75"}


def test_csv_lines_end_in_crlf(report: Report, rows: list[Row]) -> None:
    text = render_csv(report)
    assert text.endswith("\r\n")
    assert text.count("\r\n") == text.count("\n") == len(rows) + 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.one_of(
        st.sampled_from(["=1+1", "+a", "-a", "@a", "a,b", 'a "b"', "a\r\nb", "a\nb", "NA", "null", "\t", " a "]),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
    )
)
def test_any_name_is_read_back_as_it_is(name: str, report: Report) -> None:
    nothing = Comparison(**{field.name: () for field in fields(Comparison)})
    table = replace(report.table, rows=(replace(report.table.rows[0], arm=name),), incomplete=(), selected=())
    named = replace(report, table=table, comparison=nothing)
    text = render_csv(named)
    assert {row["arm"] for row in read(text)} == {name}
    frame = pd.read_csv(io.StringIO(text, newline=""), keep_default_na=False, na_values=[""], dtype={"arm": str})
    assert set(frame.arm) == {name}
    assert {record["arm"] for record in json.loads(render_json(named))["records"]} == {name}


def as_csv(record: Mapping[str, Any]) -> Row:
    return {column: "" if (value := record.get(column)) is None else str(value) for column in COLUMNS[8:]}


def test_the_records_in_json_are_the_rows_of_the_csv(report: Report) -> None:
    report = replace(report, others=(build_table(report.view, "oracle"),))
    found = json.loads(render_json(report))
    records = [*found["records"], *found["others"][0]["records"]]
    assert [as_csv(record) for record in records] == [as_csv(row) for row in read(render_csv(report))]


def test_json_has_the_properties_of_a_table_once(report: Report) -> None:
    found = json.loads(render_json(replace(report, table=replace(report.table, seed_use="each draws its own."))))
    assert (found["sweep"], found["dataset"], found["trial_seeds"]) == ("demo", "RotatedDigits", [0, 1, 2, 5])
    assert found["test_domains"] == [["0"], ["45"], ["75"]]
    assert found["protocol"] == {"name": "quick", "deviations": [*report.table.deviations]}
    assert found["selection"] == {
        "method": "training-domain-validation",
        "label": "training-domain validation",
        "peeks": None,
        "exclude_diverged": False,
        "select_from": "any",
        "first_step": 0,
    }
    assert found["seed_use"] == "each draws its own."
    assert found["uncertainty"] == "mean ± standard error over 4 trial seeds (population, ddof 0)"


def test_json_lists_incomplete_cells_missing_pairs_and_selected_runs(report: Report) -> None:
    found = json.loads(render_json(report))
    cell = {"dataset": "RotatedDigits", "arm": "ERM", "test_domains": ["0"], "trial_seed": 1}
    assert found["incomplete"][0] == {**cell, "reasons": {"failed": [1]}, "selected": True}
    missing = {"test_domains": ["0"], "trial_seed": 1, "draw": 1, "lacking": {"ERM": "failed"}}
    assert found["missing_pairs"][0] == {"estimand": "matched", "arm": ARMS[1], "baseline": "ERM", **missing}
    contrasts = (*report.comparison.selected, *report.comparison.matched)
    assert len(found["missing_pairs"]) == sum(len(contrast.missing) for contrast in contrasts)
    first = report.table.selected[0]
    assert len(found["selected"]) == len(report.table.selected)
    assert (found["selected"][0]["key"], found["selected"][0]["folder"]) == (first.key, first.folder)


def test_json_has_the_report_in_words_and_other_methods(report: Report) -> None:
    assert (json.loads(render_json(report))["others"], json.loads(render_json(report))["published"]) == ([], [])
    report = replace(report, others=(build_table(report.view, "oracle"),), published=PUBLISHED)
    found = json.loads(render_json(report))
    assert found["others"][0]["selection"]["method"] == "oracle"
    assert "labels of the test domain" in found["others"][0]["selection"]["peeks"]
    assert [section["name"] for section in found["sections"]] == [section.name for section in report.sections]
    assert found["verdict"] == [*report.sections[0].verdict]
    (theirs,) = [section for section in found["sections"] if section["name"] == "published"]
    assert theirs["sheets"] == [{"title": "", "heads": ["Arm", "0"], "rows": [["GGA", "81.5"]], "bold": []}]
    assert theirs["notes"] == [{**asdict(PUBLISHED.notes[0]), "items": []}]


def test_a_factor_and_its_levels_are_records() -> None:
    sweep = invented_sweep(trial_seeds=(0, 1, 2, 5), troubled=False)
    what = {"algorithm": "ERM", "annealing": "gga", "draws": 4}
    settings = {arm: {**what, "annealing.radius": radius} for arm, radius in zip(ARMS[1:], (1e-5, 1e-3), strict=True)}
    report = invented_report(replace(sweep, settings=settings))
    rows = read(render_csv(report))
    [effect] = report.comparison.factors
    [row] = where(rows, kind="factor")
    assert (row["quantity"], row["n"], row["expected"]) == ("annealing.radius", "4", "4")
    assert [number(row, name) for name in ("value", "low", "high", "p", "holm_p")] == [
        effect.spread,
        effect.low,
        effect.high,
        effect.p,
        effect.holm_p,
    ]
    means = dict(zip(("annealing.radius = 1e-5", "annealing.radius = 1e-3"), effect.means, strict=True))
    assert values(where(rows, kind="factor-level")) == means
