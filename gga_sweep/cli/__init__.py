"""The command line. Commands parse arguments and print results; the logic is elsewhere."""

from __future__ import annotations

import errno
import sys

import typer
from typer.core import TyperGroup

from gga_sweep.cli.console import BAD_INPUT, FAILED, INTERRUPTED, INTERRUPTED_IN_WORDS, err, out
from gga_sweep.cli.datasets import check, list_datasets, prepare
from gga_sweep.cli.doctor import doctor
from gga_sweep.cli.launching import retry, run, stop
from gga_sweep.cli.maintenance import clean, status, verify
from gga_sweep.cli.output import STANDARD, OutputError, open_streams
from gga_sweep.cli.single_runs import evaluate, predict, train
from gga_sweep.cli.sweeps import plan, reseed
from gga_sweep.cli.tables import export, report
from gga_sweep.cli.tracking import sync, ui
from gga_sweep.errors import GGASweepError, StorageError, SweepOwnedError
from gga_sweep.tracking.environment import set_environment

__all__ = ["app", "err", "main", "out"]


_EXIT_CODES = {SweepOwnedError: INTERRUPTED, StorageError: FAILED}


class _Commands(TyperGroup):
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
data_app = typer.Typer(help="List, check and prepare datasets.", no_args_is_help=True)
for command in (
    run,
    stop,
    retry,
    plan,
    status,
    verify,
    clean,
    report,
    reseed,
    export,
    train,
    evaluate,
    predict,
    sync,
    ui,
    doctor,
):
    app.command()(command)
data_app.command("list")(list_datasets)
for data_command in (check, prepare):
    data_app.command()(data_command)
app.add_typer(data_app, name="data")


def main() -> None:
    """The console script."""
    open_streams()
    set_environment()
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
