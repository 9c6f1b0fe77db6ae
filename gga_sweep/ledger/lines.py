"""The ledger's JSON: one object a line, fields in declared order, floats in full: equal values are equal bytes.

JSON has no NaN and no infinity; they are written as the strings "nan", "inf" and "-inf", which `float` reads back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from gga_sweep.records import (
    Agreement,
    AnnealedStep,
    AnnealingLine,
    DomainScores,
    NoisyStep,
    Record,
    Score,
    TestRecord,
    ValidationRecord,
)


def dump(value: object) -> str:
    """One line of canonical JSON. Dataclasses become objects, tuples lists."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def dump_lines(values: Iterable[object]) -> bytes:
    return "".join(dump(value) + "\n" for value in values).encode()


def parse_lines(content: bytes | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (content or b"").splitlines()]  # bytes: text would break at U+2028 too


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def parse_record(line: Mapping[str, Any]) -> Record:
    """The inverse of `dump` on a `Record`."""
    validation, test = line["validation"], line["test"]
    return Record(
        ValidationRecord(
            step=int(validation["step"]),
            domains={name: _domain_scores(scores) for name, scores in validation["domains"].items()},
            batch_loss=float(validation["batch_loss"]),
            agreement=_agreement(validation["agreement"]),
            validation_agreement=_agreement(validation["validation_agreement"]),
        ),
        TestRecord(
            domains={name: _domain_scores(scores) for name, scores in test["domains"].items()},
            gradient_cosine={name: float(cosine) for name, cosine in test["gradient_cosine"].items()},
        ),
    )


def parse_annealed(line: Mapping[str, Any]) -> AnnealingLine:
    """The inverse of `dump` on an `AnnealedStep` or a `NoisyStep`; only the latter has an alpha."""
    counts = ("step", "tried", "accepted", "chosen")
    values: dict[str, Any] = {name: item if name in counts else float(item) for name, item in line.items()}
    return NoisyStep(**values) if "alpha" in values else AnnealedStep(**values)


def _domain_scores(value: Mapping[str, Any]) -> DomainScores:
    return DomainScores(
        *(Score(float(value[split]["accuracy"]), float(value[split]["loss"])) for split in ("train", "validation"))
    )


def _agreement(value: Mapping[str, Any]) -> Agreement:
    return Agreement(
        cosines=tuple(tuple(float(cosine) for cosine in row) for row in value["cosines"]),
        norms=tuple(float(norm) for norm in value["norms"]),
        minimum=float(value["minimum"]),
        mean=float(value["mean"]),
    )
