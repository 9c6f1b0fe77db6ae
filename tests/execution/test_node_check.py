"""The check of one node, without Ray. With two nodes: tests/cluster/test_doctor.py."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from sweep_content import two_arms

from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.errors import StorageError
from gga_sweep.execution.node_check import (
    PACKAGES,
    NodeCheck,
    check_node,
    installed_versions,
    needed_packages,
    storage_marker,
)
from gga_sweep.ledger.open_store import open_store
from gga_sweep.spec import load
from gga_sweep.spec.location import as_location


def test_a_storage_with_the_marker_is_good_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    with storage_marker(tmp_path) as marker:
        assert check_node(NodeCheck(tmp_path, marker)).storage_fault is None
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_with_the_marker_is_good_and_nothing_is_left_in_it(s3: None) -> None:
    storage = as_location("s3://sweeps/looked-at")
    with storage_marker(storage) as marker:
        assert check_node(NodeCheck(storage, marker)).storage_fault is None
    store = open_store(storage.parent)
    assert store.stats("looked-at") == {}


def test_another_missing_or_read_only_storage_is_a_fault(tmp_path: Path) -> None:
    with storage_marker(tmp_path) as marker:
        other = tmp_path / "other"
        assert check_node(NodeCheck(other, marker)).storage_fault == "there is no such folder"
        other.mkdir()
        assert check_node(NodeCheck(other, marker)).storage_fault == "it is another folder than here"
        (tmp_path / f"{marker}.d").write_bytes(b"")  # where a node's folder would be
        assert "cannot write" in str(check_node(NodeCheck(tmp_path, marker)).storage_fault)


def test_a_storage_that_cannot_be_written_here_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError), storage_marker(tmp_path / "file"):
        pytest.fail("a file is no folder")


def test_images_are_counted_or_a_fault_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with storage_marker(tmp_path) as marker:
        digits = check_node(NodeCheck(tmp_path, marker, DatasetConfig(name="RotatedDigits")))
        assert digits.images_fault is None
        assert len(digits.images) == 6
        missing = check_node(NodeCheck(tmp_path, marker, DatasetConfig(name="PACS", root=tmp_path / "none")))
        assert missing.images == {}
        assert missing.images_fault == f"there is no folder {tmp_path / 'none'}"
        unknown = check_node(NodeCheck(tmp_path, marker, DatasetConfig(name="not_installed_here:dataset")))
        assert "not_installed_here" in str(unknown.images_fault)
        assert check_node(NodeCheck(tmp_path, marker)).images == {}


def test_versions_are_of_python_and_the_packages() -> None:
    versions = installed_versions()
    assert versions.keys() == {"Python", *PACKAGES}
    assert versions["Python"] == sys.version.split()[0]
    assert versions["torch"] == torch.__version__.partition("+")[0] or versions["torch"] == torch.__version__


def test_timm_counts_where_a_sweep_trains_one_of_its_networks(tmp_path: Path) -> None:
    plain = load(two_arms())
    network = {"vary": {"training.network": ["resnet18", "timm/test_vit"]}}
    varied = load(two_arms(arms=[network], dataset={"name": "ColoredDigits"}, test_domains="all", defaults={}))
    assert needed_packages(None) == needed_packages(plain) == PACKAGES
    assert needed_packages(varied) == (*PACKAGES, "timm")
    with storage_marker(tmp_path) as marker:
        found = check_node(NodeCheck(tmp_path, marker, packages=needed_packages(varied))).versions
    assert found["timm"] == timm.__version__


def test_free_space_is_that_of_the_caches_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GGA_SWEEP_CACHE", str(tmp_path / "on" / "the" / "node"))
    with storage_marker(tmp_path) as marker:
        folder, free = check_node(NodeCheck(tmp_path, marker)).cache
    assert folder == str(tmp_path / "on" / "the" / "node")
    assert abs(free - shutil.disk_usage(tmp_path).free) < 10**9


def test_the_clock_is_read_during_the_check(tmp_path: Path) -> None:
    with storage_marker(tmp_path) as marker:
        before = time.time()
        assert before <= check_node(NodeCheck(tmp_path, marker)).clock <= time.time()


def test_gpus_are_checked_on_request_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559 MiB'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with storage_marker(tmp_path) as marker:
        assert check_node(NodeCheck(tmp_path, marker)).devices == ()
        looked = check_node(NodeCheck(tmp_path, marker, gpus=True))
    assert looked.devices == ("NVIDIA H100 80GB HBM3, 81559 MiB",)
    assert looked.cuda == torch.version.cuda
