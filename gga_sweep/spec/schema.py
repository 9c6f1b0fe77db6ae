"""The JSON schema of sweep files, for completion and checks in an editor."""

from __future__ import annotations

import json
import re
from typing import Any

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.annealing.options import METHODS, options_of
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.distributions import Distribution
from gga_sweep.spec import models
from gga_sweep.spec.protocols import PROTOCOLS

_MODELS = (
    models.SweepConfig,
    models.ArmConfig,
    models.AnnealingConfig,
    models.AveragingConfig,
    models.ResourcesConfig,
    models.AdaptiveConfig,
    models.EarlyStoppingConfig,
    models.ChosenConfig,
    models.ChosenCell,
    DatasetConfig,
    Distribution,
)
_DOMAIN = {"type": ["string", "integer"], "minLength": 1}
_DOMAINS = {"anyOf": [_DOMAIN, {"type": "array", "items": _DOMAIN, "minItems": 1}]}
_FIELD = re.compile(r"^        (\w+): (.*)$")
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def schema_text() -> str:
    """The schema as the text of a file."""
    return json.dumps(sweep_schema(), indent=1, ensure_ascii=False) + "\n"


def sweep_schema() -> dict[str, Any]:
    """The schema, by draft 2020-12. What it accepts may still have faults that cross fields, which `plan` reports."""
    schema = models.SweepConfig.model_json_schema()
    blocks = {"SweepConfig": schema, **schema["$defs"]}
    for model in _MODELS:
        _describe(blocks[model.__name__], model)
    _describe(blocks["TrainingConfig"], models.TrainingSettings)  # the same fields, described there
    _rename_limits(schema)
    fields, arm = schema["properties"], blocks["ArmConfig"]["properties"]
    fields["protocol"]["enum"] = [*PROTOCOLS]
    fields["test_domains"]["anyOf"] = [{"const": "all"}, {"type": "array", "items": _DOMAINS, "minItems": 1}]
    blocks["ChosenCell"]["properties"]["test_domains"] = _DOMAINS
    blocks["TrainingConfig"]["properties"]["averaging"]["anyOf"].append({"const": "swad"})
    arm["algorithm"]["examples"] = [*ALGORITHMS]
    blocks["AnnealingConfig"]["properties"] |= _annealing_options()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A sweep file of gga-sweep"}


def _describe(block: dict[str, Any], model: type) -> None:
    """Give the fields the descriptions under Args in the docstring of their model."""
    text = model.__doc__ or ""
    block["description"] = text.partition("\n\n")[0].replace("`", "")
    block.pop("title", None)
    name = ""
    descriptions: dict[str, str] = {}
    for line in text.partition("Args:\n")[2].splitlines():
        if found := _FIELD.match(line):
            name, descriptions[found[1]] = found[1], found[2]
        elif name and line.startswith(" " * 12):
            descriptions[name] += f" {line.strip()}"
    for field, content in block.get("properties", {}).items():
        content.pop("title", None)
        if field in descriptions:
            content["description"] = descriptions[field]


def _rename_limits(part: Any) -> None:
    """Give the limits of numbers the names that a schema has for them; pydantic writes some as its own."""
    if isinstance(part, dict):
        for name, renamed in _LIMITS.items():
            if isinstance(part.get(name), int | float):
                part[renamed] = part.pop(name)
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _rename_limits(inner)


def _annealing_options() -> dict[str, Any]:
    options = {option.name: option for method in METHODS.values() for option in options_of(method).values()}
    return {
        name: {
            "type": _TYPES[option.type],
            "description": option.meaning,
            **({"enum": [*option.choices]} if option.choices else {}),
            **({} if option.least is None else {"minimum": option.least}),
        }
        for name, option in options.items()
    }
