"""Records and annealed steps in msgpack, decoded whenever they are read.

A report reads one validation metric of every record, and all of few records. So steps and the metrics that selection
may read are stored beside the records, and nothing decoded is kept: a large sweep has millions of records.
"""

from __future__ import annotations

import functools
import operator
import typing
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import accumulate
from types import UnionType
from typing import Any, Generic, TypeVar, overload

import msgspec

from gga_sweep.metrics import SELECTING
from gga_sweep.records import AnnealedStep, AnnealingLine, NoisyStep, Record, Records

Item = TypeVar("Item")


class PackedRecords(msgspec.Struct, array_like=True, frozen=True):
    """The records of a run.

    Args:
        steps, ends: of each record, in 8 bytes each: its step, and where it ends in `content`.
        means: of each of `SELECTING` in turn, of each record, in 8 bytes: its mean over the validation splits.
        content: the records one behind the other, in msgpack.
    """

    steps: memoryview  # into the file's bytes, which are not copied
    means: memoryview
    ends: memoryview
    content: memoryview


class PackedSteps(msgspec.Struct, array_like=True, frozen=True):
    """The annealed steps of a run by one method: how many, and their content in msgpack."""

    count: int
    content: memoryview


def pack_records(records: Sequence[Record]) -> PackedRecords:
    packed = [_RECORD.encode(record) for record in records]
    return PackedRecords(
        steps=_numbers("q", (record.step for record in records)),
        means=_numbers("d", (record.validation.validation_mean(metric) for metric in SELECTING for record in records)),
        ends=_numbers("q", accumulate(map(len, packed))),
        content=memoryview(b"".join(packed)),
    )


def _numbers(kind: str, values: Iterable[float]) -> memoryview:
    return memoryview(array(kind, values).tobytes())


def unpack_records(packed: PackedRecords) -> Sequence[Record]:
    """The records, equal to those that were packed."""
    return _UnpackedRecords(packed)


def pack_steps(steps: Sequence[AnnealingLine]) -> PackedSteps:
    """Steps of one method."""
    codec: _Codec[Any] = _NOISY if steps and isinstance(steps[0], NoisyStep) else _ANNEALED
    return PackedSteps(len(steps), memoryview(codec.encode(tuple(steps))))


def unpack_searches(packed: PackedSteps) -> Sequence[AnnealedStep]:
    """The steps of GGA, equal to those that were packed."""
    return _UnpackedSteps(packed, _ANNEALED.decode)


def unpack_noisy_steps(packed: PackedSteps) -> Sequence[NoisyStep]:
    """The steps of GGA-L, equal to those that were packed."""
    return _UnpackedSteps(packed, _NOISY.decode)


class _Unpacked(Sequence[Item]):
    """Equal to any sequence of equal items, and shown as a tuple; a copy, by `copy` or pickle, is a tuple."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)


class _UnpackedRecords(_Unpacked[Record], Records):
    """Decodes a record when it is taken."""

    def __init__(self, packed: PackedRecords, places: range | None = None) -> None:
        self._packed = packed
        self._places = range(len(packed.steps) // 8) if places is None else places

    def validation_means(self, metric: str) -> list[tuple[int, float]]:
        steps, means = self._packed.steps.cast("q"), self._packed.means.cast("d")
        first = SELECTING.index(metric) * len(steps)
        return [(steps[place], means[first + place]) for place in self._places]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> _UnpackedRecords: ...
    def __getitem__(self, index: int | slice) -> Record | _UnpackedRecords:
        if isinstance(index, slice):
            return _UnpackedRecords(self._packed, self._places[index])
        place, ends = self._places[index], self._packed.ends.cast("q")
        return _RECORD.decode(self._packed.content[ends[place - 1] if place else 0 : ends[place]])


class _UnpackedSteps(_Unpacked[Item]):
    """Decodes all steps when any is taken."""

    def __init__(self, packed: PackedSteps, decode: Callable[[memoryview], tuple[Item, ...]]) -> None:
        self._packed = packed
        self._decode = decode

    def __len__(self) -> int:
        return self._packed.count

    def __iter__(self) -> Iterator[Item]:
        return iter(self._decode(self._packed.content))

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, index: int | slice) -> Item | tuple[Item, ...]:
        return self._decode(self._packed.content)[index]


class _Codec(Generic[Item]):
    """Msgpack of dataclasses as arrays: with the names of the fields it takes twice the space."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._rows = _with_rows(kind)
        self._decoder = msgspec.msgpack.Decoder(self._rows)

    def encode(self, value: Item) -> bytes:
        return msgspec.msgpack.encode(msgspec.convert(value, self._rows, from_attributes=True))

    def decode(self, content: memoryview) -> Item:
        value: Item = msgspec.convert(self._decoder.decode(content), self._kind, from_attributes=True)
        return value


def _with_rows(kind: Any) -> Any:
    """The type with each dataclass in it replaced by a Struct of the same fields, which msgspec encodes as an array."""
    if isinstance(kind, type) and is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        rows = [(field.name, _with_rows(hints[field.name])) for field in fields(kind)]
        return msgspec.defstruct(kind.__name__, rows, array_like=True, gc=False)
    if isinstance(kind, UnionType):
        return functools.reduce(operator.or_, map(_with_rows, typing.get_args(kind)))
    if typing.get_origin(kind) is Mapping:
        return dict[str, _with_rows(typing.get_args(kind)[1])]  # type: ignore[misc]
    if typing.get_origin(kind) is tuple:
        return tuple[tuple(map(_with_rows, typing.get_args(kind)))]  # type: ignore[misc]
    return kind


_RECORD: _Codec[Record] = _Codec(Record)
_ANNEALED: _Codec[tuple[AnnealedStep, ...]] = _Codec(tuple[AnnealedStep, ...])
_NOISY: _Codec[tuple[NoisyStep, ...]] = _Codec(tuple[NoisyStep, ...])
