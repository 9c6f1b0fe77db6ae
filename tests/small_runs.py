"""Runs that take milliseconds, and their bits, for the tests of training and of the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from gga_sweep.algorithms.base import Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.erm import ERM
from gga_sweep.annealing import GGA, GGAL
from gga_sweep.datasets import Dataset, Domain, Minibatch, digest_of_tensors
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.networks.network import Network
from gga_sweep.records import AnnealedStep, Record, Scalar
from gga_sweep.spec.models import RunSpec, TrainingSettings
from gga_sweep.training.trainer import Trainer

CPU = torch.device("cpu")
FOREVER = 1e9
"""Seconds that no slice of these runs takes: it ends at the next evaluation."""

REJECT_ALL = -1e300
"""A loss tolerance that no candidate meets."""


def make_dataset(
    shape: tuple[int, int, int] = (1, 8, 8), per_domain: int = 30, seed: int = 0, photographs: bool = False
) -> Dataset:
    """Domains `a`, `b`, `c` and `d` of three classes: a pattern a class, a shift a domain, and noise.

    Args:
        photographs: bytes, normalised as photographs are.
    """
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.rand(3, *shape, generator=generator)
    domains = []
    for position, name in enumerate("abcd"):
        labels = torch.arange(per_domain) % 3
        noise = torch.rand(per_domain, *shape, generator=generator)
        images = (0.3 * patterns[labels] + 0.5 * noise + 0.05 * position).clamp(0, 1)
        if photographs:
            images = (255 * images).to(torch.uint8)
        domains.append(Domain(name, images, labels, tuple(f"{name}-{index}" for index in range(per_domain))))
    return Dataset("Small", ("x", "y", "z"), tuple(domains), digest_of_tensors(domains), normalise=photographs)


def linear_featurizer(input_shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """A network with nothing but its 12 features, for `network: small_runs:linear_featurizer`."""
    channels, height, width = input_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 12), nn.Tanh()), 12


def batch_norm_featurizer(input_shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Batch norm, and a dropout that draws from torch's global generator."""
    convolution = nn.Conv2d(input_shape[0], 4, 3, stride=4)
    layers = convolution, nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers), 4


class _Rounding(nn.Module):
    """A linear layer that rounds its input and its weight to TF32's 10 bits of mantissa where convolutions may."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if not torch.backends.cudnn.allow_tf32:
            out: torch.Tensor = self.linear(rows)
            return out
        return nn.functional.linear(_tf32(rows), _tf32(self.linear.weight), self.linear.bias)


def _tf32(values: torch.Tensor) -> torch.Tensor:
    """Rounded; the gradient is that of the values."""
    bits = (values.detach().view(torch.int32) + (1 << 12)) & ~((1 << 13) - 1)
    return values + (bits.view(torch.float32) - values).detach()


def rounding_featurizer(input_shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """`linear_featurizer` on an emulated device with TF32."""
    channels, height, width = input_shape
    return nn.Sequential(nn.Flatten(), _Rounding(channels * height * width, 12), nn.Tanh()), 12


def erm(network: Network, hyperparameters: Mapping[str, Scalar]) -> ERM:
    """Around any network, on three training domains of three classes."""
    return ERM(network, hyperparameters, Setting(3, 3, (1, 8, 8), "Small", 0))


def unmasked(minibatches: Sequence[Minibatch]) -> Batch:
    """A step without dropout, whose update draws nothing."""
    return Batch(minibatches, lambda *_: None, lambda purpose: pytest.fail(f"draws {purpose}"))


def annealing_of(variant: str = "paper", **settings: Scalar) -> GGA:
    """The annealing of a run: steps 3, 4 and 5 with three candidates each, unless said otherwise."""
    window = {"start_step": 3, "num_steps": 3, "radius": 0.05, "num_candidates": 3, "loss_tolerance": 10.0}
    return GGA.of_variant(variant, **{**window, **settings})


def run_config(
    annealing: GGA | GGAL | None = None,
    *,
    test_domains: Sequence[str] = ("c",),
    trial_seed: int = 0,
    dataset: str = "Small",
    algorithm: str = "ERM",
    hyperparameters: Mapping[str, Scalar] | None = None,
    **training: Any,
) -> RunSpec:
    """Eight steps, evaluated at 0, 3, 6 and 7, half of the features dropped, unless said otherwise."""
    settings: dict[str, Any] = {
        "steps": 8,
        "evaluate_every": 3,
        "evaluate": "all",
        "network": "small_runs:linear_featurizer",
        "weights": None,
        "freeze_batch_norm": False,
        "split": "stream",
        "holdout": 0.2,
        "augmentation": "none",
        "augment_validation": False,
        "precision": "float32",
        "threads": 1,
    }
    return RunSpec(
        dataset=DatasetConfig(name=dataset),
        algorithm=algorithm,
        hyperparameters={"lr": 1e-2, "batch_size": 6, "weight_decay": 0.0, "dropout": 0.5, **(hyperparameters or {})},
        annealing=annealing,
        test_domains=tuple(test_domains),
        trial_seed=trial_seed,
        training=TrainingSettings(**{**settings, **training}),
    )


def train(
    trainer: Trainer, until: int | None = None, seconds: float = FOREVER
) -> tuple[list[Record], list[AnnealedStep]]:
    """Train until so many steps are done (default: all); what was recorded on the way."""
    records: list[Record] = []
    annealed: list[AnnealedStep] = []
    while trainer.next_step < (trainer.config.training.steps if until is None else until):
        done = trainer.advance(seconds if until is None else 0.0)
        annealed.extend(done.annealed)
        if done.record is not None:
            records.append(done.record)
        if done.diverged is not None:
            break
    return records, annealed


def trained(config: RunSpec, dataset: Dataset, until: int | None = None) -> Trainer:
    trainer = Trainer(config, dataset, CPU)
    train(trainer, until)
    return trainer


def bits(value: object, name: str = "") -> dict[str, str]:
    """Every tensor and number of a state by its place: equal if, and only if, all bits are."""
    if isinstance(value, torch.Tensor):
        content = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        return {name: f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(content).hexdigest()}"}
    if isinstance(value, Mapping):
        return {place: bit for key, item in value.items() for place, bit in bits(item, f"{name}/{key}").items()}
    if isinstance(value, list | tuple):
        return bits(dict(enumerate(value)), name)
    return {name: repr(value)}


def weight_vector(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """One flat copy in float64."""
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors])


UpdateWatcher = Callable[[Batch], None]


def watch_updates(monkeypatch: pytest.MonkeyPatch, watcher: UpdateWatcher) -> None:
    """Call `watcher(batch)` before each update of every ERM."""
    update = ERM.update

    def watched(self: ERM, batch: Batch) -> torch.Tensor:
        watcher(batch)
        return update(self, batch)

    monkeypatch.setattr(ERM, "update", watched)
