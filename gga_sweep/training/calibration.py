"""What the parts of a sweep's runs cost on this machine: a few steps of each kind, timed. Needs neither Ray nor images.

The images are random numbers of the dataset's shape, for the network decides the cost. What has to be scaled is scaled
by counts, and said.
"""

from __future__ import annotations

import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from gga_sweep.algorithms import get_algorithm
from gga_sweep.algorithms.base import Algorithm
from gga_sweep.annealing import FRESH_MASKS, GGA, GGAL, Scorer, domain_gradients, search_step
from gga_sweep.datasets import Augmentation, DatasetDescription, Minibatch, evaluation_batch
from gga_sweep.networks.choice import pools_features
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.annealed_step import StepModel
from gga_sweep.training.checkpoint import dump_state, dump_weights
from gga_sweep.training.evaluation import EVALUATION_BATCH, PROBE_IMAGES, evaluate_images
from gga_sweep.training.fingerprint import fastest_memory_format
from gga_sweep.training.randomness import RunStreams
from gga_sweep.training.synthetic import synthetic_dataset
from gga_sweep.training.trainer import Trainer
from gga_sweep.training.unit_costs import (
    AnnealingForm,
    Host,
    HostCosts,
    Line,
    SearchCosts,
    UnitCosts,
    form_of,
    holds_photographs,
    host_of,
)

SECONDS = 45.0
"""About how long a calibration may take. What is too dear for it is measured once, on fewer images."""

_REPEATS = 5
_FEW, _MANY = 1, 3  # candidates of a search
_TINY_SIDE = 32  # pixels; so small that next to nothing but the parameters costs time
_POOL = 64  # synthetic images a domain
_FOREVER = 10**9  # steps
_EVALUATION_SHARE = 0.25  # of the time
_SCORINGS_OF_DIAGNOSTICS = 2 * (FRESH_MASKS + 1)  # both ends, under fresh masks and on the next minibatches


class _Point(NamedTuple):
    """Where costs are measured: images in a domain's minibatch, tiny ones or of their true size."""

    images: int
    tiny: bool = False

    @property
    def worth(self) -> int:
        """In images of the true size."""
        return 0 if self.tiny else self.images


@dataclass(frozen=True, slots=True)
class _Group:
    """The runs of one host, and what one of them may cost to look at.

    Args:
        config: of its runs, the one with most dropout and weight decay (0 of either spares work), without annealing.
        batch_sizes: all of them, ascending.
        forms: one annealing of each form.
    """

    host: Host
    config: RunSpec
    batch_sizes: tuple[int, ...]
    forms: Mapping[AnnealingForm, GGA | GGAL]

    @property
    def units(self) -> int:
        """About how many ordinary steps it takes to do everything once."""
        return 1 + sum(_units(form) for form in self.forms.values())

    @property
    def pieces(self) -> int:
        return 1 + 3 * len(self.forms)

    @property
    def least(self) -> int:
        """Images a domain that a step needs: with fewer some algorithms diverge, and nothing is searched."""
        return get_algorithm(self.host.algorithm).min_batch


def calibrate(
    configs: Iterable[RunSpec],
    dataset: DatasetDescription,
    on_gpu: bool,
    show: Callable[[str], None],
    seconds: float = SECONDS,
) -> UnitCosts:
    """Measure what every run of a sweep is made of.

    Args:
        configs: of the sweep's runs, at least one.
        dataset: theirs; its images are not read.
        on_gpu: whether the runs train on one: then a GPU is measured where there is one, else a CPU.
        show: told a line about what comes next.
        seconds: about how long it may take.
    """
    configs = tuple(configs)
    device = torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")
    groups = _groups(configs, len(dataset.domain_sizes), device)
    hosts: dict[Host, HostCosts] = {}
    searches: dict[tuple[Host, AnnealingForm], SearchCosts] = {}
    noisy: dict[tuple[Host, AnnealingForm], Line] = {}
    remarks = [_about_images(configs[0], dataset)]
    if on_gpu and device.type == "cpu":
        remarks.append("The runs want a GPU, but none is here: these are seconds of a CPU.")
    for group in groups:
        shape = " x ".join(map(str, dataset.image_shape))
        show(f"Measuring {_in_words(group.host)}: {group.config.training.network} on {shape}")
        measured = _GroupCalibration(group, dataset, device, seconds / len(groups))
        remarks.extend(measured.remarks)
        hosts[group.host] = measured.host_costs()
        for form, annealing in group.forms.items():
            show(f"Measuring {_in_words(group.host)}: {_form_in_words(annealing)}")
            if isinstance(annealing, GGAL):
                noisy[group.host, form] = measured.noisy_step(annealing)
            else:
                searches[group.host, form] = measured.search_costs(annealing)
    threads = configs[0].training.threads
    return UnitCosts(device_in_words(device, threads), hosts, searches, noisy, tuple(remarks))


def device_in_words(device: torch.device, threads: int) -> str:
    """The GPU's name, or the CPU's with the threads of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {threads} thread{'s' * (threads > 1)}"


class _GroupCalibration:
    """Times what one host does, at the points that its share of the time allows."""

    def __init__(self, group: _Group, dataset: DatasetDescription, device: torch.device, seconds: float) -> None:
        self._group = group
        self._description = dataset
        self._device = device
        bench = _Bench(group.config, dataset, _Point(group.least), device)
        bench.step()  # the first step of a process pays for much that the later do not
        self._step_of_least = bench.step()
        self._evaluation_seconds = _EVALUATION_SHARE * seconds
        shrinks = _shrinks(group.config, dataset)
        points = _points(group, self._step_of_least, seconds - self._evaluation_seconds, shrinks)
        self._piece_seconds = (seconds - self._evaluation_seconds) / (group.pieces * len(points))
        self._benches = [
            bench if point == bench.point else _Bench(group.config, dataset, point, device) for point in points
        ]
        self.remarks = list(self._about_extrapolation(points))

    def host_costs(self) -> HostCosts:
        step = self._line(lambda bench: bench.step)
        bench = self._benches[-1]  # at the true size
        images, probed = self._evaluated_images()
        training = self._group.config.training
        augmentation: Augmentation = training.augmentation if training.augment_validation else "none"
        plain = self._median(lambda: bench.evaluation(images, "none")) / images
        augmented = plain
        if augmentation != "none":
            augmented = self._median(lambda: bench.evaluation(images, augmentation)) / images
        probe = self._median(lambda: bench.probe(probed)) * PROBE_IMAGES / probed
        checkpoint, selected = bench.checkpoint(), bench.selected()
        return HostCosts(
            step=step,
            evaluated_image=plain,
            augmented_image=augmented,
            probe=probe,
            checkpoint=self._median(lambda: _seconds(bench.checkpoint, self._device)),
            checkpoint_bytes=len(checkpoint),
            selected_bytes=len(selected),
        )

    def search_costs(self, annealing: GGA) -> SearchCosts:
        """A random search of n candidates is n + 1 scorings; one along the gradient has its direction to find first."""
        scoring = self._line(lambda bench: bench.scoring(annealing))
        many = self._line(lambda bench: lambda: bench.search(annealing, _MANY))
        diagnostics = scoring.scaled(_SCORINGS_OF_DIAGNOSTICS)
        if annealing.direction == "random":
            each = many.scaled(1 / (_MANY + 1))
            return SearchCosts(start=each, candidate=each, diagnostics=diagnostics)
        few = self._line(lambda bench: lambda: bench.search(annealing, _FEW))
        return SearchCosts(*_start_and_candidate(few, many), diagnostics=diagnostics)

    def noisy_step(self, annealing: GGAL) -> Line:
        def make(bench: _Bench) -> Callable[[], float]:
            config = self._group.config.model_copy(update={"annealing": annealing})
            return _Bench(config, self._description, bench.point, self._device).step

        return self._line(make)

    def _line(self, make: Callable[[_Bench], Callable[[], float]]) -> Line:
        return Line.through([(bench.point.worth, _median(make(bench), self._piece_seconds)) for bench in self._benches])

    def _median(self, work: Callable[[], float]) -> float:
        return _median(work, self._evaluation_seconds / 4)

    def _evaluated_images(self) -> tuple[int, int]:
        """How many images to evaluate and to probe, all that a run would put into one batch if the time allows."""
        image = self._step_of_least / self._group.host.training_domains
        affordable = max(2, int(self._evaluation_seconds / 8 / image))
        return min(EVALUATION_BATCH, affordable), min(PROBE_IMAGES, affordable)

    def _about_extrapolation(self, points: Sequence[_Point]) -> Iterable[str]:
        sizes, dearest = self._group.batch_sizes, points[-1].images
        if dearest != sizes[-1]:
            largest = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
            yield (
                f"{_in_words(self._group.host)}: a step was measured with {dearest} image{'s' * (dearest > 1)} a "
                f"domain and extrapolated to {largest}; larger batches may be faster than that."
            )
        images, _ = self._evaluated_images()
        if images < EVALUATION_BATCH:
            total = sum(self._description.domain_sizes.values())
            yield f"{_in_words(self._group.host)}: evaluation was measured on {images} images and scaled to {total:,}."


class _Bench:
    """A host at one point: its network on synthetic images, and what can be timed with it, in seconds."""

    def __init__(self, config: RunSpec, description: DatasetDescription, point: _Point, device: torch.device) -> None:
        self.point = point
        self._device = device
        self._config = _shortened(config, point.images)
        side = _TINY_SIDE if point.tiny else 0
        photographs = holds_photographs(config.dataset.name)
        self._dataset = synthetic_dataset(description, _POOL, photographs=photographs, side=side)
        self._trainer = Trainer(self._config, self._dataset, device)
        self._trainer.next_step = 1  # step 0 would be evaluated
        self._names = [name for name in self._dataset.domain_names if name not in config.test_domains]

    def step(self) -> float:
        """One step of the run, as the trainer does it."""
        return _seconds(lambda: self._trainer.advance(0.0), self._device)

    def search(self, annealing: GGA, candidates: int) -> float:
        """One search of so many candidates, none of which is accepted: so none is spared."""
        algorithm = self._trained
        settings = _settings(annealing, candidates, self._device)
        scored = algorithm.predict_parameters()
        perturbed = scored if settings.perturbs == "all" else algorithm.featurizer_parameters()
        streams = self._streams(algorithm)
        model = StepModel(algorithm, self._minibatches(), self._names, streams, step=1)

        def search() -> None:
            search_step(
                model,
                scored,
                perturbed,
                list(algorithm.buffers()),
                lambda candidate: streams.perturbation(1, candidate, self._device),
                lambda: streams.choice(1),
                settings,
            )

        return _seconds(search, self._device)

    def scoring(self, annealing: GGA) -> Callable[[], float]:
        """What times one alignment under a mask of its own, as the diagnostics take several with one scorer."""
        algorithm = self._trained
        settings = _settings(annealing, _FEW, self._device)
        model = StepModel(algorithm, self._minibatches(), self._names, self._streams(algorithm), step=1)
        scorer = Scorer(model, algorithm.predict_parameters(), list(algorithm.buffers()), settings.domain_gradients)
        return lambda: _seconds(lambda: scorer.alignment(("fresh", 0)), self._device)

    def evaluation(self, images: int, augmentation: Augmentation) -> float:
        """Accuracy and loss of so many images, of one batch at most."""
        domain = self._dataset.domains[0]

        def batch(part: slice) -> Minibatch:
            indices = np.arange(images)[part] % _POOL
            return evaluation_batch(self._dataset, domain, indices, 0, 0, augmentation, self._device)

        return _seconds(lambda: evaluate_images(self._evaluated.predict, batch, images, self._device), self._device)

    def probe(self, images: int) -> float:
        """The gradient of one probe batch of so many images."""
        algorithm = self._evaluated

        def loss(_: int) -> torch.Tensor:
            batch = self._images(self._names[0], images)
            return F.cross_entropy(algorithm.predict(batch.images), batch.labels)

        return _seconds(lambda: domain_gradients(loss, 1, algorithm.predict_parameters()), self._device)

    def checkpoint(self) -> bytes:
        return dump_state(self._trainer.state())

    def selected(self) -> bytes:
        return dump_weights(self._trainer.network)

    @cached_property
    def _trained(self) -> Algorithm:
        """The run's algorithm, in the mode in which a step leaves it."""
        if self._trainer.next_step == 1:
            self._trainer.advance(0.0)
        return self._trainer.algorithm

    @cached_property
    def _evaluated(self) -> Algorithm:
        """A copy of it in evaluation mode."""
        return deepcopy(self._trained).eval()

    def _streams(self, algorithm: Algorithm) -> RunStreams:
        dropout = float(self._config.hyperparameters["dropout"])
        return RunStreams(self._dataset.name, 0, algorithm.network.features, dropout, self._device)

    def _minibatches(self) -> list[Minibatch]:
        return [self._images(name, self.point.images) for name in self._names]

    def _images(self, domain: str, images: int) -> Minibatch:
        indices = np.arange(images) % _POOL
        found = evaluation_batch(self._dataset, self._dataset.domain(domain), indices, 0, 0, "none")
        moved = found.images.to(self._device, memory_format=fastest_memory_format(self._device))
        return Minibatch(moved, found.labels.to(self._device))


def _groups(configs: Sequence[RunSpec], n_domains: int, device: torch.device) -> list[_Group]:
    by_host: dict[Host, list[RunSpec]] = {}
    for config in configs:
        by_host.setdefault(host_of(config, n_domains), []).append(config)
    return [
        _Group(
            host,
            max(found, key=_sparing).model_copy(update={"annealing": None}),
            tuple(sorted({int(config.hyperparameters["batch_size"]) for config in found})),
            {form_of(config.annealing): config.annealing for config in found if config.annealing is not None},
        )
        for host, found in by_host.items()
    ]


def _sparing(config: RunSpec) -> tuple[float, ...]:
    return tuple(float(config.hyperparameters[name]) for name in ("dropout", "weight_decay"))


def _shrinks(config: RunSpec, dataset: DatasetDescription) -> bool:
    """Whether tiny images tell what the parameters alone cost: those of a ResNet do not depend on the images' side."""
    return pools_features(config.training.network) and min(dataset.image_shape[1:]) >= 4 * _TINY_SIDE


def _points(group: _Group, step_of_least: float, seconds: float, shrinks: bool) -> list[_Point]:
    """The smallest and the largest batch where twice the work fits into the time, else as many images as do.

    Args:
        step_of_least: seconds of a step with the fewest images a domain.
        shrinks: whether tiny images may serve.
    """
    sizes = sorted({group.batch_sizes[0], group.batch_sizes[-1]})
    once = group.units * step_of_least
    if 2 * once * sum(sizes) <= seconds:
        return [_Point(size) for size in sizes]
    affordable = seconds / once / (1 if shrinks else 3)
    images = max(group.least, min(2 ** max(0, math.floor(math.log2(max(affordable, 1)))), sizes[-1]))
    return [_Point(group.least, tiny=True), _Point(images)] if shrinks else [_Point(images), _Point(2 * images)]


def _units(annealing: GGA | GGAL) -> int:
    """About how many ordinary steps it takes to measure this form once."""
    if isinstance(annealing, GGAL):
        return 2
    return _MANY + 2 if annealing.direction == "random" else _FEW + _MANY + 15  # the direction costs about 6


def _median(work: Callable[[], float], seconds: float) -> float:
    """Of repetitions after a first, as far as they fit into the time; if none does, the first alone."""
    first = work()
    taken: list[float] = []
    while len(taken) < _REPEATS and first + sum(taken) + first <= seconds:
        taken.append(work())
    return statistics.median(taken) if taken else first


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _start_and_candidate(few: Line, many: Line) -> tuple[Line, Line]:
    """What a search of `_FEW` candidates and one of `_MANY` have in common, and what a candidate adds."""

    def apart(low: float, high: float) -> tuple[float, float]:
        each = max(0.0, (high - low) / (_MANY - _FEW))
        return max(0.0, low - _FEW * each), each

    fixed, an_image = apart(few.fixed, many.fixed), apart(few.an_image, many.an_image)
    return Line(fixed[0], an_image[0]), Line(fixed[1], an_image[1])


def _settings(annealing: GGA, candidates: int, device: torch.device) -> GGA:
    """The run's, for one search in which every candidate is scored and none accepted."""
    graph = annealing.cuda_graph and device.type == "cuda"
    return replace(annealing, radius=1e-4, num_candidates=candidates, loss_tolerance=-math.inf, cuda_graph=graph)


def _shortened(config: RunSpec, images: int) -> RunSpec:
    """The run with so many images a domain, from random weights, hardly learning and never evaluated by itself."""
    training = {"steps": _FOREVER, "evaluate_every": _FOREVER, "weights": None, "split": "stream", "holdout": 0.5}
    return config.model_copy(
        update={
            "hyperparameters": {**config.hyperparameters, "batch_size": images, "lr": 1e-6},
            "training": config.training.model_copy(update=training),
        }
    )


def _about_images(config: RunSpec, dataset: DatasetDescription) -> str:
    shape = " x ".join(map(str, dataset.image_shape))
    unread = "reading and decoding them" if holds_photographs(config.dataset.name) else "making them"
    return (
        f"Measured on synthetic images of {shape} with random weights: {unread}, starting a run and writing its files "
        "come on top."
    )


def _in_words(host: Host) -> str:
    return f"{host.algorithm} on {host.training_domains} training domain{'s' * (host.training_domains > 1)}"


def _form_in_words(annealing: GGA | GGAL) -> str:
    if isinstance(annealing, GGAL):
        return "a step with noise on its gradient"
    return f"a search ({annealing.direction}, origin {annealing.origin}, {annealing.domain_gradients})"


def _cpu_name() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
