"""Which bits a run's numbers depend on, and on which they do not: weights, optimiser state, buffers, records.

The network of most of these tests has batch norm that is not frozen and draws from torch's global generator, so that
whatever leaks, shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from small_runs import (
    CPU,
    REJECT_ALL,
    annealing_of,
    bits,
    make_dataset,
    run_config,
    train,
    trained,
    watch_updates,
)

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.datasets import Dataset, Domain
from gga_sweep.records import AnnealedStep, Record, Scalar
from gga_sweep.spec.models import RunSpec
from gga_sweep.training import trainer as trainer_module
from gga_sweep.training.annealed_step import Annealing, anneal
from gga_sweep.training.trainer import Trainer

DATASET = make_dataset()
LEAKY = "small_runs:batch_norm_featurizer"
ARMS = {"ERM": None, "paper": annealing_of(), "released": annealing_of("released")}


@dataclass(frozen=True)
class Outcome:
    """All that a run leaves."""

    bits: Mapping[str, str]
    records: Sequence[Record]
    annealed: Sequence[AnnealedStep]


def outcome_of(config: RunSpec, dataset: Dataset = DATASET, seconds: float = 1e9) -> Outcome:
    trainer = Trainer(config, dataset, CPU)
    records, annealed = train(trainer, seconds=seconds)
    return Outcome(bits(trainer.state()), records, annealed)


def leaky(annealing: Mapping[str, Scalar] | None = None) -> RunSpec:
    return run_config(annealing, network=LEAKY)


@cache
def plain_outcome() -> Outcome:
    return outcome_of(leaky())


def test_a_run_is_a_function_of_its_configuration_whatever_ran_before_and_was_seeded() -> None:
    first, second = leaky(annealing_of("released")), run_config(annealing_of(), test_domains=("a",), trial_seed=1)
    alone = {"first": outcome_of(first), "second": outcome_of(second)}

    torch.manual_seed(99)
    np.random.default_rng(7).random(3)
    second_again = outcome_of(second)
    torch.rand(5)
    first_again = outcome_of(first)

    assert {"first": first_again, "second": second_again} == alone


def test_two_runs_trained_by_turns_in_one_process_do_not_touch() -> None:
    configs = leaky(annealing_of("released")), leaky()
    trainers = [Trainer(config, DATASET, CPU) for config in configs]
    for step in range(8):
        for trainer in trainers:
            torch.manual_seed(step)
            trainer.advance(0)

    for config, trainer in zip(configs, trainers, strict=True):
        assert bits(trainer.state()) == outcome_of(config).bits


@pytest.mark.parametrize("annealing", ARMS.values(), ids=ARMS)
def test_slices_change_no_number(annealing: Mapping[str, Scalar] | None) -> None:
    assert outcome_of(leaky(annealing), seconds=0) == outcome_of(leaky(annealing))


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_erm_and_an_annealed_run_are_one_up_to_start_step_and_two_after_it(variant: str) -> None:
    plain, annealed = leaky(), leaky(annealing_of(variant, start_step=4, num_candidates=8))

    assert bits(trained(plain, DATASET, until=4).state()) == bits(trained(annealed, DATASET, until=4).state())
    assert bits(trained(plain, DATASET, until=5).state()) != bits(trained(annealed, DATASET, until=5).state())
    records, others = outcome_of(plain).records, outcome_of(annealed).records
    assert [record.step for record in records] == [0, 3, 6, 7]
    assert records[:2] == others[:2]
    assert records[2:] != others[2:]


@pytest.mark.parametrize(
    ("variant", "switches"),
    [
        ("paper", {}),
        ("released", {}),
        ("paper", {"origin": "accepted", "mask": "forward"}),
        ("paper", {"objective": "none"}),
        ("paper", {"objective": "anti"}),
        ("released", {"objective": "loss"}),
    ],
)
def test_annealing_with_every_candidate_rejected_is_no_annealing(variant: str, switches: Mapping[str, Scalar]) -> None:
    rejected = outcome_of(leaky(annealing_of(variant, loss_tolerance=REJECT_ALL, **switches)))

    assert [(line.step, line.tried, line.chosen) for line in rejected.annealed] == [(s, 3, None) for s in (3, 4, 5)]
    assert replace(rejected, annealed=[]) == plain_outcome()


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_an_accepted_candidate_is_where_plain_training_goes_on(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One annealed step; then ERM with the weights that its search left and the optimiser state it began with."""
    annealed = leaky(annealing_of(variant, start_step=4, num_steps=1, num_candidates=8))
    searched: list[dict[str, torch.Tensor]] = []

    def watching(algorithm: Algorithm, *arguments: object) -> Annealing:
        found: Annealing = anneal(algorithm, *arguments)  # type: ignore[arg-type]
        searched.append({name: tensor.clone() for name, tensor in algorithm.state_dict().items()})
        return found

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "anneal", watching)
        expected = outcome_of(annealed)
    assert [line.accepted > 0 for line in expected.annealed] == [True]

    state = trained(leaky(), DATASET, until=4).state()
    assert bits(state["algorithm"]) != bits(searched[0])
    plain = Trainer(leaky(), DATASET, CPU)
    plain.load_state({**state, "algorithm": searched[0]})
    records, _ = train(plain)

    assert bits(plain.state()) == expected.bits
    assert records == expected.records[2:]


def with_noise_in(dataset: Dataset, name: str) -> Dataset:
    """The same sizes and names, but images and labels of one domain are noise."""
    generator = torch.Generator().manual_seed(5)

    def noisy(domain: Domain) -> Domain:
        images = torch.rand(domain.images.shape, generator=generator)
        return replace(domain, images=images, labels=torch.randint(3, domain.labels.shape, generator=generator))

    domains = tuple(noisy(domain) if domain.name == name else domain for domain in dataset.domains)
    return replace(dataset, domains=domains, digest="noise")


@pytest.mark.parametrize(("arm", "split"), [("ERM", "stream"), ("paper", "domainbed"), ("released", "stream")])
def test_with_noise_for_a_test_domain_only_its_own_record_changes(arm: str, split: str) -> None:
    config = run_config(ARMS[arm], network=LEAKY, split=split)
    seen, noise = outcome_of(config), outcome_of(config, with_noise_in(DATASET, "c"))

    assert noise.bits == seen.bits
    assert noise.annealed == seen.annealed
    assert [record.validation for record in noise.records] == [record.validation for record in seen.records]
    assert all(one.test != other.test for one, other in zip(noise.records, seen.records, strict=True))


def test_with_noise_for_a_training_domain_everything_changes() -> None:
    seen, noise = outcome_of(leaky()), outcome_of(leaky(), with_noise_in(DATASET, "b"))

    assert noise.bits != seen.bits
    assert noise.records[0].validation != seen.records[0].validation


class Streams:
    """What each step of a run was fed, by training domain: images, labels, rows of the dropout mask."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, config: RunSpec) -> None:
        self.fed: list[dict[str, tuple[torch.Tensor, ...]]] = []
        self._names = [name for name in DATASET.domain_names if name not in config.test_domains]
        with monkeypatch.context() as patch:
            watch_updates(patch, self._remember)
            trained(config, DATASET)

    def _remember(self, batch: Batch) -> None:
        assert batch.mask is not None
        sizes = [len(minibatch.labels) for minibatch in batch.minibatches]
        rows = zip(self._names, batch.minibatches, batch.mask.split(sizes), strict=True)
        self.fed.append({name: (minibatch.images, minibatch.labels, part) for name, minibatch, part in rows})

    def of(self, names: str, rows: int | None = None) -> list[dict[str, str]]:
        return [{place: bit for name in names for place, bit in self._bits(step, name, rows)} for step in self.fed]

    @staticmethod
    def _bits(step: Mapping[str, tuple[torch.Tensor, ...]], name: str, rows: int | None) -> list[tuple[str, str]]:
        return list(bits([tensor[:rows] for tensor in step[name]], name).items())


def test_arms_draws_and_held_out_domains_are_fed_the_same_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Streams(monkeypatch, run_config(test_domains=("c",)))
    others = [
        run_config(annealing_of("released"), test_domains=("c",)),
        run_config(test_domains=("c",), hyperparameters={"lr": 1e-1, "weight_decay": 1e-2}),
        run_config(test_domains=("d",)),
        run_config(annealing_of(), test_domains=("c", "d")),
    ]

    assert len(reference.fed) == 8
    for config in others:
        assert Streams(monkeypatch, config).of("ab") == reference.of("ab")


def test_steps_and_trial_seeds_and_domains_are_fed_different_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch, run_config())
    fed = [Streams(monkeypatch, run_config(trial_seed=1)).of("a"), streams.of("a")]
    masks = {bit for run in fed for step in run for place, bit in step.items() if place == "a/2"}
    images = {bit for run in fed for step in run for place, bit in step.items() if place == "a/0"}

    assert len(masks) == len(images) == 16
    assert streams.of("a")[0]["a/2"] != streams.of("b")[0]["b/2"]


def test_a_batch_of_16_is_the_start_of_a_batch_of_32(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (
        Streams(monkeypatch, run_config(annealing_of(), hyperparameters={"batch_size": size})) for size in (16, 32)
    )

    assert small.of("abd", rows=16) == large.of("abd", rows=16)
    assert small.of("abd") != large.of("abd")
