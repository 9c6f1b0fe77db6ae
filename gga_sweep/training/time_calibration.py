"""Measures the time of a sweep's work on this machine: the real trainer trains a few steps of each kind of run."""

from __future__ import annotations

import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from gga_sweep.algorithms import get_algorithm
from gga_sweep.annealing import GGA, GGAL
from gga_sweep.datasets import DatasetDescription
from gga_sweep.spec.counted_work import MeasuredWork, form_of, model_of, work_of
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.checkpoint import dump_state, dump_weights
from gga_sweep.training.evaluation import EVALUATION_BATCH
from gga_sweep.training.synthetic import short_run

SECONDS = 45.0
"""Approximate limit of a calibration. A step that exceeds it is measured once, with fewer images."""

_CANDIDATES = 3
_MOST_STEPS = 10  # after the first
_GROWTH = 4  # of the images, from one measurement to the next


class Bytes(NamedTuple):
    """The sizes of a run's files: its checkpoint while it is unfinished, and its selected weights."""

    checkpoint: int
    selected: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured.

    Args:
        device: on which, in words.
        measured: of every kind of run.
        sizes: of the files of a run, by `model_of`.
        remarks: differences between the measurement and the runs, as sentences.
    """

    device: str
    measured: Sequence[MeasuredWork]
    sizes: dict[tuple[str, str, str], Bytes]
    remarks: tuple[str, ...]


def calibrate(
    configs: Iterable[RunSpec],
    dataset: DatasetDescription,
    on_gpu: bool,
    show: Callable[[str], None],
    seconds: float = SECONDS,
) -> Calibration:
    """Train a few steps of each kind of run: of each algorithm and network with each form of annealing.

    Args:
        configs: of the sweep's runs, at least one.
        dataset: theirs; its images are not read.
        on_gpu: whether the runs train on one: then a GPU is measured where there is one, else a CPU.
        show: is called with a line about the next measurement.
        seconds: about how long it may take.
    """
    kinds: dict[object, list[RunSpec]] = {}
    for config in configs:
        kinds.setdefault((model_of(config), form_of(config)), []).append(config)
    some = next(iter(kinds.values()))[0].training
    device = torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")
    shape = " x ".join(map(str, dataset.image_shape))
    remarks = [
        f"Measured on random images of {shape} with random weights. Reading and decoding images, starting runs and "
        "writing files take extra time."
    ]
    if on_gpu and device.type == "cpu":
        remarks.append("The runs need a GPU, but there is none here: these are seconds of a CPU.")
    measured, sizes = [], dict[tuple[str, str, str], Bytes]()
    for runs in kinds.values():
        show(f"Measuring {_in_words(runs[0])}: {runs[0].training.network} on {shape}")
        images = round(statistics.fmean(int(run.hyperparameters["batch_size"]) for run in runs))
        found = _calibrated(runs[-1], images, dataset, device, seconds / len(kinds))
        measured.append(found.work)
        sizes[model_of(runs[0])] = found.sizes
        if found.images < images:
            remarks.append(
                f"{_in_words(runs[0])}: measured with {found.images} images a domain and scaled to {images}; larger "
                "batches may be faster than that."
            )
    return Calibration(device_in_words(device, some.threads), measured, sizes, tuple(remarks))


def device_in_words(device: torch.device, threads: int) -> str:
    """The GPU's name, or the CPU's with the threads of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {threads} thread{'s' * (threads > 1)}"


class _Measured(NamedTuple):
    """One kind of run, measured with so many images a domain; `took` is what its steps but the first took."""

    images: int
    work: MeasuredWork
    sizes: Bytes
    took: float


def _calibrated(
    config: RunSpec, images: int, dataset: DatasetDescription, device: torch.device, seconds: float
) -> _Measured:
    """Measure with more and more images, up to those of a run, and at last with more steps, as the time allows."""
    fewest = max(2, get_algorithm(config.algorithm).min_batch)
    found = _measure(config, min(images, fewest), 1, 2 * fewest, dataset, device)
    left = seconds - found.took
    while found.images < images and left > _GROWTH * found.took:
        more = min(images, _GROWTH * found.images)
        found = _measure(config, more, 1, 2 * more, dataset, device)
        left -= found.took
    if (affordable := int(left / 4 / max(found.took, 1e-9))) > 1:
        evaluated = min(2 * EVALUATION_BATCH, 2 * found.images * affordable)
        found = _measure(config, found.images, min(_MOST_STEPS, affordable), evaluated, dataset, device)
    return found


def _measure(
    config: RunSpec, images: int, steps: int, evaluated: int, dataset: DatasetDescription, device: torch.device
) -> _Measured:
    """Seconds of a step by phase, the median of so many steps after a first, and of an evaluation.

    Args:
        images: a minibatch has of each domain.
        evaluated: images of each domain in an evaluation.
    """
    annealing = config.annealing
    if isinstance(annealing, GGA):
        graph = annealing.cuda_graph and device.type == "cuda"
        # No candidate is accepted, so that all are scored; every step is diagnosed.
        annealing = replace(annealing, loss_tolerance=-math.inf, cuda_graph=graph, diagnose_every=1)
    hyperparameters = {**config.hyperparameters, "batch_size": images}
    training = config.training.model_copy(update={"averaging": None})
    changes = {"hyperparameters": hyperparameters, "annealing": annealing, "training": training}
    trainer, small = short_run(config.model_copy(update=changes), dataset, device, 1 + steps, evaluated, _CANDIDATES)
    trainer.advance(0.0)  # the first step of a process takes longer
    began = time.perf_counter()
    slices = [trainer.advance(0.0) for _ in range(steps)]
    took = time.perf_counter() - began
    seconds = {
        phase: statistics.median(done.seconds[phase] for done in slices if phase in done.seconds)
        for phase in slices[-1].seconds
    }
    if "diagnostics" in seconds:
        seconds["diagnostics"] *= 2  # where nothing moves one of two ends is measured
    sizes = Bytes(len(dump_state(trainer.state())), len(dump_weights(trainer.network)))
    return _Measured(images, MeasuredWork(work_of(trainer.config, small, steps), seconds), sizes, took)


def _in_words(config: RunSpec) -> str:
    annealing = config.annealing
    if annealing is None:
        return config.algorithm
    if isinstance(annealing, GGAL):
        return f"{config.algorithm} with noise on its gradient"
    how = f"{annealing.direction}, origin {annealing.origin}, {annealing.domain_gradients}"
    return f"{config.algorithm} with a candidate search ({how})"


def _cpu_name() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
