"""Storages that can be written, and where decoded images lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from gga_sweep.errors import InputError
from gga_sweep.execution import prepare
from gga_sweep.execution.prepare import require_writable
from gga_sweep.ledger.open_store import open_store
from gga_sweep.ledger.store import PosixStore
from gga_sweep.spec.content_digests import cache_folder
from gga_sweep.spec.location import as_location

BUCKET = as_location("s3://sweeps/prepared")


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "storage")
    assert list((tmp_path / "new" / "storage").iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="--storage: must be a folder that can be written: "):
        require_writable(tmp_path / "file")


def test_a_bucket_that_can_be_written_is_left_as_it_was(s3: None) -> None:
    require_writable(BUCKET)
    assert open_store(BUCKET.parent).stats("prepared") == {}


def test_a_bucket_that_is_not_there_is_refused(s3: None) -> None:
    with pytest.raises(InputError, match=r"--storage: must be a bucket that can be written: .*NoSuchBucket"):
        require_writable(as_location("s3://no-such-bucket/sweeps"))


def test_a_bucket_that_overwrites_what_is_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some stores do that speak S3's protocol in part: two launches would own one sweep."""

    class Overwriting(PosixStore):
        def put_if_absent(self, path: str, content: bytes) -> bool:
            self.replace(path, content)
            return True

    monkeypatch.setattr(prepare, "open_store", lambda location: Overwriting(tmp_path))
    with pytest.raises(InputError, match="must be of a bucket with conditional writes"):
        require_writable(BUCKET)


def test_the_cache_is_in_the_storage_unless_another_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GGA_SWEEP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_folder(tmp_path) == tmp_path / "cache"
    assert cache_folder(BUCKET) == tmp_path / "user" / "gga-sweep"
    monkeypatch.setenv("GGA_SWEEP_CACHE", str(tmp_path / "node"))
    assert cache_folder(tmp_path) == cache_folder(BUCKET) == tmp_path / "node"
