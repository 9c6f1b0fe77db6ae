"""What decoding photographs once saves, what augmentation costs, and what sharing them saves: `make bench`.

Photographs are invented: noise whose amplitude falls with frequency about as in natural images, saved as JPEG of
quality 90 (23 KB at 227 x 227, 100 KB at 640 x 480), stored at 224 x 224. All is read from the page cache: what is
measured is an epoch after the first. Rates of several ways are measured in turns, so that other
load on the machine falls on all alike; the median of the turns is printed.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

from gga_sweep.datasets import Dataset, Split, draw_minibatch, load_dataset
from gga_sweep.datasets.augmentation import augment_array, draw_numbers
from gga_sweep.datasets.batched_augmentation import augment_batch
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD
from gga_sweep.datasets.image_cache import decode
from gga_sweep.datasets.manifest import content_hash
from gga_sweep.seeding import stream

SIZE = 224
SHAPES = {(227, 227): 3.0, (640, 480): 5.0}  # with the aims: from the cache against decoding
AIMS = {"DataLoader on files of 227x227": 1.0, "DataLoader on files of 640x480": 2.0}
PER_DOMAIN = 120
DOMAINS = ("art", "photo")
BATCH = 32
BATCHES = 4
TURNS = 5
PROCESSES = 4
MEMORY_AIM = 1.3

Rate = Callable[[], float]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
        trees = {shape: write_tree(Path(folder) / f"{shape[0]}", *shape) for shape in SHAPES}
        for shape, root in trees.items():
            reading(shape, root, Path(folder) / "cache")
        augmenting(trees, Path(folder) / "cache")
        differing(next(iter(trees.values())), Path(folder) / "cache")
        sharing(next(iter(trees.values())), Path(folder) / "cache")
        print(f"load average {os.getloadavg()[0]:.1f}")


def write_tree(root: Path, width: int, height: int) -> Path:
    rng = np.random.default_rng(0)
    for domain in DOMAINS:
        for index in range(PER_DOMAIN):
            file = root / domain / ("cat", "dog")[index % 2] / f"{index}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            photograph(rng, width, height).save(file, quality=90)
    return root


def photograph(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    frequency = np.hypot(np.fft.rfftfreq(width)[None, :], np.fft.fftfreq(height)[:, None])
    frequency[0, 0] = np.inf
    phases = rng.random((3, *frequency.shape))
    light, red, blue = (
        np.fft.irfft2(frequency**-1.4 * np.exp(2j * np.pi * phase), s=(height, width)) for phase in phases
    )
    light, red, blue = (plane / plane.std() for plane in (light, red, blue))
    colours = np.stack([light + 0.4 * red, light - 0.2 * (red + blue), light + 0.4 * blue], axis=-1)
    return Image.fromarray(np.clip(120 + 50 * colours, 0, 255).astype(np.uint8))


def config(root: Path) -> DatasetConfig:
    return DatasetConfig(name="ImageFolder", root=root, image_size=SIZE)


def reading(shape: tuple[int, int], root: Path, cache: Path) -> None:
    """One core: an image from the cache against its JPEG; and what building the cache takes."""
    torch.set_num_threads(1)
    files = sorted(root.glob("*/*/*"))
    dataset = load_dataset(config(root), cache)

    def from_cache() -> None:
        for domain in dataset.domains:
            for index in range(len(domain)):
                domain.take(np.array([index]))

    def from_jpeg() -> None:
        for file in files:
            with Image.open(file) as image:
                image.convert("RGB")

    contents = [file.read_bytes() for file in files]
    kept, decoded = (cpu_seconds(work) / len(files) for work in (from_cache, from_jpeg))
    whole = cpu_seconds(lambda: [decode(content, SIZE) for content in contents]) / len(files)
    hashed = cpu_seconds(lambda: [content_hash(content) for content in contents]) / len(files)
    print(f"\none photograph of {shape[0]}x{shape[1]}, {files[0].stat().st_size / 1e3:.0f} KB; CPU time of one core")
    row("decoding its JPEG", f"{1e3 * decoded:.3f} ms")
    row("reading it from the cache", f"{1e3 * kept:.3f} ms", f"{decoded / kept:.0f} times (aim: {SHAPES[shape]:g})")
    row("building the cache: decoding and resizing", f"{1e3 * whole:.3f} ms")
    row("building the cache: comparing with the manifest", f"{1e3 * hashed:.3f} ms", f"{hashed / whole:.1%} of it")
    rates = in_turns({f"{n} threads": lambda n=n: decoding_rate(contents, n) for n in (1, 2)})  # type: ignore[misc]
    for name, rate in rates.items():
        row(f"building the cache by {name}", f"{rate:.0f} a second", f"{rate / rates['1 threads']:.2f}")


def decoding_rate(contents: Sequence[bytes], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(lambda content: decode(content, SIZE), contents))
        return len(contents) / (time.perf_counter() - began)


def cpu_seconds(work: Callable[[], object]) -> float:
    work()
    taken = []
    for _ in range(TURNS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def in_turns(ways: dict[str, Rate]) -> dict[str, float]:
    """The median rate of each way; all are measured in each turn."""
    turns = [{name: way() for name, way in ways.items()} for _ in range(TURNS)]
    return {name: statistics.median(turn[name] for turn in turns) for name in ways}


def augmenting(trees: dict[tuple[int, int], Path], cache: Path) -> None:
    """One core, one thread: from the stored photograph to the normalised minibatch. Ours are read from the cache.

    A ratio is the median of the ratios of the turns: load changes within a turn less than from turn to turn.
    """
    torch.set_num_threads(1)
    root = next(iter(trees.values()))
    theirs = {
        f"DataLoader on files of {shape[0]}x{shape[1]}": data_loader(tree / DOMAINS[0], BATCH)
        for shape, tree in trees.items()
    }
    ours = {name: our_batches(root, cache, name) for name in ("domainbed", "domainbed-batched")}
    turns = [
        {name: milliseconds_an_image(batches) for name, batches in {**theirs, **ours}.items()} for _ in range(1 + TURNS)
    ][1:]  # the first turn reads the files into the page cache
    print("\nimages into training, full augmentation, processor time of one core, and by how much ours are faster")
    for name in turns[0]:
        row(name, f"{statistics.median(turn[name] for turn in turns):.2f} ms")
    for name in ours:
        for other in theirs:
            ratio = statistics.median(turn[other] / turn[name] for turn in turns)
            row(f"{name} over {other}", f"{ratio:.2f}", f"aim: {AIMS[other]:g}" if name == "domainbed" else "")


def milliseconds_an_image(batches: Iterator[object]) -> float:
    began = time.process_time()
    for _ in range(BATCHES):
        next(batches)
    return 1e3 * (time.process_time() - began) / (BATCH * BATCHES)


def differing(root: Path, cache: Path) -> None:
    """By how much `domainbed-batched` differs from `domainbed`, over all images with the same random numbers."""
    differences = []
    for domain in load_dataset(config(root), cache).domains:
        images, _ = domain.take(np.arange(len(domain)))
        drawn = [draw_numbers(SIZE, SIZE, stream("bench", 0, domain.name, index)) for index in range(len(images))]
        exact = torch.from_numpy(np.stack([augment_array(*each) for each in zip(images.numpy(), drawn, strict=True)]))
        differences.append((255 * augment_batch(images, drawn) - exact).abs())
    levels = torch.stack(differences)
    row("batched against domainbed, levels of 256", f"{levels.mean():.2f}", f"at most {levels.max():.1f}")


def our_batches(root: Path, cache: Path, augmentation: Any) -> Iterator[object]:
    dataset = load_dataset(config(root), cache)
    domain, split = dataset.domains[0], Split(np.arange(PER_DOMAIN), np.arange(0))
    return (draw_minibatch(dataset, domain, split, BATCH, 0, step, augmentation) for step in itertools.count())


def data_loader(root: Path, batch: int, workers: int = 0) -> Iterator[object]:
    """A `DataLoader` on the files of a folder, with DomainBed's transforms and sampling."""
    augment = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE, scale=(0.7, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.3, 0.3, 0.3, 0.3),
            transforms.RandomGrayscale(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    images = ImageFolder(str(root), augment)
    sampler = RandomSampler(images, replacement=True, num_samples=10**6, generator=torch.Generator().manual_seed(0))
    return iter(DataLoader(images, batch, sampler=sampler, num_workers=workers))


def sharing(root: Path, cache: Path) -> None:
    """Memory of processes that hold all images at once: what each grows by, a shared page counted in parts."""
    one_copy = len(DOMAINS) * PER_DOMAIN * 3 * SIZE**2
    print(f"\nmemory of {PROCESSES} processes that touch every image; one copy: {one_copy / 1e6:.0f} MB")
    for name, where in (("each with its own", None), ("of the cache", cache)):
        grown = sum(grown_together(root, where))
        aim = "" if where is None else f" (aim: at most {MEMORY_AIM})"
        row(name, f"{grown / 1e6:.0f} MB", f"{grown / one_copy:.2f} copies{aim}")


def grown_together(root: Path, cache: Path | None) -> list[int]:
    spawn = multiprocessing.get_context("spawn")
    touched, measured = spawn.Barrier(PROCESSES), spawn.Barrier(PROCESSES)
    with spawn.Pool(PROCESSES, _share, (touched, measured)) as pool:
        return pool.starmap(grown, [(root, cache)] * PROCESSES, chunksize=1)


def _share(touched: Any, measured: Any) -> None:
    globals().update(all_touched=touched, all_measured=measured)


def grown(root: Path, cache: Path | None) -> int:
    """Bytes of memory, once all have touched every image; none ends before all have looked."""
    torch.set_num_threads(1)
    load_dataset(config(root), cache)  # what importing and decoding once for all takes does not count
    before = proportional_bytes()
    dataset: Dataset = load_dataset(config(root), cache)
    for domain in dataset.domains:
        for index in range(len(domain)):
            domain.take(np.array([index]))
    globals()["all_touched"].wait()
    after = proportional_bytes()
    globals()["all_measured"].wait()
    return after - before


def proportional_bytes() -> int:
    """PSS of this process: its own pages, and its part of those that it shares."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("no PSS in smaps_rollup")


def row(name: str, value: str, ratio: str = "") -> None:
    print(f"  {name:52}{value:>16}   {ratio}")


if __name__ == "__main__":
    main()
