"""Shared by all commands: consoles, exit codes, arguments, output files and error messages."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.theme import Theme

from gga_sweep.errors import Fault, InputError

if TYPE_CHECKING:
    from gga_sweep.spec import SweepSpec

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3
"""Exit codes: every run is done, diverged or stopped by a scheduler; some failed; bad input; interrupted, or another
launch owns the sweep."""

CONTINUES = "`gga-sweep run` continues where it stopped."
INTERRUPTED_IN_WORDS = f"Interrupted. {CONTINUES}"

_THEME = Theme({"bar.complete": "green", "bar.finished": "green"})  # Rich's bars have the colour of failure
out = Console(highlight=False, markup=False, emoji=False, theme=_THEME)  # prints names, paths and reasons as they are
err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True, theme=_THEME)

SweepFile = Annotated[str, typer.Argument(metavar="FILE|NAME", help="A sweep file, or a shipped name such as demo.")]
Folder = Annotated[str, typer.Argument(metavar="DIR", help="The sweep's folder, STORAGE/SWEEP.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a field, e.g. training.steps=100. Repeatable.")
]
Storage = Annotated[
    str, typer.Option(metavar="DIR", help="Folder of all sweeps, local or in a bucket: s3://BUCKET/FOLDER.")
]
TrackingURI = Annotated[
    str | None,
    typer.Option(
        metavar="URI", help="URI of MLflow. Default: $MLFLOW_TRACKING_URI, else a SQLite file in the storage."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Address of a running Ray cluster; auto finds one. Default: start a local one."
    ),
]
DEFAULT_STORAGE = "gga-sweep-results"


def load_sweep(file: str, overrides: list[str], storage: str, tracking_uri: str | None) -> SweepSpec:
    from gga_sweep.spec import load

    return load(file, overrides=overrides, storage=storage, tracking_uri=tracking_uri)


def write(text: str, output: Path | None) -> None:
    """Write to the file, or print."""
    if output is None:
        sys.stdout.write(text)
        return
    with writing(output) as path:
        path.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def writing(output: Path) -> Iterator[Path]:
    """Yield the path with `~` replaced, and print it once it is written; raise `InputError` if writing fails."""
    output = whole_path(output, "--output")
    try:
        yield output
    except OSError as error:
        raise bad_input("--output", f"cannot be written: {error.strerror}", str(output)) from error
    out.print(f"Wrote {output}", soft_wrap=True)


def whole_path(path: Path, field: str) -> Path:
    """The path with `~` replaced, which shells leave after an `=`."""
    from gga_sweep.datasets.files import expanded

    return expanded(path, field)


def without_collection() -> None:
    """Disable garbage collection, which is slow in a command that reads thousands of runs and then exits."""
    gc.disable()


def whole_numbers(field: str, text: str) -> list[int]:
    """ "1-3,7" -> [1, 2, 3, 7]."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or int(last or first) < int(first):
            raise bad_input(field, "must be whole numbers and ranges of them, as in 1-3,7", text)
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def bad_input(field: str, rule: str, got: str) -> InputError:
    return InputError([Fault(field, rule, got)])
