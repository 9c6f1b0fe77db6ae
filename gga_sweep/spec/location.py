"""Where ledgers are stored: folders of a file system or of an S3 bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gga_sweep.datasets.files import expanded
from gga_sweep.errors import Fault, InputError

_SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[A-Za-z0-9._+/=-]*")


@dataclass(frozen=True, slots=True)
class S3Location:
    """A folder of a bucket, with the part of the interface of `Path` that a ledger needs.

    Args:
        bucket: its name.
        key: the folder's, without a slash at either end; empty for the whole bucket.
    """

    bucket: str
    key: str = ""

    def __truediv__(self, name: str) -> S3Location:
        return S3Location(self.bucket, f"{self.key}/{name}".strip("/"))

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.key}".rstrip("/")

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> S3Location:
        return S3Location(self.bucket, self.key.rpartition("/")[0])

    def absolute(self) -> S3Location:
        return self

    def resolve(self) -> S3Location:
        return self

    def as_uri(self) -> str:
        return str(self)


Location = Path | S3Location


def as_location(given: str | Location, field: str = "--storage") -> Location:
    """The location that a user names: a path, in which `~` is replaced, or s3://BUCKET/FOLDER.

    Raises:
        InputError: an address that is neither, or a home directory that is not found; `field` names where it was given.
    """
    if isinstance(given, S3Location):
        return given
    if isinstance(given, Path) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", given) is None:
        return expanded(Path(given), field)
    bucket, _, key = given.removeprefix(_SCHEME).partition("/")
    key = key.strip("/")
    fits = given.startswith(_SCHEME) and _BUCKET.fullmatch(bucket) and _KEY.fullmatch(key)
    if not fits or not {".", "..", ""}.isdisjoint(key.split("/") if key else ()):
        raise InputError(
            [Fault(field, "must be a folder, or a folder of a bucket", given, ("PATH", "s3://BUCKET/KEY"))]
        )
    return S3Location(bucket, key)
