"""Worker processes: the bits of reading in this process, in every order of events; nothing is left of them."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from data_workers import runs, started, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gga_sweep.datasets import Augmentation, Dataset, Domain, Minibatch, digest_of_tensors
from gga_sweep.datasets.image_folder import load_tree, read_tree
from gga_sweep.datasets.minibatches import Reading, evaluation_reading, read
from gga_sweep.datasets.workers import PART_IMAGES, ImageReader

CPU = torch.device("cpu")


def images_of(kind: str, number: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    if kind == "floats":
        return torch.rand(number, 3, 12, 10, generator=generator)
    return torch.randint(0, 256, (number, 3, 12, 10), dtype=torch.uint8, generator=generator)


def dataset_of(kind: str = "bytes", domain: type[Domain] = Domain) -> Dataset:
    domains = []
    for name, number in (("near", 40), ("far", 50)):
        ids = tuple(f"{name}-{index}" for index in range(number))
        domains.append(domain(name, images_of(kind, number), torch.arange(number) % 4, ids))
    return Dataset("mine", tuple("abcd"), tuple(domains), digest_of_tensors(domains), normalise=kind == "bytes")


BYTES, FLOATS = dataset_of(), dataset_of("floats")
AUGMENTATIONS: list[Augmentation] = ["none", "domainbed", "domainbed-batched"]


def readings_of(dataset: Dataset, augmentation: Augmentation, steps: int = 6, size: int = 9) -> list[Reading]:
    """Of both domains by turns, of various sizes."""
    found = []
    for step in range(steps):
        for domain in dataset.domains:
            indices = np.random.default_rng(step).integers(len(domain), size=size + 7 * step)
            found.append(evaluation_reading(dataset, domain, indices, 0, step, augmentation))
    return found


def bits(minibatch: Minibatch) -> tuple[bytes, bytes]:
    return minibatch.images.numpy().tobytes(), minibatch.labels.numpy().tobytes()


def read_here(dataset: Dataset, readings: list[Reading]) -> list[tuple[bytes, bytes]]:
    return [bits(read(dataset, reading)) for reading in readings]


@pytest.fixture(scope="module")
def shared() -> Iterator[ImageReader]:
    reader = ImageReader(BYTES, CPU, 2)
    yield reader
    reader.close()


@pytest.mark.parametrize(
    ("dataset", "augmentation", "workers"),
    [
        (BYTES, "none", 0),
        *((BYTES, augmentation, 2) for augmentation in AUGMENTATIONS),
        *((FLOATS, augmentation, 1) for augmentation in AUGMENTATIONS),
    ],
)
def test_minibatches_are_those_read_in_this_process(dataset: Dataset, augmentation: Augmentation, workers: int) -> None:
    readings = readings_of(dataset, augmentation)
    reader = ImageReader(dataset, CPU, workers)
    if workers:
        slots = started(reader).free_slots
    found = [bits(minibatch) for minibatch in reader.ahead(readings)]
    assert found == read_here(dataset, readings)
    assert reader.remarks == []
    if workers:
        assert started(reader).free_slots == slots
    reader.close()


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 4 * PART_IMAGES), max_size=12), stop=st.integers(0, 12), turns=st.booleans())
def test_streams_of_any_sizes_may_overlap_and_stop_anywhere(sizes: list[int], stop: int, turns: bool) -> None:
    reader = OVERLAPPING[0]
    slots = started(reader).free_slots
    domain = BYTES.domains[0]
    readings = [
        evaluation_reading(BYTES, domain, np.arange(size) % len(domain), 0, step, "none")
        for step, size in enumerate(sizes)
    ]
    one, other = reader.ahead(readings), reader.ahead(reversed(readings))
    found, reverse = [], []
    for _ in readings[:stop]:
        found.append(bits(next(one)))
        if turns:
            reverse.append(bits(next(other)))
    expected = read_here(BYTES, readings)
    assert found == expected[:stop]
    assert reverse == (expected[::-1][:stop] if turns else [])
    one.close()  # type: ignore[attr-defined]
    other.close()  # type: ignore[attr-defined]
    wait_until(lambda: started(reader).free_slots == slots)


OVERLAPPING: list[ImageReader] = []


@pytest.fixture(autouse=True, scope="module")
def overlapping(shared: ImageReader) -> Iterator[None]:
    """Hypothesis forbids fixtures of a function in its examples."""
    OVERLAPPING.append(shared)
    yield
    OVERLAPPING.clear()


def test_the_next_images_are_read_while_one_is_used(shared: ImageReader) -> None:
    slots = started(shared).free_slots
    stream = shared.ahead(readings_of(BYTES, "domainbed"))
    next(stream)
    assert started(shared).free_slots < slots
    wait_until(lambda: all(not worker.parts for worker in started(shared)._workers))  # read, though nobody takes them
    stream.close()  # type: ignore[attr-defined]


def test_until_a_worker_has_started_this_process_reads() -> None:
    reader = ImageReader(BYTES, CPU, 1)
    assert reader._workers is not None
    os.kill(reader._workers.processes[0], signal.SIGSTOP)
    readings = readings_of(BYTES, "domainbed")
    assert [bits(minibatch) for minibatch in reader.ahead(readings)] == read_here(BYTES, readings)
    reader.close()


def test_a_mapped_file_is_mapped_by_the_worker_and_torch_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "near.npy"
    np.save(file, BYTES.domains[0].images.numpy())
    mapped = torch.from_numpy(np.load(file, mmap_mode="c"))
    domain = Domain("near", mapped, BYTES.domains[0].labels, BYTES.domains[0].sample_ids, file)
    dataset = Dataset("mine", tuple("abcd"), (domain,), "digest", normalise=True)
    readings = readings_of(dataset, "domainbed")
    reader = ImageReader(dataset, CPU, 1)
    (process,) = started(reader).processes
    maps = Path(f"/proc/{process}/maps").read_text(encoding="utf-8")
    assert str(file) in maps
    assert "libtorch" not in maps
    assert [bits(minibatch) for minibatch in reader.ahead(readings)] == read_here(dataset, readings)
    reader.close()


def test_a_decoded_tree_names_its_files(tmp_path: Path) -> None:
    for place in ("d/x/1.png", "d/y/1.png", "e/x/1.png", "e/y/1.png"):
        (tmp_path / "tree" / place).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / "tree" / place)
    tree = read_tree(tmp_path / "tree")
    cached = load_tree("T", tree, 8, tmp_path / "cache")
    assert all(np.load(str(each.file)).tobytes() == each.images.numpy().tobytes() for each in cached.domains)
    assert [each.file for each in load_tree("T", tree, 8, None).domains] == [None, None]


def test_no_memory_of_a_name_is_used(shared: ImageReader) -> None:
    """Containers have 64 MB in /dev/shm, and files there outlive a killed process."""
    for process in (os.getpid(), *started(shared).processes):
        maps = Path(f"/proc/{process}/maps").read_text(encoding="utf-8").splitlines()
        named = [line for line in maps if "/dev/shm/" in line and "gga" in line]
        assert named == []
    assert any("memfd:gga-sweep-images" in line for line in maps)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_this_process_goes_on_when_a_worker_is_killed_and_says_so_once(augmentation: Augmentation) -> None:
    readings = readings_of(BYTES, augmentation, steps=12)
    reader = ImageReader(BYTES, CPU, 2)
    processes = started(reader).processes
    stream, evaluation = reader.ahead(readings), reader.ahead(readings)
    found = [bits(next(stream)) for _ in range(3)]
    also = [bits(next(evaluation)) for _ in range(2)]
    os.kill(processes[0], signal.SIGKILL)
    found += [bits(minibatch) for minibatch in stream]
    also += [bits(minibatch) for minibatch in evaluation]

    assert found == also == read_here(BYTES, readings)
    assert reader.remarks == [
        "its images are read by the process that trains it, not ahead of the steps: a data worker ended with status "
        "-9. The numbers are the same."
    ]
    wait_until(lambda: not any(map(runs, processes)))


def test_a_file_that_only_the_run_can_still_read_ends_its_worker_not_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    near = BYTES.domains[0]
    domain = Domain("near", near.images, near.labels, near.sample_ids, tmp_path / "removed.npy")
    dataset = Dataset("mine", tuple("abcd"), (domain,), "digest", normalise=True)
    reader = ImageReader(dataset, CPU, 1)
    assert reader._workers is not None
    reader._workers._workers[0].process.wait()
    readings = readings_of(dataset, "none")
    assert [bits(minibatch) for minibatch in reader.ahead(readings)] == read_here(dataset, readings)
    assert [remark for remark in reader.remarks if "ended with status 1" in remark] == reader.remarks != []
    assert "removed.npy" in capfd.readouterr().err


@dataclass(frozen=True, eq=False)
class LazyDomain(Domain):
    """Reads in a way of its own, which no other process can."""

    def take(self, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = super().take(indices)
        return images.flip(3), labels


def test_a_domain_of_a_type_of_ones_own_is_read_here_which_is_said_once() -> None:
    dataset = dataset_of(domain=LazyDomain)
    readings = readings_of(dataset, "domainbed")
    reader = ImageReader(dataset, CPU, 2)
    found = [bits(minibatch) for minibatch in reader.ahead(readings)]
    assert found == read_here(dataset, readings) != read_here(BYTES, readings)
    assert reader.remarks == [
        "its images are read by the process that trains it, not ahead of the steps: the images of domain near are of "
        "a type that only this process can read. The numbers are the same."
    ]


def test_images_of_several_types_are_read_here() -> None:
    domains = (BYTES.domains[0], FLOATS.domains[1])
    reader = ImageReader(Dataset("mine", tuple("abcd"), domains, "digest", normalise=False), CPU, 1)
    assert ["have several types" in remark for remark in reader.remarks] == [True]


def test_a_process_that_cannot_be_started_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    before = set(Path("/proc/self/fd").iterdir())
    reader = ImageReader(BYTES, CPU, 1)
    assert ["/nowhere/python" in remark for remark in reader.remarks] == [True]
    readings = readings_of(BYTES, "none")
    assert [bits(minibatch) for minibatch in reader.ahead(readings)] == read_here(BYTES, readings)
    del reader
    gc.collect()
    assert set(Path("/proc/self/fd").iterdir()) <= before


def test_workers_end_when_closed_and_with_their_reader() -> None:
    closed, forgotten = ImageReader(BYTES, CPU, 2), ImageReader(BYTES, CPU, 1)
    processes = started(closed).processes
    closed.close()
    closed.close()
    assert not any(map(runs, processes))
    readings = readings_of(BYTES, "none")
    assert [bits(minibatch) for minibatch in closed.ahead(readings)] == read_here(BYTES, readings)

    processes = started(forgotten).processes
    assert all(map(runs, processes))
    del forgotten
    gc.collect()
    assert not any(map(runs, processes))


_KILLED = """
import signal, sys, time
sys.path[:0] = {path!r}
from data_workers import started
from test_workers import BYTES, CPU, ImageReader, readings_of
reader = ImageReader(BYTES, CPU, 2)
processes = started(reader).processes
stream = reader.ahead(readings_of(BYTES, "domainbed", steps=40, size=200))
next(stream)
print(*processes, flush=True)
time.sleep(600)
"""


def test_no_worker_and_no_memory_outlives_a_killed_process() -> None:
    script = _KILLED.format(path=[path for path in sys.path if path])
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = [int(number) for number in process.stdout.readline().split()]
    assert len(workers) == 2
    assert all(map(runs, workers))
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not any(map(runs, workers)))


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("dataset", [BYTES, FLOATS], ids=["bytes", "floats"])
def test_images_prepared_on_a_gpu_have_the_bits_of_the_cpu(dataset: Dataset, workers: int) -> None:
    readings = readings_of(dataset, "domainbed", steps=12)
    reader = ImageReader(dataset, torch.device("cuda"), workers)
    if workers:
        started(reader)
    found = list(reader.ahead(readings))  # many copies at once: none may be overwritten by the next
    assert {minibatch.images.device.type for minibatch in found} == {"cuda"}
    assert [bits(Minibatch(each.images.cpu(), each.labels.cpu())) for each in found] == read_here(dataset, readings)
    reader.close()
