"""The table as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from invented_sweep import NOISY, invented_comparison, invented_sweep, several_hosts

from gga_sweep.report.as_json import render_json
from gga_sweep.report.content import Report
from gga_sweep.report.sections import Section, Sheet
from gga_sweep.report.wording import Footnote
from gga_sweep.selection import Comparison, SweepView, Table, build_table, mean_gain


def as_json(sweep: SweepView, **parts: object) -> dict:
    """What JSON says of a sweep."""
    return json.loads(render_json(Report(sweep, build_table(sweep), invented_comparison(sweep), **parts)))


def test_numbers_are_kept_in_full(sweep_view: SweepView, table: Table) -> None:
    read = as_json(sweep_view)
    for row, source in zip(read["rows"], table.rows, strict=True):
        assert [cell["mean"] for cell in row["cells"]] == [entry.mean for entry in source.entries]
        assert row["average"]["standard_error"] == source.average.standard_error
        assert row["average"]["values"] == list(source.average.values)
        assert row["runs"] == {status.value: n for status, n in source.runs.items()}


def test_protocol_selection_and_uncertainty_are_as_json(sweep_view: SweepView, table: Table) -> None:
    read = as_json(replace(sweep_view, seed_use="each draws its own."))
    assert read["protocol"] == {"name": "quick", "deviations": [*table.deviations]}
    assert read["selection"] == {
        "method": "training-domain-validation",
        "label": "training-domain validation",
        "peeks": None,
        "exclude_diverged": False,
        "select_from": "any",
        "first_step": 0,
    }
    assert read["seed_use"] == "each draws its own."
    assert read["uncertainty"] == "mean ± standard error over 3 trial seeds (population, ddof 0)"


def test_what_is_absent_is_null_and_counted() -> None:
    sweep = invented_sweep(troubled=False)
    left = replace(sweep, records=sweep.records[:4])
    empty = build_table(left)
    assert math.isnan(empty.rows[1].average.mean)
    row = as_json(left)["rows"][1]
    assert row["average"] == {
        "mean": None,
        "standard_error": None,
        "n": 0,
        "expected": 3,
        "incomplete": True,
        "values": [None, None, None],
    }


def test_incomplete_cells_and_selected_runs_are_listed(sweep_view: SweepView, table: Table) -> None:
    read = as_json(sweep_view)
    assert read["incomplete"][0] == {
        "arm": "ERM",
        "test_domains": ["0"],
        "trial_seed": 1,
        "reasons": {"failed": [1]},
        "selected": True,
    }
    first = table.selected[0]
    assert len(read["selected"]) == len(table.selected)
    assert (read["selected"][0]["key"], read["selected"][0]["step"]) == (first.key, first.step)


def test_contrasts_are_told_with_every_number(sweep_view: SweepView, comparison: Comparison) -> None:
    read = as_json(sweep_view)["comparison"]
    for name, contrasts in (("selected", comparison.selected), ("matched", comparison.matched)):
        for told, contrast in zip(read[name], contrasts, strict=True):
            assert (told["arm"], told["baseline"], told["pairs"]) == (contrast.arm, contrast.baseline, contrast.pairs)
            for number in ("mean", "standard_error", "low", "high", "p", "detectable", "n", "expected"):
                expected = getattr(contrast.difference, number)
                assert told["difference"][number] == (expected if math.isfinite(expected) else None)
            assert len(told["missing"]) == len(contrast.missing)
    assert read["matched"][0]["missing"] == [
        {"test_domains": ["0"], "trial_seed": 1, "draw": 1, "lacking": {"ERM": "failed"}}
    ]
    values = comparison.matched[0].difference.values
    assert read["matched"][0]["difference"]["values"] == [values[0], None, values[2]]


def test_annealing_gains_and_costs_are_told() -> None:
    sweep = invented_sweep(arms=("ERM", "ERM + GGA, radius 1e-5", NOISY))
    comparison = invented_comparison(sweep)
    read = as_json(sweep)["comparison"]
    searching, noisy = comparison.annealing
    for told, one in zip(read["annealing"], (searching.searches, noisy.noise), strict=True):
        assert {name: quantity["mean"] for name, quantity in told["quantities"].items()} == {
            name: quantity.mean.mean for name, quantity in one.items()
        }
    (gains,) = comparison.gains
    assert read["alignment_and_accuracy"][0]["alignment_gained"] == list(gains.alignment_gained)
    assert read["alignment_and_accuracy"][0]["correlation"] == gains.correlation
    (steps,) = comparison.steps
    assert read["selected_steps"] == [
        {"arm": steps.arm, "before": steps.before, "inside": steps.inside, "after": steps.after}
    ]
    assert [cost["total"] for cost in read["costs"]] == [cost.total for cost in comparison.costs]
    assert [cost["inherited"] for cost in read["costs"]] == [cost.inherited for cost in comparison.costs]
    assert [cost["ratio"] for cost in read["costs"]] == [None, *(cost.ratio for cost in comparison.costs[1:])]
    assert read["footnotes"].keys() == {"differences", "annealing", "budget", "cost"}


def test_hosts_and_the_mean_over_them_are_told() -> None:
    sweep = several_hosts()
    comparison = invented_comparison(sweep)
    read = as_json(sweep)["comparison"]
    assert [(one["host"], one["arm"], one["baseline"]) for one in read["hosts"]] == [
        ("ERM", "ERM + GGA", "ERM"),
        ("CORAL", "CORAL + GGA", "CORAL"),
    ]
    for told, gain in zip(read["hosts"], comparison.hosts, strict=True):
        assert (told["alone"]["mean"], told["annealed"]["mean"]) == (gain.alone.mean, gain.annealed.mean)
        assert told["difference"]["values"] == [*gain.contrast.difference.values]
        assert told["holm_p"] == gain.contrast.holm_p
    mean = mean_gain(comparison.hosts)
    assert mean is not None
    assert (read["mean_over_hosts"]["mean"], read["mean_over_hosts"]["low"]) == (mean.mean, mean.low)
    assert as_json(invented_sweep())["comparison"]["mean_over_hosts"] is None


def test_the_search_budget_is_told_draw_by_draw(sweep_view: SweepView, comparison: Comparison) -> None:
    read = as_json(sweep_view)["comparison"]["search_budget"]
    assert [one["arm"] for one in read] == [*sweep_view.arms]
    for one, budget in zip(read, comparison.budget, strict=True):
        assert one["draws"] == [*budget.draws]
        assert [accuracy["mean"] for accuracy in one["accuracy"]] == [accuracy.mean for accuracy in budget.accuracy]
        assert (one["seconds_a_draw"], one["left_out"]) == (budget.seconds_a_draw, budget.left_out)


def test_other_methods_and_published_rows_are_told_where_there_are_some(sweep_view: SweepView) -> None:
    assert (as_json(sweep_view)["others"], as_json(sweep_view)["published"]) == ([], None)
    oracle = build_table(sweep_view, "oracle")
    published = Section("published", "Theirs", (Sheet("a", ("Arm", "0"), (("GGA", "81.5"),)),), (Footnote("b", "c."),))
    read = as_json(sweep_view, others=(oracle,), published=published)
    assert read["others"][0]["selection"]["method"] == "oracle"
    assert "labels of the test domain" in read["others"][0]["selection"]["peeks"]
    assert read["others"][0]["rows"][0]["average"]["mean"] == oracle.rows[0].average.mean
    assert read["published"]["sheets"] == [{"title": "a", "heads": ["Arm", "0"], "rows": [["GGA", "81.5"]]}]
    assert read["published"]["footnotes"] == [{"heading": "b", "sentence": "c.", "items": []}]
