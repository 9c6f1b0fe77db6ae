"""Commands for the results of a sweep: its report, its export, and the report of a DomainBed tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gga_sweep.cli.console import Folder, out, whole_path, without_collection, write
from gga_sweep.errors import Fault, InputError

if TYPE_CHECKING:
    from gga_sweep.report.make_report import ReportOptions


def report(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A sweep's folder; with --domainbed, one of results.")],
    report_format: Annotated[
        str,
        typer.Option("--format", help="text, markdown, latex, csv, json or html (the last not with --domainbed)."),
    ] = "text",
    full: Annotated[
        bool, typer.Option("--full", help="Print every table and note; files and the other formats always have them.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="File to write (default: print).")] = None,
    selection: Annotated[
        list[str],
        typer.Option(metavar="METHOD", help="Selection method. Repeatable, with --full: the first makes the headline."),
    ] = [],  # noqa: B006
    select_from: Annotated[
        str | None, typer.Option(metavar="any|after-window", help="The steps that may be selected.")
    ] = None,
    exclude_diverged: Annotated[
        bool, typer.Option("--exclude-diverged", help="Exclude diverged runs from selection.")
    ] = False,
    published: Annotated[bool, typer.Option("--published", help="Add the paper's rows, with --full.")] = False,
    domainbed: Annotated[
        bool,
        typer.Option("--domainbed", help="Read results of DomainBed, swad, miro, SAGM or GGA, by its rules."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --domainbed: fail on broken records (default: skip and count them).")
    ] = False,
) -> None:
    """Print the scores of a sweep's arms, their differences and the verdicts; or write its page."""
    if domainbed:
        ours = {"--full": full, "--selection": selection, "--select-from": select_from}
        _refuse({**ours, "--exclude-diverged": exclude_diverged, "--published": published}, _BY_ITS_RULES)
        text = _domainbed_report(whole_path(Path(folder), "DIR"), report_format, strict)
    else:
        _refuse({"--strict": strict}, "needs --domainbed")
        from gga_sweep.report.make_report import ReportOptions

        printed = output is None and report_format == "text"
        if printed and not full:
            _refuse({"--published": published, "a second --selection": selection[1:]}, "needs --full")
        options = ReportOptions(selection, select_from, exclude_diverged, published)
        text = _sweep_report(folder, report_format, options, full if printed else None)
    write(text, output)


def export(
    folder: Folder,
    domainbed: Annotated[Path, typer.Option(metavar="OUT", help="Folder for a tree in DomainBed's layout.")],
    models: Annotated[
        bool, typer.Option("--models", help="Also write the selected weights, as DomainBed's model.pkl.")
    ] = False,
) -> None:
    """Write a sweep as a tree that DomainBed's own tools can read. The ledger is not changed."""
    from gga_sweep.domainbed.export import export_domainbed
    from gga_sweep.report.wording import count

    written = export_domainbed(folder, domainbed, models)
    parts = [count(written.runs, "run"), count(written.records, "record")]
    parts += [count(written.models, "model")] if models else []
    out.print(f"Wrote {', '.join(parts)} to {written.folder}", soft_wrap=True)
    for remark in written.remarks:
        out.print(remark, soft_wrap=True)


_BY_ITS_RULES = "cannot be combined with --domainbed, which follows DomainBed's rules"


def _refuse(options: Mapping[str, object], rule: str) -> None:
    faults = [Fault(name, rule) for name, given in options.items() if given]
    if faults:
        raise InputError(faults, "report")


def _domainbed_report(folder: Path, report_format: str, strict: bool) -> str:
    from gga_sweep.domainbed.rendering import check_format, render
    from gga_sweep.domainbed.results import read_results

    check_format(report_format)
    return render(report_format, read_results(folder, strict))


def _sweep_report(folder: str, report_format: str, options: ReportOptions, full: bool | None) -> str:
    """The report as text; empty if it was printed already, in colour.

    Args:
        full: whether to print all of it, or the answer alone; None prints nothing.
    """
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan
    from gga_sweep.report.files import check_format, render
    from gga_sweep.report.make_report import make_report
    from gga_sweep.report.text import print_answer, print_report

    check_format(report_format)
    without_collection()
    ledger = Ledger(folder)
    found = make_report(read_plan(folder), ledger, options)
    if full is None:
        return render(report_format, found, ledger)
    (print_report if full else print_answer)(found, out)
    return ""
