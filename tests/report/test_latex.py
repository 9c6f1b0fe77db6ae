"""The table as LaTeX, read back by a small reader of what LaTeX itself would see."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from invented_sweep import ARMS, DOMAINS, invented_report, invented_sweep, whole_report

from gga_sweep.report.document import Footnote, Section, Sheet
from gga_sweep.report.latex import LISTED, WIDTH, render_latex
from gga_sweep.report.make_report import Report
from gga_sweep.selection import Comparison

# What each command prints, from LaTeX's own documentation.
PRINTED = {
    r"\textbackslash{}": "\\",
    r"\textasciicircum{}": "^",
    r"\textasciitilde{}": "~",
    r"\textasciigrave{}": "`",
    r"{\char34}": '"',
    r"$\bullet$": "\N{BULLET}",
    r"$\pm$": "±",
    r"$\times$": "\N{MULTIPLICATION SIGN}",
    r"$\le$": "≤",
    r"$\ge$": "≥",
    r"$\rho$": "\N{GREEK SMALL LETTER RHO}",
    r"$\alpha$": "\N{GREEK SMALL LETTER ALPHA}",
    r"$\gamma$": "\N{GREEK SMALL LETTER GAMMA}",
    r"$\theta$": "\N{GREEK SMALL LETTER THETA}",
    r"$\lambda$": "\N{GREEK SMALL LETTER LAMDA}",
    r"$\xi$": "\N{GREEK SMALL LETTER XI}",
    "$-$": "\N{MINUS SIGN}",
    "$+$": "+",
    "$<$": "<",
    "$>$": ">",
    "$|$": "|",
    "---": "\N{EM DASH}",
    "--": "\N{EN DASH}",
    "''": "\N{RIGHT DOUBLE QUOTATION MARK}",
    ",,": "\N{DOUBLE LOW-9 QUOTATION MARK}",
    "{}": "",
    "~": "\N{NO-BREAK SPACE}",
    **{f"\\{char}": char for char in "{}$&#%_"},
}
TOKEN = re.compile("|".join(map(re.escape, sorted(PRINTED, key=len, reverse=True))) + "|.", re.DOTALL)
COMMANDS = re.compile(r"\\(begin|end|toprule|midrule|bottomrule|par|medskip|raggedright|textbf|ref|multicolumn)\b")


@dataclass(frozen=True)
class Tabular:
    columns: tuple[str, ...]  # l, r or p
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    halves: tuple[tuple[str, ...], ...]  # the same rows, cell by cell


@dataclass(frozen=True)
class Float:
    caption: str
    label: str
    tabulars: tuple[Tabular, ...]
    notes: tuple[str, ...]
    source: str


def read(text: str) -> list[Float]:
    """Every float. What stands outside of one must be empty or a comment; environments and braces must be balanced."""
    check_nesting(text)
    outside = re.sub(r"\\begin\{table\}.*?\\end\{table\}", "", text, flags=re.DOTALL)
    assert all(line == "" or line.startswith("%") for line in outside.splitlines())
    return [read_float(found) for found in re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, flags=re.DOTALL)]


def check_nesting(text: str) -> None:
    open_environments, depth = [], 0
    for token in re.finditer(r"\\(begin|end)\{(\w+)\}|\\.|[{}]", text, re.DOTALL):
        if token[1] == "begin":
            open_environments.append((token[2], depth))
        elif token[1] == "end":
            assert open_environments.pop() == (token[2], depth)
        else:
            depth += {"{": 1, "}": -1}.get(token[0], 0)
            assert depth >= 0
    assert not open_environments
    assert depth == 0


def read_float(source: str) -> Float:
    notes = re.search(
        r"\\begin\{minipage\}\{\\linewidth\}\n *\\footnotesize\\raggedright\n(.*?)\\end\{minipage\}", source, re.DOTALL
    )
    assert notes
    paragraphs = [line.strip() for line in notes[1].strip().splitlines()]
    assert all(paragraph.endswith(r"\par") for paragraph in paragraphs)
    caption, label = re.search(r"\\caption\{(.*)\}\n", source), re.search(r"\\label\{([a-z0-9:-]+)\}\n", source)
    assert caption
    assert label
    return Float(
        caption=words(caption[1]),
        label=label[1],
        tabulars=tuple(map(read_tabular, re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", source, re.DOTALL))),
        notes=tuple(words(paragraph.removesuffix(r"\par")) for paragraph in paragraphs),
        source=source,
    )


def read_tabular(source: str) -> Tabular:
    first, *lines, last = (line.removeprefix("    ") for line in source.splitlines())
    assert last.strip() == r"\end{tabular}"
    specification = first.removeprefix(r"\begin{tabular}{@{}").removesuffix("@{}}")
    columns = tuple(re.findall(r"r@\{\}l|p(?=\{0\.\d+\\linewidth\})|[lr](?!inewidth)(?![^{]*\\)", specification))
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert (lines[0], lines[2], lines[-1]) == (r"\toprule", r"\midrule", r"\bottomrule")
    n = sum(2 if column == "r@{}l" else 1 for column in columns)
    heads, *rows = (read_row(line, n) for line in (lines[1], *lines[3:-1]))
    return Tabular(
        columns=columns,
        heads=tuple(map("".join, join(heads, columns))),
        rows=tuple(tuple("".join(cell) for cell in join(row, columns)) for row in rows),
        halves=tuple(tuple(cell for cells in join(row, columns) for cell in cells) for row in rows),
    )


def read_row(line: str, n: int) -> list[str | tuple[str]]:
    """`n` cells; one over two columns stands as a tuple, followed by nothing."""
    assert line.endswith(r" \\")
    cells = re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))
    read_cells: list[str | tuple[str]] = []
    for cell in cells:
        over_both = re.fullmatch(r"\\multicolumn\{2\}\{c\}\{(.*)\}", cell)
        read_cells += [(words(over_both[1]),)] if over_both else [words(cell)]
    assert sum(2 if isinstance(cell, tuple) else 1 for cell in read_cells) == n
    # An argument would begin here: the line end before it looks for one.
    assert not cells[0].startswith(("[", "*"))
    return read_cells


def join(cells: list[str | tuple[str]], columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The cells of each column."""
    left, joined = iter(cells), []
    for column in columns:
        cell = next(left)
        if isinstance(cell, tuple):
            assert column == "r@{}l"
            joined.append(cell)
        else:
            joined.append((cell, str(next(left))) if column == "r@{}l" else (cell,))
    return joined


def words(source: str) -> str:
    """What LaTeX would print, without markup; fails on a special character that would not be printed."""
    source = re.sub(r"\\ref\{[^}]*\}", "1", source.removeprefix(r"\raggedright "))
    if stacked := re.fullmatch(r"\\shortstack\{(.*)\}", source):
        source = stacked[1].replace(r" \\ ", " ")
    source = re.sub(r"\\textbf\{((?:[^{}\\]|\\.|\{\})*)\}", r"\1", source)
    printed = []
    for token in TOKEN.findall(source):
        assert token in PRINTED or token not in '\\{}$&#%_^~<>|"`', f"{token!r} in {source!r}"
        printed.append(PRINTED.get(token, token))
    return "".join(printed)


def plain(text: str) -> str:
    """Words as they should be printed: spaces are one, and a minus may be typeset as such."""
    return " ".join(text.split()).replace("\N{MINUS SIGN}", "-")


def whole(one: Float) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Heads and rows of a float whose tabulars go on with further columns, each with the arms in front."""
    heads, rows = one.tabulars[0].heads, [list(row) for row in one.tabulars[0].rows]
    for tabular in one.tabulars[1:]:
        assert tabular.heads[0] == heads[0]
        heads = (*heads, *tabular.heads[1:])
        for row, more in zip(rows, tabular.rows, strict=True):
            assert more[0] == row[0]
            row += more[1:]
    return tuple(map(plain, heads)), tuple(tuple(map(plain, row)) for row in rows)


def in_words(sheet: Sheet) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    return tuple(map(plain, sheet.heads)), tuple(tuple(map(plain, row)) for row in sheet.rows)


def note_in_words(note: Footnote) -> str:
    items = list(note.items[:LISTED])
    if len(note.items) > LISTED:
        items.append(f"and {len(note.items) - LISTED} more, which the other formats list")
    return plain(f"{note.heading}: {note.sentence} " + " ".join(f"\N{BULLET} {item}" for item in items))


def of_sweep(**changes: Any) -> list[Float]:
    """The floats of an invented sweep without troubles."""
    return read(render_latex(invented_report(invented_sweep(troubled=False, **changes))))


@pytest.fixture(scope="module")
def floats() -> list[Float]:
    return read(render_latex(invented_report(invented_sweep())))


def test_every_table_of_every_section_is_a_float_with_the_notes_below_the_last() -> None:
    report = whole_report()
    floats = iter(read(render_latex(report)))
    for section in report.sections:
        for i, sheet in enumerate(section.sheets, start=1):
            one, last = next(floats), f"tab:demo-{section.name}-{len(section.sheets)}"
            assert whole(one) == in_words(sheet)
            assert plain(one.caption).startswith(". ".join(filter(None, (section.title, sheet.title))) + ".")
            if i == len(section.sheets):
                notes = [*section.verdict, *map(note_in_words, section.notes)]
                assert [plain(note) for note in one.notes] == notes
                assert one.label == (f"tab:demo-{section.name}" if section.headline else last)
            else:
                assert rf"\ref{{{last}}}" in one.source
                assert len(one.notes) == 1
    assert next(floats, None) is None


def test_labels_are_unique_and_every_reference_has_one() -> None:
    text = render_latex(whole_report())
    labels = [one.label for one in read(text)]
    assert len(set(labels)) == len(labels)
    assert set(re.findall(r"\\ref\{(.*?)\}", text)) <= set(labels)


@pytest.mark.parametrize(("name", "slug"), [("My sweep_2", "my-sweep-2"), ("{}", "sweep")])
def test_a_label_is_made_of_what_a_label_may_hold(name: str, slug: str, report: Report) -> None:
    named = replace(report, table=replace(report.table, name=name))
    assert read(render_latex(named))[0].label == f"tab:{slug}-accuracy"


def test_numbers_meet_at_their_decimal_points(floats: list[Float]) -> None:
    first, differences, *_ = floats
    for tabular in first.tabulars:
        assert tabular.columns == ("l", *["r@{}l"] * (len(tabular.heads) - 1))
        for row in tabular.halves:
            assert all(re.fullmatch(r"\+?\d+|\N{EN DASH}", left) for left in row[1::2])
            assert all(re.match(r"\.\d", right) for right in row[2::2])
    row = differences.tabulars[0].halves[0]
    assert re.fullmatch(r"[-+]\d+", row[1])
    assert row[2].startswith(".")
    assert "\N{MINUS SIGN}" in row[2]  # the interval's, typeset as the number's own would be


def test_a_column_of_bare_numbers_of_one_form_is_aligned_on_the_right(floats: list[Float]) -> None:
    heads, columns = floats[1].tabulars[0].heads, floats[1].tabulars[0].columns
    assert dict(zip(heads, columns, strict=True)) == {
        "Arm": "l",
        "Difference [95\N{NO-BREAK SPACE}%]": "r@{}l",
        "p": "r",
        "Holm": "r",
        "n (pairs)": "r@{}l",
        "Smallest detectable difference (80 % power)": "r",
    }


def test_a_column_that_holds_words_is_aligned_on_the_left(report: Report) -> None:
    sheet = Sheet("", ("Arm", "Chosen", "Steps"), (("ERM", "lr 0.1", "12"), ("GGA", "lr 0.2", "1,234")))
    section = Section("chosen", "Chosen", (sheet,), (Footnote("Note", "none."),))
    one = read(render_latex(replace(report, published=section)))[-1]
    assert one.tabulars[0].columns == ("l", "l", "r")
    assert whole(one) == in_words(sheet)


def test_an_absent_number_is_a_dash_over_both_halves_of_its_column() -> None:
    sweep = invented_sweep(troubled=False)
    lacking = replace(sweep, records=tuple(run for run in sweep.records if run.cell.arm != ARMS[1]))
    text = render_latex(invented_report(lacking))
    assert read(text)[0].tabulars[0].rows[1][1] == "\N{EN DASH} (0/3)*"
    assert r"\multicolumn{2}{c}{--" in text


def bold_numbers(one: Float) -> list[list[bool]]:
    rows = [
        line for line in one.source.splitlines() if line.endswith(r" \\") and " & ." in line.replace(r"\textbf{", "")
    ]
    return [[r"\textbf" in cell for cell in re.split(r"(?<!\\) & ", row)[1::2]] for row in rows]


def test_the_best_numbers_are_bold_and_the_caption_says_so() -> None:
    report = invented_report(invented_sweep(troubled=False))
    first, *_ = read(render_latex(report))
    bold = report.sections[0].sheets[0].bold
    expected = [[(i, j) in bold for j in range(1, 5)] for i in range(3)]
    assert bold_numbers(first)[:3] == expected
    assert any(map(any, expected))
    assert "In bold: the highest mean of its column" in first.caption


def test_without_a_best_number_bold_is_not_mentioned() -> None:
    first, *_ = of_sweep(arms=("ERM",))
    assert not any(map(any, bold_numbers(first)))
    assert "bold" not in first.caption


def test_what_is_too_wide_goes_on_below_with_the_arms_in_front() -> None:
    first, *_ = of_sweep(test_domains=DOMAINS)
    assert len(first.tabulars) == 3
    for tabular in first.tabulars:
        lines = [tabular.heads, *tabular.rows]
        assert sum(max(map(len, column)) + 3 for column in zip(*lines, strict=True)) - 3 <= WIDTH
    assert len(of_sweep(test_domains=("0",))[0].tabulars) == 1


def test_a_long_head_is_stacked_beside_short_numbers(floats: list[Float]) -> None:
    assert r"\shortstack{Smallest \\ detectable \\ difference \\ (80 \% \\ power)}" in floats[1].source
    assert len(floats[1].tabulars) == 1


def test_a_long_arm_wraps() -> None:
    long = "ERM + GGA, " + ", ".join(f"switch {i}" for i in range(20))
    first, *_ = of_sweep(arms=("ERM", long))
    assert first.tabulars[0].columns[0] == "p"
    assert first.tabulars[0].rows[1][0] == long
    assert min(len(tabular.heads) for tabular in first.tabulars) > 1


def test_a_long_list_ends_with_how_many_it_leaves_out() -> None:
    report = invented_report(replace(invented_sweep(), records=()))
    note = next(note for note in read(render_latex(report))[0].notes if "Incomplete" in note)
    assert note.count("\N{BULLET}") == LISTED + 1
    assert plain(note).endswith(f"and {len(report.table.incomplete) - LISTED} more, which the other formats list")


def test_the_first_lines_say_what_the_document_must_load(report: Report) -> None:
    first, second, *_ = render_latex(report).splitlines()
    assert first.startswith(r"% Needs \usepackage{booktabs}")
    assert second == ""
    chinese = replace(report, table=replace(report.table, name="\N{CJK UNIFIED IDEOGRAPH-4E2D}"))
    assert "LuaLaTeX" in render_latex(chinese)
    greek = replace(report, table=replace(report.table, name="é \N{GREEK SMALL LETTER RHO} ±"))
    assert "LuaLaTeX" not in render_latex(greek)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(
        st.one_of(
            st.sampled_from(
                "\\{}$&#%_^~<>|\"`'-,[]* \t\n.;:!?ab1é±—≤≥\N{GREEK SMALL LETTER RHO}\N{EN DASH}"
                "\N{MINUS SIGN}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}\x07\N{ZERO WIDTH SPACE}"
            ),
            st.characters(codec="utf-8"),
        ),
        min_size=1,
        max_size=30,
    )
)
@example(name="a--b---c ''d'' ,,e,,")
@example(name="[0.1] and *")
def test_any_name_is_printed_as_it_is(name: str, report: Report) -> None:
    nothing = Comparison(**{field.name: () for field in fields(Comparison)})
    rows = (replace(report.table.rows[0], arm=name), *report.table.rows[1:])
    (one,) = read(render_latex(replace(report, table=replace(report.table, rows=rows), comparison=nothing)))
    printed = one.tabulars[0].rows[0][0]
    kept = "\N{NO-BREAK SPACE}"
    spaced = "".join(" " if char.isspace() and char != kept else char for char in name)
    expected = "".join(char if char.isprintable() or char == kept else "?" for char in spaced)
    assert printed == re.sub(" +", " ", expected).strip(" ")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_it_compiles(tmp_path: Path) -> None:
    arms = ("ERM", "[x] *", "\\a {b} $c & #d %e _f ^g ~h <i> |j \"k` 'l --m ''n ± é " + "o " * 30)
    body = render_latex(invented_report(invented_sweep(arms=arms, name="a_b%c")))
    document = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n" + body + "\\end{document}\n"
    (tmp_path / "a.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
