"""The page."""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html import unescape
from html.parser import HTMLParser

import pytest
from empty_plots import leave_plots_empty
from hypothesis import HealthCheck, example, given, settings
from invented_sweep import DOMAINS, invented_report, invented_sweep, whole_report
from made_runs import changed_run
from named_report import NAMES, named

from gga_sweep.records import RunStatus
from gga_sweep.report.document import Sheet
from gga_sweep.report.headline import progress_in_words
from gga_sweep.report.html import link_runs, render_html
from gga_sweep.report.make_report import Report
from gga_sweep.report.plots.catalogue import PLOTS
from gga_sweep.report.plots.style import ARM_COLORS_DARK, ARM_COLORS_LIGHT
from gga_sweep.report.verdict import answer_in_words, verdicts_in_words
from gga_sweep.report.wording import entry_in_words, incomplete_in_words
from gga_sweep.selection import METHODS, SweepView, build_table

VOID = {"meta", "br", "wbr"}


class Reader(HTMLParser):
    """Checks that tags nest, and gathers tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def report(sweep_view: SweepView) -> Report:
    return invented_report(
        sweep_view, fingerprint={"torch": "2.15", "cpu": {"threads": 1}}, provenance={"Ledger": "results/demo"}
    )


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render_html(report)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_plots_empty(monkeypatch)


def test_the_page_is_self_contained(page: str) -> None:
    reader = read(page)
    assert not {"link", "img", "iframe", "object"} & set(reader.tags)
    assert {
        value for name, value in reader.attributes if name in ("src", "href") and not value.startswith("#")
    } == set()
    assert "@import" not in page
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert re.findall(r"url\((?!#)", page) == []


def test_its_policy_allows_its_one_script_and_nothing_from_elsewhere(page: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', unescape(page))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert [name for name, _ in read(page).attributes if name.startswith("on")] == []


def test_the_first_screen_has_verdict_table_and_paired_differences(page: str, report: Report) -> None:
    first = page[: page.index('<section id="plots">')]
    text = text_of(first + "</main></body></html>")
    said = (*answer_in_words(report.comparison.verdicts), *verdicts_in_words(report.comparison.verdicts)[1:])
    places = [text.index(part) for part in (*said, "Accuracy (%) by test domain", "Paired differences")]
    assert places == sorted(places)
    assert first.count("<svg") == 1
    assert re.findall(r'<th scope="col">(?:<abbr[^>]*>)?([^<]+)', first)[:2] == ["Arm", "Average"]


def test_an_arm_has_one_number_everywhere(page: str, report: Report) -> None:
    arms = report.view.arms
    assert re.findall(r'data-key="(\d)" title="([^"]+)"', page) == [(str(i), arm) for i, arm in enumerate(arms)]
    rows = re.findall(r'<tr data-arm="(\d)"><th scope="row"><i [^>]*var\(--arm-(\d)\)[^>]*>.</i>([^<]+)', page)
    assert len(rows) > 20
    assert {(number, color, unescape(name)) for number, color, name in rows} == {
        (str(i), str(i), arm) for i, arm in enumerate(arms)
    }
    drawings = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)]
    marked = [one for drawing in drawings for one in drawing.iter() if "data-arm" in one.attrib]
    assert len(marked) > 50
    assert all((one[0].text or "").startswith(arms[int(one.attrib["data-arm"])]) for one in marked)
    for drawing in drawings:
        if (
            drawing.attrib["aria-label"] != PLOTS["gain-accuracy"].of("accuracy").title
        ):  # its legend has the correlations
            assert list(wrong_colours(drawing, None)) == []


def wrong_colours(element: ET.Element, arm: str | None) -> Iterator[str]:
    """Colours of arms where another arm, or none, is drawn."""
    arm = element.attrib.get("data-arm", arm)
    for number in re.findall(r"var\(--arm-(\d+)", element.attrib.get("style", "")):
        if number != arm:
            yield number
    for child in element:
        yield from wrong_colours(child, arm)


@pytest.mark.usefixtures("undrawn")
def test_where_it_comes_from_is_said(sweep_view: SweepView) -> None:
    facts = {"Command": "gga-sweep run <demo>", "Dataset digest": "0123"}
    page = render_html(invented_report(sweep_view, provenance=facts))
    text = text_of(page.replace("</dt>", " </dt>").replace("</dd>", " </dd>"))
    assert "Command gga-sweep run <demo> Dataset digest 0123" in text


@pytest.mark.usefixtures("undrawn")
def test_runs_are_linked_to_their_pages_in_mlflow(sweep_view: SweepView) -> None:
    plain = render_html(invented_report(sweep_view))
    failed, selected, absent = "rotateddigits-0-test0-seed1-011e4f2a", sweep_view.records[0].folder, "no-such-run"
    address = 'http://127.0.0.1:5000/#/experiments/1/runs/0?a="b"&c'
    page = link_runs(plain, dict.fromkeys((failed, selected, absent), address))
    assert [value for name, value in read(page).attributes if name == "href" and value[0] != "#"] == [address] * (
        plain.count(f"<code>{failed}<") + plain.count(f"<code>{selected}<")
    )
    assert address in [value for _, value in read(page).attributes]
    assert text_of(page) == text_of(plain)
    assert link_runs(plain, {}) == plain


def test_every_id_is_unique(page: str) -> None:
    ids = [value for name, value in read(page).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_same_report_gives_the_same_page(page: str, report: Report) -> None:
    assert render_html(replace(report)) == page


def test_numbers_protocol_deviations_and_incomplete_cells_are_there(page: str, report: Report) -> None:
    text = text_of(page)
    for row in report.table.rows:
        for entry in (*row.entries, row.average):
            assert entry_in_words(entry) in text
    assert "Protocol: quick, with these deviations:" in text
    for sentence in (*report.table.deviations, *map(incomplete_in_words, report.table.incomplete)):
        assert sentence in text


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", read(page).text)


def test_every_plot_is_drawn_with_its_caption(page: str) -> None:
    drawn = [plot.of("accuracy") for name, plot in PLOTS.items() if name != "factors"]  # which the sweep has none of
    assert read(page).tags.count("svg") == len(drawn) == 13
    for plot in drawn:
        assert plot.title in page
        assert plot.caption in unescape(page)


def average_first(sheet: Sheet) -> Sheet:
    at = sheet.heads.index("Average")
    heads, *rows = [(row[0], *row[at:], *row[1:at]) for row in (sheet.heads, *sheet.rows)]
    return replace(sheet, heads=heads, rows=tuple(rows))


@pytest.mark.usefixtures("undrawn")
def test_every_section_is_there_with_its_tables_notes_and_plots() -> None:
    report = whole_report()
    page = render_html(report)
    text = text_of(page).replace(" ", "")
    for section in report.sections:
        assert section.headline or section.title.replace(" ", "") in text
        for whole in section.sheets:
            sheet = average_first(whole) if section.headline else whole
            assert (
                "".join([sheet.title * (not section.headline), *sheet.heads]).replace(" ", "").replace("\xa0", "")
                in text
            )
            for row in sheet.rows:
                assert "".join(row).replace(" ", "") in text
        for note in section.notes:
            assert f"{note.heading}:{note.sentence}{''.join(note.items)}".replace(" ", "") in text
        assert all(PLOTS[name].of("accuracy").title in page for name in section.plots)


def test_failures_are_listed_with_reasons_and_folders(page: str) -> None:
    assert "failed: ERM · test 0 · seed 1 · draw 1" in page
    assert "FileNotFoundError: no image 0045.png" in page
    assert "diverged: ERM · test 45 · seed 1 · draw 1" in page
    assert "the joint loss became NaN at step 212" in page
    assert "rotateddigits-0-test0-seed1-011e4f2a" in page


def test_counts_of_runs_and_missing_draws_open_the_page(page: str, report: Report) -> None:
    assert progress_in_words(report.view, report.table) in page


def test_selected_hyperparameters_fingerprint_and_location_are_there(page: str, report: Report) -> None:
    text = read(page).text
    runs = {(run.cell, run.key): run for run in report.view.records}
    for one in report.table.selected:
        assert f"{runs[one.cell, one.key].hyperparameters['lr']:.4g}" in text
        assert one.folder in text
    assert "cpu.threads" in text
    assert "results/demo" in text


def test_the_contents_lead_to_every_section_and_name_it(page: str) -> None:
    linked = re.findall(r'<li><a href="#([^"]+)">([^<]+)</a></li>', page)
    sections_of_page = re.findall(r'<section id="([^"]+)">\s*(?:<details><summary>)?<h2>([^<]+)</h2>', page)
    assert [name for name, _ in linked] == [name for name, _ in sections_of_page]
    for (_, short), (_, title) in zip(linked, sections_of_page, strict=True):
        assert title.startswith(short)


@pytest.mark.usefixtures("undrawn")
def test_parts_go_from_the_answer_to_the_evidence() -> None:
    report = whole_report()
    page = render_html(replace(report, chosen="name: demo-chosen\n"))
    assert re.findall(r'<section id="([^"]+)">', page) == [
        "accuracy",
        "plots",
        "differences",
        "algorithms",
        "published",
        "annealing",
        "budget",
        "cost",
        "methods",
        "more",
        "selected",
        "chosen",
        "failures",
        "provenance",
    ]


@pytest.mark.usefixtures("undrawn")
def test_a_method_that_looks_at_the_test_domain_is_labelled_as_headline_and_beside_it(sweep_view: SweepView) -> None:
    warning = "Looks at the test domain."
    assert warning not in render_html(invented_report(sweep_view))
    oracle = build_table(sweep_view, "oracle")
    for report in (invented_report(sweep_view, others=(oracle,)), replace(invented_report(sweep_view), table=oracle)):
        text = read(render_html(report)).text
        assert text.count(warning) == 1
        assert str(METHODS["oracle"].peeks)[1:] in text
    honest = build_table(sweep_view, exclude_diverged=True)
    assert warning not in render_html(invented_report(sweep_view, others=(honest,)))


@pytest.mark.usefixtures("undrawn")
def test_what_was_chosen_is_a_file_to_run(sweep_view: SweepView, page: str) -> None:
    file = 'name: demo-chosen\narms: [{name: "a < b & c"}]\n'
    chosen = render_html(invented_report(sweep_view, chosen=file))
    (told,) = re.findall(r'<pre class="file"><code>(.*?)</code></pre>', chosen, flags=re.DOTALL)
    assert "a &lt; b &amp; c" in told
    assert unescape(told) == file
    assert "gga-sweep run chosen.yaml" in chosen
    assert "gga-sweep run" not in page


@pytest.mark.usefixtures("undrawn")
def test_long_lists_are_folded_and_short_ones_are_not(page: str) -> None:
    assert "<details>" not in page.split('id="failures"')[1].split("</section>")[0]
    sweep = invented_sweep(test_domains=DOMAINS)
    failed = tuple(changed_run(run, status=RunStatus.FAILED, reason="r") for run in sweep.records)
    many = render_html(invented_report(replace(sweep, records=(*failed[:50], *sweep.records[50:]))))
    failures = many.split('id="failures"')[1].split("</section>")[0]
    assert "50 failed, 1 out of memory." in failures.replace("<p>", "")
    assert "<summary>All 51</summary>" in failures
    assert failures.count("<li>") == 51


def test_what_follows_a_number_is_in_smaller_type(page: str, report: Report) -> None:
    one = report.comparison.budget[0].scores[0]
    cell = f'<span>{100 * one.mean:.1f}</span> <span class="error">[{100 * one.low:.1f}, {100 * one.high:.1f}]</span>'
    assert f'<td class="number">{cell}</td>' in page
    entry = report.table.rows[0].entries[0]
    error = f'<span class="error">± {100 * entry.standard_error:.1f}</span><span>*</span>'
    assert f'<td class="number"><span>{100 * entry.mean:.1f}</span> {error}</td>' in page


def shape(reader: Reader) -> tuple[Counter[str], set[tuple[str, str]]]:
    """Its tags, without those that part long words and small print, and its attributes."""
    tags = Counter(tag for tag in reader.tags if tag not in ("wbr", "span"))
    return tags, {(name, value) for name, value in reader.attributes if value != "error" and name != "title"}


@pytest.mark.usefixtures("undrawn")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES)
@example("interval [<script>alert(1)</script>]")  # what follows the bracket is written by itself
def test_any_name_is_escaped(name: str) -> None:
    """It changes neither tags nor attributes, and is read as it was written."""
    reader = read(render_html(named(name)))
    assert shape(reader) == plain_shape()
    readable = re.sub("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", name)
    assert reader.text.replace("\r", "\n").count(readable.replace("\r", "\n")) > 20


@cache
def plain_shape() -> tuple[Counter[str], set[tuple[str, str]]]:
    return shape(read(render_html(named("plain"))))


def test_names_in_drawings_are_text() -> None:
    """Drawn, a name runs through matplotlib, which knows nothing of pages."""
    name = '<script>alert("x")</script>\x1b $x_{$ url(#x)'
    sweep = invented_sweep(arms=("ERM", name), test_domains=("0", "45"), trial_seeds=(0, 1))
    with warnings.catch_warnings(action="ignore"):  # of glyphs that its font lacks
        reader = read(render_html(invented_report(sweep)))
    assert reader.tags.count("script") == 1
    assert not {"style", "image", "foreignobject"} & set(reader.tags[reader.tags.index("svg") :])
    assert [attribute for attribute, _ in reader.attributes if attribute.startswith("on")] == []
    assert {value[0] for attribute, value in reader.attributes if attribute == "href"} == {"#"}
    assert reader.text.count(name.replace("\x1b", "\ufffd")) > 10


def test_a_sweep_without_a_run_still_gives_a_page() -> None:
    empty = replace(invented_sweep(), records=())
    reader = read(render_html(invented_report(empty)))
    assert reader.tags.count("svg") == 0
    assert "runs: 108 missing." in reader.text
    for name, plot in PLOTS.items():
        absent = name.startswith("budget") or name == "alignment"  # with their sections
        assert (plot.of("accuracy").nothing in reader.text) != absent
    assert "None: no run failed" in reader.text
    assert "Not recorded." in reader.text


@pytest.mark.usefixtures("undrawn")
def test_a_stopped_run_without_a_reason() -> None:
    sweep = invented_sweep(troubled=False)
    stopped = changed_run(sweep.records[0], status=RunStatus.STOPPED)
    sweep = replace(sweep, records=(stopped, *sweep.records[1:]))
    page = render_html(invented_report(sweep))
    assert "stopped: ERM · test 0 · seed 0 · draw 0</b><br>no reason recorded" in page


def test_light_dark_and_print_are_provided_for_with_the_colours_of_the_plots(page: str) -> None:
    light, dark = page.split("prefers-color-scheme: dark", 1)
    for i, color in enumerate(ARM_COLORS_LIGHT):
        assert f"--arm-{i}: {color};" in light
    for i, color in enumerate(ARM_COLORS_DARK):
        assert f"--arm-{i}: {color};" in dark
    assert "@media print" in page


@pytest.mark.slow
def test_a_page_of_a_thousand_runs_is_under_three_mebibytes() -> None:
    sweep = invented_sweep(test_domains=DOMAINS, draws=14, arms=("ERM", "A", "B", "C"))
    assert len(sweep.records) > 1000
    assert len(render_html(invented_report(sweep)).encode()) < 3 * 2**20
