"""Does mixed precision decide the search? `make bench`.

At one point of a short training on RotatedDigits the same candidates are scored in float64, which is taken for the
truth, and in what a GPU would rather use: float32, TF32 (emulated: operands of every convolution and linear layer
rounded to 10 bits of mantissa, in forward and backward, sums in float32) and bfloat16 autocast. Signal is the spread of
the true alignments over the candidates, noise the spread of the error over the same candidates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from gga_sweep.annealing import domain_gradients, gradient_agreement
from gga_sweep.datasets import load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.networks.network import Network, build_network
from gga_sweep.training.fingerprint import set_arithmetic

DOMAINS, BATCH, STEPS, CANDIDATES = 3, 32, 60, 40
RADII = (1e-6, 1e-5, 1e-4, 1e-3)
Batches = Sequence[tuple[Tensor, Tensor]]


class ToTF32(torch.autograd.Function):
    """Round to 10 bits of mantissa, the gradient too, as a tensor core does with its operands."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        return rounded_to_tf32(value)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return rounded_to_tf32(gradient)


def rounded_to_tf32(value: Tensor) -> Tensor:
    """To nearest, ties away from zero: 13 of float32's 23 bits of mantissa go."""
    bits = value.contiguous().view(torch.int32)
    return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)


@contextlib.contextmanager
def tf32(network: nn.Module) -> Iterator[None]:
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]

    def emulate(layer: nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            operands = ToTF32.apply(x), ToTF32.apply(layer.weight)
            if isinstance(layer, nn.Linear):
                return F.linear(*operands, layer.bias)
            return F.conv2d(*operands, layer.bias, layer.stride, layer.padding)

        return forward

    for layer in layers:
        layer.forward = emulate(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@contextlib.contextmanager
def bfloat16(network: nn.Module) -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


@contextlib.contextmanager
def as_it_is(network: nn.Module) -> Iterator[None]:
    yield


def alignment(network: Network, batches: Batches, precision: Callable[[nn.Module], object]) -> float:
    """Without dropout; the batches are those of the network's type."""

    def loss(domain: int) -> Tensor:
        images, labels = batches[domain]
        with precision(network):
            return F.cross_entropy(network(images).to(images.dtype), labels)

    return gradient_agreement(domain_gradients(loss, len(batches), list(network.parameters())).vectors).minimum


def trained() -> tuple[Network, Batches]:
    dataset = load_dataset(DatasetConfig(name="RotatedDigits"), None)
    network = build_network("small-cnn", dataset.input_shape, 10, None, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    domains = dataset.domains[:DOMAINS]
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        batches = []
        for domain in domains:
            chosen = torch.randint(len(domain.labels), (BATCH,), generator=generator)
            batches.append((domain.images[chosen].float(), domain.labels[chosen]))
        loss = torch.stack([F.cross_entropy(network(images), labels) for images, labels in batches]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network, batches


def main() -> None:
    set_arithmetic(threads=1)
    network, batches = trained()
    exact_batches = [(images.double(), labels) for images, labels in batches]
    start = [parameter.detach().clone() for parameter in network.parameters()]
    kinds = {"float32": as_it_is, "TF32": tf32, "bfloat16": bfloat16}
    print(f"{CANDIDATES} candidates, SmallCNN on RotatedDigits after {STEPS} steps, {DOMAINS} x {BATCH} images")
    print(
        "radius    signal    "
        + "   ".join(f"{name + ': noise/signal, rank correlation, same best':>50}" for name in kinds)
    )
    for radius in RADII:
        truth: list[float] = []
        seen: dict[str, list[float]] = {name: [] for name in kinds}
        for candidate in range(CANDIDATES):
            generator = torch.Generator().manual_seed(candidate)
            with torch.no_grad():
                for parameter, value in zip(network.parameters(), start, strict=True):
                    parameter.copy_(value + torch.empty_like(value).uniform_(-radius, radius, generator=generator))
            for name, precision in kinds.items():
                seen[name].append(alignment(network, batches, precision))
            truth.append(alignment(network.double(), exact_batches, as_it_is))
            network.float()
        signal = float(torch.tensor(truth, dtype=torch.float64).std())
        columns = []
        for values in seen.values():
            error = torch.tensor(values, dtype=torch.float64) - torch.tensor(truth, dtype=torch.float64)
            rank = stats.spearmanr(values, truth).statistic
            same = "yes" if values.index(max(values)) == truth.index(max(truth)) else "no"
            columns.append(f"{float(error.std()) / signal:.3g}, {rank:.2f}, {same}")
        print(f"{radius:<10g}{signal:<10.1e}" + "   ".join(f"{column:>50}" for column in columns))


if __name__ == "__main__":
    main()
