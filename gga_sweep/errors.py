"""The errors a user can meet, each with a message meant to be read by a person."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

_LONGEST_SHOWN = 1_000
"""Characters of an offending value."""

_LONGEST_COMPARED = 100
"""Characters of a value that is compared with the allowed ones."""

UNKNOWN_FIELD = "unknown field"
"""The rule of a fault whose `allowed` lists fields."""


class GGASweepError(Exception):
    """Root of every error this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input.

    Args:
        field: where in the file, as a dotted path such as `arms[1].annealing.radius`; empty for the whole.
        rule: what must hold, e.g. "must be positive".
        got: the offending value as written; `None` when there is nothing to show (a missing field).
        allowed: the values that would have been accepted, if they can be listed.
        line: of the file, from 1; None if unknown.
    """

    field: str
    rule: str
    got: object = dataclasses.field(default=None, hash=False)  # may be a list of the file
    allowed: tuple[str, ...] = ()
    line: int | None = dataclasses.field(default=None, compare=False)

    def __str__(self) -> str:
        text = f"{self.field}: {self.rule}" if self.field else self.rule
        if self.line is not None:
            text = f"line {self.line}: {text}"
        if self.got is not None:
            shown = repr(self.got)
            text += f", got {shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + '...'}"
        if meant := self._meant():
            text += f"; did you mean {meant!r}?"
        if self.allowed:
            text += f" (allowed: {', '.join(self.allowed)})"
        return text

    def _meant(self) -> str | None:
        """The allowed value that is most like the value, or the unknown field, as written; None if none is like it."""
        written = self.field.rpartition(".")[2] if self.rule == UNKNOWN_FIELD else self.got
        if not self.allowed or not isinstance(written, str) or len(written) > _LONGEST_COMPARED:
            return None
        from difflib import get_close_matches

        return next(iter(get_close_matches(written, self.allowed, n=1)), None)


class InputError(GGASweepError, ValueError):
    """Bad input, found before any work started. Holds every fault found, not only the first.

    Args:
        faults: at least one.
        source: the file, folder or call the faults are in.

    Example:
        >>> import gga_sweep
        >>> try:
        ...     gga_sweep.load("demo", overrides=["draws=0"])
        ... except gga_sweep.InputError as error:
        ...     print(error.faults[0])
        draws: must be greater than or equal to 1, got 0
    """

    def __init__(self, faults: Iterable[Fault], source: str = "") -> None:
        self.faults = tuple(faults)
        self.source = source
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        head = f"{source}: {count}" if source else count
        super().__init__("\n".join([head, *(f"  {fault}" for fault in self.faults)]))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Fault, ...], str]]:
        return type(self), (self.faults, self.source)  # crosses process borders with its faults


class SweepOwnedError(GGASweepError):
    """Another live launch owns the sweep."""


class StorageError(GGASweepError):
    """The storage cannot be read or written: a full disk, a lost mount, a permission. What is in it stays whole."""


class DamagedFileError(GGASweepError):
    """A file of the ledger is not what was written: cut off, altered, or of another kind."""


class AttemptSupersededError(GGASweepError):
    """A newer attempt of the same run has started; this writer must stop."""


def shortened(text: str, most: int) -> str:
    """On one line of at most so many characters, cut between two words.

    >>> shortened("cannot be brought up\\nto date", 20)
    'cannot be brought...'
    """
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    kept = line[: most - 2]  # a blank and three dots less one
    return f"{kept.rpartition(' ')[0] or kept[:-1]}..."


def first_line(error: Exception) -> str:
    """Of its message; of an error without one, its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
