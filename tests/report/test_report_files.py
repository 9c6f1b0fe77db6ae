"""The report as files in the sweep's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from empty_plots import leave_plots_empty
from planned_sweep import CONTENTS, planned, write_run

from gga_sweep.errors import InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import write_sweep
from gga_sweep.report.files import FORMATS, check_format, link_page, render, write_report
from gga_sweep.report.latex import render_latex
from gga_sweep.report.long_table import render_csv, render_json
from gga_sweep.report.make_report import Report, make_report
from gga_sweep.report.markdown import render_markdown
from gga_sweep.report.text import render_text


@pytest.fixture(scope="module")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report written over an older one."""
    ledger = Ledger(tmp_path_factory.mktemp("storage") / "demo")
    for name in ("table.txt", "report.html"):
        ledger.store.replace(name, b"an older report")
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_plots_empty(monkeypatch)
        return write_report(report, ledger)


def test_every_format_is_a_file_in_the_sweeps_folder(written: dict[str, Path]) -> None:
    assert tuple(written) == FORMATS
    [folder] = {path.parent for path in written.values()}
    assert folder.name == "demo"
    assert sorted(folder.iterdir()) == sorted(written.values())


def test_a_file_holds_the_report_in_its_format(written: dict[str, Path], report: Report) -> None:
    text = {report_format: path.read_bytes().decode() for report_format, path in written.items()}
    assert text["text"] == render_text(report)
    assert text["markdown"] == render_markdown(report)
    assert text["latex"] == render_latex(report)
    assert text["csv"] == render_csv(report)
    assert text["json"] == render_json(report)
    assert text["html"].lstrip().lower().startswith("<!doctype html>")


def test_what_was_chosen_is_a_file_where_something_was(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_empty(monkeypatch)
    paths = write_report(replace(report, chosen="name: demo-chosen\n"), Ledger(tmp_path / "demo"))
    assert (*paths,) == (*FORMATS, "chosen")
    assert paths["chosen"].name == "chosen.yaml"
    assert paths["chosen"].read_text() == "name: demo-chosen\n"


@pytest.mark.parametrize("report_format", [name for name in FORMATS if name != "html"])
def test_what_is_printed_is_what_is_written(report_format: str, written: dict[str, Path], report: Report) -> None:
    ledger = Ledger(written[report_format].parent)
    assert render(report_format, report, ledger) == written[report_format].read_bytes().decode()


def test_the_page_is_linked_after_it_was_written_and_later_pages_are_too(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_empty(monkeypatch)
    ledger, run = Ledger(tmp_path / "demo"), report.table.selected[0].folder
    link_page(ledger, {})
    assert list(tmp_path.glob("demo/*.html")) == []
    page = write_report(report, ledger)["html"]
    before = page.read_text()
    link_page(ledger, {})
    assert page.read_text() == before
    for address in ("http://a/b", "http://a/c", "http://a/c"):  # once again, and after a change of the server
        link_page(ledger, {run: address})
        linked = page.read_text()
        assert linked.count(f'href="{address}"') == linked.count("<a href") - before.count("<a href") > 0
        assert linked.count(f"<code>{run}</code>") == before.count(f"<code>{run}</code>")
    assert render("html", report, ledger) == linked  # as `report` prints the page
    write_report(report, ledger)
    assert page.read_text() == linked
    ledger.store.replace("mlflow-pages.json", b'{"a":')
    assert render("html", report, ledger) == before


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    for report_format in FORMATS:
        check_format(report_format)
    with pytest.raises(InputError, match=r"--format: .*got 'pdf' \(allowed: text, markdown, latex, csv, json, html\)"):
        check_format("pdf")


def test_arms_are_compared_with_the_baselines_of_the_sweep_file(tmp_path: Path) -> None:
    annealing = {"start_step": 1, "num_steps": 1}
    arms = [
        {"algorithm": "ERM"},
        {"annealing": annealing},
        {"name": "odd", "annealing": annealing, "baseline": "ERM + GGA"},
    ]
    plan = planned(tmp_path, arms=[arms[0], {"name": "ERM + GGA", **arms[1]}, arms[2]])
    ledger = Ledger(plan.sweep.folder)
    write_sweep(ledger, plan.sweep, CONTENTS)
    for run in {run.folder: run for run in plan.runs}.values():
        write_run(ledger, run)
    comparison = make_report(plan, ledger).comparison
    assert [(one.arm, one.baseline) for one in comparison.selected] == [("ERM + GGA", "ERM"), ("odd", "ERM + GGA")]
    assert [cost.runs for cost in comparison.costs] == [4, 4, 4]
