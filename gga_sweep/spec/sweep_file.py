"""From a file, a shipped name or a mapping to a `SweepConfig`: reading, overriding, validating, every fault at once."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.distributions import Distribution, Model
from gga_sweep.errors import UNKNOWN_FIELD, Fault, InputError
from gga_sweep.input_files import read_regular
from gga_sweep.spec import models
from gga_sweep.spec.fault_lines import with_lines, yaml_fault
from gga_sweep.spec.models import SweepConfig
from gga_sweep.spec.plain_values import Location, copied, dotted, plain_faults
from gga_sweep.spec.yaml_text import parse_yaml

_DOTTED_KEYS = ("defaults", "search_space", "vary", "values")
"""Below these, `annealing.radius` is one key and not a path."""

_LARGEST_FILE = 4_000_000  # bytes; a sweep of thousands of chosen cells has a tenth of it

_RULES = {
    "extra_forbidden": UNKNOWN_FIELD,
    "missing": "must be given",
    "string_pattern_mismatch": "must begin with a letter or digit and hold only letters, digits and . _ -",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_type": "must be text (quote a name that reads as a number, or as true, false or null)",
    "int_parsing_size": "must be an integer below 2**63",
}
"""Our messages for some of pydantic's errors, by type."""


def read_sweep_file(source: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The raw content, and where it came from.

    Args:
        source: a path; the name of a shipped sweep file such as "demo"; or the content itself.

    Raises:
        InputError: no such file or name, not YAML, not a mapping, or larger than a sweep can be.
    """
    content: object = source
    if isinstance(source, Mapping):
        name = "the given mapping"
    else:
        path = _locate(source)
        name = os.fsencode(path).decode(errors="backslashreplace")  # it is printed, and kept with the sweep
        content = _read_file(path, name)
    if faults := plain_faults(content):
        raise InputError(faults, name)
    if not isinstance(content, Mapping):
        raise InputError([Fault("", "must hold fields such as name and arms", content)], name)
    result: dict[str, Any] = copied(content)
    return result, name


def shipped_sweeps() -> dict[str, Path]:
    """The sweep files that come with the package, by name."""
    packaged = Path(str(files("gga_sweep"))) / "search_spaces"
    folder = packaged if packaged.is_dir() else packaged.parents[1] / "search_spaces"  # a checkout keeps them on top
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def override(content: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply `key=value` assignments, e.g. `training.steps=100`, `defaults.annealing.radius=1e-4`, `arms[1].draws=3`.

    Values are read as YAML.

    Raises:
        InputError: naming every assignment that cannot be read or applied.
    """
    result: dict[str, Any] = copied(content)
    faults: list[Fault] = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        try:
            path = _path(key.strip())
            if not equals or not path:
                raise ValueError("must read key=value")
            _assign(result, path, parse_yaml(text))
        except InputError as error:
            found = "; ".join(map(str, error.faults))
            faults.append(Fault("--set", f"cannot be applied: {found}", assignment))
        except (ValueError, LookupError, TypeError, yaml.YAMLError) as error:
            faults.append(Fault("--set", f"cannot be applied: {error}", assignment))
    if faults := faults or plain_faults(result):
        raise InputError(faults, "--set")
    whole: dict[str, Any] = copied(result)
    return whole


def assign(content: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Set fields by name, as `override` does, to values of Python: {"training.steps": 100, "arms[1].draws": 3}.

    Raises:
        InputError: naming every field that cannot be set.
    """
    result: dict[str, Any] = copied(content)
    faults: list[Fault] = []
    for name, value in values.items():
        try:
            _assign(result, _path(name), value)
        except (ValueError, LookupError, TypeError) as error:
            faults.append(Fault(str(name), f"cannot be set: {error}", value))
    if faults:
        raise InputError(faults, "overrides")
    return result


def with_named_parts(content: dict[str, Any]) -> dict[str, Any]:
    """The content with `module:attribute` in place of each algorithm, network or dataset that is given as an object.

    Raises:
        InputError: a part that trial actors could not import by that name.
    """
    result: dict[str, Any] = copied(content)
    arms = result.get("arms")
    places = [("dataset", result.get("dataset"), "name"), ("training", result.get("training"), "network")]
    places += [(f"arms[{at}]", arm, "algorithm") for at, arm in enumerate(arms if isinstance(arms, list) else ())]
    faults: list[Fault] = []
    for place, block, field in places:
        if isinstance(block, dict) and callable(part := block.get(field)):
            module, name = getattr(part, "__module__", ""), getattr(part, "__qualname__", "")
            block[field] = f"{module}:{name}"
            if "." in name or module == "__main__" or getattr(sys.modules.get(module), name, None) is not part:
                rule = "must be a function or class at the top of a module, which other processes can import"
                faults.append(Fault(f"{place}.{field}", rule, block[field]))
    if faults:
        raise InputError(faults)
    return result


def validate(content: Mapping[str, Any]) -> tuple[SweepConfig | None, list[Fault]]:
    """The typed file and every fault found field by field.

    Faulty fields are left out and the rest is validated again, so that what is left can be checked further; None where
    too little is left.
    """
    rest: dict[str, Any] = copied(content)
    faults: dict[Location, Fault] = {}
    while True:
        try:
            return SweepConfig.model_validate(rest), list(faults.values())
        except ValidationError as error:
            found = _by_location(error, rest)
        for location, items in found.items():
            if not _lies_around(location, faults):  # else it only says that what was taken out is missing
                faults[location] = _fault(location, items)
        changed = [_take_out(rest, location, items[0]["type"] == "missing") for location, items in found.items()]
        if not any(changed) and "name" in rest:
            return None, list(faults.values())
        rest.setdefault("name", "unnamed")  # a bad name must not hide the other faults


def faults_with_lines(
    faults: Iterable[Fault], source: str | Path | Mapping[str, Any], overrides: Sequence[str]
) -> list[Fault]:
    """The faults of a sweep with their lines, where it came from a file."""
    if isinstance(source, Mapping):
        return [*faults]
    try:
        text = read_regular(_locate(source), _LARGEST_FILE).decode("utf-8-sig")
    except (InputError, OSError, UnicodeDecodeError):
        return [*faults]
    return with_lines(faults, text, overrides)


def _locate(source: str | Path) -> Path:
    with contextlib.suppress(OSError, RuntimeError, TypeError):  # name too long, unknown home directory, or not a name
        path = Path(source).expanduser()
        if path.is_file():
            return path
    shipped = shipped_sweeps()
    if str(source) in shipped:
        return shipped[str(source)]
    raise InputError([Fault("", "must be a file or a shipped name", str(source), tuple(shipped))])


def _read_file(path: Path, name: str) -> object:
    try:
        return parse_yaml(read_regular(path, _LARGEST_FILE).decode("utf-8-sig"))
    except InputError as error:
        raise InputError(error.faults, name) from error
    except OSError as error:
        raise InputError([Fault("", f"must be a readable sweep file: {error.strerror}")], name) from error
    except UnicodeDecodeError as error:
        raise InputError([Fault("", f"must be text in UTF-8: {error}")], name) from error
    except yaml.YAMLError as error:
        raise InputError([yaml_fault(error)], name) from error


def _path(key: str) -> list[str | int]:
    path = [int(part) if part.isdigit() else part for part in re.split(r"[.\[\]]+", key) if part]
    for depth, part in enumerate(path, start=1):
        if part in _DOTTED_KEYS and path[depth:]:
            return [*path[:depth], ".".join(map(str, path[depth:]))]
    return path


def _assign(target: Any, path: list[str | int], value: object) -> None:
    *parents, last = path
    for part in parents:
        if isinstance(target, dict) and target.get(part) is None:
            target[part] = {}
        target = target[part]
    if isinstance(target, list) and not isinstance(last, int):
        raise TypeError(f"{last!r} is no index of a list")
    target[last] = value


def _by_location(error: ValidationError, content: Mapping[str, Any]) -> dict[Location, list[Any]]:
    """Pydantic's errors by the innermost field that they lie in.

    Each member of a union reports its own error; they share a place here.
    """
    found: dict[Location, list[Any]] = {}
    for item in error.errors():
        found.setdefault(_location(item, content), []).append(item)
    return {
        location: items for location, items in found.items() if not _lies_around(location, found.keys() - {location})
    }


def _lies_around(location: Location, others: Iterable[Location]) -> bool:
    """Whether it is, or holds, one of the others."""
    return any(other[: len(location)] == location for other in others)


def _fault(location: Location, items: Sequence[Any]) -> Fault:
    item = items[0]
    got = None if item["type"] == "missing" else item["input"]
    allowed = _known_fields(location) if item["type"] == "extra_forbidden" else ()
    return Fault(dotted(location), _rule(location, items), got, allowed)


def _rule(location: Location, items: Sequence[Any]) -> str:
    types = {item["type"] for item in items}
    if location[:1] == ("test_domains",):
        no_text = isinstance(items[0]["input"], bool | float)
        hint = " (quote a name that reads as anything but text)" if no_text else ""
        return f"must be 'all', or a list of domains or of lists of domains{hint}"
    if location == ("resources", "gpus"):
        return "must be a number from 0 to 1, or auto"
    if "finite_number" in types:
        return "must be a finite number"
    if len(items) > 1:
        return "must be a number, text, true or false"  # the one other union: `Scalar`
    [item] = items
    if item["type"] in _RULES:
        return _RULES[item["type"]]
    rule: str = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    rule = re.sub(r" or instance of \w+|, unable to parse.*", "", rule)
    rule = re.sub(r"\ba valid (?=[aeiou])", "an ", rule).replace("a valid ", "a ")
    rule = rule.replace("tuple", "list").replace("dictionary", "block of fields")
    return rule[0].lower() + rule[1:]


def _known_fields(location: Location) -> tuple[str, ...]:
    """The fields that are known in that place."""
    blocks: dict[str, type[Model]] = {
        "training": models.TrainingConfig,
        "averaging": models.AveragingConfig,
        "dataset": DatasetConfig,
        "resources": models.ResourcesConfig,
        "tracking": models.TrackingConfig,
        "adaptive": models.AdaptiveConfig,
        "early_stopping": models.EarlyStoppingConfig,
        "annealing": models.AnnealingConfig,
        "arms": models.ArmConfig,
        "search_space": Distribution,
        "chosen": models.ChosenConfig,
        "cells": models.ChosenCell,
    }
    parents = [part for part in location[:-1] if isinstance(part, str) and part in blocks]
    model: type[Model] = blocks[parents[-1]] if parents else SweepConfig
    return tuple(model.model_fields)


def _location(item: Any, content: Any) -> Location:
    """The place of an error, without the members of unions that pydantic adds to it, e.g. `literal['all']`."""
    *parts, last = item["loc"]
    location: list[str | int] = []
    for part in (*parts, last):
        if part in content if isinstance(content, dict) else isinstance(content, list) and part in range(len(content)):
            location.append(part)
            content = content[part]
    if item["type"] == "missing":
        location.append(last)
    return tuple(location)


def _take_out(content: dict[str, Any], location: Location, missing: bool) -> bool:
    """Remove the innermost field that a fault lies in (of a missing one, the block it should be in).

    False if there is none, or it is gone already.
    """
    path = list(location[:-1] if missing else location)
    while path and isinstance(path[-1], int):  # an item would leave the others under wrong numbers
        path.pop()
    if not path:
        return False
    node: Any = content
    *parents, last = path
    for part in parents:
        if isinstance(node, dict) and part not in node:  # taken out with what was around it
            return False
        node = node[part]
    if last not in node:
        return False
    del node[last]
    return True
