"""The command line. Commands say what they found; what they do is elsewhere."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from typer.core import TyperGroup

from gga_sweep.errors import GGASweepError, InputError, SweepOwnedError

if TYPE_CHECKING:
    from gga_sweep.ledger.recorded_run import Progress
    from gga_sweep.planning import Sweep
    from gga_sweep.sweep.result import SweepResult

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3
"""Exit codes: every run done, diverged or stopped by a scheduler; some failed; bad input; interrupted, or not ours."""

_INTERRUPTED = "Interrupted. `gga-sweep run` continues where it stopped."


class _Commands(TyperGroup):
    """Commands whose interruption is ours to report: Typer would exit with a code of its own."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print(_INTERRUPTED)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    help="Sweeps of Gradient-Guided Annealing over hyperparameters, seeds and test domains.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Datasets: what is known, and whether a tree is what it should be.", no_args_is_help=True)
app.add_typer(data_app, name="data")

out = Console(highlight=False, markup=False, emoji=False)  # names, paths and reasons are printed as they are
err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

SweepFile = Annotated[str, typer.Argument(metavar="FILE|NAME", help="A sweep file, or a shipped name such as demo.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The sweep's folder, STORAGE/SWEEP.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a field, e.g. training.steps=100. Repeatable.")
]
Storage = Annotated[Path, typer.Option(help="Folder of all sweeps.")]
TrackingURI = Annotated[
    str | None, typer.Option(help="Of MLflow. Default: $MLFLOW_TRACKING_URI, else a SQLite file in the storage.")
]

_DEFAULT_STORAGE = Path("gga-sweep-results")


@app.command()
def run(
    file: SweepFile,
    overrides: Overrides = [],  # noqa: B006  typer copies it
    storage: Storage = _DEFAULT_STORAGE,
    tracking_uri: TrackingURI = None,
    require_tracking: Annotated[
        bool, typer.Option("--require-tracking", help="Refuse to start without the tracking server.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster; auto finds one. Default: start a local one.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Runs at once. Default: what the resources allow.")
    ] = None,
    allow_change: Annotated[
        bool, typer.Option("--allow-change", help="Go on although the file changed under its name.")
    ] = False,
) -> None:
    """Train what is left of a sweep, track it, select, print the table. Run it again to continue."""
    from gga_sweep.report.text import print_report
    from gga_sweep.sweep.launch import run_sweep
    from gga_sweep.sweep.options import LaunchOptions

    sweep = _load(file, overrides, storage, tracking_uri)
    options = LaunchOptions(address, max_concurrent, require_tracking, allow_change)
    result = run_sweep(sweep, options, out)
    out.print()
    print_report(result.report, out)
    _print_outcome(sweep, result)
    if result.interrupted:
        err.print(_INTERRUPTED)
        raise typer.Exit(INTERRUPTED)
    if result.failed:
        raise typer.Exit(FAILED)


@app.command()
def plan(file: SweepFile, overrides: Overrides = [], storage: Storage = _DEFAULT_STORAGE) -> None:  # noqa: B006
    """Show the runs a sweep needs, its cells and devices. Starts nothing."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.planning import plan_sweep, read_contents
    from gga_sweep.report.status import plan_picture, read_states

    sweep = _load(file, overrides, storage, None)
    planned = plan_sweep(sweep, read_contents(sweep) if sweep.dataset.available else None)
    out.print(plan_picture(planned, read_states(planned, Ledger(sweep.folder))))


@app.command()
def status(folder: Folder) -> None:
    """Show the states of a sweep's runs, with reasons."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.planning.stored import read_plan
    from gga_sweep.report.status import read_states, status_picture

    planned = read_plan(folder)
    out.print(status_picture(planned, read_states(planned, Ledger(folder))))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A sweep's folder; with --domainbed, DomainBed's.")],
    report_format: Annotated[
        str, typer.Option("--format", help="text, markdown, latex, csv, json or html; of DomainBed's not markdown, html.")
    ] = "text",
    output: Annotated[Path | None, typer.Option(help="File to write (default: print).")] = None,
    selection: Annotated[
        list[str],
        typer.Option(metavar="METHOD", help="Select by this; the first makes the headline. Repeatable."),
    ] = [],  # noqa: B006
    select_from: Annotated[
        str | None, typer.Option(metavar="any|after-window", help="The steps that may be selected.")
    ] = None,
    exclude_diverged: Annotated[
        bool, typer.Option("--exclude-diverged", help="Keep diverged runs out of selection.")
    ] = False,
    published: Annotated[bool, typer.Option("--published", help="Put the published rows beside ours.")] = False,
    domainbed: Annotated[
        bool, typer.Option("--domainbed", help="Read a tree of DomainBed's results.jsonl by DomainBed's rules.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --domainbed: refuse what is broken; default: leave it out, count it.")
    ] = False,
) -> None:
    """Print the selected table of a sweep and the comparison of its arms, or write its page."""
    if domainbed:
        text = _domainbed_report(folder, report_format, strict)
    else:
        text = _sweep_report(folder, report_format, selection, select_from, exclude_diverged, published, output is None)
    _write(text, output)


@app.command()
def reseed(
    folder: Folder,
    trial_seeds: Annotated[str, typer.Option(metavar="SEEDS", help="To train on, e.g. 1-4 or 1,2,7.")],
    from_seed: Annotated[int | None, typer.Option(help="The trial seed that searched, where there are several.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the new sweep. Default: the search's, with -reseeded.")] = None,
    output: Annotated[Path | None, typer.Option(help="Sweep file to write. Default: NAME.yaml here.")] = None,
) -> None:
    """Write the sweep file that trains the winners of one trial seed on others: the search is paid for once."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.planning.stored import read_plan
    from gga_sweep.report.chosen import reseeded_sweep
    from gga_sweep.report.content import make_report

    plan = read_plan(folder)
    found = make_report(plan, Ledger(folder))
    seeds = _whole_numbers("--trial-seeds", trial_seeds)
    text = reseeded_sweep(plan.sweep, found.view, found.table, seeds, from_seed=from_seed, name=name)
    path = output or Path(f"{name or f'{plan.sweep.name}-reseeded'}.yaml")
    _write(text, path)
    out.print(f"Run it with: gga-sweep run {shlex.quote(str(path))}", soft_wrap=True)


@app.command()
def train(
    file: SweepFile,
    key: Annotated[str, typer.Option("--run", metavar="KEY", help="Its folder's name, or the start of its key.")],
    overrides: Overrides = [],  # noqa: B006
    storage: Storage = _DEFAULT_STORAGE,
    output: Annotated[Path | None, typer.Option(help="Train in this folder. Default: STORAGE/SWEEP/replays.")] = None,
) -> None:
    """Train one run of a plan alone, from step 0, without Ray or MLflow: the same bits as in the sweep."""
    from gga_sweep.records import FINAL
    from gga_sweep.sweep.replay import compare, replay

    sweep = _load(file, overrides, storage, None)
    folder, progress = replay(sweep, key, output, _print_progress)
    out.print(f"{folder.name}: {progress.status.lower()}" + (f" ({progress.reason})" if progress.reason else ""))
    equal = compare(folder, sweep)
    if equal is not None:
        for name, same in equal.items():
            out.print(f"  {name}: {'the same bytes as' if same else 'DIFFERS from'} the sweep's")
    if progress.status not in FINAL:
        raise typer.Exit(FAILED)


@app.command()
def evaluate(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run's folder, STORAGE/SWEEP/runs/RUN.")],
    data: Annotated[Path, typer.Option(metavar="ROOT", help="A tree domain/class/image with the model's classes.")],
) -> None:
    """Evaluate the selected model of a run on any tree of images."""
    from rich.table import Table

    from gga_sweep.ledger.model import evaluate_model, open_run_folder

    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("Domain", "Images", "Accuracy (%)", "Loss (nats)"):
        table.add_column(heading, justify="left" if heading == "Domain" else "right", header_style="bold")
    for domain, (size, score) in evaluate_model(open_run_folder(run_dir), data).items():
        table.add_row(domain, str(size), f"{100 * score.accuracy:.1f}", f"{score.loss:.3f}")
    out.print(table)


@app.command()
def ui(
    folder: Folder,
    tracking_uri: TrackingURI = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="On the loopback interface.")] = 5000,
) -> None:
    """Open MLflow's page on the store of a sweep. Serves on 127.0.0.1 only, until interrupted."""
    from gga_sweep.planning.stored import read_plan
    from gga_sweep.tracking.page import serve_page

    serve_page(read_plan(folder).sweep, tracking_uri, port, lambda line: out.print(line, soft_wrap=True))


@data_app.command("list")
def data_list() -> None:
    """List the datasets known by name."""
    from rich.table import Table

    from gga_sweep.domains import known_datasets

    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("Dataset", "Classes", "Images", "Domains (images)"):
        table.add_column(heading, justify="right" if heading in ("Classes", "Images") else "left", header_style="bold")
    remarks: list[str] = []
    for dataset in known_datasets():
        domains = ", ".join(f"{name} ({size})" for name, size in dataset.domain_sizes.items())
        table.add_row(dataset.name, str(dataset.n_classes), str(sum(dataset.domain_sizes.values())), domains)
        remarks.extend(f"{dataset.name}: {remark}" for remark in dataset.remarks)
    out.print(table)
    out.print("\n".join(["", *remarks, "ImageFolder: any tree ROOT/domain/class/image, or `module:attribute`."]))


@data_app.command("check")
def data_check(
    name: Annotated[str, typer.Argument(help="A dataset's name, e.g. PACS or ImageFolder.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the tree domain/class/image.")] = None,
) -> None:
    """Check domains, classes and counts of a dataset, and that every image opens."""
    from gga_sweep.config import DatasetConfig
    from gga_sweep.domains import check_dataset, describe

    config = DatasetConfig(name=name, root=root)
    faults = check_dataset(config)
    if faults:
        raise InputError(faults, name)
    found = describe(config)
    domains = ", ".join(f"{domain} ({size})" for domain, size in found.domain_sizes.items())
    out.print(f"{name}: {found.n_classes} classes, {sum(found.domain_sizes.values())} images; {domains}")
    for remark in found.remarks:
        out.print(remark)


def main() -> None:
    """The console script."""
    try:
        app()
    except GGASweepError as error:
        err.print(str(error))
        sys.exit(INTERRUPTED if isinstance(error, SweepOwnedError) else BAD_INPUT)


def _sweep_report(
    folder: Path,
    report_format: str,
    selection: list[str],
    select_from: str | None,
    exclude_diverged: bool,
    published: bool,
    printed: bool,
) -> str:
    """The report as text; empty where it was printed already, in colour."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.planning.stored import read_plan
    from gga_sweep.report.content import ReportOptions, make_report
    from gga_sweep.report.files import check_format, render
    from gga_sweep.report.text import print_report

    check_format(report_format)
    options = ReportOptions(selection, select_from, exclude_diverged, published)
    ledger = Ledger(folder)
    found = make_report(read_plan(folder), ledger, options)
    if report_format == "text" and printed:
        print_report(found, out)
        return ""
    return render(report_format, found, ledger)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _bad_input("--output", f"cannot be written: {error.strerror}", str(output)) from error
    out.print(f"Wrote {output}", soft_wrap=True)


def _whole_numbers(field: str, text: str) -> list[int]:
    """ "1-3,7" -> [1, 2, 3, 7]."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise _bad_input(field, "must be whole numbers and ranges of them, as in 1-3,7", text)
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def _load(file: str, overrides: list[str], storage: Path, tracking_uri: str | None) -> Sweep:
    from gga_sweep.planning import load

    return load(file, overrides=overrides, storage=storage, tracking_uri=tracking_uri)


def _print_outcome(sweep: Sweep, result: SweepResult) -> None:
    from gga_sweep.report.wording import run_in_words

    for failure in result.failed:
        err.print(f"Failed: {run_in_words(failure)}: {failure.reason}")
    out.print()
    out.print(f"Page:    {result.paths['html']}", soft_wrap=True)
    out.print(f"Ledger:  {result.ledger.folder}", soft_wrap=True)
    out.print(f"MLflow:  gga-sweep ui {shlex.quote(str(result.ledger.folder))}{_uri_flag(sweep)}", soft_wrap=True)


def _uri_flag(sweep: Sweep) -> str:
    from gga_sweep.tracking.location import redact

    return "" if sweep.tracking_uri is None else f" --tracking-uri {shlex.quote(redact(sweep.tracking_uri))}"


def _print_progress(progress: Progress) -> None:
    if progress.validation is not None:
        out.print(f"step {progress.step}: validation accuracy {100 * progress.validation.accuracy:.1f} %")


def _bad_input(field: str, rule: str, got: str) -> InputError:
    from gga_sweep.errors import Fault

    return InputError([Fault(field, rule, got)])


if __name__ == "__main__":
    main()
