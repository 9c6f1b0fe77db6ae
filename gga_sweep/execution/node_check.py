"""What this machine can offer a sweep: versions, storage, images, disk, GPUs, clock. It trains nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gga_sweep.datasets import describe
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.errors import GGASweepError
from gga_sweep.ledger.open_store import open_store
from gga_sweep.networks.timm_models import is_timm
from gga_sweep.spec.content_digests import cache_folder
from gga_sweep.spec.location import Location
from gga_sweep.spec.plan import SweepSpec

PACKAGES = ("gga-sweep", "torch", "torchvision", "numpy", "ray", "msgspec")
"""Packages that must have the same version on every node, whatever is trained."""


@dataclass(frozen=True, slots=True)
class NodeCheck:
    """What to check on a node.

    Args:
        storage: folder of all sweeps.
        marker: name of a file that the requesting process has written there (`storage_marker`).
        dataset: of a sweep; None skips the images.
        gpus: whether to look for GPUs.
        packages: whose versions are reported.
    """

    storage: Location
    marker: str
    dataset: DatasetConfig | None = None
    gpus: bool = False
    packages: tuple[str, ...] = PACKAGES


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What one node found.

    Args:
        versions: of Python and of the packages; a missing one is left out.
        storage_fault: why the storage cannot be used there; None where it can.
        cache: the folder of decoded images, and the free bytes on its disk.
        clock: seconds since the epoch, when the check ended.
        images: domain sizes; empty where the images were not checked or are missing.
        images_fault: why the images are missing.
        devices: descriptions of its GPUs, from the driver.
        cuda: the CUDA version that PyTorch is built for; None where it has none, or GPUs were not checked.
    """

    versions: Mapping[str, str]
    storage_fault: str | None
    cache: tuple[str, int]
    clock: float
    images: Mapping[str, int] = field(default_factory=dict)
    images_fault: str | None = None
    devices: tuple[str, ...] = ()
    cuda: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a cluster.

    Args:
        name: its name in Ray.
        cpus, gpus: that Ray may assign there.
        report: None where the node did not answer.
        error: why it did not.
        clock_ahead: seconds that its clock is ahead of ours, at least; negative where it is behind.
    """

    name: str
    cpus: float
    gpus: float
    report: NodeReport | None = None
    error: str | None = None
    clock_ahead: float = 0.0


def check_node(check: NodeCheck) -> NodeReport:
    """Check this machine."""
    cache = cache_folder(check.storage)
    images, images_fault = _images(check.dataset)
    return NodeReport(
        versions=installed_versions(check.packages),
        storage_fault=_storage_fault(check),
        cache=(str(cache), _free_bytes(cache)),
        images=images,
        images_fault=images_fault,
        devices=_devices() if check.gpus else (),
        cuda=_cuda_version() if check.gpus else None,
        clock=time.time(),
    )


@contextmanager
def storage_marker(storage: Location) -> Iterator[str]:
    """A file in a storage for the length of a `with` block; yields its name.

    Files that nodes add in the folder `NAME.d` are removed with it.

    Raises:
        StorageError: it cannot be written.
    """
    store, name = open_store(storage), f"node-check-{uuid.uuid4().hex}"
    store.replace(name, name.encode())
    try:
        yield name
    finally:
        with suppress(GGASweepError):
            for left in store.list(f"{name}.d"):
                store.delete(f"{name}.d/{left}")
            store.delete(name)
        if isinstance(storage, Path):
            with suppress(OSError):
                (storage / f"{name}.d").rmdir()


def needed_packages(sweep: SweepSpec | None) -> tuple[str, ...]:
    """Packages that must have the same version on every node that trains a sweep."""
    uses_timm = sweep is not None and any(is_timm(sweep.training_of(arm).network) for arm in sweep.arms)
    return (*PACKAGES, "timm") if uses_timm else PACKAGES


def installed_versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Of Python and of those of the packages that are installed."""
    found = {"Python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _storage_fault(check: NodeCheck) -> str | None:
    if isinstance(check.storage, Path) and not check.storage.is_dir():
        return "there is no such folder"
    try:
        store = open_store(check.storage)
        if store.read(check.marker) is None:
            return "it is another folder than here"
        own = f"{check.marker}.d/writing-{uuid.uuid4().hex}"
        store.replace(own, b"")
        store.delete(own)
    except GGASweepError as error:
        return str(error).splitlines()[-1].strip()
    return None


def _images(dataset: DatasetConfig | None) -> tuple[dict[str, int], str | None]:
    if dataset is None:
        return {}, None
    try:
        found = describe(dataset)
    except GGASweepError as error:
        return {}, str(error).splitlines()[-1].strip()
    except Exception as error:  # a dataset named `module:attribute` may raise anything
        return {}, f"{type(error).__name__}: {error}"
    if not found.available:
        return {}, f"there is no folder {dataset.root}"
    return dict(found.domain_sizes), None


def _free_bytes(folder: Path) -> int:
    for place in (folder, *folder.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


def _devices() -> tuple[str, ...]:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1":
        return ()
    return tuple(line.strip() for line in output.splitlines() if line.strip())


def _cuda_version() -> str | None:
    import torch

    return torch.version.cuda
