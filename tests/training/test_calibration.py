"""A calibration predicts what the trainer's clock will show. The clock here counts images, so that it never lies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_runs import CPU, FOREVER, annealing_of, make_dataset, run_config
from torch import nn

from gga_sweep.annealing import GGA, GGAL
from gga_sweep.datasets import Dataset, DatasetDescription
from gga_sweep.records import AnnealedStep
from gga_sweep.scheduling.price import run_seconds
from gga_sweep.spec.models import RunSpec
from gga_sweep.training import annealed_step, calibration, trainer
from gga_sweep.training.calibration import calibrate, device_in_words
from gga_sweep.training.trainer import Trainer
from gga_sweep.training.unit_costs import Host, UnitCosts, form_of

SHAPE = (3, 128, 128)
AMPLE = 1e12
"""Seconds that no calibration here would take."""


class Clock:
    """Seconds: one for each image that goes through a network, in proportion to its pixels, and some a forward."""

    def __init__(self) -> None:
        self.now = 0.0
        self.a_forward = 0.0
        self.pixels = 64
        self.sides: set[int] = set()
        self.batches: list[int] = []

    def perf_counter(self) -> float:
        return self.now

    def forward(self, images: torch.Tensor) -> None:
        self.now += self.a_forward + len(images) * images.shape[-1] * images.shape[-2] / self.pixels
        self.sides.add(images.shape[-1])
        self.batches.append(len(images))


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
    for module in (calibration, trainer, annealed_step):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=CLOCK.perf_counter))
    return CLOCK


def small_config(annealing: GGA | GGAL | None = None, **changes: Any) -> RunSpec:
    return run_config(annealing, network="test_calibration:counting_featurizer", **changes)


def described(dataset: Dataset) -> DatasetDescription:
    sizes = {domain.name: len(domain) for domain in dataset.domains}
    return DatasetDescription(dataset.name, sizes, len(dataset.classes), dataset.classes, dataset.input_shape, True)


def spent(config: RunSpec, dataset: Dataset) -> tuple[dict[str, float], list[AnnealedStep]]:
    """By phase, what the trainer itself says of the whole run, and its searches."""
    seconds: dict[str, float] = {}
    lines = []
    run = Trainer(config, dataset, CPU)
    while not run.finished:
        done = run.advance(FOREVER)
        lines += [line for line in done.annealed if isinstance(line, AnnealedStep)]
        for phase, value in done.seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + value
    return seconds, lines


def measured(*configs: RunSpec, dataset: Dataset, seconds: float = AMPLE) -> UnitCosts:
    return calibrate(configs, described(dataset), 0, lambda line: None, seconds)


DATASET = make_dataset(per_domain=200)  # splits that fill a probe batch


@pytest.mark.parametrize("changes", [{}, {"test_domains": ("a", "b")}, {"steps": 7, "evaluate_every": 2}])
def test_an_unannealed_run_takes_what_was_predicted(changes: dict[str, Any]) -> None:
    config = small_config(**changes)
    predicted = run_seconds(config, described(DATASET), measured(config, dataset=DATASET))
    actual, _ = spent(config, DATASET)
    assert predicted["training"] == pytest.approx(actual["training"])
    assert predicted["evaluation"] == pytest.approx(actual["evaluation"])
    assert predicted["search"] == predicted["diagnostics"] == 0


@pytest.mark.parametrize(
    ("variant", "gradients", "seconds"),
    [
        ("paper", "loop", AMPLE),
        ("paper", "layerwise", 0.0),
        ("released", "loop", 0.0),
        ("released", "layerwise", AMPLE),
    ],
)
def test_a_run_with_a_random_search_takes_what_was_predicted(variant: str, gradients: str, seconds: float) -> None:
    config = small_config(annealing_of(variant, num_candidates=8, radius=0.02, domain_gradients=gradients))
    predicted = run_seconds(config, described(DATASET), measured(config, dataset=DATASET, seconds=seconds))
    actual, lines = spent(config, DATASET)
    assert len(lines) == 3
    for phase in ("training", "search", "evaluation"):
        assert predicted[phase] == pytest.approx(actual[phase]), phase
    moved = sum(line.chosen is not None for line in lines)
    assert moved > 0
    assert predicted["diagnostics"] * (3 + moved) / 6 == pytest.approx(actual["diagnostics"])  # unmoved: one end only


@pytest.mark.parametrize("candidates", [1, 5])
def test_a_search_along_the_gradient_takes_what_was_predicted_for_all_its_tries(candidates: int) -> None:
    annealing = annealing_of("guided", num_candidates=candidates, loss_tolerance=-1e300)
    config = small_config(annealing)
    predicted = run_seconds(config, described(DATASET), measured(config, dataset=DATASET))
    actual, lines = spent(config, DATASET)
    assert [line.tried for line in lines] == [candidates] * 3
    assert predicted["search"] == pytest.approx(actual["search"])
    assert predicted["diagnostics"] == pytest.approx(2 * actual["diagnostics"])  # nothing moved: only one end


@pytest.mark.parametrize("alpha", ["adaptive", "constant"])
def test_a_run_with_noise_on_its_gradient_takes_what_was_predicted(alpha: str) -> None:
    config = small_config(GGAL(alpha=alpha))
    predicted = run_seconds(config, described(DATASET), measured(config, dataset=DATASET))
    actual, _ = spent(config, DATASET)
    assert predicted["training"] == pytest.approx(actual["training"])
    assert predicted["training"] == 8 * 18 * (2 if alpha == "adaptive" else 1)


def test_between_the_smallest_and_the_largest_batch_a_line_is_drawn(clock: Clock) -> None:
    clock.a_forward = 5.0
    configs = [small_config(hyperparameters={"batch_size": size}) for size in (4, 6, 12)]
    costs = measured(*configs, dataset=DATASET)
    for config in configs:
        predicted = run_seconds(config, described(DATASET), costs)
        assert predicted["training"] == pytest.approx(spent(config, DATASET)[0]["training"])


def test_where_the_time_does_not_suffice_few_images_are_measured_and_it_is_said(clock: Clock) -> None:
    clock.a_forward = 5.0
    config = small_config(annealing_of(), hyperparameters={"batch_size": 24})
    costs = measured(config, dataset=DATASET, seconds=1.0)
    assert max(clock.batches) == 6  # three domains of two images
    said = " ".join(costs.remarks)
    assert "2 images a domain and extrapolated to 24" in said
    assert "evaluation was measured on 2 images and scaled to 800" in said
    clock.batches.clear()
    predicted = run_seconds(config, described(DATASET), costs)
    assert predicted["training"] == pytest.approx(spent(config, DATASET)[0]["training"])


def test_where_the_time_suffices_nothing_is_extrapolated(clock: Clock) -> None:
    costs = measured(small_config(hyperparameters={"batch_size": 24}), dataset=DATASET)
    assert max(clock.batches) == 256
    assert not any("extrapolated" in remark or "scaled" in remark for remark in costs.remarks)


def test_a_resnet_that_is_too_dear_is_measured_on_tiny_images_too(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.a_forward, clock.pixels = 2.0, SHAPE[1] * SHAPE[2]
    config = small_config(hyperparameters={"batch_size": 16})
    description = DatasetDescription("Small", dict.fromkeys("abcd", 200), 3, tuple("xyz"), SHAPE, False)
    calibrate([config], description, 0, lambda line: None, seconds=0.0)
    assert clock.sides == {128}
    monkeypatch.setattr(calibration, "pools_features", lambda network: network == config.training.network)
    costs = calibrate([config], description, 0, lambda line: None, seconds=0.0)
    assert clock.sides == {32, 128}
    predicted = run_seconds(config, description, costs)
    assert predicted["training"] == pytest.approx(8 * (2 + 3 * 16), rel=0.07)  # a tiny image counts for none


def test_images_that_are_augmented_in_evaluation_are_measured_augmented(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = calibration.evaluation_batch

    def slow(dataset: Dataset, domain: Any, indices: Any, *, augmentation: str, **named: Any) -> Any:
        clock.now += len(indices) * (3.0 if augmentation == "domainbed" else 0.0)
        return real(dataset, domain, indices, augmentation="none", **named)

    dataset = make_dataset(shape=(3, 8, 8), per_domain=200)
    for given, dearer in ((True, 3.0), (False, 0.0)):
        config = small_config(augmentation="domainbed", augment_validation=given)
        with monkeypatch.context() as patched:
            patched.setattr(calibration, "evaluation_batch", _positional(slow))
            costs = measured(config, dataset=dataset).hosts[Host("ERM", 3)]
        assert costs.augmented_image - costs.evaluated_image == pytest.approx(dearer)


def _positional(slow: Any) -> Any:
    def batch(
        dataset: Dataset, domain: Any, indices: Any, trial_seed: int, step: int, augmentation: str, *device: Any
    ) -> Any:
        return slow(dataset, domain, indices, trial_seed=trial_seed, step=step, augmentation=augmentation)

    return batch


def test_every_host_and_every_form_is_measured_once() -> None:
    shown: list[str] = []
    noisy = GGAL(noise="uniform", alpha="constant")
    configs = [
        small_config(annealing, test_domains=held_out, trial_seed=seed)
        for annealing in (None, annealing_of(), annealing_of(num_candidates=9), annealing_of("released"), noisy)
        for held_out in (("a",), ("b",), ("a", "b"))
        for seed in (0, 1)
    ]
    costs = calibrate(configs, described(DATASET), 0, shown.append, AMPLE)
    hosts = [Host("ERM", 3), Host("ERM", 2)]
    assert list(costs.hosts) == hosts
    assert set(costs.searches) == {
        (host, form_of(annealing)) for host in hosts for annealing in (annealing_of(), annealing_of("released"))
    }
    assert set(costs.noisy_steps) == {(host, form_of(noisy)) for host in hosts}
    assert len(shown) == len(set(shown)) == 2 * 4


def test_the_bytes_are_those_of_the_files_a_run_writes() -> None:
    config = small_config()
    host = measured(config, dataset=DATASET).hosts[Host("ERM", 3)]
    parameters = (1 * 4 * 9 + 4) + (16 * 12 + 12) + (12 * 3 + 3)
    assert 4 * parameters < host.selected_bytes < 4 * parameters + 2000  # and a header
    assert 12 * parameters < host.checkpoint_bytes < 12 * parameters + 10_000  # weights and Adam's two moments


def test_photographs_and_weights_are_not_needed() -> None:
    config = small_config(weights="not-there.pt", augmentation="domainbed")
    config = config.model_copy(update={"dataset": config.dataset.model_copy(update={"name": "PACS"})})
    description = DatasetDescription("PACS", dict.fromkeys("abcd", 10_000), 7, None, (3, 32, 32), False)
    costs = calibrate([config], description, 0, lambda line: None, AMPLE)
    assert costs.hosts[Host("ERM", 3)].step.at(6) > 0
    assert "reading and decoding" in costs.remarks[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said_and_graphs_are_left_out() -> None:
    config = small_config(annealing_of(cuda_graph=True))
    said = calibrate([config], described(DATASET), 1, lambda line: None, AMPLE).remarks
    assert any("want a GPU" in remark for remark in said)
    assert not any("want a GPU" in remark for remark in measured(small_config(), dataset=DATASET).remarks)


def test_a_cpu_is_named_with_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_cpu_name", lambda: "Some CPU")
    assert device_in_words(CPU, 1) == "Some CPU, 1 thread"
    assert device_in_words(CPU, 2) == "Some CPU, 2 threads"


def test_repetitions_end_with_the_time_and_the_middle_one_counts(clock: Clock) -> None:
    taken = iter([9.0, 1.0, 2.0, 3.0, 100.0])
    assert calibration._median(lambda: next(taken), seconds=22.0) == 2.0  # the next may take as long as the first
    assert next(taken) == 100.0
    assert calibration._median(lambda: 5.0, seconds=1.0) == 5.0
