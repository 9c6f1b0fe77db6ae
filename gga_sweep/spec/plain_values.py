"""Limits of a sweep file's content: plain values, not too many, not nested too deep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gga_sweep.errors import Fault

MOST_VALUES = 100_000
DEEPEST = 50
LONGEST_TEXT = 10_000
LARGEST = 2**63 - 1


Location = tuple[Any, ...]
"""Where a value is: the names of blocks and the numbers of list items that lead to it."""


def plain_faults(content: object) -> list[Fault]:
    """The fault that makes content unreadable; empty if there is none.

    A YAML alias counts at each use, so that a few lines cannot stand for billions of values.
    """
    for number, (location, value) in enumerate(_values(content), start=1):
        if number > MOST_VALUES:
            rule = f"must hold at most {MOST_VALUES:,} values (those of an alias count wherever it stands)"
            return [Fault("", rule)]
        if fault := _fault(location, value):
            return [fault]
    return []


def copied(content: Any) -> Any:
    """A deep copy; blocks become dictionaries, tuples lists."""
    if isinstance(content, Mapping):
        return {key: copied(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [copied(value) for value in content]
    return content


def dotted(location: Location) -> str:
    """As people write it: `arms[1].annealing.radius`."""
    text = ""
    for part in location:
        if isinstance(part, str):
            name = part if part.isprintable() else repr(part)
            text += f".{name}" if text else name
        else:
            text += f"[{part}]"
    return text


def _fault(location: Location, value: object) -> Fault | None:
    if len(location) > DEEPEST:
        rule = f"blocks and lists may lie {DEEPEST} deep, here they lie deeper or hold themselves"
        return Fault(dotted(location[:5]), rule)
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            return Fault(dotted(location), f"text may have {LONGEST_TEXT:,} characters", f"{len(value):,}")
        if not _is_unicode(value):
            return Fault(dotted(location), "text must be Unicode, without halves of surrogate pairs", value)
    elif isinstance(value, int) and abs(value) > LARGEST:
        rule = f"a whole number must lie within -+{LARGEST}"
        return Fault(dotted(location), rule, f"one of {value.bit_length():,} bits")
    return None


def _values(content: object) -> Iterator[tuple[Location, object]]:
    """Every value and where it is, blocks and lists included; the keys of a block as values of the block."""
    waiting: list[tuple[Location, object]] = [((), content)]
    while waiting:
        location, value = waiting.pop()
        yield location, value
        if isinstance(value, Mapping):
            waiting.extend(((*location, key), item) for key, item in value.items())
            waiting.extend((location, key) for key in value)  # looked at first: they stand in the others' locations
        elif isinstance(value, list | tuple):
            waiting.extend(((*location, index), item) for index, item in enumerate(value))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
