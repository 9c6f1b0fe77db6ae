"""The lines of a sweep file that its faults are in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import yaml

from gga_sweep.errors import Fault

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C ten times as fast


def with_lines(faults: Iterable[Fault], text: str, overrides: Sequence[str] = ()) -> list[Fault]:
    """The faults with their lines, in the order of these; those without a line are first.

    A field that the file lacks has the line of the block around it.

    Args:
        faults: of a sweep file.
        text: of the file.
        overrides: `key=value` assignments; what they set has no line.
    """
    try:
        root = yaml.compose(text, _Loader)
    except (yaml.YAMLError, RecursionError):
        return [*faults]
    assigned = [override.partition("=")[0].strip() for override in overrides]
    found = [
        fault
        if any(_lies_in(fault.field, key) for key in assigned)
        else replace(fault, line=line_of(root, fault.field))
        for fault in faults
    ]
    return sorted(found, key=lambda fault: fault.line or 0)


def line_of(root: yaml.Node | None, field: str) -> int | None:
    """The line, from 1, of the innermost part of a dotted field that the file has; None without any."""
    node, rest, line = root, field, None
    while rest and node is not None:
        found = _step_into(node, rest)
        if found is None:
            break
        line, node, rest = found
    return line


def _step_into(node: yaml.Node, rest: str) -> tuple[int, yaml.Node, str] | None:
    """The line and the value of the first part of `rest`, and what remains; a key may have dots itself."""
    if isinstance(node, yaml.MappingNode):
        pairs = [(key.value, key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]
        fitting = [pair for pair in pairs if _lies_in(rest, pair[0])]
        if not fitting:
            return None
        name, key, value = max(fitting, key=lambda pair: len(pair[0]))
        return key.start_mark.line + 1, value, rest[len(name) :].removeprefix(".")
    index, closed, after = rest.removeprefix("[").partition("]")
    if isinstance(node, yaml.SequenceNode) and closed and index.isdigit() and int(index) < len(node.value):
        value = node.value[int(index)]
        return value.start_mark.line + 1, value, after.removeprefix(".")
    return None


def _lies_in(field: str, key: str) -> bool:
    return bool(key) and (field == key or field.startswith((f"{key}.", f"{key}[")))


def yaml_fault(error: yaml.YAMLError) -> Fault:
    """Why a text is no YAML, and in which line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        begun = "" if error.context_mark is None else f" (begun in line {error.context_mark.line + 1})"
        context = f"{error.context}{begun}: " if error.context else ""
        return Fault("", f"must be a readable YAML file: {context}{error.problem}", line=mark.line + 1)
    return Fault("", f"must be a readable YAML file: {error}")
