"""Commands for the results of a sweep: its report, its export, and the report of a DomainBed tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from gga_sweep.cli.console import Folder, out, whole_path, without_collection, write
from gga_sweep.errors import Fault, InputError


def report(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A sweep's folder; with --domainbed, DomainBed's.")],
    report_format: Annotated[
        str,
        typer.Option("--format", help="text, markdown, latex, csv, json or html (the last not with --domainbed)."),
    ] = "text",
    output: Annotated[Path | None, typer.Option(help="File to write (default: print).")] = None,
    selection: Annotated[
        list[str],
        typer.Option(metavar="METHOD", help="Selection method; the first one makes the headline table. Repeatable."),
    ] = [],  # noqa: B006
    select_from: Annotated[
        str | None, typer.Option(metavar="any|after-window", help="The steps that may be selected.")
    ] = None,
    exclude_diverged: Annotated[
        bool, typer.Option("--exclude-diverged", help="Exclude diverged runs from selection.")
    ] = False,
    published: Annotated[bool, typer.Option("--published", help="Show the paper's rows beside ours.")] = False,
    domainbed: Annotated[
        bool, typer.Option("--domainbed", help="Read a tree of DomainBed's results.jsonl by DomainBed's rules.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --domainbed: fail on broken records (default: skip and count them).")
    ] = False,
) -> None:
    """Print the selected table of a sweep and the comparison of its arms, or write its page."""
    if domainbed:
        ours = {"--selection": selection, "--select-from": select_from}
        _refuse({**ours, "--exclude-diverged": exclude_diverged, "--published": published}, _BY_ITS_RULES)
        text = _domainbed_report(whole_path(Path(folder), "DIR"), report_format, strict)
    else:
        _refuse({"--strict": strict}, "needs --domainbed")
        text = _sweep_report(folder, report_format, selection, select_from, exclude_diverged, published, output is None)
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


def _sweep_report(
    folder: str,
    report_format: str,
    selection: list[str],
    select_from: str | None,
    exclude_diverged: bool,
    published: bool,
    printed: bool,
) -> str:
    """The report as text; empty if it was printed already, in colour."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan
    from gga_sweep.report.files import check_format, render
    from gga_sweep.report.make_report import ReportOptions, make_report
    from gga_sweep.report.text import print_report

    check_format(report_format)
    without_collection()
    options = ReportOptions(selection, select_from, exclude_diverged, published)
    ledger = Ledger(folder)
    found = make_report(read_plan(folder), ledger, options)
    if report_format == "text" and printed:
        print_report(found, out)
        return ""
    return render(report_format, found, ledger)
