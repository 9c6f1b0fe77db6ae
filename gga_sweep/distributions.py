"""What a searched hyperparameter is drawn from, and the strict field types that sweep files are made of."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticKnownError

from gga_sweep.records import Scalar


def _no_boolean(kind: Literal["int_type", "float_type"]) -> BeforeValidator:
    """Python takes true for 1; a sweep file's `draws: true` is a slip."""

    def check(value: object) -> object:
        if isinstance(value, bool):
            raise PydanticKnownError(kind)
        return value

    return BeforeValidator(check)


Whole = Annotated[int, _no_boolean("int_type"), Field(le=2**63 - 1)]
Number = Annotated[float, _no_boolean("float_type")]


class Model(BaseModel):
    """Frozen, refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Distribution(Model):
    """What a searched hyperparameter is drawn from; exactly one field is set.

    Args:
        uniform: [low, high], a float.
        loguniform: [low, high], a float whose logarithm is uniform; low > 0.
        integers: [low, high], both included.
        logintegers: [low, high), int(x) of a log-uniform x; low >= 1. DomainBed's int(2**U(3, 5.5)) is [8, 2**5.5].
        choice: one of the list.
    """

    uniform: tuple[Number, Number] | None = None
    loguniform: tuple[Number, Number] | None = None
    integers: tuple[Whole, Whole] | None = None
    logintegers: tuple[Number, Number] | None = None
    choice: Annotated[tuple[Scalar, ...], Field(min_length=1)] | None = None

    @property
    def kind(self) -> str:
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _exactly_one(self) -> Distribution:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of {', '.join(type(self).model_fields)} must be given, got {given or 'none'}"
            )
        if self.choice is None:
            low, high = getattr(self, given[0])
            if not low <= high:
                raise ValueError(f"low <= high must hold, got low={low}, high={high}")
            if high - low > (2**63 - 1 if "integers" in given[0] else sys.float_info.max):
                raise ValueError(f"too wide a range to draw from, got low={low}, high={high}")
            least = {"loguniform": 0.0, "logintegers": 1.0}.get(given[0])
            if least is not None and (low < least or low == 0):
                raise ValueError(f"low must be {'positive' if least == 0 else 'at least 1'}, got low={low}")
        return self
