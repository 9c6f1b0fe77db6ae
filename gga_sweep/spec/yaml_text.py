"""YAML as sweep files use it: plain words and numbers, read as they are written.

YAML 1.1, which PyYAML reads, makes 38 of 046, 90 of 1:30, 1000 of 1_000, true of `yes` and a date of 2001-01-01. Here,
as in YAML 1.2 without its octal and hexadecimal numbers, all of these are text; and 1e-5 is a number.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from gga_sweep.errors import Fault, InputError
from gga_sweep.spec.plain_values import plain_faults

_FLOAT = re.compile(
    r"^[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?$|^[-+]?[0-9]+[eE][-+]?[0-9]+$"
    r"|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
)
_PLAIN = (
    ("null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"^(0|-?[1-9][0-9]*)$"), list("-0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
)


class _Loader(yaml.SafeLoader):
    """Rejects duplicate keys; resolves unquoted values by `_PLAIN` alone."""


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # in C ten times as fast
    """Quotes text that YAML 1.1 or `_Loader` would read as anything else."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, Hashable):
            shown = None if plain_faults(key) else key  # an alias may make it endless
            raise InputError([Fault("", f"a key must be text, not a list or block as in line {line}", shown)])
        if key in mapping:
            raise InputError([Fault(str(key), f"a key may stand once, but stands again in line {line}")])
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
_Loader.yaml_implicit_resolvers = {}
for _name, _form, _first in _PLAIN:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _form, _first)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def parse_yaml(text: str) -> object:
    """The value of a YAML text.

    Raises:
        InputError: a key that stands twice, or is no text.
        yaml.YAMLError: anything else.

    Example:
        >>> parse_yaml("[046, 1_000, 1:30, yes, 2001-01-01, 75, 1e-5, true]")
        ['046', '1_000', '1:30', 'yes', '2001-01-01', 75, 1e-05, True]
    """
    try:
        return yaml.load(text, _Loader)
    except (InputError, yaml.YAMLError):
        raise
    except RecursionError as error:
        raise yaml.YAMLError("its blocks and lists lie too deep") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # what the reader stumbles over, as `!!bool maybe` or a number of 5,000 digits
        raise yaml.YAMLError(f"a value is not what its tag or form says ({type(error).__name__}: {error})") from error


def write_yaml(content: object) -> str:
    """A text whose value, by `parse_yaml` or any other reader of YAML, is the content."""
    text: str = yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
    )
    return text
