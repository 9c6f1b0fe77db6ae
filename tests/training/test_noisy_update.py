"""GGA-L in a run: each update's gradient is the algorithm's plus noise whose size follows the domains' agreement."""

from __future__ import annotations

import itertools
import math
from statistics import fmean

import pytest
import torch
import torch.nn.functional as F
from small_runs import CPU, bits, make_dataset, run_config, train, trained, watch_updates

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.erm import ERM
from gga_sweep.annealing import GGAL
from gga_sweep.records import NoisyStep, Scalar
from gga_sweep.seeding import tensor_stream
from gga_sweep.training.annealed_step import StepModel
from gga_sweep.training.trainer import Trainer

DATASET = make_dataset()


def gga_l(**options: Scalar) -> GGAL:
    return GGAL.of_mapping({"gamma": 0.5, **options})


def first_lines(steps: int = 4, **settings: Scalar) -> list[NoisyStep]:
    _, lines = train(Trainer(run_config(gga_l(**settings)), DATASET, CPU), until=steps)
    return [line for line in lines if isinstance(line, NoisyStep)]


@pytest.mark.parametrize("noise", ["gaussian", "uniform", "uniform-centred"])
def test_an_update_follows_the_algorithms_gradient_plus_alpha_times_the_noise(
    noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(run_config(gga_l(noise=noise)), DATASET, CPU)
    parameters = list(trainer.network.parameters())
    expected: list[torch.Tensor] = []
    followed: list[torch.Tensor] = []
    cosines: list[float] = []

    def compute_by_hand(batch: Batch) -> None:
        minibatches, mask = batch.minibatches, batch.mask
        assert mask is not None

        def gradient(images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            loss = F.cross_entropy(trainer.network(images, rows), labels)
            return torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])

        masks = mask.split([len(one.labels) for one in minibatches])
        domains = [gradient(one.images, one.labels, rows) for one, rows in zip(minibatches, masks, strict=True)]
        pairs = itertools.combinations(domains, 2)
        cosines.append(fmean(F.cosine_similarity(a, b, dim=0).item() for a, b in pairs))
        generator = tensor_stream("Small", 0, "gradient-noise", 0)
        size = len(domains[0])
        xi = {
            "gaussian": lambda: torch.empty(size).normal_(generator=generator),
            "uniform": lambda: torch.empty(size).uniform_(0, 1, generator=generator),
            "uniform-centred": lambda: torch.empty(size).uniform_(-0.5, 0.5, generator=generator),
        }[noise]()
        joint = gradient(
            torch.cat([one.images for one in minibatches]), torch.cat([one.labels for one in minibatches]), mask
        )
        expected.append(joint + 0.5 * (1 - cosines[0]) * xi)

    watch_updates(monkeypatch, compute_by_hand)
    step = torch.optim.Adam.step

    def watched_step(self: torch.optim.Adam, *arguments: object) -> object:
        found = step(self, *arguments)
        followed.append(torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]))
        return found

    monkeypatch.setattr(torch.optim.Adam, "step", watched_step)
    _, (line,) = train(trainer, until=1)
    assert isinstance(line, NoisyStep)
    torch.testing.assert_close(followed[0], expected[0], rtol=1e-5, atol=1e-6)
    assert line.mean_cosine == pytest.approx(cosines[0], abs=1e-6)
    assert line.alpha == pytest.approx(0.5 * (1 - line.mean_cosine), rel=1e-12)


def test_without_noise_it_is_training_without_annealing_bit_for_bit() -> None:
    plain, silent = (trained(run_config(annealing), DATASET) for annealing in (None, gga_l(gamma=0.0)))
    assert bits(silent.state()) == bits(plain.state())


def test_every_step_leaves_a_line() -> None:
    lines = first_lines()
    assert [line.step for line in lines] == [0, 1, 2, 3]
    assert all(line.noise_norm > 0 and line.gradient_norm > 0 for line in lines)


def test_a_constant_alpha_is_gamma_and_measures_no_cosine() -> None:
    for line in first_lines(alpha="constant"):
        assert math.isnan(line.mean_cosine)
        assert line.alpha == 0.5


def test_undefined_cosines_add_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    domain_loss = StepModel.domain_loss
    monkeypatch.setattr(StepModel, "domain_loss", lambda *arguments: 0 * domain_loss(*arguments))  # zero gradients
    noisy = Trainer(run_config(gga_l()), DATASET, CPU)
    _, (line,) = train(noisy, until=1)
    assert isinstance(line, NoisyStep)
    assert math.isnan(line.mean_cosine)
    assert (line.alpha, line.noise_norm) == (0.0, 0.0)
    assert bits(noisy.state()) == bits(trained(run_config(), DATASET, until=1).state())


@pytest.mark.parametrize(
    "change", [{"gamma": 0.25}, {"noise": "uniform"}, {"noise": "uniform-centred"}, {"alpha": "constant"}]
)
def test_each_setting_changes_something(change: dict[str, Scalar]) -> None:
    assert first_lines(steps=1) != first_lines(steps=1, **change)


def test_both_ways_to_compute_domain_gradients_agree() -> None:
    for one, other in zip(first_lines(), first_lines(domain_gradients="layerwise"), strict=True):
        assert one.mean_cosine == pytest.approx(other.mean_cosine, abs=1e-4)


def test_a_run_taken_up_again_has_the_bits_of_one_that_was_not_stopped() -> None:
    config = run_config(gga_l())
    whole = trained(config, DATASET)
    stopped, resumed = trained(config, DATASET, until=4), Trainer(config, DATASET, CPU)
    resumed.load_state(stopped.state())
    train(resumed)
    assert bits(resumed.state()) == bits(whole.state())


def test_the_optimiser_keeps_no_hook() -> None:
    trainer = trained(run_config(gga_l()), DATASET, until=2)
    (optimizer,) = trainer.algorithm.optimizers().values()
    assert isinstance(trainer.algorithm, ERM)
    assert not optimizer._optimizer_step_pre_hooks
