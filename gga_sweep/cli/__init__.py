"""The command line. Commands parse arguments and print results; the logic is elsewhere."""

from __future__ import annotations

import atexit
import errno
import gc
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gga_sweep import __version__
from gga_sweep.cli.console import BAD_INPUT, FAILED, INTERRUPTED, INTERRUPTED_IN_WORDS, err, out
from gga_sweep.cli.datasets import check, list_datasets, prepare
from gga_sweep.cli.doctor import doctor
from gga_sweep.cli.launching import retry, run, stop
from gga_sweep.cli.maintenance import clean, status, verify
from gga_sweep.cli.output import STANDARD, OutputError, open_streams
from gga_sweep.cli.single_runs import evaluate, predict, train
from gga_sweep.cli.sweep_files import new, schema
from gga_sweep.cli.sweeps import plan, reseed
from gga_sweep.cli.tables import export, report
from gga_sweep.cli.tracking import sync, ui
from gga_sweep.cli.weights import fetch
from gga_sweep.errors import GGASweepError, StorageError, SweepOwnedError
from gga_sweep.tracking.environment import set_environment

__all__ = ["app", "err", "main", "out"]


_EXIT_CODES = {SweepOwnedError: INTERRUPTED, StorageError: FAILED}


class _WithoutBool:
    """Leaves the type out of the help on a flag, which takes no value."""

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class _Command(_WithoutBool, TyperCommand):
    pass


class _Commands(_WithoutBool, TyperGroup):
    """Reports interruptions with our exit code; Typer has its own."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print(INTERRUPTED_IN_WORDS)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    help="Sweeps of Gradient-Guided Annealing over hyperparameters, seeds and test domains.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(cls=_Commands, help="List, check and prepare datasets.", no_args_is_help=True)
_PANELS: Mapping[str, tuple[Callable[..., None], ...]] = {
    "Prepare": (new, schema, plan, doctor),
    "Run": (run, status, stop, retry),
    "Results": (report, ui, sync, reseed, export),
    "Single runs": (train, evaluate, predict),
    "Upkeep": (verify, clean),
}
"""The commands by the groups of the help."""
for panel, commands in _PANELS.items():
    for command in commands:
        app.command(cls=_Command, rich_help_panel=panel)(command)
data_app.command("list", cls=_Command)(list_datasets)
for data_command in (check, prepare):
    data_app.command(cls=_Command)(data_command)
app.add_typer(data_app, name="data", rich_help_panel="Prepare")
weights_app = typer.Typer(cls=_Commands, help="Download published weights.", no_args_is_help=True)
weights_app.command(cls=_Command)(fetch)
app.add_typer(weights_app, name="weights", rich_help_panel="Prepare")


def _print_version(version: bool) -> None:
    if version:
        out.print(f"gga-sweep {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _skip_last_collections() -> None:
    """The last garbage collections would scan what is left, which takes up to a second."""
    if "triton" not in sys.modules:  # it would report what is not collected as leaked
        gc.freeze()


def main() -> None:
    """The console script."""
    open_streams()
    set_environment()
    atexit.register(_skip_last_collections)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except GGASweepError as error:
        err.print(str(error))
        sys.exit(_EXIT_CODES.get(type(error), BAD_INPUT))
    except OutputError as error:
        STANDARD.required, STANDARD.noted = False, True  # for what is left of it
        if error.errno != errno.EPIPE:  # the reader of a pipe may end when it likes
            err.print(f"The output cannot be written: {error.strerror}.")
        sys.exit(FAILED)
