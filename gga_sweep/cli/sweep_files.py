"""Commands that write sweep files to start from, and their schema."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gga_sweep.cli.console import bad_input, out, write


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the sweep; the file is NAME.yaml.")],
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="A dataset of `gga-sweep data list`, or ImageFolder.")
    ] = "RotatedDigits",
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the tree domain/class/image, for photographs.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Default: quick for the built-in digits, gga-paper for photographs."),
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write. Default: NAME.yaml here.")] = None,
) -> None:
    """Write a commented sweep file to start from, and beside it the schema for editors."""
    from gga_sweep.datasets.config import DatasetConfig
    from gga_sweep.spec.new_sweep import SCHEMA_FILE, new_sweep
    from gga_sweep.spec.schema import schema_text

    text = new_sweep(name, DatasetConfig(name=dataset, root=root), protocol)
    path = output or Path(f"{name}.yaml")
    if path.exists():
        raise bad_input("--output", "must not exist: no file is overwritten", str(path))
    write(text, path)
    write(schema_text(), path.parent / SCHEMA_FILE)
    out.print(f"Next: gga-sweep plan {shlex.quote(str(path))}", soft_wrap=True)


def schema(
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write (default: print).")] = None,
) -> None:
    """Print the JSON schema of sweep files: fields, types, meanings."""
    from gga_sweep.spec.schema import schema_text

    write(schema_text(), output)
