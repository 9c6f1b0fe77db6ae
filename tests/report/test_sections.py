"""The comparison of the arms in words."""

from __future__ import annotations

import math
from dataclasses import replace

from invented_sweep import (
    ARMS,
    NOISY,
    invented_comparison,
    invented_report,
    invented_sweep,
    several_algorithms,
    whole_report,
)
from made_runs import changed_run

from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.report.document import Section
from gga_sweep.report.meanings import MEANINGS
from gga_sweep.report.sections import missing_in_words, sections
from gga_sweep.report.wording import ABSENT, entry_in_words, gain_in_words
from gga_sweep.selection import Comparison, FactorEffect, SelectedSteps, alignment_over_arms, build_table, compare
from gga_sweep.selection.verdict import verdicts

FIRST, SECOND = ARMS[1:]


def by_name(comparison: Comparison) -> dict[str, Section]:
    return {section.name: section for section in sections(comparison)}


def said(section: Section) -> dict[str, str]:
    return {note.heading: " ".join([note.sentence, *note.items]) for note in section.notes}


def test_sections_go_from_the_answer_to_the_evidence() -> None:
    names = [section.name for section in whole_report().sections]
    assert names[:4] == ["accuracy", "differences", "algorithms", "published"]
    assert names[4:] == ["annealing", "budget", "cost", "accuracy-oracle"]
    assert [section.name for section in invented_report(invented_sweep(arms=("ERM",))).sections] == [
        "accuracy",
        "budget",
        "cost",
    ]


def test_a_difference_row_has_all_numbers_of_its_contrast() -> None:
    comparison = invented_comparison(invented_sweep(trial_seeds=range(5)))
    section = by_name(comparison)["differences"]
    assert section.title == "Difference to ERM (points of accuracy)"
    found = (comparison.verdicts, verdicts(comparison.matched))
    for sheet, of_sheet in zip(section.sheets, found, strict=True):
        for row, verdict in zip(sheet.rows, of_sheet, strict=True):
            contrast, difference = verdict.contrast, verdict.contrast.difference
            arm, interval, p, adjusted, pairs, detects = row
            assert arm == contrast.arm
            assert interval == (
                f"{100 * difference.mean:+.2f} [{100 * difference.low:.2f}, {100 * difference.high:.2f}]"
            )
            assert (p, adjusted) == (f"{difference.p:.3f}", f"{contrast.holm_p:.3f}")
            of = "" if difference.n == 5 else "/5"
            assert pairs == f"{difference.n}{of} ({contrast.pairs}){'*' * contrast.incomplete}"
            assert detects == f"{100 * verdict.detectable:.2f}"


def test_several_baselines_are_named_row_by_row() -> None:
    sweep = invented_sweep(troubled=False)
    section = by_name(compare(replace(sweep, baselines={FIRST: "ERM", SECOND: FIRST}), build_table(sweep)))[
        "differences"
    ]
    assert section.title == "Difference to each arm's baseline (points of accuracy)"
    assert [row[0] for row in section.sheets[0].rows] == [f"{FIRST} against ERM", f"{SECOND} against {FIRST}"]


def test_missing_pairs_are_counted_and_named_with_their_draws(comparison: Comparison) -> None:
    assert missing_in_words(comparison.matched[1]) == (
        f"{SECOND} against ERM, test 0, trial seed 1: ERM failed (draw 1)",
        f"{SECOND} against ERM, test 75, trial seed 1: {SECOND} missing (draw 2)",
        f"{SECOND} against ERM, test 75, trial seed 2: {SECOND} out of memory (draw 2)",
    )
    notes = said(by_name(comparison)["differences"])
    assert notes["Missing pairs, same draw"].startswith("4 pairs without one side; that trial seed is left out")
    assert "Missing pairs, selected runs" not in notes


def test_draws_of_a_cell_with_the_same_reason_are_named_together() -> None:
    sweep = invented_sweep(troubled=False)
    comparison = invented_comparison(replace(sweep, records=sweep.records[4:]))
    assert missing_in_words(comparison.matched[0]) == (
        f"{FIRST} against ERM, test 0, trial seed 0: ERM missing (draws 0, 1, 2, 3)",
    )
    assert missing_in_words(comparison.selected[0]) == (
        f"{FIRST} against ERM, test 0, trial seed 0: ERM no selected accuracy",
    )


def test_what_an_interval_is_depends_on_the_trial_seeds(comparison: Comparison) -> None:
    words = said(by_name(comparison)["differences"])["Certainty"]
    assert "t over trial seeds with n - 1 degrees of freedom" in words
    assert "noncentral t" in words
    assert "No interval" not in words
    alone = by_name(invented_comparison(invented_sweep(trial_seeds=(0,), troubled=False)))["differences"]
    assert said(alone)["Certainty"] == "one trial seed has no spread, so there is no interval and no p."
    assert alone.sheets[0].rows[0][2:] == (ABSENT, ABSENT, "1 (3)", ABSENT)


def test_equal_arms_have_no_interval() -> None:
    sweep = invented_sweep(arms=("ERM", FIRST), troubled=False)
    erm = [run for run in sweep.records if run.cell.arm == "ERM"]
    alike = [changed_run(run, cell=replace(run.cell, arm=FIRST)) for run in erm]
    section = by_name(invented_comparison(replace(sweep, records=(*erm, *alike))))["differences"]
    assert section.sheets[0].rows[0][1:3] == ("+0.00", ABSENT)
    assert "No interval where the difference is the same in all trial seeds." in said(section)["Certainty"]


def test_selected_steps_before_the_end_of_the_window_are_counted(comparison: Comparison) -> None:
    early, late = (SelectedSteps(FIRST, before=2, inside=0, after=6), SelectedSteps(SECOND, 0, 0, 8))
    none = SelectedSteps(NOISY, 0, 0, 0)

    def words(*steps: SelectedSteps) -> str | None:
        return said(by_name(replace(comparison, steps=steps))["differences"]).get("Selected steps")

    construction = "up to its annealing window an arm equals its unannealed algorithm by construction."
    counted = f"{FIRST}: 2 before the window (25.0 %), 6 after (75.0 %)"
    rest = "In all other arms, selected steps lie after the window."
    assert words(early, late, none) == f"{construction} {rest} {counted}"
    assert words(early, none) == f"{construction} {counted}"
    assert words(late) == f"{construction} In all arms, selected steps lie after the window."
    assert words(none) is None


def test_searches_and_gga_l_have_a_table_each() -> None:
    comparison = invented_comparison(invented_sweep(arms=(*ARMS, NOISY), troubled=False))
    searches, noise = by_name(comparison)["annealing"].sheets
    assert [row[0] for row in searches.rows] == [FIRST, SECOND]
    assert [row[0] for row in noise.rows] == [NOISY]
    found = comparison.annealing[0].searches
    assert searches.rows[0][1:4] == tuple(
        gain_in_words(found[name].mean)
        for name in ("gain_under_search", "gain_under_fresh_masks", "gain_on_next_minibatches")
    )
    rate = found["acceptance_rate"].mean
    assert searches.rows[0][4] == f"{100 * rate.mean:.1f} ± {100 * rate.population_error:.1f}"
    alpha = comparison.annealing[2].noise["alpha"].mean
    assert noise.rows[0][2] == f"{alpha.mean:.3g} ± {alpha.population_error:.2g}"


def test_steps_left_out_are_counted_by_arm_and_quantity() -> None:
    def with_undefined(run: RunRecords) -> RunRecords:
        steps = (*run.searches[1:], replace(run.searches[0], next_alignment_after=math.nan)) if run.searches else ()
        return changed_run(run, annealed=steps)

    sweep = invented_sweep(troubled=False)
    notes = by_name(invented_comparison(replace(sweep, records=tuple(map(with_undefined, sweep.records)))))["annealing"]
    assert f"{FIRST}: 36 of 720 steps (gain, next minibatches)" in said(notes)["Left out"]


def test_several_algorithms_each_have_a_line_alone_annealed_and_their_difference() -> None:
    comparison = invented_comparison(several_algorithms())
    section = by_name(comparison)["algorithms"]
    (sheet,) = section.sheets
    assert sheet.heads == (
        "Arm",
        "Not annealed",
        "Annealed",
        "Difference [95\N{NO-BREAK SPACE}%]",
        "p",
        "Holm",
        "n (pairs)",
    )
    table = {row.arm: row.average for row in build_table(several_algorithms()).rows}
    selected = {contrast.arm: contrast for contrast in comparison.selected}
    *rows, mean = sheet.rows
    for row, algorithm in zip(rows, ("ERM", "CORAL"), strict=True):
        arm, contrast = f"{algorithm} + GGA", selected[f"{algorithm} + GGA"]
        assert row[:3] == (arm, entry_in_words(table[algorithm]), entry_in_words(table[arm]))
        assert row[3].startswith(f"{100 * contrast.difference.mean:+.2f} [")
        assert row[4] == f"{contrast.difference.p:.3f}"
        assert row[6] == "3 (9)"
    assert [row[5] for row in rows] == [f"{gain.contrast.holm_p:.3f}" for gain in comparison.algorithms]
    average = sum(selected[f"{algorithm} + GGA"].difference.mean for algorithm in ("ERM", "CORAL")) / 2
    assert mean[:3] == ("Mean over 2 algorithms", ABSENT, ABSENT)
    assert mean[3].startswith(f"{100 * average:+.2f} [")
    assert mean[5:] == (ABSENT, "3")
    assert "over these 2 lines only. The mean is over the algorithms" in said(section)["Algorithms"]
    assert list(by_name(comparison))[:2] == ["differences", "algorithms"]


def test_one_algorithm_has_no_table_by_algorithm(comparison: Comparison) -> None:
    assert "algorithms" not in by_name(comparison)


def test_algorithms_that_are_all_compared_above_add_only_their_mean() -> None:
    sweep = several_algorithms()
    baselines = {arm: baseline for arm, baseline in sweep.baselines.items() if arm != "CORAL"}
    comparison = invented_comparison(replace(sweep, baselines=baselines))
    found = by_name(comparison)
    assert "algorithms" not in found
    *_, mean = found["differences"].sheets[0].rows
    alone = by_name(replace(comparison, selected=comparison.selected[:1]))["algorithms"].sheets[0].rows[-1]
    assert mean == (alone[0], *alone[3:], ABSENT)
    assert mean[0] == "Mean over 2 algorithms"


def test_two_trial_seeds_are_too_few_for_the_interval_of_an_accuracy() -> None:
    two = by_name(invented_comparison(invented_sweep(trial_seeds=(0, 1), troubled=False)))["budget"]
    assert not any("[" in cell for row in two.sheets[0].rows for cell in row)
    assert "too few trial seeds for an interval (at least 3)" in said(two)["Search budget"]
    three = by_name(invented_comparison(invented_sweep(troubled=False)))["budget"]
    assert all("[" in row[1] for row in three.sheets[0].rows)
    assert "within 0 and 100 %" in said(three)["Search budget"]


def test_every_column_of_the_comparison_that_needs_it_has_a_meaning(comparison: Comparison) -> None:
    heads = {head for section in whole_report().sections for sheet in section.sheets for head in sheet.heads}
    plain = {"Arm", "Runs", "Training", "Search", "Diagnostics", "Evaluation", "Not annealed", "Annealed"}
    drawn = {head for head in heads if head.endswith((" draw", " draws", "a draw")) or head.startswith("Total")}
    assert heads - plain - drawn - {"0", "45", "75"} == MEANINGS.keys() - {"Draw", "Step", "Validation (%)", "Test (%)"}


def test_costs_say_how_many_runs_they_are_of(comparison: Comparison) -> None:
    (sheet,) = by_name(comparison)["cost"].sheets
    erm, first, _ = sheet.rows
    assert erm[:2] == ("ERM", "36 (34 done)")
    assert first[1] == "36"
    assert (erm[-2:], first[-2:]) == (
        (ABSENT, ABSENT),
        (f"{comparison.costs[1].ratio:.2f}", f"{comparison.costs[1].ratio_without_diagnostics:.2f}"),
    )


def test_a_total_is_in_the_unit_of_device_time_that_fits() -> None:
    sweep = invented_sweep(troubled=False)
    short = by_name(invented_comparison(sweep))["cost"].sheets[0]
    assert short.heads[2] == "Total (device-minutes)"
    slow = replace(sweep, records=tuple(changed_run(run, seconds={"training": 720.0}) for run in sweep.records))
    long = by_name(invented_comparison(slow))["cost"].sheets[0]
    assert long.heads[2] == "Total (device-hours)"
    assert long.rows[0][2:4] == ("7.20", "720")


def test_time_of_shared_steps_is_noted_if_there_is_any() -> None:
    sweep = invented_sweep(troubled=False)
    assert "trained once" not in said(by_name(invented_comparison(sweep))["cost"])["Cost"]
    first, *others = sweep.records
    sharing = replace(sweep, records=(changed_run(first, inherited_seconds=4.0), *others))
    note = said(by_name(invented_comparison(sharing))["cost"])["Cost"]
    assert note.endswith("4 device-seconds of the totals were trained once for several runs.")


def test_budgets_double_up_to_the_draws_of_each_arm() -> None:
    sweep = invented_sweep(arms=("ERM", FIRST), draws=6, troubled=False)
    fewer = tuple(run for run in sweep.records if run.cell.arm == "ERM" or run.draws < (3,))
    comparison = invented_comparison(replace(sweep, records=fewer))
    (sheet,) = by_name(comparison)["budget"].sheets
    assert sheet.heads[1:-1] == ("1 draw", "2 draws", "3 draws", "4 draws", "6 draws")
    assert sheet.heads[-1] == "Device-seconds a draw"
    erm, first = comparison.budget
    one = erm.scores[0]
    assert sheet.rows[0][:2] == ("ERM", f"{100 * one.mean:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]")
    assert sheet.rows[0][5].startswith(f"{100 * erm.scores[5].mean:.1f} [")
    assert sheet.rows[0][6] == f"{erm.seconds_a_draw:.1f}"
    assert sheet.rows[1][3].startswith(f"{100 * first.scores[2].mean:.1f} [")
    assert sheet.rows[1][4:6] == (ABSENT, ABSENT)


def test_unequal_cells_and_runs_left_out_of_the_budget_are_noted(comparison: Comparison) -> None:
    notes = said(by_name(comparison)["budget"])
    assert "ERM: 3 to 4 runs a cell" in notes["Fewest draws"]
    assert notes["Not selectable"].endswith(f"ERM: 1 run {SECOND}: 1 run")
    whole = said(by_name(invented_comparison(invented_sweep(troubled=False)))["budget"])
    assert whole.keys() == {"Search budget"}


def test_where_draws_do_not_match_the_selected_runs_alone_are_compared() -> None:
    sweep = invented_sweep(troubled=False)
    section = by_name(invented_comparison(replace(sweep, matched_draws=False)))["differences"]
    assert [sheet.title for sheet in section.sheets] == ["Selected runs"]
    assert "draws differ between the arms" in said(section)["Difference"]
    matched = by_name(invented_comparison(sweep))["differences"]
    assert "runs of the same draw" in said(matched)["Difference"]


def test_an_arm_without_a_run_costs_nothing_known() -> None:
    sweep = invented_sweep(troubled=False)
    left = replace(sweep, records=tuple(run for run in sweep.records if run.cell.arm != SECOND))
    (sheet,) = by_name(invented_comparison(left))["cost"].sheets
    assert sheet.rows[2] == (SECOND, "0", *[ABSENT] * 8)


def test_what_a_sweep_has_nothing_for_has_no_section() -> None:
    plain = invented_sweep(arms=("ERM",))
    assert list(by_name(invented_comparison(plain))) == ["budget", "cost"]
    single = invented_sweep(arms=("ERM",), draws=1, troubled=False)
    assert list(by_name(invented_comparison(single))) == ["cost"]
    queued = replace(plain, records=tuple(changed_run(r, status=RunStatus.QUEUED, seconds={}) for r in plain.records))
    assert by_name(invented_comparison(queued)) == {}


def test_a_factor_has_its_levels_its_spread_and_p() -> None:
    view = invented_sweep(arms=(*ARMS, NOISY), trial_seeds=range(5), troubled=False)
    what = {"algorithm": "ERM", "annealing": "gga", "draws": 4}
    settings = {FIRST: {**what, "annealing.radius": 1e-5}, SECOND: {**what, "annealing.radius": 1e-3}}
    comparison = invented_comparison(replace(view, settings=settings))
    section = by_name(comparison)["factors"]
    (effect,) = comparison.factors
    factor, levels, spread, p, adjusted, n = section.sheets[0].rows[0]
    assert (factor, n) == ("radius", "5")
    assert levels == ", ".join(
        f"{level}: {100 * mean:.1f}" for level, mean in zip(("1e-5", "1e-3"), effect.means, strict=True)
    )
    assert spread == f"{100 * effect.spread:.2f} [{100 * effect.low:.2f}, {100 * effect.high:.2f}]"
    assert p == adjusted == f"{effect.p:.3f}"


def test_more_alignment_is_compared_with_more_accuracy_from_four_arms_on() -> None:
    sweep = invented_sweep(arms=ARMS, trial_seeds=range(5), troubled=False)
    comparison = invented_comparison(sweep)
    assert "More alignment, more accuracy" not in said(by_name(comparison)["annealing"])
    several = replace(comparison, gains=(comparison.gains[0], comparison.gains[1]) * 2)
    mean = alignment_over_arms(several.gains)
    assert mean is not None
    assert f"is {mean.mean:.2f}" in said(by_name(several)["annealing"])["More alignment, more accuracy"]


def test_a_factor_of_several_blocks_is_named_with_its_block() -> None:
    sweep = invented_sweep(arms=(*ARMS, NOISY), trial_seeds=range(3), troubled=False)
    comparison = invented_comparison(sweep)
    one = FactorEffect(
        "annealing.radius", "ERM + GGA", (1, 2), (("a",), ("b",)), (0.5, 0.6), 3, 3, 0.1, 0, 0.2, 0.3, 0.4
    )
    other = replace(one, block="ERM + GGA guided")
    rows = by_name(replace(comparison, factors=(one, other)))["factors"].sheets[0].rows
    assert [row[0] for row in rows] == ["radius (ERM + GGA)", "radius (ERM + GGA guided)"]
