"""A calibration predicts what the trainer's clock will show. The clock here counts images, so that it is exact."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_runs import CPU, REJECT_ALL, annealing_of, make_dataset, run_config
from torch import nn

from gga_sweep.annealing import GGA, GGAL
from gga_sweep.datasets import DatasetDescription
from gga_sweep.records import AnnealedStep
from gga_sweep.scheduling.estimate import Estimate, estimate_from
from gga_sweep.spec.models import RunSpec
from gga_sweep.training import annealed_step, trainer
from gga_sweep.training import time_calibration as calibration
from gga_sweep.training.time_calibration import Calibration, calibrate, device_in_words
from gga_sweep.training.trainer import Trainer

AMPLE = 1e12
"""Seconds that no calibration here would take."""

NOISY = GGAL(alpha="constant")


class Clock:
    """One second for each image that passes through the network, a third without a gradient."""

    def __init__(self) -> None:
        self.now = 0.0
        self.batches: set[int] = set()

    def forward(self, images: torch.Tensor) -> None:
        self.now += len(images) * (1 if torch.is_grad_enabled() else 1 / 3)
        self.batches.add(len(images))


CLOCK = Clock()


class _Counting(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=4), nn.Tanh(), nn.AdaptiveAvgPool2d(2))
        self.linear = nn.Linear(16, 12)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        CLOCK.forward(images)
        found: torch.Tensor = self.linear(self.layers(images).flatten(1))
        return found


def counting_featurizer(input_shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    return _Counting(input_shape[0]), 12


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    CLOCK.__init__()  # type: ignore[misc]
    monkeypatch.setattr(calibration, "_MOST_STEPS", 2)
    for module in (calibration, trainer, annealed_step):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: CLOCK.now))
    return CLOCK


DATASET = make_dataset(per_domain=200)
DESCRIPTION = DatasetDescription(
    DATASET.name,
    {domain.name: len(domain) for domain in DATASET.domains},
    3,
    DATASET.classes,
    DATASET.input_shape,
    True,
)


def small_config(annealing: GGA | GGAL | None = None, **changes: Any) -> RunSpec:
    return run_config(annealing, network="test_time_calibration:counting_featurizer", **changes)


def spent(config: RunSpec) -> tuple[dict[str, float], list[AnnealedStep]]:
    """By phase, the seconds that the trainer reports of the whole run, and its searches."""
    seconds: dict[str, float] = {}
    lines = []
    run = Trainer(config, DATASET, CPU)
    while not run.finished:
        done = run.advance(AMPLE)
        lines += [line for line in done.annealed if isinstance(line, AnnealedStep)]
        for phase, value in done.seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + value
    return seconds, lines


def measured(*configs: RunSpec, seconds: float = AMPLE) -> Calibration:
    return calibrate(configs, DESCRIPTION, False, lambda line: None, seconds)


def estimated(*configs: RunSpec, seconds: float = AMPLE) -> Estimate:
    return estimate_from(DESCRIPTION, measured(*configs, seconds=seconds).measured)


@pytest.mark.parametrize("seconds", [AMPLE, 0.0])
@pytest.mark.parametrize(
    "config",
    [
        small_config(),
        small_config(test_domains=("a", "b")),
        small_config(steps=7, evaluate_every=2),
        small_config(GGAL(alpha="adaptive")),
        small_config(NOISY),
    ],
)
def test_a_run_takes_what_was_predicted(config: RunSpec, seconds: float) -> None:
    assert estimated(config, seconds=seconds).seconds(config) == pytest.approx(spent(config)[0])


@pytest.mark.parametrize("seconds", [AMPLE, 0.0])
@pytest.mark.parametrize(("variant", "gradients"), [("paper", "loop"), ("paper", "layerwise"), ("released", "loop")])
def test_an_annealed_run_takes_what_was_predicted(variant: str, gradients: str, seconds: float) -> None:
    config = small_config(annealing_of(variant, num_candidates=8, radius=0.02, domain_gradients=gradients))
    predicted = estimated(config, seconds=seconds).seconds(config)
    actual, lines = spent(config)
    assert len(lines) == 3
    moved = sum(line.chosen is not None for line in lines)
    assert moved > 0
    actual["diagnostics"] *= 6 / (3 + moved)  # where nothing moved only one end is measured
    assert predicted == pytest.approx(actual)


@pytest.mark.parametrize("every", [1, 2])
def test_a_run_without_dropout_is_predicted_with_few_scorings_to_diagnose(every: int) -> None:
    annealing = annealing_of(radius=0.02, diagnose_every=every, domain_gradients="loop")
    config = small_config(annealing, hyperparameters={"dropout": 0.0}, evaluate="selection")
    predicted = estimated(config).seconds(config)
    actual, lines = spent(config)
    diagnosed = [line for line in lines if line.fresh_gain is not None]
    assert len(diagnosed) == {1: 3, 2: 2}[every]
    actual["diagnostics"] *= 2 * len(diagnosed) / sum(1 + line.has_moved for line in diagnosed)
    assert predicted["diagnostics"] == pytest.approx(actual["diagnostics"])


def test_a_search_along_the_gradient_is_predicted_with_all_its_tries() -> None:
    config = small_config(annealing_of("guided", num_candidates=3, loss_tolerance=REJECT_ALL))
    predicted = estimated(config).seconds(config)
    actual, lines = spent(config)
    assert [line.tried for line in lines] == [3] * 3
    assert predicted["search"] == pytest.approx(actual["search"])


def test_if_time_is_short_few_images_are_measured_and_a_remark_says_so(clock: Clock) -> None:
    config = small_config(annealing_of(), hyperparameters={"batch_size": 24})
    remarks = measured(config, seconds=1.0).remarks
    assert max(clock.batches) == 6  # three domains of two images
    assert any("measured with 2 images a domain and scaled to 24" in remark for remark in remarks)
    remarks = measured(config).remarks
    assert max(clock.batches) == 256
    assert not any("scaled" in remark for remark in remarks)


def test_each_kind_of_run_is_measured_once_at_its_mean_batch_size(clock: Clock) -> None:
    shown: list[str] = []
    configs = [
        small_config(annealing, test_domains=held_out, hyperparameters={"batch_size": images})
        for annealing in (None, annealing_of(), annealing_of(num_candidates=9), annealing_of("released"), NOISY)
        for held_out, images in ((("a",), 4), (("b",), 9), (("c",), 11))
    ]
    found = calibrate(configs, DESCRIPTION, False, shown.append, AMPLE)
    assert len(found.measured) == len(set(shown)) == 4
    assert all(estimate_from(DESCRIPTION, found.measured).covers(config) for config in configs)
    assert 3 * 8 in clock.batches


def test_the_sizes_are_those_of_the_files_a_run_writes() -> None:
    size = next(iter(measured(small_config()).sizes.values()))
    parameters = (1 * 4 * 9 + 4) + (16 * 12 + 12) + (12 * 3 + 3)
    assert 4 * parameters < size.selected < 4 * parameters + 2000  # and a header
    assert 12 * parameters < size.checkpoint < 12 * parameters + 10_000  # weights and Adam's two moments


def test_photographs_and_weights_are_not_needed() -> None:
    config = small_config(weights="not-there.pt", augmentation="domainbed", augment_validation=True)
    config = config.model_copy(update={"dataset": config.dataset.model_copy(update={"name": "PACS"})})
    description = DatasetDescription("PACS", dict.fromkeys("abcd", 10_000), 7, None, (3, 32, 32), False)
    found = calibrate([config], description, False, lambda line: None, seconds=0.0)
    assert estimate_from(description, found.measured).in_seconds
    assert "decoding images" in found.remarks[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named_and_graphs_are_left_out() -> None:
    config = small_config(annealing_of(cuda_graph=True))
    remarks = calibrate([config], DESCRIPTION, True, lambda line: None, AMPLE).remarks
    assert any("need a GPU" in remark for remark in remarks)
    assert not any("need a GPU" in remark for remark in measured(small_config()).remarks)


def test_a_cpu_is_named_with_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_cpu_name", lambda: "Some CPU")
    assert device_in_words(CPU, 1) == "Some CPU, 1 thread"
    assert device_in_words(CPU, 2) == "Some CPU, 2 threads"
