"""A data worker: a process that reads and augments images for a run. It loads no torch, so it starts in a moment.

`workers` starts it, and sends it readings; it ends when the other end of its connection is closed, as it is when the
process of the run dies, however that happens.
"""

from __future__ import annotations

import math
import mmap
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from gga_sweep.datasets.minibatches import Reading

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a worker finds the images of a domain: in a .npy file, or in the memory that it shares with the run.

    Args:
        file: None for images in shared memory.
        offset: in the shared memory, in bytes.
        shape: (n, channels, height, width).
    """

    file: Path | None
    offset: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message to a worker.

    Args:
        size: bytes of the shared memory: slots for what is read, then the images of domains in memory.
        dtype: of all images.
        slot: the shape of a slot.
        domains: by name.
    """

    size: int
    dtype: str
    slot: Shape
    domains: Mapping[str, Stored]


def slot_at(memory: mmap.mmap, setup: Setup, number: int) -> np.ndarray:
    """A slot of the shared memory: PART_IMAGES images."""
    bytes_before = number * math.prod(setup.slot) * np.dtype(setup.dtype).itemsize
    return array_at(memory, setup, Stored(None, bytes_before, setup.slot))


def array_at(memory: mmap.mmap, setup: Setup, stored: Stored) -> np.ndarray:
    """The images of a domain, or of a slot, in the shared memory."""
    return np.frombuffer(memory, setup.dtype, math.prod(stored.shape), stored.offset).reshape(stored.shape)


def serve(connection: Connection, descriptor: int) -> None:
    """Read what is requested until the connection is closed.

    Args:
        descriptor: of the shared memory.
    """
    setup: Setup = connection.recv()
    memory = mmap.mmap(descriptor, setup.size)
    domains = {
        name: array_at(memory, setup, stored) if stored.file is None else np.load(stored.file, mmap_mode="r")
        for name, stored in setup.domains.items()
    }
    connection.send(())  # ready
    while True:
        request: tuple[Reading, int] = connection.recv()
        reading, slot = request
        images = slot_at(memory, setup, slot)[: len(reading)]
        np.take(domains[reading.domain], reading.indices, axis=0, out=images, mode="clip")  # "raise" would buffer
        connection.send(reading.augment(images))


def main() -> None:
    """Serve the connection, with the memory, whose file descriptors are the arguments."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the run, which ends its workers
    with suppress(EOFError, ConnectionError):  # the run has ended
        serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
