"""The command-line options of a launch, declared once for all commands that launch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import fields
from functools import wraps
from typing import Annotated, Any, Literal

import typer

from gga_sweep.cli.console import Address
from gga_sweep.execution.launch_options import LaunchOptions

_OPTIONS: dict[str, Any] = {
    "address": Address,
    "max_concurrent": Annotated[
        int | None, typer.Option(min=1, help="Number of runs at once. Default: as many as fit.")
    ],
    "require_tracking": Annotated[
        bool, typer.Option("--require-tracking", help="Refuse to start without the tracking server.")
    ],
    "allow_change": Annotated[
        bool,
        typer.Option(
            "--allow-change",
            help="Continue although the sweep file, its images or its own code changed under its name.",
        ),
    ],
    "take_over": Annotated[
        bool, typer.Option("--take-over", help="Stop another live launch of this sweep, and continue in its place.")
    ],
    "on_error": Annotated[
        Literal["continue", "stop"], typer.Option(help="After a run failed: train the others, or stop.")
    ],
    "keep_checkpoints": Annotated[
        Literal["none", "selected", "all"],
        typer.Option(help="Keep of a finished run: no weights, those of its best step, or also its last checkpoint."),
    ],
    "strict_environment": Annotated[
        bool, typer.Option("--strict-environment", help="Refuse to resume from a checkpoint of another environment.")
    ],
    "unshared": Annotated[
        bool,
        typer.Option("--unshared", help="Train every run from step 0 instead of sharing steps between runs."),
    ],
    "dashboard": Annotated[
        bool,
        typer.Option("--dashboard", help="Start Ray's dashboard too, on 127.0.0.1. Needs gga-sweep\\[dashboard]."),
    ],
}
"""By field of `LaunchOptions`, which has the defaults."""


def takes_launch_options(*, without: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of a launch to a command, which receives them as its keyword argument `options`.

    Args:
        without: fields of `LaunchOptions` without an option of the command.
    """
    defaults = {field.name: field.default for field in fields(LaunchOptions) if field.name not in without}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**arguments: Any) -> None:
            options = LaunchOptions(**{name: arguments.pop(name) for name in defaults})
            command(**arguments, options=options)

        signature = inspect.signature(command, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]
        shared = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_in_panel(_OPTIONS[name])
            )
            for name, default in defaults.items()
        ]
        called.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        called.__annotations__ = {}  # Typer reads the signature
        return called

    return decorate


def _in_panel(annotation: Any) -> Any:
    """The option in a group of its own in the help."""
    option = copy(annotation.__metadata__[0])
    option.rich_help_panel = "Launch"
    return Annotated[annotation.__origin__, option]


def as_arguments(options: LaunchOptions) -> list[str]:
    """The command-line arguments that give these options."""
    words: list[str] = []
    for field in fields(options):
        value = getattr(options, field.name)
        if value != field.default:
            words += [f"--{field.name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words
