"""What must hold for every algorithm: annealing in front of its step, checkpoints, noise on its gradient, learning."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import CPU, REJECT_ALL, annealing_of, bits, make_dataset, run_config, train, trained
from tiny_hosts import convolutional_network, tiny_batch, tiny_host

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.algorithms.batch import Batch
from gga_sweep.annealing import GGAL, STEP_MASK, Draw, Scorer, search_step
from gga_sweep.annealing.options import GGA
from gga_sweep.datasets import Dataset, Domain, digest_of_tensors, load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.records import Scalar
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.annealed_step import StepModel
from gga_sweep.training.checkpoint import dump_state, parse_state
from gga_sweep.training.randomness import RunStreams
from gga_sweep.training.trainer import Trainer

DATASET = make_dataset()  # four domains; `c` is held out
EARLY: dict[str, dict[str, Scalar]] = {
    "IRM": {"irm_penalty_anneal_iters": 5, "irm_lambda": 3.0},
    "VREx": {"vrex_penalty_anneal_iters": 5},
    "Fishr": {"fishr_penalty_anneal_iters": 4, "fishr_lambda": 10.0},
    "EQRM": {"eqrm_burnin_iters": 4, "eqrm_lr": 3e-3},
    "ERMPlusPlus": {"ermpp_linear_steps": 1, "ermpp_linear_lr": 3e-3, "ermpp_average_from": 5},
    "GENIE": {"genie_rate": 0.1},
    "ANDMask": {"andmask_tau": 0.5},
    "RSC": {"rsc_f_drop_factor": 0.1},  # at a third it takes more than twice the steps to learn
}
"""Warm-ups that end within eight steps, penalties and masks under which forty steps are enough to learn."""

every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def config_of(name: str, annealing: GGA | GGAL | None = None, **training: Any) -> RunSpec:
    """Eight steps of a small network with dropout; its annealing, where it has one, at steps 3, 4 and 5."""
    own = {key: item.default for key, item in ALGORITHMS[name].own.items()}
    if isinstance(annealing, GGA) and not ALGORITHMS[name].splits_by_layer:
        annealing = replace(annealing, domain_gradients="loop")
    return run_config(
        annealing,
        algorithm=name,
        hyperparameters={**own, **EARLY.get(name, {}), "batch_size": 4},
        **{"network": "small-cnn", "evaluate_every": 7, **training},
    )


def everything(trainer: Trainer) -> dict[str, str]:
    """State, gradients and torch's global generator, to the bit."""
    gradients = {key: each.grad for key, each in trainer.algorithm.named_parameters() if each.grad is not None}
    return bits([trainer.state(), gradients, torch.get_rng_state()])


@cache
def plain_outcome(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The state of a trainer, and everything."""
    trainer = trained(config_of(name), DATASET)
    return bits(trainer.state()), everything(trainer)


@every_algorithm
@pytest.mark.parametrize("variant", ["paper", "guided"])
def test_a_search_that_rejects_every_candidate_leaves_no_trace(name: str, variant: str) -> None:
    method = "layerwise" if variant == "paper" else "loop"
    annealing = annealing_of(variant, loss_tolerance=REJECT_ALL, domain_gradients=method, diagnose_every=3)
    trainer = Trainer(config_of(name, annealing), DATASET, CPU)
    _, searches = train(trainer)
    assert [(line.tried, line.accepted) for line in searches] == [(3, 0)] * 3
    assert everything(trainer) == plain_outcome(name)[1]


@every_algorithm
def test_after_an_accepted_point_the_step_is_that_of_plain_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain host, started at the accepted weights with the state of before, takes the same step to the bit."""
    annealed = config_of(name, annealing_of(num_candidates=8, loss_tolerance=1e9, num_steps=1))
    trainer = trained(annealed, DATASET, until=3)
    before = parse_state(dump_state(trainer.state()))
    found: list[dict[str, torch.Tensor]] = []
    update = type(trainer.algorithm).update

    def watched(self: Any, batch: Batch) -> torch.Tensor:
        found.append({key: value.clone() for key, value in self.network.named_parameters()})
        return update(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(type(trainer.algorithm), "update", watched)
        _, [line] = train(trainer, until=4)
    assert line.chosen is not None
    moved = {key for key, value in found[0].items() if not torch.equal(value, before["algorithm"][f"network.{key}"])}
    assert "classifier.weight" in moved

    plain = Trainer(config_of(name), DATASET, CPU)
    plain.load_state(before)
    with torch.no_grad():
        for key, value in plain.network.named_parameters():
            value.copy_(found[0][key])
    train(plain, until=4)
    assert bits(plain.state()) == bits(trainer.state())


class OneDomainThrice(StepModel):
    """One minibatch given as every domain, without dropout; the loss of the last may be scaled."""

    def __init__(self, name: str, scale: float = 1.0, thrice: bool = True) -> None:
        paper_form: dict[str, Scalar] = {"paper_form": True} if name == "MTL" else {}  # else noise tells domains apart
        host = tiny_host(name, convolutional_network(ALGORITHMS[name].load().EXTRA_CHANNELS), **paper_form)
        minibatches = tiny_batch(side=8).minibatches
        if thrice:
            minibatches = minibatches[:1] * 3
        streams = RunStreams("Tiny", 0, host.network.features, 0.0, CPU)
        super().__init__(host, minibatches, ("a", "b", "c"), streams, 0)
        self.parameters = host.predict_parameters()
        self.buffers = list(host.buffers())
        self._scale = scale

    def domain_loss(self, domain: int, draw: Draw) -> torch.Tensor:
        return super().domain_loss(domain, draw) * (self._scale if domain == 2 else 1)

    def alignment(self) -> float:
        return float(Scorer(self, self.parameters, self.buffers).alignment(STEP_MASK))


@every_algorithm
def test_one_domain_given_as_every_domain_is_aligned_and_nothing_is_gained(name: str) -> None:
    model = OneDomainThrice(name)
    assert model.alignment() == pytest.approx(1, abs=1e-12)
    settings = GGA.of_variant("paper", start_step=0, num_steps=1, radius=0.05, num_candidates=5)
    found = search_step(
        model,
        model.parameters,
        model.parameters,
        model.buffers,
        lambda candidate: torch.Generator().manual_seed(candidate),
        torch.Generator,
        settings,
    )
    assert found.after.alignment - found.before.alignment <= 1e-12


@every_algorithm
def test_a_domains_scale_of_loss_does_not_change_the_alignment(name: str) -> None:
    alignments = [OneDomainThrice(name, scale, thrice=False).alignment() for scale in (1.0, 7.0)]
    assert abs(alignments[0]) < 0.999
    assert alignments[1] == pytest.approx(alignments[0], abs=1e-12)


@every_algorithm
def test_a_run_resumed_from_its_checkpoint_ends_with_the_same_bits(name: str) -> None:
    config = config_of(name, annealing_of("released", diagnose_every=0))
    whole, checkpoints = Trainer(config, DATASET, CPU), []
    for until in (4, 6):  # in and after the window
        train(whole, until)
        checkpoints.append(dump_state(whole.state()))
    train(whole)
    for checkpoint in checkpoints:
        resumed = Trainer(config, DATASET, CPU)
        resumed.load_state(parse_state(checkpoint))
        train(resumed)
        assert bits(resumed.state()) == bits(whole.state())


@pytest.mark.parametrize("name", [name for name, spec in ALGORITHMS.items() if spec.has_joint_gradient])
def test_noise_is_added_to_the_joint_gradient_once_a_step(name: str) -> None:
    def ended(gamma: float) -> tuple[Trainer, list[Any]]:
        trainer = Trainer(config_of(name, GGAL(gamma=gamma)), DATASET, CPU)
        return trainer, train(trainer)[1]

    quiet, lines = ended(0.0)
    assert bits(quiet.state()) == plain_outcome(name)[0]
    assert [line.step for line in lines] == list(range(8))
    noisy, lines = ended(0.1)
    assert all(line.noise_norm > 0 and math.isfinite(line.gradient_norm) for line in lines)
    assert bits(noisy.state()) != bits(quiet.state())


@cache
def digits() -> Dataset:
    """The first 250 of each rotation, at half their size."""
    whole = load_dataset(DatasetConfig(name="RotatedDigits"), None)
    first = np.arange(250)
    domains = []
    for domain in whole.domains:
        images, labels = domain.take(first)
        domains.append(Domain(domain.name, F.avg_pool2d(images, 2), labels, domain.sample_ids[:250]))
    return Dataset("RotatedDigits", whole.classes, tuple(domains), digest_of_tensors(domains), normalise=False)


@every_algorithm
def test_it_learns_to_read_turned_digits(name: str) -> None:
    """Chance is a tenth. Fifteen and sixty degrees are held out, which lie between the others."""
    own = {key: item.default for key, item in ALGORITHMS[name].own.items()}
    config = run_config(
        dataset="RotatedDigits",
        algorithm=name,
        hyperparameters={**own, **EARLY.get(name, {}), "lr": 3e-3, "batch_size": 16, "dropout": 0.1},
        test_domains=("15", "60"),
        network="small-cnn",
        steps=40,
        evaluate_every=100,
    )
    record = train(Trainer(config, digits(), CPU))[0][-1]
    accuracies = [scores.train.accuracy for scores in record.test.domains.values()]
    assert min(accuracies) > 0.3
    assert record.validation.accuracy > 0.3
