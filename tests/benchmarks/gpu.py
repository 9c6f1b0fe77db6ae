"""Everything that is to be measured on a GPU, in one table: `make bench-gpu`.

Needs torch, torchvision (with its numpy and Pillow) and three small wheels: pydantic 2.10.6, pydantic-core,
annotated-types. A whole measurement takes at most 8 minutes: a part begins only while there is time for it, and the
table names those that were left out. `--tiny` measures a small network for a few seconds on any device: its numbers say
nothing, and `tests/test_gpu_benchmark.py` checks with it that everything here works.

The other side of the first comparison is DomainBed's way, written from its definition: a DataLoader of 8 workers for
each domain, which decodes JPEG files at each access; PyTorch's defaults; the minibatches joined; the loss read at each
step.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from image_cache import photograph
from search_cost import Case, Model, joint_step, searches

from gga_sweep.annealing import GGA
from gga_sweep.datasets import Dataset, load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD
from gga_sweep.networks.network import build_network
from gga_sweep.spec.models import RunSpec, TrainingSettings
from gga_sweep.training.fingerprint import arithmetic
from gga_sweep.training.trainer import Trainer

HERE = Path(__file__).parent
DOMAINS = ("art", "cartoon", "photo", "sketch")
CLASSES = ("cat", "dog")
TEST_DOMAIN = "sketch"
DATASET = "ImageFolder"
NEVER = 10**9
PRECISIONS = ("float32", "tf32", "bfloat16")
WINDOW = 101
STEPS, EVALUATIONS, IMAGES = 5001, 18, 9991
"""Of a whole training on PACS: steps, evaluations (every 300 steps and at the last), images of all domains."""
PAPER_CANDIDATES = 250


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Args:
        network, side, batch: images of `side` pixels, so many of each of three domains in a minibatch.
        images: JPEG files of each domain.
        file_side: pixels of a file.
        seconds: that each rate of steps is measured for, and `warm_steps` before it.
        candidates, repeats: of each search.
        workers: that prepare minibatches of ours, in turn; the last is compared with DomainBed's way.
        their_workers: of each DataLoader.
        budget: seconds of everything.
    """

    network: str
    side: int
    batch: int
    images: int
    file_side: int
    seconds: float
    warm_steps: int
    candidates: int
    repeats: int
    workers: tuple[int, ...]
    their_workers: int
    budget: float


FULL = Scale("resnet50", 224, 32, 128, 227, 10.0, 5, 10, 3, (0, 2, 8), 8, 480.0)
TINY = Scale("small-cnn", 16, 4, 8, 24, 0.1, 1, 2, 1, (0, 1), 0, 480.0)


@dataclass(frozen=True)
class Row:
    """One line of the table: a finite value, or the reason why there is none.

    Args:
        aim: that the value is to reach, such as ">= 2".
    """

    name: str
    value: float | None = None
    unit: str = ""
    aim: str = ""
    reason: str = ""


class Measurement:
    """A device, a scale, the images, and the time that is left."""

    def __init__(self, scale: Scale, device: torch.device, folder: Path) -> None:
        self.scale, self.device, self.folder = scale, device, folder
        self.cpus = len(os.sched_getaffinity(0))
        self._ends = time.perf_counter() + scale.budget
        self._dataset: Dataset | None = None
        self.rates: dict[str, float] = {}
        self.busy: dict[str, float] = {}
        """Steps a second, and the share of the time that the device was at an update, by the name of their row."""

    @property
    def left(self) -> float:
        return self._ends - time.perf_counter()

    @property
    def root(self) -> Path:
        """The files, written at the first use."""
        root = self.folder / "images"
        if not root.exists():
            rng = np.random.default_rng(0)
            for domain in DOMAINS:
                for index in range(self.scale.images):
                    file = root / domain / CLASSES[index % 2] / f"{index}.jpg"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    photograph(rng, self.scale.file_side, self.scale.file_side).save(file, quality=90)
        return root

    @property
    def dataset(self) -> Dataset:
        """The same images, decoded once."""
        if self._dataset is None:
            config = DatasetConfig(name=DATASET, root=self.root, image_size=self.scale.side)
            self._dataset = load_dataset(config, self.folder / "cache")
        return self._dataset

    def config(self, annealing: GGA | None = None, **training: Any) -> RunSpec:
        """A run of ERM, whose training has these settings instead of the common ones."""
        settings = {
            "steps": NEVER,
            "evaluate_every": NEVER,
            "network": self.scale.network,
            "weights": None,
            "freeze_batch_norm": True,
            "split": "stream",
            "holdout": 0.2,
            "augmentation": "domainbed-batched",
            "augment_validation": False,
            "evaluate": "all",
            "precision": "float32",
        }
        return RunSpec(
            dataset=DatasetConfig(name=DATASET, root=self.root, image_size=self.scale.side),
            algorithm="ERM",
            hyperparameters={"lr": 5e-5, "batch_size": self.scale.batch, "weight_decay": 0.0, "dropout": 0.0},
            annealing=annealing,
            test_domains=(TEST_DOMAIN,),
            trial_seed=0,
            training=TrainingSettings(**{**settings, **training}),
        )

    @contextmanager
    def trainer(self, config: RunSpec, workers: int = 0) -> Iterator[Trainer]:
        """A trainer after its first step; its workers end with the block."""
        with arithmetic(threads=1):
            made = Trainer(config, self.dataset, self.device, workers)
            try:
                yield made
            finally:
                made.close()

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Timed:
    """Wraps an update: how long the device was at it, by CUDA's events; without CUDA by the clock."""

    def __init__(self, update: Callable[..., torch.Tensor], device: torch.device) -> None:
        self._update, self._on_gpu = update, device.type == "cuda"
        self._spans: list[tuple[Any, Any]] = []

    def __call__(self, *args: Any) -> torch.Tensor:
        begin, end = self._mark(), None
        loss = self._update(*args)
        end = self._mark()
        self._spans.append((begin, end))
        return loss

    def forget(self) -> None:
        self._spans.clear()

    @property
    def seconds(self) -> float:
        """Of all updates since `forget`; the device must have ended them."""
        if self._on_gpu:
            return sum(begin.elapsed_time(end) for begin, end in self._spans) / 1e3
        return sum(end - begin for begin, end in self._spans)

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def of_steps(measurement: Measurement) -> Iterator[Row]:
    """Steps a second: DomainBed's way, and ours with workers and precisions."""
    scale = measurement.scale
    theirs = "ERM, DomainBed's way"
    yield from _rate(measurement, theirs, lambda: _their_rate(measurement))
    ours_begin = "ERM, ours"
    # First the form that is compared, so that it is there when the time is short.
    forms = [("tf32", scale.workers[-1], "domainbed-batched")]
    forms += [("tf32", workers, "domainbed-batched") for workers in scale.workers[:-1]]
    forms += [("tf32", scale.workers[-1], "domainbed")]
    forms += [(precision, scale.workers[-1], "domainbed-batched") for precision in PRECISIONS if precision != "tf32"]
    forms += [("float32", 0, "domainbed-batched")]
    for precision, workers, augmentation in forms:
        name = f"{ours_begin}, {augmentation}, {precision}, workers {workers}"
        if workers > measurement.cpus:
            yield Row(name, reason=f"there are {measurement.cpus} CPUs")
            continue
        settings = {"augmentation": augmentation, "precision": precision}
        yield from _rate(measurement, name, lambda: _our_rate(measurement, workers, settings))  # noqa: B023  called here
    ours = {name: rate for name, rate in measurement.rates.items() if name.startswith(ours_begin)}
    if theirs in measurement.rates and ours:
        fastest = max(ours, key=ours.__getitem__)
        yield Row("ERM, ours over DomainBed's way", ours[fastest] / measurement.rates[theirs], "times", ">= 2")
        yield Row(f"device busy, {fastest}", 100 * measurement.busy[fastest], "%", ">= 90")
    else:
        yield Row("ERM, ours over DomainBed's way", aim=">= 2", reason="one of the two was not measured")


def _rate(measurement: Measurement, name: str, measure: Callable[[], tuple[float, float, float]]) -> Iterator[Row]:
    """The rows of one rate, which measures steps a second, the device's share of the time, and bytes of memory."""
    if measurement.left < 4 * measurement.scale.seconds:
        yield Row(name, reason="the time is spent")
        return
    if measurement.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(measurement.device)
    rate, busy, memory = measure()
    measurement.rates[name], measurement.busy[name] = rate, busy
    yield Row(name, rate, "steps/s")
    yield Row(f"{name}: device at an update", 1e3 * busy / rate, "ms a step")
    yield _memory(f"{name}: peak memory", measurement, memory)


def _memory(name: str, measurement: Measurement, taken: float) -> Row:
    if measurement.device.type != "cuda":
        return Row(name, reason="is measured on a GPU")
    return Row(name, taken / 2**30, "GiB")


def _peak(device: torch.device) -> float:
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else math.nan


def _our_rate(measurement: Measurement, workers: int, settings: dict[str, Any]) -> tuple[float, float, float]:
    with measurement.trainer(measurement.config(**settings), workers) as trainer:
        timed = Timed(trainer.algorithm.update, measurement.device)
        trainer.algorithm.update = timed  # type: ignore[method-assign]
        for _ in range(measurement.scale.warm_steps):  # the first evaluates
            trainer.advance(0.0)
        measurement.synchronize()
        timed.forget()
        before, began = trainer.next_step, time.perf_counter()
        trainer.advance(measurement.scale.seconds)
        measurement.synchronize()
        took = time.perf_counter() - began
        return (trainer.next_step - before) / took, timed.seconds / took, _peak(measurement.device)


class Endless(Sampler[list[int]]):
    """The batches of a random order of all images, then of another one, without end."""

    def __init__(self, images: int, batch: int) -> None:
        self._batches = BatchSampler(RandomSampler(range(images)), batch, drop_last=True)

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            yield from self._batches


def _their_rate(measurement: Measurement) -> tuple[float, float, float]:
    scale, device = measurement.scale, measurement.device
    augmented = transforms.Compose(
        [
            transforms.RandomResizedCrop(scale.side, scale=(0.7, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.3, 0.3, 0.3, 0.3),
            transforms.RandomGrayscale(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    loaders = []
    for domain in DOMAINS:
        if domain != TEST_DOMAIN:
            images = ImageFolder(measurement.root / domain, augmented)
            sampler = Endless(len(images), scale.batch)
            loaders.append(iter(DataLoader(images, batch_sampler=sampler, num_workers=scale.their_workers)))
    generator = torch.Generator().manual_seed(0)
    network = build_network(scale.network, (3, scale.side, scale.side), len(CLASSES), None, generator).to(device)
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-5, weight_decay=0.0)

    def update(minibatches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        images = torch.cat([x for x, _ in minibatches])
        labels = torch.cat([y for _, y in minibatches])
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    timed = Timed(update, device)

    def step() -> None:
        timed([(x.to(device), y.to(device)) for x, y in (next(loader) for loader in loaders)]).item()

    try:
        for _ in range(scale.warm_steps):
            step()
        measurement.synchronize()
        timed.forget()
        steps, began = 0, time.perf_counter()
        while steps == 0 or time.perf_counter() - began < scale.seconds:
            step()
            steps += 1
        measurement.synchronize()
        took = time.perf_counter() - began
        return steps / took, timed.seconds / took, _peak(device)
    finally:
        for loader in loaders:
            getattr(loader, "_shutdown_workers", lambda: None)()


def of_scoring(measurement: Measurement) -> Iterator[Row]:
    """One scoring of the candidate search over the search as one would write it down first, all in float32."""
    scale, device = measurement.scale, measurement.device
    case = Case(scale.network, scale.side, len(DOMAINS) - 1, scale.batch, device.type)
    with arithmetic(threads=1):
        model = Model(case)
        works: dict[str, Callable[[], object]] = dict(searches(model, device.type, scale.candidates))
        if device.type == "cuda":
            works["loop, cuda_graph"] = searches(model, device.type, scale.candidates, cuda_graph=True)["loop"]
        works["one forward and backward of the joint batch"] = lambda: [
            joint_step(model) for _ in range(scale.candidates + 1)
        ]
        taken: dict[str, list[float]] = {name: [] for name in works}
        for repeat in range(scale.repeats + 1):
            for name, work in works.items():
                began = time.perf_counter()
                work()
                measurement.synchronize()
                if repeat:  # the first warms up
                    taken[name].append((time.perf_counter() - began) / (scale.candidates + 1))
    seconds = {name: sorted(values)[len(values) // 2] for name, values in taken.items()}
    for name, value in seconds.items():
        yield Row(f"one scoring: {name}", 1e3 * value, "ms")
    if device.type != "cuda":
        yield Row("one scoring: loop, cuda_graph", reason="is measured on a GPU")
    fastest = min(value for name, value in seconds.items() if name.startswith(("loop", "layerwise")))
    yield Row("one scoring, straightforward over ours", seconds["straightforward"] / fastest, "times", ">= 2.5")


def of_trainings(measurement: Measurement) -> Iterator[Row]:
    """A whole training over that of ERM, extrapolated from measured steps, searches, diagnostics and evaluations."""
    erm = _phases(measurement, None)
    evaluations = EVALUATIONS * erm["evaluation"] * IMAGES / (len(DOMAINS) * measurement.scale.images)
    whole = STEPS * erm["training"] + evaluations
    yield Row("a step of ERM in float32, its images read by its own process", 1e3 * erm["training"], "ms")
    yield Row("an evaluation of PACS, from that of fewer images", evaluations / EVALUATIONS, "s")
    yield Row("a training of ERM, extrapolated", whole, "s")
    for variant, aim in (("guided", "<= 1.2"), ("paper", "<= 7")):
        name = f"a training of {variant}{f', {PAPER_CANDIDATES} candidates' if variant == 'paper' else ''}"
        few = measurement.scale.candidates
        settings = GGA.of_variant(variant, start_step=1, num_steps=3)
        if variant == "paper":
            settings = replace(settings, num_candidates=few, loss_tolerance=-math.inf)  # all are scored
        found = _phases(measurement, settings)
        scored = (PAPER_CANDIDATES + 1) / (few + 1) if variant == "paper" else 1.0
        search = WINDOW * found["search"] * scored
        yield Row(f"{name}: search of a step", 1e3 * found["search"] * scored, "ms")
        yield Row(f"{name}: diagnostics of a step", 1e3 * found["diagnostics"], "ms")
        yield Row(f"{name}, over ERM, extrapolated", (whole + search) / whole, "times", aim)
        diagnosed = WINDOW * found["diagnostics"]
        yield Row(f"{name}, each annealed step diagnosed, over ERM", (whole + search + diagnosed) / whole, "times")


def _phases(measurement: Measurement, annealing: GGA | None) -> dict[str, float]:
    """Seconds of a step by phase, the least of three after one that warms up; the evaluation is that of step 0."""
    with measurement.trainer(measurement.config(annealing)) as trainer:
        slices = []
        for _ in range(4):
            slices.append(trainer.advance(0.0))
            measurement.synchronize()
        # After the first evaluation the kernels are loaded: it is measured again.
        began = time.perf_counter()
        trainer._evaluator.evaluate(trainer.algorithm, 0, 0.0)
        measurement.synchronize()
        evaluation = time.perf_counter() - began
    phases = {name: min(one.seconds[name] for one in slices[1:]) for name in slices[-1].seconds}
    return {**phases, "evaluation": evaluation}


def of_tests(measurement: Measurement) -> Iterator[Row]:
    """The tests that need a GPU."""
    name = "tests marked gpu that failed"
    if measurement.device.type != "cuda":
        yield Row(name, aim="<= 0", reason="there is no CUDA device")
        return
    if find_spec("pytest") is None:
        yield Row(name, aim="<= 0", reason="pytest is not installed")
        return
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *_gpu_test_files()]
    try:
        ran = subprocess.run(
            command,
            cwd=HERE.parents[1],
            capture_output=True,
            text=True,
            timeout=max(1.0, measurement.left),
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Row(name, aim="<= 0", reason="the time is spent")
        return
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?)", ran.stdout)}
    if not counts:
        yield Row(name, aim="<= 0", reason=f"pytest ended with {ran.returncode}: {(ran.stdout + ran.stderr)[-300:]}")
        return
    yield Row("tests marked gpu that passed", counts.get("passed", 0), "tests")
    yield Row(name, sum(number for word, number in counts.items() if word != "passed"), "tests", "<= 0")


def _gpu_test_files() -> list[str]:
    """Only these, since other tests need packages that are not there."""
    tests = HERE.parent
    return sorted(str(file) for file in tests.rglob("test_*.py") if "pytest.mark.gpu" in file.read_text("utf-8"))


PARTS: dict[str, tuple[Callable[[Measurement], Iterator[Row]], float]] = {
    "steps of ERM": (of_steps, 60.0),
    "one scoring": (of_scoring, 60.0),
    "whole trainings": (of_trainings, 60.0),
    "tests": (of_tests, 60.0),
}
"""What is measured, and the seconds that a part must have left to begin."""


def measure(scale: Scale, device: torch.device) -> list[Row]:
    """Every row of the table. A part that fails leaves a row with its error, and the others go on."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        measurement = Measurement(scale, device, Path(folder))
        for name, (part, least) in PARTS.items():
            if measurement.left < least:
                rows.append(Row(name, reason="the time is spent"))
                continue
            try:
                for row in part(measurement):
                    rows.append(row)
                    print(line(row), flush=True)
            except Exception as error:
                rows.append(Row(name, reason=f"failed: {type(error).__name__}: {error}"))
                print(line(rows[-1]), flush=True)
        rows.append(Row("everything", scale.budget - measurement.left, "s", f"<= {scale.budget:.0f}"))
        print(line(rows[-1]))
    return rows


def met(row: Row) -> str:
    """Whether a row reaches its aim; empty without one."""
    if not row.aim or row.value is None:
        return ""
    direction, number = row.aim.split()
    reached = row.value >= float(number) if direction == ">=" else row.value <= float(number)
    return "yes" if reached else "no"


def cells(row: Row) -> tuple[str, str, str, str]:
    return row.name, f"{row.value:.4g} {row.unit}" if row.value is not None else f"({row.reason})", row.aim, met(row)


def line(row: Row) -> str:
    name, value, aim, reached = cells(row)
    return f"{name:82}{value:24}{aim:8}{reached}".rstrip()


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def write(output: Path, heading: str, rows: Sequence[Row]) -> None:
    """`gpu.json` and `gpu.md`."""
    output.mkdir(parents=True, exist_ok=True)
    content = {"device": heading, "rows": [{**asdict(row), "met": met(row)} for row in rows]}
    (output / "gpu.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    table = ["| what | measured | aim | met |", "|---|---|---|---|", *(f"| {' | '.join(cells(row))} |" for row in rows)]
    (output / "gpu.md").write_text("\n".join([heading, "", *table, ""]), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description="Measures training on a GPU.")
    parser.add_argument("--output", type=Path, help="folder for gpu.json and gpu.md")
    parser.add_argument("--tiny", action="store_true", help="a few seconds, on a CPU too; the numbers say nothing")
    given = parser.parse_args(arguments)
    has_gpu = torch.cuda.is_available()
    if not (has_gpu or given.tiny):
        parser.error("there is no CUDA device here; --tiny runs everything in small on a CPU")
    device, scale = torch.device("cuda" if has_gpu else "cpu"), TINY if given.tiny else FULL
    heading = (
        f"{device_name(device)}, {len(os.sched_getaffinity(0))} CPUs, PyTorch {torch.__version__}: {scale.network}, "
        f"{len(DOMAINS) - 1} x {scale.batch} images of {scale.side} pixels"
    )
    print(heading, flush=True)
    rows = measure(scale, device)
    if given.output is not None:
        write(given.output, heading, rows)
    return rows


if __name__ == "__main__":
    main()
