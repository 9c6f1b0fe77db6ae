"""The ledger's JSON: one object a line, fields in declared order, floats in full. Equal values give equal bytes.

JSON has no NaN and no infinity; they are written as the strings "nan", "inf" and "-inf", which `parse_records`,
`parse_annealed` and `parse_averaged` read back.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass

import msgspec

from gga_sweep.records import AnnealedStep, AnnealingLine, Averaged, NoisyStep, Record


class _Timing(msgspec.Struct):
    seconds: dict[str, float]
    inherited: bool = False


class Measurement(msgspec.Struct):
    """The machine at a time, in seconds since the epoch; values by metric."""

    time: float
    values: dict[str, float]


# Not strict: takes "nan", "inf" and "-inf" for numbers.
_RECORD = msgspec.json.Decoder(Record, strict=False)
_ANNEALED = msgspec.json.Decoder(AnnealedStep, strict=False)
_AVERAGED = msgspec.json.Decoder(Averaged, strict=False)
_NOISY = msgspec.json.Decoder(NoisyStep, strict=False)
_MEASUREMENT = msgspec.json.Decoder(Measurement, strict=False)
_TIMING = msgspec.json.Decoder(_Timing)


def dump(value: object) -> str:
    """One line of canonical JSON. Dataclasses become objects, tuples lists."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def dump_lines(values: Iterable[object]) -> bytes:
    return "".join(dump(value) + "\n" for value in values).encode()


def digest(content: bytes) -> str:
    """The digest of a file's content, 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


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


def parse_timings(content: bytes | None) -> tuple[dict[str, float], float]:
    """The seconds in `timings.jsonl` by phase, and those among them that are inherited.

    Inherited seconds were spent by other runs, on steps that this run shares with them; they count once.
    """
    timings = _timings(content)
    # Only the last: an attempt that crashed may have inherited the same before.
    inherited = [timing for timing in timings if timing.inherited][-1:]
    total: dict[str, float] = {}
    for timing in (*(own for own in timings if not own.inherited), *inherited):
        for phase, value in timing.seconds.items():
            total[phase] = total.get(phase, 0.0) + value
    return total, math.fsum(value for timing in inherited for value in timing.seconds.values())


def _timings(content: bytes | None) -> list[_Timing]:
    """Timings are volatile, so broken lines are skipped."""
    timings = []
    for line in (content or b"").splitlines():
        with suppress(ValueError, RecursionError):
            timings.append(_TIMING.decode(line))
    return timings


def parse_measurements(content: bytes | None) -> list[Measurement]:
    """The lines of `system.jsonl`; they are volatile, so broken lines are skipped."""
    found = []
    for line in (content or b"").splitlines():
        with suppress(ValueError, RecursionError):
            found.append(_MEASUREMENT.decode(line))
    return found


def parse_records(content: bytes | None) -> tuple[Record, ...]:
    """The inverse of `dump_lines` on records; empty for a missing file.

    Raises:
        ValueError: a line is broken, or lacks a field.
    """
    return tuple(_RECORD.decode_lines(content or b""))


def parse_averaged(content: bytes | None) -> Averaged | None:
    """The inverse of `dump_lines` on one `Averaged`; None for a missing file.

    Raises:
        ValueError: anything but one line, or one that is broken or lacks a field.
    """
    if content is None:
        return None
    [averaged] = _AVERAGED.decode_lines(content)
    return averaged


def parse_annealed(content: bytes | None) -> tuple[AnnealingLine, ...]:
    """The inverse of `dump_lines` on annealed steps of either method; only lines of GGA-L have an alpha.

    Raises:
        ValueError: a line is broken, or lacks a field.
    """
    return tuple((_NOISY if b'"alpha":' in line else _ANNEALED).decode(line) for line in (content or b"").splitlines())
