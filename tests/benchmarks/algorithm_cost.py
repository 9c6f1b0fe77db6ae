"""One step of each algorithm against the bare step of ERM on the same batch, beside what it must cost: `make bench`.

`COUNTS` was written from the algorithms' definitions, before anything was measured. What a forward, a backward and a
step of Adam cost is measured in the same run, by turns with the algorithms.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.datasets import Minibatch
from gga_sweep.networks.network import build_network
from gga_sweep.records import Scalar
from gga_sweep.seeding import stream
from gga_sweep.training.fingerprint import set_arithmetic

DOMAINS = 3
CLASSES = 7
AIM = 1.3


class Counts(NamedTuple):
    """What one step is made of: forwards and backwards of the joint batch, steps of Adam over the network.

    Args:
        context: forwards of ARM's context network.
        live: forwards more, if batch norm is not frozen.
        numbers: normal numbers drawn for every weight.
        polar: Newton-Schulz iterations of every matrix of weights, five each.
    """

    forwards: float = 1
    backwards: float = 1
    adam: float = 1
    context: float = 0
    live: float = 0
    numbers: float = 0
    polar: float = 0


ONE = Counts()
COUNTS: Mapping[str, Counts] = {
    "ERM": ONE,
    "Mixup": ONE,  # as many mixed batches as there are domains
    "MixStyle": ONE,
    "GroupDRO": ONE,
    "MMD": ONE,
    "CORAL": ONE,
    "ANDMask": ONE,  # each domain's rows once, forwards and back
    "ARM": Counts(context=1),  # the context network is not trained
    "IRM": ONE,  # the penalty differentiates by a scalar behind the logits
    "MTL": ONE,
    "VREx": ONE,
    "MLDG": Counts(2 / 3, 2 / 3, 2),  # two of three domains set apart: one pair, each of its sides a third of the batch
    "SagNet": Counts(3, 2, 2),  # content, style, adversary; style trains no featurizer, so it does not go back
    "RSC": ONE,  # what is muted lies behind the featurizer
    "Fish": Counts(1, 1, DOMAINS),
    "SAM": Counts(2, 2),
    "GSAM": Counts(2, 2),
    "SAGM": Counts(2, 2),
    "PCGrad": ONE,
    "AgrSum": ONE,
    "Fishr": ONE,  # gradients of single images are those of the classifier alone
    "SD": ONE,
    "EQRM": ONE,
    "ERMPlusPlus": Counts(live=1),  # of the network of mean weights
    "MIRO": Counts(forwards=2),
    "GENIE": Counts(adam=2, numbers=2),  # the length of the noise needs a sum over every tensor, and then a second pass
    "SAGE": Counts(2, 2, numbers=1, polar=1),
}


OWN: Mapping[str, Scalar] = {"eqrm_burnin_iters": 0, "ermpp_linear_steps": -1, "ermpp_average_from": 1}
"""Of the hyperparameters, those with which the first steps would be cheaper than the others."""


class Case(NamedTuple):
    """A network on so many images of each of three domains, `side` pixels square.

    Args:
        live: whether batch norm uses batch statistics, so that some algorithms have a forward for each domain.
    """

    network: str
    side: int
    batch: int
    device: str = "cpu"
    live: bool = False

    def __str__(self) -> str:
        batch_norm = ", live batch norm" if self.live else ""
        return f"{self.network} {self.side}x{self.side}, {DOMAINS} x {self.batch}, {self.device}{batch_norm}"

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1 if self.network == "small-cnn" else 3, self.side, self.side)


def build_algorithm(case: Case, name: str) -> Algorithm:
    """Without dropout, at the registry's hyperparameters."""
    spec = ALGORITHMS[name]
    algorithm = spec.load()
    channels, *sides = case.shape
    generator = torch.Generator().manual_seed(0)
    network = build_network(case.network, (channels + algorithm.EXTRA_CHANNELS, *sides), CLASSES, None, generator).to(
        case.device
    )
    values = {key: item.default for key, item in spec.hyperparameters.items()} | {"batch_size": case.batch, **OWN}
    made = algorithm(network, values, Setting(DOMAINS, CLASSES, case.shape, "bench", 0)).train()
    for module in made.network.featurizer.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(case.live)
    return made


def batch(case: Case) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(DOMAINS, case.batch, *case.shape, generator=generator).to(case.device)
    labels = torch.randint(CLASSES, (DOMAINS, case.batch), generator=generator).to(case.device)
    minibatches = [Minibatch(*each) for each in zip(images, labels, strict=True)]
    return Batch(minibatches, lambda *_: None, lambda purpose: stream("bench", 0, "host", 0, purpose))


def parts(case: Case, found: Batch) -> dict[str, Callable[[], object]]:
    """What a step is counted in."""
    erm, arm = build_algorithm(case, "ERM"), build_algorithm(case, "ARM")
    parameters = list(erm.network.parameters())

    def loss() -> Tensor:
        return F.cross_entropy(erm.network(found.images), found.labels)

    def adam() -> None:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        erm.optimizer.step()

    def context() -> None:
        with torch.no_grad():
            arm.network.get_submodule("context_net")(found.images)

    def numbers() -> None:
        for parameter in parameters:
            torch.randn(parameter.shape, device=parameter.device)

    def polar() -> None:
        for parameter in parameters:
            if parameter.ndim > 1:
                matrix = parameter.detach().flatten(1)
                matrix = matrix.T if len(matrix) > matrix.shape[1] else matrix
                matrix = matrix / matrix.norm()
                for _ in range(5):
                    square = matrix @ matrix.T
                    matrix = 3.4445 * matrix + (2.0315 * square @ square - 4.7750 * square) @ matrix

    return {
        "forward": loss,
        "forward and backward": lambda: torch.autograd.grad(loss(), parameters),
        "adam": adam,
        "context": context,
        "numbers": numbers,
        "polar": polar,
    }


def milliseconds(works: Mapping[str, Callable[[], object]], device: str, repeats: int) -> dict[str, float]:
    """Medians over repeats, taken by turns; on a CPU of processor time, which other processes affect less."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    taken: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(repeats + 2):
        for name, work in works.items():
            gc.collect()
            started = clock()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat > 1:  # the first two warm up
                taken[name].append(1e3 * (clock() - started))
    return {name: statistics.median(values) for name, values in taken.items()}


def report(case: Case, repeats: int) -> None:
    found = batch(case)
    updates = {name: build_algorithm(case, name).update for name in COUNTS}
    works = parts(case, found) | {name: lambda update=update: update(found) for name, update in updates.items()}
    taken = milliseconds(works, case.device, repeats)
    forward, adam, context = taken["forward"], taken["adam"], taken["context"]
    backward = taken["forward and backward"] - forward
    print(f"{case}: forward {forward:.1f} ms, backward {backward:.1f}, Adam {adam:.2f}, ARM's context {context:.1f},")
    images = DOMAINS * case.batch * taken["polar"] / taken["forward and backward"]
    polar = f"polar factors {taken['polar']:.1f}, as long as {images:.1f} images"
    print(f"  a normal number for every weight {taken['numbers']:.1f}, {polar}")
    print("of a step of ERM           F     B     A   demanded  measured  measured / demanded (aim: 1.3)")
    bare = forward + backward + adam
    for name, counts in COUNTS.items():
        forwards = counts.forwards + counts.live * case.live
        demanded = forwards * forward + counts.backwards * backward + counts.adam * adam + counts.context * context
        demanded = (demanded + counts.numbers * taken["numbers"] + counts.polar * taken["polar"]) / bare
        measured = taken[name] / taken["ERM"]
        missed = "  missed" if measured / demanded > AIM else ""
        print(
            f"{name:20}{forwards:8.2f}{counts.backwards:6.2f}{counts.adam:6.0f}{demanded:11.2f}{measured:10.2f}"
            f"{measured / demanded:12.2f}{missed}"
        )


def main() -> None:
    set_arithmetic(threads=1)
    report(Case("small-cnn", 28, 32), repeats=30)
    report(Case("resnet18", 64, 8), repeats=5)
    report(Case("resnet18", 64, 8, live=True), repeats=5)
    if torch.cuda.is_available():
        report(Case("resnet50", 224, 32, "cuda"), repeats=10)


if __name__ == "__main__":
    main()
