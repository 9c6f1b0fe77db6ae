"""The share of a fine-tuning that is neither training nor candidate search: `make bench`.

A run of 150 steps of 3 x 16 images of 64 px, with 4 evaluations of 4,612 images and 15 annealed steps of 10 candidates,
on one thread. It is trained twice: as protocols of full size do, and with everything evaluated and diagnosed. The
selected step and its accuracies must be the same.

Another network: `fine_tuning_share.py --network module:attribute`, as in sweep files, such as one that loads pretrained
weights from a package.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace

import torch
from torch import nn

from gga_sweep.annealing import GGA
from gga_sweep.datasets import Dataset, Domain, digest_of_tensors
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.records import Record
from gga_sweep.selection.methods.training_validation import best_step
from gga_sweep.spec.models import RunSpec, TrainingSettings
from gga_sweep.spec.protocols import DIAGNOSE_EVERY
from gga_sweep.training.trainer import Trainer

AIM = 0.25
PER_DOMAIN, CLASSES = 1153, 7


def mobile_network(input_shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """MobileNet V2 with random weights: depthwise convolutions as in EfficientNet-Lite0, and as many operations."""
    from torchvision.models import mobilenet_v2

    return nn.Sequential(mobilenet_v2().features, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 1280


def photographs() -> Dataset:
    """Four domains of bytes: a pattern a class under noise, shifted a little in each domain."""
    numbers = torch.Generator().manual_seed(0)
    patterns = torch.rand(CLASSES, 3, 64, 64, generator=numbers)
    domains = []
    for index, name in enumerate("abcd"):
        labels = torch.arange(PER_DOMAIN) % CLASSES
        noise = torch.rand(PER_DOMAIN, 3, 64, 64, generator=numbers)
        images = (255 * (0.3 * patterns[labels] + 0.6 * noise + 0.03 * index)).to(torch.uint8)
        domains.append(Domain(name, images, labels, tuple(f"{name}-{number}" for number in range(PER_DOMAIN))))
    classes = tuple(map(str, range(CLASSES)))
    return Dataset("Photographs", classes, tuple(domains), digest_of_tensors(domains), normalise=True)


def run_of(network: str, steps: int, annealed: int) -> RunSpec:
    """As the protocol `gga-paper` would train it, with everything evaluated and diagnosed."""
    return RunSpec(
        dataset=DatasetConfig(name="Photographs"),
        algorithm="ERM",
        hyperparameters={"lr": 3e-5, "batch_size": 16, "weight_decay": 1e-4, "dropout": 0.5},
        annealing=GGA(start_step=steps // 3, num_steps=annealed, num_candidates=10, radius=1e-5),
        test_domains=("d",),
        trial_seed=0,
        training=TrainingSettings(
            steps=steps,
            evaluate_every=steps // 3,
            evaluate="all",
            network=network,
            weights=None,
            freeze_batch_norm=True,
            split="domainbed",
            holdout=0.2,
            augmentation="domainbed",
            augment_validation=False,
            precision="float32",
        ),
    )


def train(config: RunSpec, dataset: Dataset) -> tuple[list[Record], dict[str, float]]:
    """Its evaluations, and its seconds by phase."""
    trainer, records, seconds = Trainer(config, dataset, torch.device("cpu")), [], dict[str, float]()
    while not trainer.finished:
        done = trainer.advance(math.inf)
        if done.diverged is not None:
            raise SystemExit(done.diverged)
        records += [done.record] if done.record else []
        for phase, spent in done.seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + spent
    return records, seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="fine_tuning_share:mobile_network")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--annealed", type=int, default=15)
    arguments = parser.parse_args()
    whole, dataset = run_of(arguments.network, arguments.steps, arguments.annealed), photographs()
    assert whole.annealing is not None
    cheap = whole.model_copy(
        update={
            "annealing": replace(whole.annealing, diagnose_every=DIAGNOSE_EVERY),
            "training": whole.training.model_copy(update={"evaluate": "selection"}),
        }
    )
    print(f"{'seconds':42}{'training':>10}{'search':>8}{'diagnostics':>13}{'evaluation':>12}{'share of the rest':>19}")
    chosen = []
    forms = ((cheap, f"selection, diagnosed one in {DIAGNOSE_EVERY} (aim {AIM:.0%})"), (whole, "all, all diagnosed"))
    for config, title in forms:
        records, seconds = train(config, dataset)
        rest = (seconds["diagnostics"] + seconds["evaluation"]) / sum(seconds.values())
        columns = ((seconds["training"], 10), (seconds["search"], 8), (seconds["diagnostics"], 13))
        shown = "".join(f"{value:>{width}.1f}" for value, width in (*columns, (seconds["evaluation"], 12)))
        print(f"{title:42}{shown}{rest:>19.1%}", flush=True)
        best = best_step((record.validation for record in records), "accuracy")
        assert best is not None
        selected = next(record for record in records if record.step == best.step)
        chosen.append((best, selected.test.domains["d"].train))
    print(f"the same selected step and accuracies: {chosen[0] == chosen[1]} (step {chosen[0][0].step})")


if __name__ == "__main__":
    main()
