"""What every node of a cluster sees: versions, storage, images, disk, devices, its clock. It trains nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gga_sweep.datasets import describe
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.errors import GGASweepError
from gga_sweep.ledger.open_store import open_store
from gga_sweep.spec.location import Location
from gga_sweep.spec.runs import cache_folder

ALIKE = ("gga-sweep", "torch", "torchvision", "numpy", "ray", "msgspec")
"""The packages of which all nodes need the same version."""

_ANSWER_SECONDS = 90.0
"""The first task of a node waits until Ray has started a process there."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a node is asked to look at.

    Args:
        storage: of the sweeps.
        mark: name of a file that whoever asks has written there.
        dataset: of a sweep; None looks at no images.
        gpus: whether it may be asked to train on a GPU.
    """

    storage: Location
    mark: str
    dataset: DatasetConfig | None = None
    gpus: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What one node sees; where it sees nothing, why.

    Args:
        versions: of Python and of `ALIKE`; a package that is missing is left out.
        storage: why the storage cannot be used there, or is another; None where it can.
        images: domain sizes; empty without a question.
        images_missing: why there are none.
        cache: the folder of decoded images, and the free bytes of its disk.
        devices: its GPUs in words, as the driver tells; empty without.
        cuda: the CUDA version that torch is built for; None where not asked, or built for none.
        clock: seconds since the epoch, as it answered.
    """

    versions: Mapping[str, str]
    storage: str | None
    cache: tuple[str, int]
    clock: float
    images: Mapping[str, int] = field(default_factory=dict)
    images_missing: str | None = None
    devices: tuple[str, ...] = ()
    cuda: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a cluster.

    Args:
        name: as Ray knows it.
        cpus, gpus: that Ray may give away there.
        look: None where it did not answer.
        silence: why it did not.
        clock_ahead: seconds that its clock is ahead of ours, at least; negative where it is behind.
    """

    name: str
    cpus: float
    gpus: float
    look: Look | None = None
    silence: str | None = None
    clock_ahead: float = 0.0


def look_around(question: Question) -> Look:
    """On this machine, now."""
    cache = cache_folder(question.storage)
    images, missing = _images(question.dataset)
    return Look(
        versions=installed_versions(),
        storage=_look_at_storage(question),
        cache=(str(cache), _free_bytes(cache)),
        images=images,
        images_missing=missing,
        devices=_devices() if question.gpus else (),
        cuda=_cuda() if question.gpus else None,
        clock=time.time(),
    )


@contextmanager
def marked(storage: Location) -> Iterator[str]:
    """A file in a storage for the length of a `with` block, and what nodes add to it; gives its name.

    Raises:
        StorageError: it cannot be written.
    """
    store, name = open_store(storage), f"looking-{uuid.uuid4().hex}"
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


def ask_every_node(storage: Location, dataset: DatasetConfig | None = None, gpus: bool = False) -> tuple[Node, ...]:
    """What each live node of the Ray that is up sees; the head first.

    Args:
        storage, dataset, gpus: as in `Question`.

    Raises:
        StorageError: the storage cannot be written here.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    alive.sort(key=lambda node: ("node:__internal_head__" not in node["Resources"], node["NodeName"]))
    with marked(storage) as mark:
        question = Question(storage, mark, dataset, gpus)
        asked = {node["NodeID"]: (time.time(), _ask(node["NodeID"], question)) for node in alive}
        deadline = time.monotonic() + _ANSWER_SECONDS
        heard = {node["NodeID"]: _hear(*asked[node["NodeID"]], deadline) for node in alive}
        seen = set(open_store(storage).list(f"{mark}.d"))
    return tuple(_node(node, heard[node["NodeID"]], seen) for node in alive)


def installed_versions() -> dict[str, str]:
    """Of Python and of `ALIKE`."""
    found = {"Python": platform.python_version()}
    for package in ALIKE:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _ask(node_id: str, question: Question) -> Any:
    task = ray.remote(num_cpus=0, max_retries=0)(_answer)
    return task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(
        node_id, question
    )


def _answer(node_id: str, question: Question) -> Look:
    """On the node: look, and leave a file that all others should see."""
    look = look_around(question)
    if look.storage is None:
        open_store(question.storage).replace(f"{question.mark}.d/{node_id}", b"")
    return look


def _hear(since: float, answer: Any, deadline: float) -> tuple[Look | None, str | None, float]:
    """The look, or why there is none; and how far the node's clock is ahead at least."""
    try:
        look: Look = ray.get(answer, timeout=max(0.1, deadline - time.monotonic()))
    except ray.exceptions.GetTimeoutError:
        return None, f"no answer within {_ANSWER_SECONDS:.0f} s", 0.0
    except (ray.exceptions.RayError, ImportError) as error:
        return None, str(error).strip().splitlines()[-1], 0.0
    return look, None, max(0.0, look.clock - time.time()) + min(0.0, look.clock - since)


def _node(told: Mapping[str, Any], heard: tuple[Look | None, str | None, float], seen: set[str]) -> Node:
    look, silence, ahead = heard
    resources = told["Resources"]
    if look is not None and look.storage is None and told["NodeID"] not in seen:
        look = replace(look, storage="what it writes there is not seen here")
    return Node(told["NodeName"], resources.get("CPU", 0.0), resources.get("GPU", 0.0), look, silence, ahead)


def _look_at_storage(question: Question) -> str | None:
    if isinstance(question.storage, Path) and not question.storage.is_dir():
        return "there is no such folder"
    try:
        store = open_store(question.storage)
        if store.read(question.mark) is None:
            return "it is another folder than here"
        own = f"{question.mark}.d/writing-{uuid.uuid4().hex}"
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
    except Exception as error:  # of a dataset by `module:attribute`, whatever it raises
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
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(line.strip() for line in told.splitlines() if line.strip()) if shown != "-1" else ()


def _cuda() -> str | None:
    import torch

    return torch.version.cuda
