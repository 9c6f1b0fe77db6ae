"""What a node sees, asked of this machine without Ray; on two nodes: tests/cluster/test_doctor.py."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest
import torch

from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.errors import StorageError
from gga_sweep.ledger.open_store import open_store
from gga_sweep.ray_backend.nodes import ALIKE, Question, installed_versions, look_around, marked
from gga_sweep.spec.location import as_location


def test_a_storage_that_holds_the_mark_is_the_same_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    with marked(tmp_path) as mark:
        assert look_around(Question(tmp_path, mark)).storage is None
    assert list(tmp_path.iterdir()) == []


def test_of_a_bucket_too(s3: None) -> None:
    storage = as_location("s3://sweeps/looked-at")
    with marked(storage) as mark:
        assert look_around(Question(storage, mark)).storage is None
    store = open_store(storage.parent)
    assert store.stats("looked-at") == {}


def test_a_storage_that_is_another_or_missing_or_closed_is_told(tmp_path: Path) -> None:
    with marked(tmp_path) as mark:
        other = tmp_path / "other"
        assert look_around(Question(other, mark)).storage == "there is no such folder"
        other.mkdir()
        assert look_around(Question(other, mark)).storage == "it is another folder than here"
        (tmp_path / f"{mark}.d").write_bytes(b"")  # in the place of the folder that a node writes to
        assert "cannot write" in str(look_around(Question(tmp_path, mark)).storage)


def test_a_storage_that_cannot_be_written_here_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError), marked(tmp_path / "file"):
        pytest.fail("a file is no folder")


def test_images_are_counted_or_it_is_said_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with marked(tmp_path) as mark:
        digits = look_around(Question(tmp_path, mark, DatasetConfig(name="RotatedDigits")))
        assert digits.images_missing is None
        assert len(digits.images) == 6
        missing = look_around(Question(tmp_path, mark, DatasetConfig(name="PACS", root=tmp_path / "none")))
        assert missing.images == {}
        assert missing.images_missing == f"there is no folder {tmp_path / 'none'}"
        unknown = look_around(Question(tmp_path, mark, DatasetConfig(name="not_installed_here:dataset")))
        assert "not_installed_here" in str(unknown.images_missing)
        assert look_around(Question(tmp_path, mark)).images == {}


def test_versions_are_of_python_and_the_packages_that_must_be_alike() -> None:
    versions = installed_versions()
    assert versions.keys() == {"Python", *ALIKE}
    assert versions["Python"] == sys.version.split()[0]
    assert versions["torch"] == torch.__version__.partition("+")[0] or versions["torch"] == torch.__version__


def test_the_room_is_that_of_the_disk_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GGA_SWEEP_CACHE", str(tmp_path / "on" / "the" / "node"))
    with marked(tmp_path) as mark:
        folder, free = look_around(Question(tmp_path, mark)).cache
    assert folder == str(tmp_path / "on" / "the" / "node")
    assert abs(free - shutil.disk_usage(tmp_path).free) < 10**9


def test_a_clock_is_read_as_it_answers(tmp_path: Path) -> None:
    with marked(tmp_path) as mark:
        before = time.time()
        assert before <= look_around(Question(tmp_path, mark)).clock <= time.time()


def test_gpus_are_looked_at_only_where_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559 MiB'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with marked(tmp_path) as mark:
        assert look_around(Question(tmp_path, mark)).devices == ()
        looked = look_around(Question(tmp_path, mark, gpus=True))
    assert looked.devices == ("NVIDIA H100 80GB HBM3, 81559 MiB",)
    assert looked.cuda == torch.version.cuda
