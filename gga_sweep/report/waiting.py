"""Says what is waited for. Imports nothing that takes long, so that the first words appear at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def waiting(console: Console, what: str) -> Iterator[None]:
    """Show what is waited for: on a terminal and in a notebook while the block lasts, elsewhere as a line.

    Args:
        what: in words, such as "Starting Ray".
    """
    if console.is_terminal:
        with console.status(f"{what} ..."):
            yield
        return
    if console.is_jupyter and not console.quiet:  # rich's `status` would need ipywidgets there
        display = import_module("IPython.display").display
        output = display({"text/plain": f"{what} ..."}, raw=True, display_id=True)
        try:
            yield
        finally:
            output.update({"text/plain": ""}, raw=True)
        return
    console.print(f"{what} ...", highlight=False, markup=False, soft_wrap=True)
    yield
