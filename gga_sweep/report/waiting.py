"""Says what is waited for. Imports nothing that takes long, so that the first words appear at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def waiting(console: Console, what: str) -> Iterator[None]:
    """Show what is waited for: on a terminal while the block lasts, elsewhere as a line.

    Args:
        what: in words, such as "Starting Ray".
    """
    if console.is_terminal:
        with console.status(f"{what} ..."):
            yield
        return
    console.print(f"{what} ...", highlight=False, markup=False, soft_wrap=True)
    yield
