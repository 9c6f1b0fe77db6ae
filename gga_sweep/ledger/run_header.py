"""A run's `run.json`: what is trained, on which data, and in which environment it was begun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from gga_sweep.ledger.json_codec import dump
from gga_sweep.spec.models import RunSpec


@dataclass(frozen=True, slots=True)
class RunHeader:
    """The content of `run.json`.

    Args:
        key: the full key; the folder's name holds its first 8 digits.
        config: the resolved run.
        dataset_digest: of the dataset it was trained on.
        classes: class names, in label order.
        input_shape: (channels, height, width) of the network's input.
        normalise: whether its input is normalised by ImageNet's mean and standard deviation.
        fingerprint: versions, device, CPU capability: what the key leaves out.
        start_time: seconds since the epoch, of the first attempt.
        split_digests: by domain, of its training and its validation split; empty where the domains could not be split.
        code: digests of the source of the user's own parts, by `module:attribute`.
    """

    key: str
    config: RunSpec
    dataset_digest: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    normalise: bool
    fingerprint: Mapping[str, str]
    start_time: float
    split_digests: Mapping[str, tuple[str, str]]
    code: Mapping[str, str] = field(default_factory=dict)


def dump_header(header: RunHeader) -> bytes:
    """The header as `run.json` holds it."""
    values = {each.name: getattr(header, each.name) for each in fields(header)}
    return dump({**values, "config": header.config.model_dump(mode="json")}).encode()


def parse_header(content: bytes) -> RunHeader:
    """The inverse of `dump_header`.

    Raises:
        ValueError: the content is not that of a header.
    """
    return _DECODER.decode(content)


def _decode_spec(kind: type, value: Any) -> Any:
    return RunSpec.model_validate(value) if kind is RunSpec else value


_DECODER = msgspec.json.Decoder(RunHeader, dec_hook=_decode_spec)
