"""Why the alignment after a small random step is nearly unrelated to the gradient of the alignment.

    python docs/studies/what_the_search_finds.py            # about 20 minutes of one core; resumes where it was stopped
    python docs/studies/what_the_search_finds.py --tiny     # seconds

Writes `units.jsonl` (every measurement), `table.md` and `what-the-search-finds.svg` into build/what-the-search-finds.
timm is required (`pip install 'gga-sweep[timm]'`).

The design below was written and committed before the study was run. Before any result was read, seeds and steps of
training were reduced to fit the time. Later, after the first seed's results had been seen, seeds again, because the
machine was busy: to 5 where searches are compared, and 3 elsewhere.

Question. On SmallCNN, the first-order prediction of the change of alignment has a correlation of 0.04 to 0.39 with the
exact change, for steps from U(-radius, radius) with radii 1e-5 to 1e-3. Is the cause the kinks (ReLU, max-pool, the
minimum over pairs of domains), or curvature, or rounding? And is the best of N random candidates more than luck?

Hypothesis. The gradient of a loss jumps where a ReLU switches for an image, or a max-pool selects another pixel. So the
alignment is discontinuous in the weights, and its gradient contains nothing of the jumps.

Measurement. A network is trained by ERM on three domains of RotatedDigits. At some steps, the minibatches of the next
step are fixed, without dropout, and everything is computed in float64. u is uniform in [-1, 1] in every weight; the
same u are used at every radius. The change of the alignment at radius * u is, exactly, the sum of four terms:

    linear      radius * <gradient of the alignment, u>, by double backward
    curvature   the change of the cosine of the least aligned pair with every ReLU mask and max-pool index held as at
                the start, minus linear
    kinks       the change of that cosine with masks and indices free, minus the one with them held
    switch      the change of the alignment minus the change of the cosine of that pair

The held function is smooth, so holding is an intervention: it removes the kinks and nothing else.

Predictions of the hypothesis, for the networks with ReLU at radii 1e-6 to 1e-4:
  (a) held, the correlation of prediction and change is above 0.95; free, it is below 0.7;
  (b) networks without kinks (GELU or tanh with strides or average pooling; ViT) have a correlation above 0.95 as they
      are;
  (c) the spread of the term kinks is at least three times that of the term curvature. The second derivative along u (by
      finite differences, held) explains the term curvature but not the term kinks;
  (d) the spread of the term kinks grows with the number of switched units, and a step that switches none has no such
      term (exactly);
  (e) with the radius, the spread of the term curvature has exponent 2. That of the term kinks has exponent 1/2 if few
      independent jumps are added, and at most 1 if so many units switch that their jumps average to a slope which the
      gradient does not contain. Relative to the prediction, kinks do not vanish at small radii;
  (f) in float32 the result is the same down to 1e-5; rounding is not the cause.
Refuted if, held, the correlation stays below 0.7 at 1e-5 (then it is curvature), if networks without kinks have
correlations as low as those with ReLU, or if float64 has a high correlation where float32 has a low one (rounding). If
the term switch dominates, the minimum over pairs is the cause, and not the network. Which term dominates at 1e-3 and
1e-2 is left open.

Is it luck? On SmallCNN with ReLU and with GELU (the plan had the ViT too), with dropout 0.5 on the features as in the
sweeps of docs/findings.md: 250 candidates by the rule of `paper` (float32, one mask, loss tolerance 0.1). Best of 10:
each of the 25 groups of 10. Against them one `guided` step of the same expected length: its box is smaller by sqrt(3),
because a corner is that much further away than a uniform point. Each winner is measured again under fresh masks and on
minibatches of the following steps, minus the start. Random search is called luck where the interval of the gain on
other minibatches contains 0, or where that gain is below a tenth of that of the guided step. For a linear function of d
weights, the best of N gains E[max of N normals] standard deviations, and a step along the signs of the gradient about
0.8 sqrt(d) of them: of order 100 times as much, however good the prediction is. So the expectation is: luck in this
sense, with and without kinks; and with kinks, a smaller share of the gain remains on other minibatches than without.

Statistics. The unit is the trial seed. Correlations: Pearson over the directions of one point of training, averaged
over points within a seed, then t over seeds. (The plan had Fisher's z; its mean says nothing where no unit switches at
a point and the correlation there is 1.) Spreads relative to the prediction: root mean square over points,
logarithm, t over seeds. Exponents: slopes over the radii 1e-6, 1e-5, 1e-4 in each seed, t over seeds. Gains: mean over
points, t over seeds. All intervals are 95 %.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor, nn

from gga_sweep.annealing import GGA, STEP_MASK, Candidate, Draw, Scorer, SearchOutcome, search_step
from gga_sweep.annealing.agreement import dot_products, least_aligned_pair, pairwise_cosines
from gga_sweep.annealing.flat import entry_count, pieces
from gga_sweep.annealing.guided import alignment_gradient
from gga_sweep.annealing.isolation import copies, overwrite
from gga_sweep.annealing.proposals import uniform_noise
from gga_sweep.datasets import load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.datasets.dataset import Domain
from gga_sweep.seeding import stream, tensor_stream
from gga_sweep.training.fingerprint import arithmetic

NAME, DATASET = "what-the-search-finds", "RotatedDigits"
DOMAINS, SEEDS, BATCH, DROPOUT = 3, range(3), 8, 0.5
RADII = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
FITTED = slice(0, 3)
"""The radii of the exponents: above them, the terms approach the range of a cosine."""
HELD = frozenset({"relu", "max-pool"})
PROBE = 1e-4
"""Radius of the second derivative by finite differences."""
CANDIDATES, GROUP, FRESH, FOLLOWING = 250, 10, 4, 4
SEARCH_RADII = (1e-5, 1e-3)

Point = dict[str, Any]
"""One row of `units.jsonl`: a network, a trial seed, a step of training, and what was measured there."""


class Kinks:
    """The masks of every ReLU and the indices of every max-pool of a network, by domain, recorded or held."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], Tensor] = {}
        self._domain = self._place = 0
        self.recording = True
        self.held: frozenset[str] = frozenset()
        self.switched = 0
        """Number of units and pooled pixels that differed from the record since this was last set to 0."""

    def begin(self, domain: int) -> None:
        """To be called before each forward; without recording, on the images of the recorded one."""
        self._domain, self._place = domain, 0

    def units(self) -> int:
        """Number of units and pooled pixels in the record."""
        return sum(kept.numel() for kept in self._kept.values())

    def recorded(self, now: Tensor) -> Tensor:
        """The record of the next ReLU or max-pool of this forward."""
        place = self._domain, self._place
        self._place += 1
        if self.recording:
            self._kept[place] = now
        return self._kept[place]


class HoldableReLU(nn.Module):
    """ReLU, of the recorded units if "relu" is held."""

    def __init__(self, kinks: Kinks) -> None:
        super().__init__()
        self._kinks = kinks

    def forward(self, x: Tensor) -> Tensor:
        active = x.detach() > 0
        kept = self._kinks.recorded(active)
        self._kinks.switched += int((active != kept).sum())
        return x * (kept if "relu" in self._kinks.held else active)


class HoldableMaxPool(nn.Module):
    """Max-pool, of the recorded pixels if "max-pool" is held."""

    def __init__(self, kinks: Kinks, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self._kinks = kinks
        self._window = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        highest, chosen = F.max_pool2d(x, *self._window, return_indices=True)
        kept = self._kinks.recorded(chosen)
        there = x.flatten(2).gather(2, kept.flatten(2)).view_as(highest)
        # Equal patches give equal pixels up to rounding: a change between those is no switch.
        self._kinks.switched += int((highest.detach() - there.detach() > 1e-13).sum())
        return there if "max-pool" in self._kinks.held else highest


def with_holdable_kinks(network: nn.Module, kinks: Kinks) -> nn.Module:
    """Replace every ReLU and max-pool of a network, in place."""
    for name, child in network.named_children():
        if isinstance(child, nn.ReLU):
            setattr(network, name, HoldableReLU(kinks))
        elif isinstance(child, nn.MaxPool2d):
            setattr(network, name, HoldableMaxPool(kinks, child))
        else:
            with_holdable_kinks(child, kinks)
    return network


def cnn_like_small(activation: type[nn.Module], down: str, norm: str) -> tuple[nn.Module, int]:
    """SmallCNN, which has ReLU, strides and group norm, or a relative of it with the same parameters.

    Args:
        activation: a module without arguments.
        down: `stride`; or `max` or `average`, for pools of 2 x 2 after each convolution of stride 1.
        norm: `group` or `frozen`, for batch norm with the statistics of random weights.
    """
    pools = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
        layers.append(nn.Conv2d(inputs, outputs, 3, stride=2 if down == "stride" else 1, padding=1))
        layers.append(nn.GroupNorm(8, outputs) if norm == "group" else nn.BatchNorm2d(outputs))
        layers.append(activation())
        if down in pools:
            layers.append(pools[down](2, ceil_mode=True))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, 64), activation()), 64


def resnet18() -> tuple[nn.Module, int]:
    """Torchvision's, for images of 32 x 32 in three channels."""
    from torchvision import models

    network = models.resnet18()
    network.fc = nn.Identity()
    return nn.Sequential(_Photograph(), network), 512


def tiny_vit() -> tuple[nn.Module, int]:
    """A vision transformer of timm: patches of 7 x 7, three blocks of width 48."""
    import timm

    options = {"img_size": 28, "patch_size": 7, "in_chans": 1, "embed_dim": 48, "depth": 3, "num_heads": 3}
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, **options), 48


class _Photograph(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (2, 2, 2, 2)).expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class Setting:
    """A network, and where it is measured.

    Args:
        build: returns a featurizer and the width of its features.
        kinks: whether it has any; held measurements are made only then.
        steps: of training, at which the terms are measured.
        float32: whether every candidate is measured in float32 too.
        one_kind: kinks of which one kind alone is held in a further measurement.
        searched: steps at which the searches are compared.
        lr: of Adam.
    """

    build: Callable[[], tuple[nn.Module, int]]
    kinks: bool = True
    steps: Sequence[int] = (0, 60)
    directions: int = 24
    radii: Sequence[float] = RADII
    seeds: Sequence[int] = SEEDS
    batch: int = BATCH
    float32: bool = False
    one_kind: Sequence[str] = ()
    searched: Sequence[int] = ()
    lr: float = 1e-3


def _cnn(activation: type[nn.Module], down: str = "stride", norm: str = "group") -> Callable[[], Any]:
    return lambda: cnn_like_small(activation, down, norm)


SETTINGS: Mapping[str, Setting] = {
    "SmallCNN (ReLU, stride, group norm)": Setting(
        _cnn(nn.ReLU), steps=(0, 20, 60, 120), seeds=range(5), float32=True, searched=(20, 60)
    ),
    "SmallCNN, 32 images a domain": Setting(_cnn(nn.ReLU), steps=(60,), batch=32),
    "ReLU, stride, frozen batch norm": Setting(_cnn(nn.ReLU, norm="frozen")),
    "ReLU, average pool, group norm": Setting(_cnn(nn.ReLU, "average")),
    "ReLU, max-pool, group norm": Setting(_cnn(nn.ReLU, "max"), one_kind=("relu", "max-pool")),
    "GELU, max-pool, group norm": Setting(_cnn(nn.GELU, "max")),
    "GELU, average pool, group norm": Setting(_cnn(nn.GELU, "average"), kinks=False),
    "GELU, stride, group norm": Setting(_cnn(nn.GELU), kinks=False, seeds=range(5), searched=(20, 60)),
    "tanh, stride, group norm": Setting(_cnn(nn.Tanh), kinks=False),
    "ViT (GELU, layer norm)": Setting(tiny_vit, kinks=False, float32=True),
    "ResNet-18, frozen batch norm": Setting(
        resnet18, steps=(60,), directions=10, radii=RADII[1:4], seeds=range(3), lr=3e-4
    ),
}

_FEW = {"directions": 4, "seeds": range(2), "batch": 4}
TINY: Mapping[str, Setting] = {
    "ReLU, max-pool, group norm": Setting(
        _cnn(nn.ReLU, "max"), steps=(1,), float32=True, one_kind=("relu", "max-pool"), **_FEW
    ),
    "GELU, stride, group norm": Setting(_cnn(nn.GELU), kinks=False, steps=(1,), searched=(1,), **_FEW),
}


class Problem:
    """A network with one minibatch per domain: a `ScoredModel`.

    Args:
        dropout: probability of the masks on the features; 0 for none.
    """

    n_domains = DOMAINS

    def __init__(
        self,
        network: nn.ModuleList,
        kinks: Kinks,
        batches: Sequence[tuple[Tensor, Tensor]],
        dropout: float = 0.0,
        name: tuple[int | str, ...] = (),
    ) -> None:
        self.network, self.kinks, self.batches = network, kinks, batches
        self._dropout, self._name = dropout, name

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        images, labels = self.batches[domain]
        self.kinks.begin(domain)
        featurizer, classifier = self.network
        features = featurizer(images)
        if self._dropout:
            generator = tensor_stream(DATASET, 0, "mask", *self._name, domain, *draw)
            drawn = torch.rand(features.shape, generator=generator, dtype=features.dtype)
            features = features * (drawn >= self._dropout) / (1 - self._dropout)
        return F.cross_entropy(classifier(features), labels)

    def joint_loss(self, draw: Draw) -> Tensor:
        return torch.stack([self.domain_loss(domain, draw) for domain in range(self.n_domains)]).mean()


class Training:
    """ERM on three domains. Every draw is a function of the trial seed and the step.

    Args:
        setting: its network, batch size and learning rate.
        seed: the trial seed.
    """

    def __init__(self, setting: Setting, seed: int) -> None:
        self._setting, self._seed, self._step = setting, seed, 0
        self._domains: tuple[Domain, ...] = load_dataset(DatasetConfig(name=DATASET), None).domains[:DOMAINS]
        self.kinks = Kinks()
        with torch.random.fork_rng([]):
            torch.manual_seed(tensor_stream(DATASET, seed, "weights").initial_seed())
            featurizer, width = setting.build()
            self.network = nn.ModuleList([with_holdable_kinks(featurizer, self.kinks), nn.Linear(width, 10)])
        self._freeze_batch_norm()
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=setting.lr)

    def problem(self, step: int, dropout: float = 0.0) -> Problem:
        """The network on the minibatches of a step."""
        batches = []
        for number, domain in enumerate(self._domains):
            order = stream(DATASET, self._seed, "minibatch", step, number).permutation(len(domain.labels))
            chosen = torch.from_numpy(order[: self._setting.batch])
            batches.append((domain.images[chosen].float(), domain.labels[chosen]))
        return Problem(self.network, self.kinks, batches, dropout, (self._seed, step))

    def train_until(self, step: int) -> None:
        """Train until the weights are those before the update of a step."""
        while self._step < step:
            self._optimizer.zero_grad()
            self.problem(self._step).joint_loss(STEP_MASK).backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            self._step += 1

    def _freeze_batch_norm(self) -> None:
        norms = [module for module in self.network.modules() if isinstance(module, nn.BatchNorm2d)]
        self.network.eval()
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        if norms:
            images = torch.cat([domain.images[:64].float() for domain in self._domains])
            with torch.no_grad():
                self.network[0](images)
        self.network.eval()


class Alignments:
    """The cosines of the pairs of domains at the present weights, and around them.

    Args:
        problem: its network must not change meanwhile, but through `moved`.
    """

    def __init__(self, problem: Problem) -> None:
        self.kinks = problem.kinks
        self.parameters = list(problem.network.parameters())
        self.scorer = Scorer(problem, self.parameters, list(problem.network.buffers()))
        self._start = copies(self.parameters)

    def cosines(self, held: frozenset[str] = frozenset()) -> Tensor:
        """(domains, domains), with these kinks held as they are recorded."""
        self.kinks.held, self.kinks.switched = held, 0
        self.scorer.differentiate(lambda _: STEP_MASK)
        self.kinks.held = frozenset()
        return pairwise_cosines(dot_products(self.scorer.vectors))

    def gradient(self) -> Tensor:
        """Of the alignment, (entries,), at the weights of the last `cosines`."""
        return alignment_gradient(self.scorer, lambda _: STEP_MASK, self.parameters).clone()

    def restore(self) -> None:
        """Move the weights back to the start."""
        overwrite(self.parameters, self._start)

    @contextmanager
    def moved(self, direction: Sequence[Tensor], distance: float) -> Iterator[None]:
        """Within the block, the weights are the start plus a distance times a direction."""
        with torch.no_grad():
            torch._foreach_add_(self.parameters, list(direction), alpha=distance)
        try:
            yield
        finally:
            self.restore()


def minimum(cosines: Tensor) -> float:
    """The alignment."""
    rows, columns = torch.triu_indices(len(cosines), len(cosines), offset=1)
    return float(cosines[rows, columns].min())


def unit_noise(parameters: Sequence[Tensor], *name: int) -> list[Tensor]:
    """U(-1, 1) in every weight, drawn in float64 and rounded to the weights' type."""
    noise = torch.empty(entry_count(parameters), dtype=torch.float64)
    noise.uniform_(-1, 1, generator=tensor_stream(DATASET, 0, "direction", *name))
    return list(pieces(noise.to(parameters[0].dtype), parameters))


def decompose(training: Training, setting: Setting, seed: int, step: int) -> Point:
    """Measure the terms of every direction at every radius, around the present weights.

    Returns:
        By name of a term, a list over directions: of lists over radii, but for `linear` (at radius 1) and `second`
        (half the second derivative).
    """
    problem = training.problem(step)
    in_float32 = changes_in_float32(Alignments(problem), setting, seed, step) if setting.float32 else []
    training.network.double()
    problem.batches = [(images.double(), labels) for images, labels in problem.batches]
    around = Alignments(problem)
    start = around.cosines()
    pair = least_aligned_pair(dot_products(around.scorer.vectors))
    gradient = around.gradient()
    training.kinks.recording = False
    found = []
    for direction in range(setting.directions):
        noise = unit_noise(around.parameters, seed, step, direction)
        linear = sum(float((g * u).sum()) for g, u in zip(pieces(gradient, noise), noise, strict=True))
        found.append(terms(around, setting, start, pair, linear, noise))
    training.kinks.recording = True
    training.network.float()
    by_term = {name: [one[name] for one in found] for name in found[0]}
    return {
        "alignment": minimum(start),
        "radii": list(setting.radii),
        "units": training.kinks.units(),
        **by_term,
        "float32": in_float32,
    }


def terms(
    around: Alignments,
    setting: Setting,
    start: Tensor,
    pair: tuple[int, int],
    linear: float,
    noise: Sequence[Tensor],
) -> dict[str, Any]:
    """The terms of one direction."""
    held_kinks = HELD if setting.kinks else frozenset()
    before = float(start[pair])
    found: dict[str, Any] = {"linear": linear, "change": [], "curvature": [], "kinks": [], "switch": []}
    found |= {"switched": [], "other_pair": [], **{f"{kind} held": [] for kind in setting.one_kind}}
    for radius in setting.radii:
        with around.moved(noise, radius):
            free = around.cosines()
            switched = around.kinks.switched
            held = around.cosines(held_kinks) if setting.kinks else free
            for kind in setting.one_kind:
                found[f"{kind} held"].append(float(around.cosines(frozenset({kind}))[pair]) - before)
        found["change"].append(minimum(free) - minimum(start))
        found["curvature"].append(float(held[pair]) - before - radius * linear)
        found["kinks"].append(float(free[pair] - held[pair]))
        found["switch"].append(minimum(free) - float(free[pair]))
        found["switched"].append(switched)
        found["other_pair"].append(minimum(free) < float(free[pair]))
    sides = []
    for distance in (PROBE, -PROBE):
        with around.moved(noise, distance):
            sides.append(float(around.cosines(held_kinks)[pair]))
    found["second"] = (sum(sides) - 2 * before) / (2 * PROBE**2)
    return found


def changes_in_float32(around: Alignments, setting: Setting, seed: int, step: int) -> list[list[float]]:
    """The changes of the alignment in float32, over directions and radii."""
    before, changes = minimum(around.cosines()), []
    for direction in range(setting.directions):
        noise = unit_noise(around.parameters, seed, step, direction)
        changes.append([])
        for radius in setting.radii:
            with around.moved(noise, radius):
                changes[-1].append(minimum(around.cosines()) - before)
    return changes


def compare_searches(training: Training, seed: int, step: int, radius: float, candidates: int) -> Point:
    """The best of N random candidates against one guided step, where they searched and elsewhere.

    Returns:
        By name of a search, the mean gain in alignment on the searched mask, under fresh masks, and on minibatches of
        the following steps. `expected`: those of the first-order prediction on the searched mask.
    """
    problem = training.problem(step, DROPOUT)
    following = [training.problem(step + 1 + later, DROPOUT) for later in range(FOLLOWING)]
    around = Alignments(problem)
    parameters, buffers = around.parameters, list(training.network.buffers())

    def measured() -> np.ndarray:
        searched = float(around.scorer.alignment(STEP_MASK))
        fresh = [float(around.scorer.alignment(("fresh", mask))) for mask in range(FRESH)]
        later = [float(around.scorer.on(model).alignment(STEP_MASK)) for model in following]
        return np.array([searched, statistics.fmean(fresh), statistics.fmean(later)])

    def generator(candidate: int) -> torch.Generator:
        return tensor_stream(DATASET, seed, "perturbation", step, candidate)

    def found(variant: str, **options: float) -> SearchOutcome:
        settings = GGA.of_variant(variant, **options)
        return search_step(problem, parameters, parameters, buffers, generator, partial(generator, -1), settings)

    start = measured()

    def gain_at(candidate: int | None) -> np.ndarray:
        if candidate is None:  # none was accepted: the search does not move
            return np.zeros(3)
        with around.moved(uniform_noise(generator(candidate), parameters, radius).pieces, 1.0):
            return measured() - start

    around.cosines()
    gradient = around.gradient()
    scored = found("paper", radius=radius, num_candidates=candidates).candidates
    around.restore()
    found("guided", radius=radius / math.sqrt(3))
    guided = measured() - start
    around.restore()
    groups = [range(first, first + GROUP) for first in range(0, candidates, GROUP)]
    spread = radius * float(gradient.norm()) / math.sqrt(3)
    return {
        "alignment": start.tolist(),
        "one candidate": np.mean([gain_at(group[0]) for group in groups[:10]], axis=0).tolist(),
        "best of 10": np.mean([gain_at(best_of(scored, group, start[0])) for group in groups], axis=0).tolist(),
        "best of 250": gain_at(best_of(scored, range(candidates), start[0])).tolist(),
        "guided": guided.tolist(),
        "expected": {
            "best of 10": spread * expected_maximum(GROUP),
            "best of 250": spread * expected_maximum(candidates),
            "guided": radius / math.sqrt(3) * float(gradient.abs().sum()),
        },
    }


def best_of(scored: Sequence[Candidate], group: Sequence[int], start: float) -> int | None:
    """The most aligned candidate of a group that passed the loss test and is better than the start."""
    passed = [index for index in group if scored[index].passed and scored[index].score.alignment > start]
    return max(passed, key=lambda index: scored[index].score.alignment, default=None)


def expected_maximum(count: int) -> float:
    """Of so many independent standard normals, by quadrature."""
    x = np.linspace(-8, 8, 4001)
    density = count * stats.norm.pdf(x) * stats.norm.cdf(x) ** (count - 1)
    return float(np.trapezoid(x * density, x))


def measure(settings: Mapping[str, Setting], candidates: int, rows: Path) -> list[Point]:
    """Measure what `rows` does not hold yet, a trial seed and network at a time, and return everything."""
    known = read(rows)
    done = {(point["network"], point["seed"]) for point in known}
    for seed in sorted({seed for setting in settings.values() for seed in setting.seeds}):
        for name, setting in settings.items():
            if seed not in setting.seeds or (name, seed) in done:
                continue
            began, points = time.process_time(), []
            training = Training(setting, seed)
            for step in sorted({*setting.steps, *setting.searched}):
                training.train_until(step)
                place = {"network": name, "seed": seed, "step": step}
                if step in setting.steps:
                    points.append({**place, "part": "terms", **decompose(training, setting, seed, step)})
                for radius in SEARCH_RADII if step in setting.searched else ():
                    gains = compare_searches(training, seed, step, radius, candidates)
                    points.append({**place, "part": "search", "radius": radius, **gains})
            known += points
            whole = rows.with_suffix(".new")
            whole.write_text("".join(json.dumps(point) + "\n" for point in known), encoding="utf-8")
            whole.replace(rows)
            print(f"{name}, seed {seed}: {time.process_time() - began:.0f} s", file=sys.stderr)
    return known


def read(rows: Path) -> list[Point]:
    """The rows of earlier calls."""
    if not rows.exists():
        return []
    return [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]


Interval = tuple[float, float, float]
"""Mean over trial seeds, and the ends of its 95 % interval."""


def interval(by_seed: Sequence[float]) -> Interval:
    """By t over the trial seeds, without those where the value is undefined (NaN). NaN where fewer than two remain."""
    known = [value for value in by_seed if not math.isnan(value)]
    if len(known) < 2:
        return math.nan, math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(known) - 1)) * statistics.stdev(known) / math.sqrt(len(known))
    mean = statistics.fmean(known)
    return mean, mean - half, mean + half


def seeds_of(points: Sequence[Point]) -> list[list[Point]]:
    """The points of each trial seed."""
    return [[p for p in points if p["seed"] == seed] for seed in sorted({p["seed"] for p in points})]


def over_seeds(points: Sequence[Point], value: Callable[[Point], float]) -> Interval:
    """The mean over the points of a seed at which a value is defined, then over seeds."""
    found = [[each for each in map(value, own) if not math.isnan(each)] for own in seeds_of(points)]
    return interval([statistics.fmean(own) if own else math.nan for own in found])


def column(point: Point, term: str, radius: int) -> np.ndarray:
    """(directions,): a term at one radius. `held`: the change with the kinks held, the terms linear and curvature."""
    if term == "held":
        return column(point, "curvature", radius) + point["radii"][radius] * np.array(point["linear"])
    return np.array(point[term])[:, radius]


def correlation(points: Sequence[Point], radius: int, term: str, predictor: str = "linear") -> Interval:
    """Of a predictor with a term, over directions."""

    def pearson(point: Point) -> float:
        x, y = (values - values.mean() for values in (np.array(point[predictor]), column(point, term, radius)))
        norms = float(np.linalg.norm(x) * np.linalg.norm(y))
        return float(x @ y) / norms if norms else math.nan

    mean, low, high = over_seeds(points, pearson)
    return mean, max(low, -1.0), min(high, 1.0)


def relative_spread(points: Sequence[Point], radius: int, term: str) -> float:
    """Standard deviation of a term over that of the prediction, root mean square over points."""
    ratios = [np.std(column(p, term, radius)) / (p["radii"][radius] * np.std(p["linear"])) for p in points]
    return float(np.sqrt(np.mean(np.square(ratios))))


def spread(points: Sequence[Point], radius: int, term: str) -> Interval:
    """The relative spread of a term, by logarithms unless a seed has 0."""
    found = [relative_spread(own, radius, term) for own in seeds_of(points)]
    if min(found) == 0:
        return interval(found)
    mean, low, high = map(math.exp, interval(np.log(found).tolist()))
    return mean, low, high


def exponent(points: Sequence[Point], term: str, by_switched: bool = False) -> Interval:
    """The slope of the logarithm of a term's spread over that of the radius, or of the number of switched units.

    Seeds with fewer than two radii with a spread are left out.
    """
    slopes = []
    for own in seeds_of(points):
        radii = own[0]["radii"][FITTED]
        y = np.array([relative_spread(own, number, term) for number in range(len(radii))]) * radii
        x = np.mean([np.mean(p["switched"], axis=0)[FITTED] for p in own], axis=0) if by_switched else np.array(radii)
        some = y > 0
        slopes.append(np.polyfit(np.log(x[some]), np.log(y[some]), 1)[0] if some.sum() > 1 else math.nan)
    return interval(slopes)


def share(points: Sequence[Point], radius: int, term: str, of_units: bool = False) -> Interval:
    """Mean of a count over directions, over the number of units if that is wanted."""
    return over_seeds(points, lambda p: float(column(p, term, radius).mean()) / (p["units"] if of_units else 1))


def unswitched(points: Sequence[Point], radius: int) -> Interval:
    """Share of the steps that switch no unit."""
    return over_seeds(points, lambda p: float((column(p, "switched", radius) == 0).mean()))


BY_RADIUS: Mapping[str, Callable[[Sequence[Point], int], Interval]] = {
    "correlation of prediction and change": partial(correlation, term="change"),
    "the same, kinks and pair held": partial(correlation, term="held"),
    "the same, ReLU alone held": partial(correlation, term="relu held"),
    "the same, max-pool alone held": partial(correlation, term="max-pool held"),
    "the same, change in float32": partial(correlation, term="float32"),
    "spread of curvature over prediction": partial(spread, term="curvature"),
    "spread of kinks over prediction": partial(spread, term="kinks"),
    "spread of switch over prediction": partial(spread, term="switch"),
    "correlation of second order and curvature": partial(correlation, term="curvature", predictor="second"),
    "correlation of second order and kinks": partial(correlation, term="kinks", predictor="second"),
    "share of units that switch": partial(share, term="switched", of_units=True),
    "share of steps that switch none": unswitched,
    "share of steps with another least aligned pair": partial(share, term="other_pair"),
}
"""Each is tabulated for the networks in which it can be measured."""
OF_KINKS = ("kinks", "ReLU", "max-pool", "units", "switch none")


def terms_of(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The points with terms, by network."""
    names = dict.fromkeys(p["network"] for p in points)
    return {name: [p for p in points if p["network"] == name and p["part"] == "terms"] for name in names}


def written(found: Interval) -> str:
    """Two decimals for numbers of order 1, else two digits."""
    form = ".2f" if 0.095 < max(map(abs, found)) < 100 else ".2g"
    return f"{found[0]:{form}} [{found[1]:{form}}, {found[2]:{form}}]"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)) + "\n"


def tables(points: Sequence[Point]) -> str:
    """Every answer of the study, in Markdown."""
    of = terms_of(points)
    first = next(iter(of))
    steps = sorted({p["step"] for p in of[first]})
    of_steps = {f"{first}, step {step}": [p for p in of[first] if p["step"] == step] for step in steps}
    radii = sorted({radius for own in of.values() for radius in own[0]["radii"]})
    rows = []
    for quantity, measured in BY_RADIUS.items():
        for name, own in {**of, **(of_steps if quantity == next(iter(BY_RADIUS)) else {})}.items():
            has_kinks = any(np.any(p["switched"]) for p in own)
            named = measured.keywords.get("term", "") if isinstance(measured, partial) else ""
            if (not has_kinks and any(word in quantity for word in OF_KINKS)) or not own[0].get(named, True):
                continue
            if "alone held" in quantity and named not in own[0]:
                continue
            cells = {radius: written(measured(own, number)) for number, radius in enumerate(own[0]["radii"])}
            rows.append([quantity, name, *(cells.get(radius, "") for radius in radii)])
    exponents = [
        [name, *(written(exponent(own, *how)) for how in (("curvature",), ("kinks",), ("kinks", True)))]
        for name, own in of.items()
    ]
    return "\n".join(
        [
            table(["quantity", "network", *(f"{radius:g}" for radius in radii)], rows),
            table(["exponents", "curvature", "kinks", "kinks, by switched units"], exponents),
            table(["search", "network", "radius", "first-order", *PLACES], gains(points)),
        ]
    )


PLACES = ("searched minibatches and mask", "fresh masks", "other minibatches")


def gains(points: Sequence[Point]) -> list[list[str]]:
    """The rows of the searches, by network and radius."""
    rows = []
    searched = [p for p in points if p["part"] == "search"]
    for name, radius in dict.fromkeys((p["network"], p["radius"]) for p in searched):
        own = [p for p in searched if (p["network"], p["radius"]) == (name, radius)]
        for kind in ("one candidate", *own[0]["expected"]):
            found = [over_seeds(own, lambda p: p[kind][place]) for place in range(len(PLACES))]  # noqa: B023
            expected = statistics.fmean(p["expected"].get(kind, 0.0) for p in own)
            rows.append([kind, name, f"{radius:g}", f"{expected:.2g}", *map(written, found)])
    return rows


def draw(points: Sequence[Point], picture: Path) -> None:
    """Correlations, spreads of the terms, and gains."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    of = terms_of(points)
    for number, (name, own) in enumerate(of.items()):
        radii, places = own[0]["radii"], range(len(own[0]["radii"]))
        has_kinks = any(np.any(p["switched"]) for p in own)
        style = {"color": matplotlib.colormaps["tab20"](number), "marker": "o" if has_kinks else "s", "ms": 4}
        left.plot(radii, [correlation(own, n, "change")[0] for n in places], label=name, **style)
        for term, line in (("kinks", "-"), ("curvature", ":")) if has_kinks else ():
            middle.plot(radii, [spread(own, n, term)[0] or math.nan for n in places], line, **style)
    left.set(xscale="log", xlabel="radius", title="correlation of prediction and change\nsquares: no kinks")
    middle.axhline(1, color="grey", lw=0.8)
    middle.set(xscale="log", yscale="log", xlabel="radius")
    middle.set_title("spread over that of the prediction\nlines: kinks; dotted: curvature")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=4, fontsize=8)
    draw_gains([p for p in points if p["part"] == "search" and p["radius"] == SEARCH_RADII[-1]], right)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", fontsize=8)
    figure.savefig(picture, metadata={"Date": None})


def draw_gains(points: Sequence[Point], axes: Any) -> None:
    """Gains at one radius, where the search looked and elsewhere."""
    kinds = [(name, kind) for name in dict.fromkeys(p["network"] for p in points) for kind in points[0]["expected"]]
    for place, label in enumerate(PLACES):
        rows = np.arange(len(kinds)) + 0.2 * (place - 1)
        found = np.array(
            [over_seeds([p for p in points if p["network"] == name], lambda p: p[kind][place]) for name, kind in kinds]  # noqa: B023
        )
        bars = [found[:, 0] - found[:, 1], found[:, 2] - found[:, 0]]
        axes.errorbar(found[:, 0], rows, xerr=bars, fmt="o", ms=3, label=label)
    axes.axvline(0, color="grey", lw=0.8)
    axes.set_xscale("symlog", linthresh=1e-2)
    axes.set_yticks(range(len(kinds)), [f"{name.split()[0].rstrip(',')}: {kind}" for name, kind in kinds])
    axes.invert_yaxis()
    axes.set_title(f"gain in alignment, radius {SEARCH_RADII[-1]:g}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--output", type=Path, default=Path("build", NAME), help="folder, default: build/" + NAME)
    parser.add_argument("--tiny", action="store_true", help="two networks, in seconds")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = options.output / "units.jsonl"
    with arithmetic(threads=1):
        points = measure(TINY, 2 * GROUP, rows) if options.tiny else measure(SETTINGS, CANDIDATES, rows)
    text = tables(points)
    (options.output / "table.md").write_text(text, encoding="utf-8")
    with matplotlib.rc_context({"svg.hashsalt": NAME, "font.size": 9, "axes.titlesize": 9}):
        draw(points, options.output / f"{NAME}.svg")
    print(text)


if __name__ == "__main__":
    main()
