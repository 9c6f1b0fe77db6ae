"""Reads and augments images ahead of their use, in worker processes.

Measured against torch's `DataLoader` over steps (docs/scaling.md): its workers must be forked from a process that has
threads and CUDA, or load torch and the dataset anew; and their batches need room in /dev/shm, of which containers have
64 MB. Ours start in 0.2 s without torch, map the image cache, and share anonymous memory with the run, which vanishes
with the processes.
"""

from __future__ import annotations

import math
import mmap
import os
import subprocess
import sys
import tempfile
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

import numpy as np

from gga_sweep.datasets.augmentation import AugmentationNumbers
from gga_sweep.datasets.data_worker import Setup, Stored, array_at, slot_at
from gga_sweep.datasets.dataset import Dataset, Domain
from gga_sweep.datasets.minibatches import Minibatch, Reading, finish, read
from gga_sweep.errors import GGASweepError

if TYPE_CHECKING:  # a sweep is planned without loading torch
    from torch import device as Device

PART_IMAGES = 32
"""Images that one worker reads at a time: a larger minibatch is shared between workers."""

PARTS_AHEAD = 4
"""Parts, for each worker, that are read ahead of their use."""

_LEAST_AHEAD = 16
"""Parts that are read ahead with few workers: an evaluation's minibatch has eight, a step's one or more a domain."""

_MAIN = "from gga_sweep.datasets.data_worker import main; main()"


class WorkersLostError(GGASweepError):
    """A worker could not be started, or ended."""


class ImageReader:
    """Reads the images of a run, ahead of their use if it has workers. No bit depends on their number.

    Args:
        dataset: of the run.
        device: where the images are used.
        workers: how many processes read; 0 reads in this process when images are used.

    Attributes:
        remarks: why this process reads although there should be workers, in sentences.
    """

    def __init__(self, dataset: Dataset, device: Device | None = None, workers: int = 0) -> None:
        self.remarks: list[str] = []
        self._dataset = dataset
        self._device = device
        self._workers: Workers | None = None
        if workers:
            try:
                self._workers = Workers(dataset, workers)
            except (WorkersLostError, OSError) as error:
                self._fall_back(error)

    def ahead(self, readings: Iterable[Reading]) -> Iterator[Minibatch]:
        """The minibatches of readings, in their order; the next ones are read while one is used.

        Until a worker has started, and after one is lost, this process reads.
        """
        source = iter(readings)
        begun: deque[_Begun] = deque()
        try:
            while True:
                self._begin(source, begun)
                if begun:
                    yield self._taken(begun.popleft())
                elif (reading := next(source, None)) is not None:
                    yield read(self._dataset, reading, self._device)
                else:
                    return
        finally:
            for unused in begun:
                unused.drop()

    def close(self) -> None:
        """End the workers. What is read afterwards is read in this process."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def _begin(self, source: Iterator[Reading], begun: deque[_Begun]) -> None:
        """Request as many readings as are read ahead."""
        ahead = sum(len(each.parts) for each in begun)
        try:
            while self._workers is not None and self._workers.may_begin(ahead):
                if (reading := next(source, None)) is None:
                    return
                begun.append(_Begun(reading, self._workers))
                begun[-1].request()
                ahead += max(1, len(begun[-1].parts))
        except WorkersLostError as error:
            self._fall_back(error)

    def _taken(self, begun: _Begun) -> Minibatch:
        """The minibatch, once its parts are read; read here if they never will be."""
        import torch

        reading = begun.reading
        if self._workers is None or not begun.parts:
            return read(self._dataset, reading, self._device)
        domain = self._dataset.domain(reading.domain)
        pinned = self._device is not None and self._device.type == "cuda"
        shape = (len(reading), *domain.images.shape[1:])
        images = torch.empty(shape, dtype=domain.images.dtype, pin_memory=pinned)
        try:
            numbers = begun.take(images.numpy())
        except WorkersLostError as error:
            self._fall_back(error)
            return read(self._dataset, reading, self._device)
        labels = domain.labels[torch.from_numpy(reading.indices)]
        return finish(self._dataset, images, labels.pin_memory() if pinned else labels, numbers, self._device)

    def _fall_back(self, error: Exception) -> None:
        self.close()
        self.remarks.append(
            f"its images are read by the process that trains it, not ahead of the steps: {error}. "
            "The numbers are the same."
        )


@dataclass(eq=False, slots=True)
class _Part:
    """At most `PART_IMAGES` of a reading, in a slot of the shared memory once a worker has read them."""

    slot: int
    numbers: Sequence[AugmentationNumbers] | None = None
    is_wanted: bool = True


class _Begun:
    """A reading that workers have begun; without parts if there was no room for it."""

    def __init__(self, reading: Reading, workers: Workers) -> None:
        self.reading = reading
        self.parts: list[_Part] = []
        self._workers = workers

    def request(self) -> None:
        starts = range(0, len(self.reading), PART_IMAGES)
        if self._workers.free_slots >= len(starts):
            for start in starts:
                self.parts.append(self._workers.begin(self.reading[start : start + PART_IMAGES]))

    def take(self, images: np.ndarray) -> list[AugmentationNumbers]:
        """Copy the images of all parts, and free their slots."""
        numbers: list[AugmentationNumbers] = []
        for start, part in zip(range(0, len(images), PART_IMAGES), self.parts, strict=True):
            numbers += self._workers.take(part, images[start : start + PART_IMAGES])
        return numbers

    def drop(self) -> None:
        for part in self.parts:
            self._workers.drop(part)


@dataclass(eq=False, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    is_ready: bool = False
    parts: deque[_Part] = field(default_factory=deque)


class Workers:
    """Worker processes of one run, and the memory that they share with it.

    Args:
        dataset: whose images they read.
        count: how many.

    Raises:
        WorkersLostError: they cannot read the dataset.
        OSError: a process cannot be started, or there is no memory to share.
    """

    def __init__(self, dataset: Dataset, count: int) -> None:
        _require_plain(dataset.domains)
        self._most_ahead = max(_LEAST_AHEAD, PARTS_AHEAD * count)
        slots = 2 * self._most_ahead + _LEAST_AHEAD  # training and an evaluation read ahead at once
        descriptor = _anonymous_file()
        try:
            self._setup, self._memory = _share(dataset, descriptor, slots)
            self._free = list(range(slots))
            self._workers: list[_Worker] = []
            self._end = weakref.finalize(self, _end, self._workers)
            for _ in range(count):
                self._workers.append(_start(descriptor))
        except BaseException:
            _end(self.__dict__.get("_workers", []))
            raise
        finally:
            os.close(descriptor)
        for worker in self._workers:
            self._send(worker, self._setup)

    @property
    def free_slots(self) -> int:
        return len(self._free)

    @property
    def processes(self) -> list[int]:
        """Their process ids."""
        return [worker.process.pid for worker in self._workers]

    def may_begin(self, ahead: int) -> bool:
        """Whether a reading may be begun while so many parts of its stream are."""
        self._receive(0)
        return ahead < self._most_ahead and any(worker.is_ready for worker in self._workers)

    def begin(self, reading: Reading) -> _Part:
        """Request a part of the worker with the fewest."""
        worker = min((each for each in self._workers if each.is_ready), key=lambda each: len(each.parts))
        part = _Part(self._free.pop())
        worker.parts.append(part)
        self._send(worker, (reading, part.slot))
        return part

    def take(self, part: _Part, images: np.ndarray) -> Sequence[AugmentationNumbers]:
        """Copy the images of a part, which is waited for, and free its slot."""
        while part.numbers is None:
            self._receive(None)
        images[...] = slot_at(self._memory, self._setup, part.slot)[: len(images)]
        self._free.append(part.slot)
        return part.numbers

    def drop(self, part: _Part) -> None:
        """Free the slot of a part that nobody takes, once it is read."""
        part.is_wanted = False
        if part.numbers is not None:
            self._free.append(part.slot)

    def close(self) -> None:
        """End the processes."""
        self._end()

    def _send(self, worker: _Worker, message: object) -> None:
        try:
            worker.connection.send(message)
        except OSError as error:
            raise WorkersLostError(_why_ended(worker)) from error

    def _receive(self, timeout: float | None) -> None:
        connections = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(connections), timeout):
            worker = connections[connection]  # type: ignore[index]
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError) as error:
                raise WorkersLostError(_why_ended(worker)) from error
            if not worker.is_ready:
                worker.is_ready = True
                continue
            part = worker.parts.popleft()
            part.numbers = answer
            if not part.is_wanted:
                self._free.append(part.slot)


def _start(memory: int) -> _Worker:
    ours, theirs = Pipe()
    with theirs:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(memory)],
            pass_fds=(theirs.fileno(), memory),
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    return _Worker(process, ours)


def _end(workers: Sequence[_Worker]) -> None:
    """Kill at once: a worker has nothing to lose."""
    for worker in workers:
        worker.connection.close()
        worker.process.kill()
    for worker in workers:
        worker.process.wait()


def _why_ended(worker: _Worker) -> str:
    try:
        status = worker.process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return "a data worker does not respond"
    return f"a data worker ended with status {status}"


def _require_plain(domains: Sequence[Domain]) -> None:
    """A worker reads arrays: it has none of a user's own code, which may read images in ways of its own."""
    import torch

    for domain in domains:
        images = domain.images
        if type(domain) is not Domain or type(images) is not torch.Tensor or images.device.type != "cpu":
            raise WorkersLostError(f"the images of domain {domain.name} are of a type that only this process can read")


def _share(dataset: Dataset, descriptor: int, slots: int) -> tuple[Setup, mmap.mmap]:
    """The shared memory, with the images of those domains that map no file."""
    dtypes = {domain.images.numpy().dtype for domain in dataset.domains}
    if len(dtypes) > 1:
        raise WorkersLostError("the images of its domains have several types")
    (dtype,) = dtypes
    slot = (PART_IMAGES, *dataset.input_shape)
    offset = slots * math.prod(slot) * dtype.itemsize
    domains: dict[str, Stored] = {}
    for domain in dataset.domains:
        domains[domain.name] = Stored(domain.file, offset, tuple(domain.images.shape))
        offset += 0 if domain.file is not None else domain.images.numpy().nbytes
    os.truncate(descriptor, offset)  # pages take memory once they are written
    setup = Setup(offset, dtype.str, slot, domains)
    memory = mmap.mmap(descriptor, offset)
    for domain in dataset.domains:
        if domain.file is None:
            array_at(memory, setup, domains[domain.name])[...] = domain.images.numpy()
    return setup, memory


def _anonymous_file() -> int:
    """A descriptor of memory that has no name: nothing is left of it when the processes end."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gga-sweep-images")
    with tempfile.TemporaryFile() as file:  # macOS
        return os.dup(file.fileno())
