"""The table as LaTeX, read back by a small reader of what LaTeX itself would see."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from invented_sweep import ARMS, NOISY, invented_comparison, invented_sweep, several_hosts

from gga_sweep.report.content import Report
from gga_sweep.report.latex import LISTED, WIDTH, render_latex
from gga_sweep.report.published import published_section
from gga_sweep.report.sections import Section, Sheet, sections
from gga_sweep.report.wording import Footnote, arm_in_words, column_heads, entry_in_words, footnotes
from gga_sweep.selection import Comparison, SweepView, Table, build_table

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


@cache
def any_view() -> SweepView:
    """What a report must have and LaTeX never looks at."""
    return invented_sweep()


def render(
    table: Table, comparison: Comparison, published: Section | None = None, others: tuple[Table, ...] = ()
) -> str:
    return render_latex(Report(any_view(), table, comparison, others, published))


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
    return plain(f"{note.heading}: {note.sentence} " + " ".join(f"\N{BULLET} {item}" for item in note.items))


def test_the_first_float_holds_every_number_and_footnote_of_the_table(table: Table, comparison: Comparison) -> None:
    first, *_ = read(render(table, comparison))
    rows = tuple(
        tuple(map(plain, (arm_in_words(row), *map(entry_in_words, (*row.entries, row.average))))) for row in table.rows
    )
    assert whole(first) == (("Arm", *column_heads(table)), rows)
    assert plain(first.caption).startswith(f"{table.title}.")
    assert [plain(note) for note in first.notes] == [note_in_words(note) for note in footnotes(table)]


@pytest.mark.parametrize("sweep", [invented_sweep(arms=(*ARMS, NOISY)), several_hosts()], ids=["arms", "hosts"])
def test_every_sheet_of_every_section_is_a_float_of_its_own(sweep: SweepView) -> None:
    comparison = invented_comparison(sweep)
    _, *floats = read(render(build_table(sweep), comparison))
    expected = [(section, sheet) for section in sections(comparison) for sheet in section.sheets]
    for one, (section, sheet) in zip(floats, expected, strict=True):
        assert whole(one) == in_words(sheet)
        assert one.caption == ". ".join(filter(None, (section.title, sheet.title))) + "."


def test_the_footnotes_of_a_section_stand_below_its_last_float_and_the_others_point_there(
    table: Table, comparison: Comparison
) -> None:
    floats = {one.label: one for one in read(render(table, comparison))}
    first, last = floats["tab:demo-differences-1"], floats["tab:demo-differences-2"]
    assert r"\ref{tab:demo-differences-2}" in first.source
    assert len(first.notes) == 1
    section = next(iter(sections(comparison)))
    assert [plain(note) for note in last.notes] == [note_in_words(note) for note in section.notes]


def test_labels_are_unique_and_every_reference_has_one() -> None:
    sweep = invented_sweep(arms=(*ARMS, NOISY))
    text = render(build_table(sweep), invented_comparison(sweep))
    labels = [one.label for one in read(text)]
    assert len(set(labels)) == len(labels)
    assert set(re.findall(r"\\ref\{(.*?)\}", text)) <= set(labels)


@pytest.mark.parametrize(("name", "slug"), [("My sweep_2", "my-sweep-2"), ("{}", "sweep")])
def test_a_label_is_made_of_what_a_label_may_hold(name: str, slug: str, comparison: Comparison, table: Table) -> None:
    assert read(render(replace(table, name=name), comparison))[0].label == f"tab:{slug}-accuracy"


def test_numbers_meet_at_their_decimal_points(table: Table, comparison: Comparison) -> None:
    first, differences, *_ = read(render(table, comparison))
    for tabular in first.tabulars:
        assert tabular.columns == ("l", *["r@{}l"] * (len(tabular.heads) - 1))
        for row in tabular.halves:
            assert all(re.fullmatch(r"\d+", left) for left in row[1::2])
            assert all(re.match(r"\.\d", right) for right in row[2::2])
    row = differences.tabulars[0].halves[0]
    assert re.fullmatch(r"[-+]\d+", row[1])
    assert row[2].startswith(".")
    assert "\N{MINUS SIGN}" in row[2]  # the interval's, typeset as the number's own would be


def test_a_column_of_bare_numbers_of_one_form_is_aligned_on_the_right(table: Table, comparison: Comparison) -> None:
    differences = read(render(table, comparison))[1]
    heads, columns = differences.tabulars[0].heads, differences.tabulars[0].columns
    assert dict(zip(heads, columns, strict=True)) | {"Arm": "l"} == {
        "Arm": "l",
        "Difference [95\N{NO-BREAK SPACE}%]": "r@{}l",
        "p": "r",
        "Holm": "r",
        "n (pairs)": "r@{}l",
        "Detects": "r",
    }


def test_a_column_that_holds_words_is_aligned_on_the_left(table: Table, comparison: Comparison) -> None:
    sheet = Sheet("", ("Arm", "Chosen", "Steps"), (("ERM", "lr 0.1", "12"), ("GGA", "lr 0.2", "1,234")))
    section = Section("chosen", "Chosen", (sheet,), (Footnote("Note", "none."),))
    one = read(render(table, comparison, section))[-1]
    assert one.tabulars[0].columns == ("l", "l", "r")
    assert whole(one) == in_words(sheet)


def test_an_absent_number_is_a_dash_over_both_halves_of_its_column() -> None:
    sweep = invented_sweep(troubled=False)
    lacking = replace(sweep, records=tuple(run for run in sweep.records if run.cell.arm != ARMS[1]))
    text = render(build_table(lacking), invented_comparison(lacking))
    assert read(text)[0].tabulars[0].rows[1][1] == "\N{EN DASH} (0/3)*"
    assert r"\multicolumn{2}{c}{--" in text


def bold_numbers(text: str) -> list[list[bool]]:
    source = read(text)[0].source
    rows = [line for line in source.splitlines() if line.endswith(r" \\") and " & ." in line.replace(r"\textbf{", "")]
    return [[r"\textbf" in cell for cell in re.split(r"(?<!\\) & ", row)[1::2]] for row in rows]


def test_the_best_mean_of_a_column_is_bold_and_the_caption_says_so() -> None:
    sweep = invented_sweep(troubled=False)
    table = build_table(sweep)
    text = render(table, invented_comparison(sweep))
    means = [[round(100 * entry.mean, 1) for entry in (*row.entries, row.average)] for row in table.rows]
    best = [max(column) for column in zip(*means, strict=True)]
    assert bold_numbers(text) == [[mean == top for mean, top in zip(row, best, strict=True)] for row in means]
    assert "In bold: the highest mean of its column" in read(text)[0].caption


def test_an_incomplete_mean_is_never_bold() -> None:
    sweep = invented_sweep(troubled=False)
    table = build_table(sweep)
    first, *others = table.rows
    top = replace(first.entries[0], mean=0.999, incomplete=True)
    table = replace(table, rows=(replace(first, entries=(top, *first.entries[1:])), *others))
    bold = bold_numbers(render(table, invented_comparison(sweep)))
    assert [row[0] for row in bold].count(True) == 1
    assert not bold[0][0]


def test_equal_means_as_printed_are_all_bold() -> None:
    sweep = invented_sweep(troubled=False, arms=ARMS[:2])
    table = build_table(sweep)
    entries = [replace(table.rows[0].entries[0], mean=mean) for mean in (0.90003, 0.90001)]
    rows = tuple(
        replace(row, entries=(entry, *row.entries[1:])) for row, entry in zip(table.rows, entries, strict=True)
    )
    assert [row[0] for row in bold_numbers(render(replace(table, rows=rows), invented_comparison(sweep)))] == [
        True,
        True,
    ]


def test_a_single_arm_is_not_bold_and_bold_is_not_spoken_of() -> None:
    sweep = invented_sweep(arms=("ERM",), troubled=False)
    text = render(build_table(sweep), invented_comparison(sweep))
    assert not any(map(any, bold_numbers(text)))
    assert "bold" not in read(text)[0].caption


def test_what_is_too_wide_goes_on_below_with_the_arms_in_front() -> None:
    sweep = invented_sweep(test_domains=("0", "15", "30", "45", "60", "75"))
    first, *_ = read(render(build_table(sweep), invented_comparison(sweep)))
    assert len(first.tabulars) == 2
    for tabular in first.tabulars:
        lines = [tabular.heads, *tabular.rows]
        assert sum(max(map(len, column)) + 3 for column in zip(*lines, strict=True)) - 3 <= WIDTH
    narrow = invented_sweep(test_domains=("0",))
    assert len(read(render(build_table(narrow), invented_comparison(narrow)))[0].tabulars) == 1


def test_a_long_arm_wraps() -> None:
    long = "ERM + GGA, " + ", ".join(f"switch {i}" for i in range(20))
    sweep = invented_sweep(arms=("ERM", long))
    first, *_ = read(render(build_table(sweep), invented_comparison(sweep)))
    assert first.tabulars[0].columns[0] == "p"
    assert first.tabulars[0].rows[1][0] == long
    assert min(len(tabular.heads) for tabular in first.tabulars) > 1


def test_a_long_list_ends_with_how_many_it_leaves_out() -> None:
    sweep = invented_sweep(troubled=False)
    empty = replace(sweep, records=())
    table = build_table(empty)
    note = next(note for note in read(render(table, invented_comparison(empty)))[0].notes if "Incomplete" in note)
    assert note.count("\N{BULLET}") == LISTED + 1
    assert plain(note).endswith(f"and {len(table.incomplete) - LISTED} more, which the other formats list")


def test_published_rows_stand_behind_the_comparison(table: Table, comparison: Comparison) -> None:
    table = replace(table, dataset="PACS", columns=(("art_painting",), ("cartoon",), ("sketch",)))
    section = published_section(table)
    assert section is not None
    *others, last = read(render(table, comparison, section))
    assert others == read(render(table, comparison))
    assert last.label == "tab:demo-published-1"
    assert whole(last) == in_words(section.sheets[0])


def test_tables_by_other_methods_stand_at_the_end(sweep_view: SweepView, table: Table, comparison: Comparison) -> None:
    oracle = build_table(sweep_view, "oracle")
    *others, last = read(render(table, comparison, others=(oracle,)))
    assert others == read(render(table, comparison))
    assert last == replace(read(render(oracle, comparison))[0], label="tab:demo-accuracy-oracle", source=last.source)


def test_what_the_document_must_load_is_said_in_the_first_line(table: Table, comparison: Comparison) -> None:
    first, second, *_ = render(table, comparison).splitlines()
    assert first.startswith(r"% Needs \usepackage{booktabs}")
    assert second == ""


def test_letters_that_pdflatex_lacks_are_announced(table: Table, comparison: Comparison) -> None:
    assert "LuaLaTeX" in render(replace(table, name="\N{CJK UNIFIED IDEOGRAPH-4E2D}"), comparison)
    assert "LuaLaTeX" not in render(replace(table, name="é \N{GREEK SMALL LETTER RHO} ±"), comparison)


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
def test_any_name_is_printed_as_it_is(name: str, table: Table) -> None:
    nothing = Comparison(**{field.name: () for field in fields(Comparison)})
    named = replace(table, rows=(replace(table.rows[0], arm=name), *table.rows[1:]))
    (one,) = read(render(named, nothing))
    printed = one.tabulars[0].rows[0][0]
    kept = "\N{NO-BREAK SPACE}"
    spaced = "".join(" " if char.isspace() and char != kept else char for char in name)
    expected = "".join(char if char.isprintable() or char == kept else "?" for char in spaced)
    assert printed == re.sub(" +", " ", expected).strip(" ")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_it_compiles(tmp_path: Path) -> None:
    arms = ("ERM", "[x] *", "\\a {b} $c & #d %e _f ^g ~h <i> |j \"k` 'l --m ''n ± é " + "o " * 30)
    sweep = invented_sweep(arms=arms, name="a_b%c")
    body = render(build_table(sweep), invented_comparison(sweep))
    document = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n" + body + "\\end{document}\n"
    (tmp_path / "a.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
