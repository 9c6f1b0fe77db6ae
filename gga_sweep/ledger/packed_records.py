"""Records in msgpack that are decoded at their first use.

A report reads the validation accuracy of every record, and all of few records. So the step and the validation accuracy
of each record are decoded at once, and the rest when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gga_sweep.records import Record, TestRecord, ValidationRecord

_VALIDATION = msgspec.msgpack.Decoder(ValidationRecord)
_TEST = msgspec.msgpack.Decoder(TestRecord)


class PackedRecords(msgspec.Struct, array_like=True, frozen=True):
    """The records of a run.

    Args:
        steps, accuracies: of each record; its validation accuracy.
        ends: of each record where its validation part ends in `content`, and where its test part ends.
        content: both parts of every record, one behind the other, in msgpack.
    """

    steps: list[int]
    accuracies: list[float]
    ends: list[tuple[int, int]]
    content: memoryview  # into the file's bytes, which are not copied


def pack(records: Sequence[Record]) -> PackedRecords:
    content = bytearray()
    ends = []
    for record in records:
        content += msgspec.msgpack.encode(record.validation)
        middle = len(content)
        content += msgspec.msgpack.encode(record.test)
        ends.append((middle, len(content)))
    return PackedRecords(
        steps=[record.step for record in records],
        accuracies=[record.validation.accuracy for record in records],
        ends=ends,
        content=memoryview(content),
    )


def unpack(packed: PackedRecords) -> tuple[Record, ...]:
    """The records, equal to those that were packed, decoded at their first use."""
    records = []
    for index, (step, accuracy) in enumerate(zip(packed.steps, packed.accuracies, strict=True)):
        validation = _new(_Validation)
        _set_step(validation, step)
        _set_accuracy(validation, accuracy)
        _set_place(validation, (packed, index))
        record = _new(_Record)
        _set_validation(record, validation)
        records.append(record)
    return tuple(records)


class _Validation(ValidationRecord):
    """A `ValidationRecord` of which the fields behind `step` are unset until one of them is read."""

    __slots__ = ("_place", "accuracy")
    accuracy: float  # a slot in place of the property, since it is read several times
    _place: tuple[PackedRecords, int]

    def __new__(cls, *fields: Any, **named: Any) -> Any:
        """A copy made from its fields (`replace`, `copy`, pickle) is an ordinary record."""
        return ValidationRecord(*fields, **named)

    def __getattr__(self, name: str) -> Any:
        if name not in ValidationRecord.__slots__:
            raise AttributeError(name)
        packed, index = self._place
        start = packed.ends[index - 1][1] if index else 0
        whole = _VALIDATION.decode(packed.content[start : packed.ends[index][0]])
        for field in ValidationRecord.__slots__:
            object.__setattr__(self, field, getattr(whole, field))
        return getattr(whole, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValidationRecord) and _fields(self) == _fields(other)

    def __reduce__(self) -> tuple[Any, ...]:
        return ValidationRecord, _fields(self)


class _Record(Record):
    """A `Record` whose `test` is unset until it is read."""

    __slots__ = ()
    validation: _Validation

    def __new__(cls, *fields: Any, **named: Any) -> Any:
        return Record(*fields, **named)

    def __getattr__(self, name: str) -> Any:
        if name != "test":
            raise AttributeError(name)
        packed, index = self.validation._place
        test = _TEST.decode(packed.content[slice(*packed.ends[index])])
        object.__setattr__(self, "test", test)
        return test

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and _fields(self) == _fields(other)

    def __reduce__(self) -> tuple[Any, ...]:
        return Record, _fields(self)


def _fields(value: Record | ValidationRecord) -> tuple[Any, ...]:
    return tuple(getattr(value, name) for name in type(value).__match_args__)


# A large sweep has hundreds of thousands of records: made without a look-up by name, which takes twice as long.
_new = object.__new__
_set_step: Callable[[object, int], None] = vars(ValidationRecord)["step"].__set__
_set_accuracy: Callable[[object, float], None] = vars(_Validation)["accuracy"].__set__
_set_place: Callable[[object, tuple[PackedRecords, int]], None] = vars(_Validation)["_place"].__set__
_set_validation: Callable[[object, ValidationRecord], None] = vars(Record)["validation"].__set__
