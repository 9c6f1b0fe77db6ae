"""The standard streams of a command: any character can be written, and a launch goes on if nothing can.

Terminals are closed, disks that hold a log fill up, readers of a pipe end, and some consoles lack characters.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
import unicodedata
from contextlib import suppress
from typing import TextIO

_ESCAPES = "gga-sweep-escapes"
_PLAIN = {"±": "+/-", "·": "-", "—": "-", "…": "...", "━": "-", "╸": "-", "╺": "-"}


class OutputError(OSError):
    """The standard output cannot be written."""


class Output:
    """What this process may do without its standard output. `STANDARD` is the only one.

    Attributes:
        required: whether a command fails if its output cannot be written; what trains does not.
        noted: whether the user has been informed.
    """

    def __init__(self) -> None:
        self.required = True
        self.noted = False

    def lose(self, descriptor: int, error: OSError) -> None:
        """Note that output was lost, in a line on the standard error, once.

        Raises:
            OutputError: the output is required.
        """
        if descriptor == 1 and self.required:
            raise OutputError(error.errno, error.strerror) from error
        if descriptor == 1 and not self.noted:
            self.noted = True
            text = f"The output cannot be written any more: {error.strerror}. The training continues without it.\n"
            with suppress(OSError):  # where it is the same file
                os.write(2, text.encode())


STANDARD = Output()


class _Descriptor(io.RawIOBase):
    """A file descriptor. What cannot be written is lost."""

    def __init__(self, number: int) -> None:
        self._number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, content: memoryview) -> int:  # type: ignore[override]
        while True:
            try:
                return os.write(self._number, content)
            except BlockingIOError:  # another program has made the terminal non-blocking
                select.select([], [self._number], [])
            except OSError as error:
                STANDARD.lose(self._number, error)
                return len(content)


def open_streams() -> None:
    """Replace the standard streams, unless something else has replaced them before, and open those that are closed.

    Otherwise the next file that is opened, such as a database, would get the number of a closed one, and what child
    processes print would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number
    codecs.register_error(_ESCAPES, _escaped)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _opened(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _opened(2, sys.stderr)


def _opened(number: int, before: TextIO | None) -> TextIO:
    raw: io.RawIOBase = _Descriptor(number)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", "utf-8"),
        errors=_ESCAPES,
        line_buffering=number == 2 or os.isatty(number),
    )


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Characters that a console lacks: those that we print, in plain ones; others as Python's escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if unicodedata.category(character) == "So":  # of a spinner
        return _PLAIN.get(character, "*")
    return _PLAIN.get(character, character.encode("ascii", "backslashreplace").decode())
