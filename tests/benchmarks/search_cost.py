"""What one scoring of the search costs in time and memory: `make bench`.

Side by side in one run, noise and moves included: the search as one would write it down first
(tests/annealing/straightforward.py), this package's with each way of computing the domains' gradients, and one forward
and backward of the joint batch, which is the bulk of a training step.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "annealing"))
from straightforward import straightforward_search

from gga_sweep.annealing import GGA, Draw, DrawOf, search_step
from gga_sweep.networks.choice import default_domain_gradients
from gga_sweep.networks.network import build_network
from gga_sweep.training.fingerprint import set_arithmetic

CLASSES = 7


class Case(NamedTuple):
    """A network and its minibatches: so many domains of so many images, `side` pixels square."""

    network: str
    side: int
    domains: int
    batch: int
    device: str = "cpu"

    def __str__(self) -> str:
        return f"{self.network} {self.side}x{self.side}, {self.domains} x {self.batch}, {self.device}"


class Model:
    """The case's network on random images, dropout 0.5 with one mask a step."""

    def __init__(self, case: Case) -> None:
        generator = torch.Generator().manual_seed(0)
        channels = 1 if case.network == "small-cnn" else 3
        shape = (channels, case.side, case.side)
        self.network = build_network(case.network, shape, CLASSES, None, generator).to(case.device).train()
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        self.module: nn.Module = self.network
        self.n_domains, self.rows = case.domains, [case.batch] * case.domains
        images = torch.rand(sum(self.rows), *shape, generator=generator)
        labels = torch.randint(CLASSES, (len(images),), generator=generator)
        mask = 2.0 * (torch.rand(len(images), self.network.features, generator=generator) >= 0.5)
        self._images, self._labels, self._mask = (one.to(case.device) for one in (images, labels, mask))

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        rows = slice(sum(self.rows[:domain]), sum(self.rows[: domain + 1]))
        return F.cross_entropy(self.network(self._images[rows], self._mask[rows]), self._labels[rows])

    def domain_losses(self, draw_of: DrawOf) -> Tensor:
        logits = torch.split(self.network(self._images, self._mask), self.rows)
        return torch.stack(
            [F.cross_entropy(*part) for part in zip(logits, torch.split(self._labels, self.rows), strict=True)]
        )

    def joint_loss(self, draw: Draw) -> Tensor:
        return F.cross_entropy(self.network(self._images, self._mask), self._labels)


def searches(
    model: Model, device: str, candidates: int, cuda_graph: bool = False
) -> Mapping[str, Callable[[], object]]:
    """Each form of a search of so many candidates, none of which is accepted."""

    def noise(candidate: int) -> torch.Generator:
        return torch.Generator(device).manual_seed(candidate)

    values = {"start_step": 0, "num_steps": 1, "radius": 1e-5, "num_candidates": candidates, "loss_tolerance": -1e9}

    def ours(method: str) -> None:
        settings = GGA.of_variant("paper", domain_gradients=method, cuda_graph=cuda_graph, **values)
        buffers = list(model.network.buffers())
        search_step(model, model.parameters, model.parameters, buffers, noise, torch.Generator, settings)

    by_hand = GGA.of_variant("paper", joint_loss="forward", **values)
    return {
        "straightforward": lambda: straightforward_search(model, model.parameters, noise, torch.Generator, by_hand),
        "loop": lambda: ours("loop"),
        "layerwise": lambda: ours("layerwise"),
    }


def joint_step(model: Model) -> None:
    torch.autograd.grad(model.joint_loss(("step",)), model.parameters)


def seconds_a_scoring(case: Case, candidates: int, repeats: int) -> dict[str, float]:
    """Medians over repeats, taken in turns; a scoring's share of a search, and of the joint forward and backward."""
    model = Model(case)
    forms = {name: (search, candidates + 1) for name, search in searches(model, case.device, candidates).items()}
    forms["joint"] = (lambda: [joint_step(model) for _ in range(candidates + 1)], candidates + 1)
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for repeat in range(repeats + 1):
        for name, (work, scorings) in forms.items():
            seconds = _timed(work, case.device) / scorings
            if repeat:  # the first warms up
                taken[name].append(seconds)
    return {name: statistics.median(values) for name, values in taken.items()}


def layerwise_against_loop(case: Case, repeats: int) -> float:
    """How many times faster layerwise is, in processor time: medians over repeats, taken in turns."""
    forms = searches(Model(case), case.device, candidates=3)
    taken: dict[str, list[float]] = {"loop": [], "layerwise": []}
    for repeat in range(repeats + 1):
        for name, seconds in taken.items():
            started = time.process_time()
            forms[name]()
            if repeat:  # the first warms up
                seconds.append(time.process_time() - started)
    return statistics.median(taken["loop"]) / statistics.median(taken["layerwise"])


def copies_of_parameters(case: Case, variant: str, candidates: int) -> float:
    """Peak memory of a search beyond what was there before it, over that of the parameters, activations left out.

    Activations are left out by taking a batch of one image a domain.
    """
    model = Model(case._replace(batch=1))
    values = {"start_step": 0, "num_steps": 1, "radius": 1e-3, "num_candidates": candidates}
    settings = GGA.of_variant(variant, domain_gradients="layerwise", **values)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        search_step(model, model.parameters, model.parameters, [], _cpu_noise, torch.Generator, settings)
    held, peak = 0, 0
    for event in sorted(_memory_events(profile), key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / sum(4 * parameter.numel() for parameter in model.parameters)


def _cpu_noise(candidate: int) -> torch.Generator:
    return torch.Generator().manual_seed(candidate)


def _memory_events(profile: torch.profiler.profile) -> Sequence:
    return [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]


def _timed(work: Callable[[], object], device: str) -> float:
    gc.collect()
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    set_arithmetic(threads=1)
    cases = [(Case("small-cnn", 28, 3, 32), 1.5, 20), (Case("resnet18", 64, 3, 8), 1.7, 3)]
    if torch.cuda.is_available():
        cases.append((Case("resnet50", 224, 3, 32, "cuda"), 2.5, 20))
    print(
        "one scoring, ms (median)          straightforward   loop  layerwise  joint step  faster (aim)  of a joint step"
    )
    for case, aim, candidates in cases:
        ms = {name: 1e3 * value for name, value in seconds_a_scoring(case, candidates, repeats=5).items()}
        best = min(ms["loop"], ms["layerwise"])
        print(
            f"{case!s:34}{ms['straightforward']:15.1f}{ms['loop']:7.1f}{ms['layerwise']:11.1f}{ms['joint']:12.1f}"
            f"{ms['straightforward'] / best:9.2f} ({aim}){best / ms['joint']:17.2f}"
        )
    print("\nlayerwise against loop: times faster, by images a domain; in brackets what the rule takes")
    for network, side, domains, batches in (
        ("small-cnn", 28, 2, (8, 16, 24)),
        ("small-cnn", 28, 3, (8, 16, 24)),
        ("small-cnn", 28, 4, (8, 16, 24)),
        ("small-cnn", 28, 5, (8, 16, 24)),
        ("resnet18", 64, 2, (8, 16)),
        ("resnet18", 64, 3, (8, 16)),
    ):
        ratios = []
        for batch in batches:
            faster = layerwise_against_loop(Case(network, side, domains, batch), 11 if network == "small-cnn" else 3)
            rule = default_domain_gradients(network, True, batch, domains, on_gpu=False)
            ratios.append(f"{batch}: {faster:.2f} ({rule})")
        print(f"{network} {side}x{side}, {domains} domains   {'   '.join(ratios)}")
    print("\npeak memory of a search beyond training's, in copies of the parameters (aim: at most 3 domains + 2)")
    for variant in ("paper", "guided"):
        few, many = (copies_of_parameters(Case("resnet18", 32, 3, 1), variant, n) for n in (2, 20))
        print(f"{variant:8}{few:6.2f} with at most 2 candidates, {many:.2f} with at most 20")


if __name__ == "__main__":
    main()
