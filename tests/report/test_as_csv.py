"""The report as one tidy CSV, read back with the csv module and with pandas."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invented_sweep import ARMS, NOISY, invented_comparison, invented_sweep, several_hosts

from gga_sweep.report.as_csv import COLUMNS, render_csv
from gga_sweep.report.content import Report
from gga_sweep.report.published import published, published_section
from gga_sweep.selection import Comparison, Entry, SeedEstimate, SweepView, build_table, mean_gain


def report_of(view: SweepView) -> Report:
    return Report(view, build_table(view), invented_comparison(view))


@pytest.fixture(scope="module")
def report() -> Report:
    """Troubled, with searching and noisy arms and five trial seeds."""
    return report_of(invented_sweep(arms=(*ARMS, NOISY), trial_seeds=(0, 1, 2, 5)))


@pytest.fixture(scope="module")
def lines(report: Report) -> list[dict[str, str]]:
    return read(render_csv(report))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def where(lines: Iterable[dict[str, str]], **fields: str) -> list[dict[str, str]]:
    return [line for line in lines if all(line[name] == value for name, value in fields.items())]


def number(line: dict[str, str], column: str = "value") -> float:
    return float(line[column]) if line[column] else math.nan


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


def check(lines: Sequence[dict[str, str]], estimate: Entry | SeedEstimate, seeds: Sequence[int], ddof: str) -> None:
    """A line of the mean, then one a trial seed; every number to the last bit."""
    mean, *of_seeds = lines
    assert mean["trial_seed"] == ""
    assert same(number(mean), estimate.mean)
    assert same(number(mean, "standard_error"), estimate.standard_error)
    assert (int(mean["n"]), int(mean["expected"]), mean["ddof"]) == (estimate.n, estimate.expected, ddof)
    if isinstance(estimate, SeedEstimate):
        for column in ("low", "high", "p", "detectable"):
            assert same(number(mean, column), getattr(estimate, column))
    assert [line["trial_seed"] for line in of_seeds] == [*map(str, seeds)]
    assert all(same(number(line), value) for line, value in zip(of_seeds, estimate.values, strict=True))
    assert all(line[column] == "" for line in of_seeds for column in ("n", "expected", "standard_error", "ddof", "p"))


def test_every_accuracy_and_average_stands_with_its_trial_seeds(report: Report, lines: list[dict[str, str]]) -> None:
    table = report.table
    for row in table.rows:
        for (domain,), entry in zip(table.columns, row.entries, strict=True):
            check(where(lines, kind="accuracy", arm=row.arm, test_domains=domain), entry, table.trial_seeds, "0")
        check(where(lines, kind="average", arm=row.arm, test_domains=""), row.average, table.trial_seeds, "0")
    assert len(where(lines, kind="accuracy")) == 4 * 3 * 5
    assert len(where(lines, kind="average")) == 4 * 5


def test_differences_stand_with_all_that_is_known_of_them(report: Report, lines: list[dict[str, str]]) -> None:
    for kind, contrasts in (("selected", report.comparison.selected), ("matched", report.comparison.matched)):
        assert len(where(lines, kind=f"difference-{kind}")) == 5 * len(contrasts) > 0
        for contrast in contrasts:
            found = where(lines, kind=f"difference-{kind}", arm=contrast.arm, baseline=contrast.baseline)
            check(found, contrast.difference, report.table.trial_seeds, "1")
            assert same(number(found[0], "holm_p"), contrast.holm_p)
            assert int(found[0]["pairs"]) == contrast.pairs
            assert found[0]["incomplete"] == str(contrast.incomplete)


def test_hosts_and_the_mean_over_them_stand_with_all_that_is_known_of_them() -> None:
    report = report_of(several_hosts())
    lines = read(render_csv(report))
    for gain in report.comparison.hosts:
        found = where(lines, kind="difference-hosts", quantity=gain.host, arm=gain.contrast.arm)
        check(found, gain.contrast.difference, report.table.trial_seeds, "1")
        assert (found[0]["baseline"], found[0]["pairs"]) == (gain.host, "9")
        assert same(number(found[0], "holm_p"), gain.contrast.holm_p)
    mean = mean_gain(report.comparison.hosts)
    assert mean is not None
    check(where(lines, kind="difference-hosts", quantity="mean"), mean, report.table.trial_seeds, "1")
    assert len(where(lines, kind="difference-hosts")) == 3 * 4


def test_a_value_says_whether_its_own_trial_seed_is_incomplete(report: Report, lines: list[dict[str, str]]) -> None:
    lacking = {(one.cell.arm, one.cell.test_domains[0], one.cell.trial_seed) for one in report.table.incomplete}
    assert lacking
    for line in where(lines, kind="accuracy"):
        if line["trial_seed"]:
            place = (line["arm"], line["test_domains"], int(line["trial_seed"]))
            assert line["incomplete"] == str(place in lacking)
    for line in (*where(lines, kind="average"), *where(lines, kind="difference-selected")):
        if line["trial_seed"]:
            seeds = {seed for arm, _, seed in lacking if arm in (line["arm"], line["baseline"])}
            assert line["incomplete"] == str(int(line["trial_seed"]) in seeds)
    for contrast in report.comparison.matched:
        missing = {str(pair.trial_seed) for pair in contrast.missing}
        found = where(lines, kind="difference-matched", arm=contrast.arm)[1:]
        assert {line["trial_seed"] for line in found if line["incomplete"] == "True"} == missing


def test_what_annealing_did_stands_by_quantity(report: Report, lines: list[dict[str, str]]) -> None:
    for one in report.comparison.annealing:
        quantities = {**one.searches, **one.noise}
        assert {line["quantity"] for line in where(lines, kind="annealing", arm=one.arm)} == quantities.keys()
        for quantity, found in quantities.items():
            of_quantity = where(lines, kind="annealing", arm=one.arm, quantity=quantity)
            check(of_quantity, found.mean, report.table.trial_seeds, "1")
    for gains in report.comparison.gains:
        found = where(lines, kind="alignment-and-accuracy", arm=gains.arm, baseline=gains.baseline)
        assert [number(line) for line in found] == [*gains.alignment_gained, gains.correlation]
        assert [line["trial_seed"] for line in found] == [*map(str, gains.trial_seeds), ""]
        assert found[-1]["n"] == str(len(gains.points))
    for steps in report.comparison.steps:
        found = where(lines, kind="selected-steps", arm=steps.arm)
        assert {line["quantity"]: int(line["value"]) for line in found} == {
            "before": steps.before,
            "inside": steps.inside,
            "after": steps.after,
        }


def test_expected_bests_stand_by_their_number_of_draws(report: Report, lines: list[dict[str, str]]) -> None:
    assert report.comparison.budget
    for budget in report.comparison.budget:
        for k, accuracy in zip(budget.draws, budget.accuracy, strict=True):
            found = where(lines, kind="search-budget", quantity="accuracy", arm=budget.arm, draws=str(k))
            check(found, accuracy, report.table.trial_seeds, "1")
        (seconds,) = where(lines, kind="search-budget", quantity="seconds_a_draw", arm=budget.arm)
        assert number(seconds) == budget.seconds_a_draw


def test_costs_stand_by_phase_and_beside_the_baseline(report: Report, lines: list[dict[str, str]]) -> None:
    for cost in report.comparison.costs:
        found = {line["quantity"]: line for line in where(lines, kind="cost", arm=cost.arm)}
        assert {line["baseline"] for line in found.values()} == {cost.baseline or ""}
        expected = {"runs": cost.runs, "done": cost.done, "total": cost.total, "a_run": cost.a_run}
        expected |= {
            "inherited": cost.inherited,
            "ratio": cost.ratio,
            "ratio_without_diagnostics": cost.ratio_without_diagnostics,
        }
        expected |= {f"total_{phase}": seconds for phase, seconds in cost.seconds.items()}
        expected |= {f"a_run_{phase}": seconds for phase, seconds in cost.seconds_a_run.items()}
        assert found.keys() == expected.keys()
        assert all(same(number(found[quantity]), value) for quantity, value in expected.items())


def test_selected_runs_and_the_fate_of_all_are_told(report: Report, lines: list[dict[str, str]]) -> None:
    for one in report.table.selected:
        cell = {"arm": one.cell.arm, "test_domains": one.cell.test_domains[0], "trial_seed": str(one.cell.trial_seed)}
        found = {line["quantity"]: number(line) for line in where(lines, kind="selected", **cell)}
        assert found == {"draw": one.draw, "step": one.step, "validation_accuracy": one.validation_accuracy}
    for row in report.table.rows:
        found = {line["quantity"]: int(line["value"]) for line in where(lines, kind="runs", arm=row.arm)}
        assert found == {status.value.lower(): n for status, n in row.runs.items()}


def test_what_holds_for_the_table_stands_on_every_line(report: Report) -> None:
    table = replace(report.table, exclude_diverged=True, select_from="after-window", seed_use="Each seed searches.")
    assert {
        tuple(line[column] for column in COLUMNS[:8]) for line in read(render_csv(replace(report, table=table)))
    } == {
        (
            "demo",
            "RotatedDigits",
            "quick",
            "evaluated every 50 steps, not 100; augmentation: none",
            "training-domain-validation",
            "after-window",
            "True",
            "Each seed searches.",
        )
    }


def test_tables_by_other_methods_follow_under_their_own_name(report: Report, lines: list[dict[str, str]]) -> None:
    oracle = build_table(report.view, "oracle")
    both = read(render_csv(replace(report, others=(oracle,))))
    assert both[: len(lines)] == lines
    others = both[len(lines) :]
    assert {line["selection"] for line in others} == {"oracle"}
    for row in oracle.rows:
        check(where(others, kind="average", arm=row.arm), row.average, oracle.trial_seeds, "0")


def test_published_rows_follow_where_the_report_shows_them(report: Report) -> None:
    table = replace(report.table, dataset="PACS", incomplete=(), selected=())
    without = read(render_csv(replace(report, table=table)))
    shown = read(render_csv(replace(report, table=table, published=published_section(table))))
    assert shown[: len(without)] == without
    found = shown[len(without) :]
    assert {line["kind"] for line in found} == {"published"}
    assert {line["sweep"] for line in found} == {""}
    for row in published("PACS"):
        of_row = [
            line
            for line in found
            if line["arm"].startswith(f"published: {row.name}") and line["selection"] == row.selection
        ]
        of_row = [
            line for line in of_row if line["arm"].removeprefix(f"published: {row.name}") in ("", " (superseded)")
        ]
        numbers = [*row.domains.values(), row.average]
        assert [line["test_domains"] for line in of_row] == [*row.domains, ""]
        assert [f"{100 * number(line):.1f}" for line in of_row] == [f"{one.mean:.1f}" for one in numbers]
        assert [f"{100 * number(line, 'standard_error'):.1f}" for line in of_row] == [
            f"{one.error:.1f}" for one in numbers
        ]
        assert {line["protocol"] for line in of_row} == {row.protocol}
    erm = where(found, arm="published: ERM, DomainBed", test_domains="art_painting")
    assert [line["value"] for line in erm] == ["0.847"]  # the digits that were printed, no others


def test_what_is_absent_is_empty() -> None:
    sweep = invented_sweep(troubled=False)
    left = report_of(replace(sweep, records=tuple(run for run in sweep.records if run.cell.arm == "ERM")))
    text = render_csv(left)
    assert "nan" not in text.lower()
    found = where(read(text), kind="average", arm=ARMS[1])
    assert [line["value"] for line in found] == ["", "", "", ""]
    assert (found[0]["n"], found[0]["expected"], found[0]["incomplete"]) == ("0", "3", "True")


def test_every_line_is_told_from_every_other(lines: list[dict[str, str]]) -> None:
    names = ("selection", "kind", "quantity", "arm", "baseline", "test_domains", "trial_seed", "draws")
    assert len({tuple(line[name] for name in names) for line in lines}) == len(lines)


def test_pandas_reads_it_in_the_call_of_the_docstring(report: Report, lines: list[dict[str, str]]) -> None:
    frame = pd.read_csv(
        io.StringIO(render_csv(report), newline=""),
        dtype={"test_domains": str},
        keep_default_na=False,
        na_values=[""],
        **({"float_precision": "round_trip"} if pd.__version__ < "3" else {}),
    )
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == len(lines)
    for column in ("value", "standard_error", "low", "high", "p", "holm_p", "detectable", "n", "trial_seed"):
        assert frame[column].dtype.kind == "f"
        assert all(same(left, number(line, column)) for left, line in zip(frame[column], lines, strict=True))
    means = frame[(frame.kind == "average") & frame.trial_seed.isna()].set_index("arm")["value"]
    assert means.to_dict() == {row.arm: row.average.mean for row in report.table.rows}
    assert set(frame.test_domains.dropna()) == {"0", "45", "75"}


def test_lines_end_as_rfc_4180_wants_them(report: Report, lines: list[dict[str, str]]) -> None:
    text = render_csv(report)
    assert text.endswith("\r\n")
    assert text.count("\r\n") == text.count("\n") == len(lines) + 1


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
    text = render_csv(replace(report, table=table, comparison=nothing))
    assert {line["arm"] for line in read(text)} == {name}
    frame = pd.read_csv(io.StringIO(text, newline=""), keep_default_na=False, na_values=[""], dtype={"arm": str})
    assert set(frame.arm) == {name}
