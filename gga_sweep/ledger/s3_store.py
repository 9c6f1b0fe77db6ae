"""A ledger's files in an S3 bucket, or in any store with its protocol and conditional writes.

Requires the packages of the extra `s3`; imported only for a ledger in a bucket.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import boto3
import obstore
from botocore.exceptions import BotoCoreError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from gga_sweep.errors import Fault, InputError, StorageError
from gga_sweep.ledger.store import FileStat, below_root

if TYPE_CHECKING:
    from obstore.store import RetryConfig, S3Config

_RETRIES: Final[RetryConfig] = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_TIMEOUT = "30s"
_CONFLICTS = 3  # conflicts in which no writer won
_NO_BUCKET = "NoSuchBucket"
_ANSWER = re.compile(r"<Code>(?P<code>[^<]*)</Code>\s*<Message>(?P<message>[^<]*)</Message>")


class S3LedgerStore:
    """A `LedgerStore` of objects: each is written whole, and created only if it is absent (`If-None-Match`).

    Credentials, region and endpoint come from where boto3 finds them: environment, profile, or the machine's role.

    Args:
        bucket: an existing one.
        key: of the folder in it.
    """

    parallel = 32

    def __init__(self, bucket: str, key: str) -> None:
        self._place = f"s3://{bucket}/{key}".rstrip("/")
        self._store = _connect(bucket, key, self._place)

    def read(self, path: str) -> bytes | None:
        with self._errors("read", path):
            try:
                return bytes(obstore.get(self._store, below_root(path)).bytes())
            except FileNotFoundError as error:
                if _NO_BUCKET in str(error):
                    raise
                return None

    def put_if_absent(self, path: str, content: bytes) -> bool:
        with self._errors("write", path):
            for _ in range(_CONFLICTS):
                try:
                    obstore.put(self._store, below_root(path), content, mode="create")
                    return True
                except AlreadyExistsError:
                    if self._exists(path):
                        return False
            raise StorageError(f"the storage cannot write {self._place}/{path}: requests conflict again and again")

    def replace(self, path: str, content: bytes, writer: int | None = None) -> None:
        with self._errors("write", path):
            obstore.put(self._store, below_root(path), content)

    def admit(self, folder: str, writer: int) -> None:
        pass  # a request that comes late is not refused; the digests of the run's end show it

    def stats(self, folder: str) -> dict[str, FileStat]:
        start = len(below_root(folder)) + 1
        with self._errors("list", folder):
            found = (one for some in obstore.list(self._store, folder) for one in some)
            return {one["path"][start:]: FileStat(str(one["e_tag"]), one["size"]) for one in found}

    def list(self, folder: str) -> list[str]:
        start = len(below_root(folder)) + 1
        with self._errors("list", folder):
            found = obstore.list_with_delimiter(self._store, folder)
        paths = [*found["common_prefixes"], *(one["path"] for one in found["objects"])]
        return sorted(path[start:].rstrip("/") for path in paths)

    def remove_empty(self, folder: str) -> None:
        """Nothing: a bucket has no folders."""

    def delete(self, path: str, writer: int | None = None) -> None:
        with self._errors("delete", path):
            try:
                obstore.delete(self._store, below_root(path))
            except FileNotFoundError:
                return

    def unfinished_writes(self, min_age: float = 0.0) -> dict[str, int]:
        return {}  # objects are created whole

    def _exists(self, path: str) -> bool:
        try:
            obstore.head(self._store, path)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def _errors(self, action: str, path: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise StorageError(f"the storage cannot {action} {self._place}/{path}: {_in_words(error)}") from error


def _in_words(error: Exception) -> str:
    """The server's message; otherwise the first line of the client's."""
    said = _ANSWER.search(str(error))
    return f"{said['code']}: {said['message']}" if said else str(error).strip().partition("\n")[0]


def _connect(bucket: str, key: str, place: str) -> S3Store:
    config: S3Config = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        config["endpoint"] = endpoint
    try:
        session = boto3.Session()
        if session.get_credentials() is None:
            rule = "needs credentials where boto3 finds them: AWS_ACCESS_KEY_ID, a profile or the machine's role"
            raise InputError([Fault("--storage", rule, place)])
        return S3Store(
            bucket,
            prefix=key or None,
            region=session.region_name or "us-east-1",
            credential_provider=Boto3CredentialProvider(session),
            client_options={"timeout": _TIMEOUT, "allow_http": (endpoint or "").startswith("http://")},
            retry_config=_RETRIES,
            config=config,
        )
    except BotoCoreError as error:  # an unknown profile, say
        raise InputError([Fault("--storage", f"cannot be reached: {error}", place)]) from error
