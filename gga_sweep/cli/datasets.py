"""Commands that list, check and prepare datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gga_sweep.cli.console import err, out
from gga_sweep.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress as ProgressBar

    from gga_sweep.datasets import DatasetCheck
    from gga_sweep.datasets.files import Progress


def list_datasets() -> None:
    """List the datasets known by name."""
    from rich.table import Table

    from gga_sweep.datasets import known_datasets, uncounted_benchmarks

    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("Dataset", "Classes", "Images", "Domains (images)"):
        table.add_column(heading, justify="right" if heading in ("Classes", "Images") else "left", header_style="bold")
    remarks: list[str] = []
    for dataset in known_datasets():
        domains = ", ".join(f"{name} ({size})" for name, size in dataset.domain_sizes.items())
        table.add_row(dataset.name, str(dataset.n_classes), str(sum(dataset.domain_sizes.values())), domains)
        remarks.extend(f"{dataset.name}: {remark}" for remark in dataset.remarks)
    for benchmark in uncounted_benchmarks():
        table.add_row(
            benchmark.name,
            str(benchmark.n_classes),
            str(benchmark.images or "not published"),
            ", ".join(benchmark.domain_sizes),
        )
    out.print(table)
    out.print("\n".join(["", *remarks, "ImageFolder: any tree ROOT/domain/class/image, or `module:attribute`."]))


def check(
    name: Annotated[str, typer.Argument(help="A dataset's name, e.g. PACS or ImageFolder.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the tree domain/class/image.")] = None,
) -> None:
    """Check domains, classes and counts of a dataset, and that every image can be read."""
    from gga_sweep.datasets import check_dataset, describe
    from gga_sweep.datasets.config import DatasetConfig

    config = DatasetConfig(name=name, root=root)
    with _progress() as bar:
        found = check_dataset(config, _shown_on(bar))
    _print_check(found)
    if found.loadable:
        for remark in describe(config).remarks:
            out.print(remark)
    if found.faults:
        raise InputError(found.faults, name)


def _column_of(what: str) -> Any:
    return typer.Option(metavar="NAME", help=f"Column of the {what} in parquet files (default: {what[:-1]}).")


def prepare(
    name: Annotated[str, typer.Argument(help="A benchmark's name, e.g. PACS; of other parquet files ImageFolder.")],
    download: Annotated[
        Path, typer.Option("--from", metavar="DOWNLOAD", help="The download: a folder, an archive or a parquet file.")
    ],
    root: Annotated[Path, typer.Option(help="Folder to create, for the tree domain/class/image.")],
    link: Annotated[bool, typer.Option("--link", help="Make hard links instead of copies.")] = False,
    duplicates: Annotated[
        Path | None, typer.Option(help="File that lists images to omit, one domain/class/image per line (DomainNet).")
    ] = None,
    image_column: Annotated[str | None, _column_of("images")] = None,
    domain_column: Annotated[str | None, _column_of("domains")] = None,
    label_column: Annotated[str | None, _column_of("labels")] = None,
) -> None:
    """Make a complete tree from a benchmark's download or from parquet files, and check it. Downloads nothing."""
    from gga_sweep.datasets import ParquetColumns, prepare_dataset

    named = {"image": image_column, "domain": domain_column, "label": label_column}
    given = {role: column for role, column in named.items() if column is not None}
    columns = ParquetColumns(**given) if given else None
    with _progress() as bar:
        made = prepare_dataset(
            name, download, root, link=link, duplicates=duplicates, columns=columns, progress=_shown_on(bar)
        )
    listed = made.duplicates + made.unknown_duplicates
    left_out = f"; of {listed} listed duplicates {made.duplicates} were found and omitted" if listed else ""
    out.print(f"{made.copied:,} images copied, {made.linked:,} linked{left_out}")
    _print_check(made.check)
    if made.check.faults:  # the tree is kept: the differences may be intended
        raise InputError(made.check.faults, str(made.root))


def _print_check(found: DatasetCheck) -> None:
    """The outcome, then every domain beside its published count."""
    from rich.table import Table

    out.print(found.in_words)
    table = Table(box=None, padding=(0, 3, 0, 0))
    published = any(domain.published is not None for domain in found.domains)
    for heading in ("Domain", "Found", *(("Published", "Difference") if published else ())):
        table.add_column(heading, justify="left" if heading == "Domain" else "right", header_style="bold")
    for domain in found.domains:
        cells = ["missing" if domain.found is None else f"{domain.found:,}"]
        if published:
            cells.append("" if domain.published is None else f"{domain.published:,}")
            known = domain.found is not None and domain.published is not None
            cells.append(f"{(domain.found or 0) - (domain.published or 0):+,}" if known else "")
        table.add_row(domain.name, *cells)
    out.print(table)
    for remark in found.remarks:
        out.print(remark)


def _progress() -> ProgressBar:
    """A progress bar, disabled without a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as ProgressBar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return ProgressBar(*columns, console=err, transient=True, disable=not err.is_terminal)


def _shown_on(bar: ProgressBar) -> Progress:
    tasks = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    return show
