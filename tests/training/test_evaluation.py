"""Evaluation against the definitions, written down once more in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import CPU, FOREVER, annealing_of, bits, erm, make_dataset, run_config, train, trained, unmasked

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.erm import ERM
from gga_sweep.datasets import Dataset, Domain, Minibatch
from gga_sweep.networks.network import Network, build_network
from gga_sweep.records import Record
from gga_sweep.seeding import stream
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.evaluation import (
    EVALUATION_BATCH,
    PROBE_IMAGES,
    Evaluator,
    batched_logits,
    evaluate_images,
)
from gga_sweep.training.trainer import Trainer, split_dataset

DATASET = make_dataset(per_domain=60)  # a probe batch takes a part of the 48 training images, all 12 of validation
CONFIG = run_config(test_domains=("b", "d"), network="small_runs:batch_norm_featurizer")
SPLITS = split_dataset(CONFIG, DATASET)


def algorithm_of(config: RunSpec = CONFIG) -> Algorithm:
    network = build_network(config.training.network, DATASET.input_shape, 3, None, torch.Generator().manual_seed(3))
    return erm(network, config.hyperparameters)


def evaluator_of(dataset: Dataset = DATASET, test_domains: tuple[str, ...] = ("b", "d")) -> Evaluator:
    return Evaluator(dataset, SPLITS, test_domains, CONFIG.trial_seed, "none", CPU)


def reference_score(algorithm: Algorithm, domain: Domain, indices: np.ndarray) -> tuple[float, float]:
    with torch.no_grad():
        logits = algorithm.network.eval()(domain.images[indices]).numpy().astype(np.float64)
    labels = domain.labels.numpy()[indices]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    accuracy = np.mean([row.argmax() == label for row, label in zip(logits, labels, strict=True)])
    return float(accuracy), float(np.mean([-np.log(row[i]) for row, i in zip(probabilities, labels, strict=True)]))


def reference_gradient(algorithm: Algorithm, domain: Domain, indices: np.ndarray, split: str) -> np.ndarray:
    size = min(PROBE_IMAGES, len(indices))
    probe = stream("Small", CONFIG.trial_seed, "probe", domain.name, split).choice(indices, size=size, replace=False)
    algorithm.zero_grad()
    loss = F.cross_entropy(algorithm.network.eval()(domain.images[probe]), domain.labels[probe])
    loss.backward()  # type: ignore[no-untyped-call]
    parts = [parameter.grad.flatten() for parameter in algorithm.network.parameters() if parameter.grad is not None]
    return torch.cat(parts).double().numpy()


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


@pytest.fixture(scope="module")
def record() -> Record:
    return evaluator_of().evaluate(algorithm_of(), step=4, batch_loss=1.25)


def test_every_domain_is_scored_on_both_splits(record: Record) -> None:
    algorithm = algorithm_of()

    assert list(record.validation.domains) == ["a", "c"]
    assert list(record.test.domains) == ["b", "d"]
    for name, scores in {**record.validation.domains, **record.test.domains}.items():
        for split, score in (("train", scores.train), ("validation", scores.validation)):
            accuracy, loss = reference_score(algorithm, DATASET.domain(name), getattr(SPLITS[name], split))
            assert score.accuracy == accuracy
            assert score.loss == pytest.approx(loss, rel=1e-6)


def test_means_are_over_training_domains_each_with_equal_weight() -> None:
    sizes = {"a": 30, "b": 60, "c": 12, "d": 30}
    domains = [
        Domain(domain.name, domain.images[:size], domain.labels[:size], domain.sample_ids[:size])
        for domain in DATASET.domains
        if (size := sizes[domain.name])
    ]
    unequal = Dataset("Small", DATASET.classes, tuple(domains), "digest", normalise=False)
    config = run_config(test_domains=("b",))
    record = train(Trainer(config, unequal, CPU))[0][-1]

    scores = [record.validation.domains[name] for name in "acd"]
    assert record.validation.accuracy == pytest.approx(np.mean([score.validation.accuracy for score in scores]))
    assert record.validation.loss == pytest.approx(np.mean([score.validation.loss for score in scores]))
    for metric in ("accuracy", "loss"):
        expected = np.mean([getattr(score.train, metric) for score in scores])
        assert record.validation.training_mean(metric) == pytest.approx(expected)
    assert len({score.validation.accuracy for score in scores}) > 1  # or any weights would do


def test_the_agreement_is_that_of_the_probe_gradients_of_the_training_domains(record: Record) -> None:
    algorithm = algorithm_of()
    agreements = {"train": record.validation.agreement, "validation": record.validation.validation_agreement}

    for split, found in agreements.items():
        gradients = [
            reference_gradient(algorithm, DATASET.domain(name), getattr(SPLITS[name], split), split) for name in "ac"
        ]
        for row in range(2):
            assert found.norms[row] == pytest.approx(np.linalg.norm(gradients[row]), rel=1e-5)
            for column in range(2):
                assert found.cosines[row][column] == pytest.approx(cosine(gradients[row], gradients[column]), abs=1e-6)
        assert found.minimum == found.mean == found.cosines[0][1]


def test_agreement_takes_the_least_and_the_mean_cosine_over_pairs_of_three_domains() -> None:
    agreement = evaluator_of(test_domains=("d",)).evaluate(algorithm_of(), 0, 0.0).validation.agreement
    pairs = [agreement.cosines[0][1], agreement.cosines[0][2], agreement.cosines[1][2]]

    assert agreement.minimum == min(pairs)
    assert agreement.mean == pytest.approx(sum(pairs) / 3)
    assert agreement.minimum < agreement.mean


def test_the_gradient_cosine_compares_a_test_domain_with_the_mean_training_gradient(record: Record) -> None:
    algorithm = algorithm_of()
    training = [reference_gradient(algorithm, DATASET.domain(name), SPLITS[name].train, "train") for name in "ac"]

    assert list(record.test.gradient_cosine) == ["b", "d"]
    for name, found in record.test.gradient_cosine.items():
        gradient = reference_gradient(algorithm, DATASET.domain(name), SPLITS[name].train, "train")
        assert found == pytest.approx(cosine(np.mean(training, axis=0), gradient), abs=1e-6)


def test_one_training_domain_has_no_pair_and_so_no_agreement() -> None:
    found = evaluator_of(test_domains=("b", "c", "d")).evaluate(algorithm_of(), 0, 0.0).validation.agreement

    assert np.isnan([found.minimum, found.mean]).all()
    assert found.cosines[0] == pytest.approx((1.0,))


def test_the_probe_batch_is_the_same_at_every_step_and_other_at_another_trial_seed() -> None:
    def norms(trial_seed: int, step: int) -> tuple[float, ...]:
        evaluator = Evaluator(DATASET, SPLITS, ("d",), trial_seed, "none", CPU)
        return evaluator.evaluate(algorithm_of(), step, 0.0).validation.agreement.norms

    assert norms(0, step=0) == norms(0, step=9)
    assert norms(0, step=0) != norms(1, step=0)


def test_evaluation_changes_nothing_but_the_mode() -> None:
    algorithm = algorithm_of()
    images, labels = DATASET.domain("a").take(np.arange(10))
    algorithm.update(unmasked([Minibatch(images, labels)]))  # gives weights a gradient and Adam its moments

    def everything() -> list[dict[str, str]]:
        gradients = {name: parameter.grad for name, parameter in algorithm.named_parameters()}
        states = [algorithm.state_dict(), algorithm.optimizer.state_dict(), gradients, torch.get_rng_state()]
        return [bits(state) for state in states]

    before = everything()
    first = evaluator_of().evaluate(algorithm, 0, 0.0)

    assert everything() == before
    assert all(parameter.grad is not None for parameter in algorithm.parameters())
    assert not algorithm.training
    assert evaluator_of().evaluate(algorithm, 0, 0.0) == first


def test_evaluation_leaves_no_gradient_where_there_was_none() -> None:
    algorithm = algorithm_of()
    evaluator_of().evaluate(algorithm, 0, 0.0)

    assert all(parameter.grad is None for parameter in algorithm.parameters())


def test_dropout_is_off_in_evaluation() -> None:
    """Batch norm and the network's own dropout, too: the same record whatever torch's global generator says."""
    algorithm = algorithm_of()
    records = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        records.append(evaluator_of().evaluate(algorithm, 0, 0.0))

    assert records[0] == records[1]


@pytest.mark.parametrize("size", [1, EVALUATION_BATCH, EVALUATION_BATCH + 1, 2 * EVALUATION_BATCH + 37])
def test_a_set_of_any_size_is_scored_whole_and_each_image_counts_once(size: int) -> None:
    rng = np.random.default_rng(size)
    logits, labels = torch.from_numpy(rng.normal(size=(size, 5))), torch.from_numpy(rng.integers(0, 5, size))
    score = evaluate_images(lambda rows: rows, lambda part: Minibatch(logits[part], labels[part]), size, CPU)

    probabilities = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    assert score.accuracy == np.mean(logits.numpy().argmax(axis=1) == labels.numpy())
    assert score.loss == pytest.approx(-np.mean(np.log(probabilities[np.arange(size), labels.numpy()])), rel=1e-12)


def test_logits_come_in_order_without_graph_and_keep_the_callers_mode() -> None:
    weight = torch.ones(2, 3, requires_grad=True)
    images = torch.rand(EVALUATION_BATCH + 1, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(images)) % 3
    found = []
    for logits, true in batched_logits(
        lambda x: x @ weight, lambda p: Minibatch(images[p], labels[p]), len(images), CPU
    ):
        assert torch.is_grad_enabled()
        assert not logits.requires_grad
        found.append((logits, true))

    assert [len(logits) for logits, _ in found] == [EVALUATION_BATCH, 1]
    assert torch.equal(torch.cat([true for _, true in found]), labels)
    assert torch.allclose(torch.cat([logits for logits, _ in found]), images.sum(dim=1, keepdim=True).expand(-1, 3))


def test_a_logit_that_is_nan_makes_the_loss_nan_and_not_zero() -> None:
    logits = torch.zeros(4, 3)
    logits[2, 1] = float("nan")
    labels = torch.zeros(4, dtype=torch.int64)
    score = evaluate_images(lambda rows: rows, lambda part: Minibatch(logits[part], labels[part]), 4, CPU)

    assert np.isnan(score.loss)


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(8, 3, [0, 3, 6, 7]), (7, 3, [0, 3, 6]), (5, 1, [0, 1, 2, 3, 4]), (5, 100, [0, 4]), (1, 100, [0])],
)
def test_a_run_is_evaluated_at_multiples_and_at_its_last_step(steps: int, every: int, expected: list[int]) -> None:
    records, _ = train(Trainer(run_config(steps=steps, evaluate_every=every), DATASET, CPU))

    assert [record.step for record in records] == expected


def test_a_record_is_made_after_its_steps_update() -> None:
    config = run_config()
    trainer = Trainer(config, DATASET, CPU)
    record = trainer.advance(FOREVER).record

    def evaluate(network: Network) -> Record:
        evaluator = Evaluator(DATASET, split_dataset(config, DATASET), ("c",), config.trial_seed, "none", CPU)
        return evaluator.evaluate(erm(network, config.hyperparameters), 0, 0.0)

    assert record is not None
    assert record.step == 0
    assert record.test == evaluate(trained(config, DATASET, until=1).network).test
    assert record.test != evaluate(Trainer(config, DATASET, CPU).network).test


def test_the_loss_of_a_records_minibatches_is_the_joint_loss_before_the_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = []
    update = ERM.update

    def remembering(self: ERM, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            parts = [self.network(each.images, rows) for each, rows in _with_rows(batch.minibatches, batch.mask)]
        labels = torch.cat([each.labels for each in batch.minibatches])
        losses.append(float(F.cross_entropy(torch.cat(parts), labels)))
        return update(self, batch)

    monkeypatch.setattr(ERM, "update", remembering)
    records, _ = train(Trainer(run_config(annealing_of()), DATASET, CPU))

    assert [record.validation.batch_loss for record in records] == pytest.approx(
        [losses[record.step] for record in records], rel=1e-6
    )


def _with_rows(
    minibatches: Sequence[Minibatch], mask: torch.Tensor | None
) -> Iterator[tuple[Minibatch, torch.Tensor | None]]:
    sizes = [len(batch.labels) for batch in minibatches]
    yield from zip(minibatches, [None] * len(sizes) if mask is None else mask.split(sizes), strict=True)
