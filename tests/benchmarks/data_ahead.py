"""What data workers bring: `make bench`.

- Steps a second on a stand-in device, whose update is a wait, over min(1 / wait, the rate of a torchvision `DataLoader`
  with as many workers); beside it other ways to read ahead.
- A training of ResNet-18 on the CPU with one worker over the same without; the bits are compared.

Photographs are those of `image_cache.py`. All ways are measured in turns; a ratio is the median of the turns'.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_cache import DOMAINS, PER_DOMAIN, SIZE, data_loader, photograph, row
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gga_sweep.datasets import Dataset, draw_minibatch, load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.spec.models import ArmConfig, RunSpec, SweepConfig, TrainingConfig
from gga_sweep.spec.protocols import complete_training, get_protocol
from gga_sweep.training.trainer import Trainer, split_dataset

CPU = torch.device("cpu")
WORKERS = 2
BATCH = 32
WAITS = (0.02, 0.05, 0.1)
STAND_IN_AIM = 0.95
TRAINING_AIM = 1.25
SKIPPED = 7
"""Steps before a measurement: what was read ahead meanwhile is used up."""
STEPS = 12
TURNS = 3

Next = Callable[[], object]


def main() -> None:
    torch.set_num_threads(1)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory() as folder:
        root = write_tree(Path(folder) / "tree")
        on_a_stand_in_device(root, Path(folder) / "cache")
        for batch in (8, 32):
            training(root, Path(folder) / "cache", batch)
    print(f"load average {os.getloadavg()[0]:.1f}")


def write_tree(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for domain in (*DOMAINS, "sketch", "test"):
        for index in range(PER_DOMAIN if domain != "test" else 8):
            file = root / domain / ("cat", "dog")[index % 2] / f"{index}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            photograph(rng, 227, 227).save(file, quality=90)
    return root


def load(root: Path, cache: Path, size: int) -> Dataset:
    return load_dataset(DatasetConfig(name="ImageFolder", root=root, image_size=size), cache)


def config_of(network: str, batch: int) -> RunSpec:
    images = DatasetConfig(name="ImageFolder")
    changes = {
        "steps": 100_000,
        "evaluate_every": 100_000,
        "network": network,
        "weights": "random",
        "freeze_batch_norm": True,
        "augmentation": "domainbed",
    }
    sweep = SweepConfig(name="bench", dataset=images, arms=(ArmConfig(),), training=TrainingConfig(**changes))
    return RunSpec(
        dataset=images,
        algorithm="ERM",
        hyperparameters={"lr": 1e-4, "batch_size": batch, "weight_decay": 0.0, "dropout": 0.0},
        annealing=None,
        test_domains=("test",),
        trial_seed=0,
        training=complete_training(sweep, get_protocol("quick")),
    )


def tiny_featurizer(input_shape: tuple[int, int, int]) -> tuple[torch.nn.Module, int]:
    """For the stand-in device, which computes nothing."""
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), input_shape[0]


class StandIn(Trainer):
    """Waits in place of each update, as for a device that computes."""

    wait = 0.0

    def _update(self, *_: Any) -> float:
        time.sleep(self.wait)
        return 0.0


def on_a_stand_in_device(root: Path, cache: Path) -> None:
    dataset = load(root, cache, SIZE)
    config = config_of("data_ahead:tiny_featurizer", BATCH)
    ours, alone = StandIn(config, dataset, CPU, WORKERS), StandIn(config, dataset, CPU)
    for trainer in (ours, alone):
        trainer.advance(0.0)  # with the evaluation of step 0
    loader = data_loader(root, 3 * BATCH, WORKERS)
    ahead: dict[str, tuple[Next, float]] = {
        "2 threads": started(over_threads(dataset, config)),
        "DataLoader over steps, forked": started(over_steps(dataset, config, "fork")),
        "DataLoader over steps, spawned": started(over_steps(dataset, config, "spawn")),
    }
    turns = []
    for _ in range(TURNS):
        turn = {"torchvision DataLoader": rate(lambda: next(loader))}
        for wait in (0.0, *WAITS):
            ours.wait = wait
            turn[f"ours, wait {1e3 * wait:g} ms"] = rate(lambda: ours.advance(0.0))
        turn["without workers"] = rate(lambda: alone.advance(0.0))
        turn |= {name: rate(following) for name, (following, _) in ahead.items()}
        turns.append(turn)
    ours.close()
    print(f"\nsteps a second of 3 x {BATCH} photographs at {SIZE}, {WORKERS} workers, domainbed")
    for name in turns[0]:
        row(name, f"{statistics.median(turn[name] for turn in turns):.2f}")
    for wait in WAITS:
        name = f"ours, wait {1e3 * wait:g} ms"
        ratio = statistics.median(turn[name] / min(1 / wait, turn["torchvision DataLoader"]) for turn in turns)
        row(f"{name}, over min(1 / wait, DataLoader)", f"{ratio:.2f}", f"aim: {STAND_IN_AIM}")
    print("seconds to the first minibatch, beside a training that waits for nothing")
    for name, (_, seconds) in {"ours": (None, seconds_to_start(dataset, config)), **ahead}.items():
        row(name, f"{seconds:.2f}")


def rate(following: Next) -> float:
    for _ in range(SKIPPED):
        following()
    began = time.perf_counter()
    for _ in range(STEPS):
        following()
    return STEPS / (time.perf_counter() - began)


def seconds_to_start(dataset: Dataset, config: RunSpec) -> float:
    began = time.perf_counter()
    trainer = StandIn(config, dataset, CPU, WORKERS)
    workers = trainer._reader._workers
    while workers is not None and not workers.may_begin(0):
        time.sleep(0.001)
    found = time.perf_counter() - began
    trainer.close()
    return found


def started(following: Iterator[object]) -> tuple[Next, float]:
    began = time.perf_counter()
    next(following)
    return lambda: next(following), time.perf_counter() - began


class Steps(TorchDataset[list[torch.Tensor]]):
    """The minibatches of a step, for torch's `DataLoader`."""

    def __init__(self, dataset: Dataset, config: RunSpec) -> None:
        self.dataset = dataset
        self.splits = split_dataset(config, dataset)

    def __getitem__(self, step: int) -> list[torch.Tensor]:
        return [
            draw_minibatch(self.dataset, domain, self.splits[domain.name], BATCH, 0, step, "domainbed").images
            for domain in self.dataset.domains[:3]
        ]


def over_steps(dataset: Dataset, config: RunSpec, how: str) -> Iterator[object]:
    loader: DataLoader[list[torch.Tensor]] = DataLoader(
        Steps(dataset, config),
        batch_size=None,
        sampler=range(10**6),
        num_workers=WORKERS,
        multiprocessing_context=how,
    )
    return iter(loader)


def over_threads(dataset: Dataset, config: RunSpec) -> Iterator[object]:
    steps, pool = Steps(dataset, config), ThreadPoolExecutor(WORKERS)
    numbers = count()
    begun: list[Future[list[torch.Tensor]]] = [pool.submit(steps.__getitem__, next(numbers)) for _ in range(4)]
    while True:
        yield begun.pop(0).result()
        begun.append(pool.submit(steps.__getitem__, next(numbers)))


def training(root: Path, cache: Path, batch: int) -> None:
    """ResNet-18 at 64 x 64, as fast as the CPU computes."""
    dataset = load(root, cache, 64)
    config = config_of("resnet18", batch)
    trainers = {workers: Trainer(config, dataset, CPU, workers) for workers in (0, 1)}
    for trainer in trainers.values():
        trainer.advance(0.0)
    steps = 3 * BATCH // batch
    turns = []
    for _ in range(TURNS):
        turn = {}
        for workers, trainer in trainers.items():
            began = time.perf_counter()
            for _ in range(steps):
                trainer.advance(0.0)
            turn[workers] = steps / (time.perf_counter() - began)
        turns.append(turn)
    states = [trainer.state() for trainer in trainers.values()]
    same = all(torch.equal(one, other) for one, other in zip(*map(tensors, states), strict=True))
    trainers[1].close()
    print(f"\nResNet-18 at 64x64, 3 x {batch}, domainbed: steps a second; bits {'equal' if same else 'DIFFER'}")
    for workers in trainers:
        row(f"{workers} workers", f"{statistics.median(turn[workers] for turn in turns):.2f}")
    row("1 over 0", f"{statistics.median(turn[1] / turn[0] for turn in turns):.2f}", f"aim: {TRAINING_AIM}")
    began = time.perf_counter()
    steps_of = Steps(dataset, config)
    for step in range(steps):
        steps_of[step]
    row("reading alone, of 32 images a domain", f"{1e3 * (time.perf_counter() - began) / steps:.0f} ms")


def tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors(part)]


if __name__ == "__main__":
    main()
