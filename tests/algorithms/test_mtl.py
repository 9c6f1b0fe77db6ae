"""MTL against embeddings and losses written image by image."""

from __future__ import annotations

import pytest
import torch
from descents import assert_descends, assert_goes_on
from tiny_hosts import FEATURES, tiny_batch, tiny_host, weights_of
from torch import Tensor

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network


def features_of(network: Network, batch: Batch) -> list[Tensor]:
    rows = [network.featurizer(each.images) for each in batch.minibatches]
    return [each if mask is None else each * mask for each, mask in zip(rows, batch.masks, strict=True)]


def loss_by_definition(network: Network, batch: Batch, embeddings: list[list[Tensor]]) -> Tensor:
    """The sum over domains of the mean over images; an embedding an image."""
    total: Tensor | float = 0.0
    for rows, minibatch, beside in zip(features_of(network, batch), batch.minibatches, embeddings, strict=True):
        losses = []
        for row, embedding, label in zip(rows, beside, minibatch.labels, strict=True):
            logits = network.classifier.weight @ torch.cat([row, embedding]) + network.classifier.bias
            losses.append(-logits.log_softmax(0)[label])
        total = total + sum(losses) / len(losses)
    return total


def averages(network: Network, batch: Batch, ema: float, before: Tensor) -> list[Tensor]:
    means = [sum(rows) / len(rows) for rows in features_of(network, batch)]
    return [ema * mean + (1 - ema) * old for mean, old in zip(means, before, strict=True)]


def noise(batch: Batch) -> list[list[Tensor]]:
    """One draw a step, image after image."""
    numbers = batch.numbers("embeddings")
    return [[torch.from_numpy(numbers.standard_normal(FEATURES)) for _ in range(rows)] for rows in batch.rows]


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_step_descends_the_sum_over_domains_with_noise_for_embeddings(dropout: float) -> None:
    batch = tiny_batch(2, dropout=dropout)
    assert_descends(tiny_host("MTL"), batch, lambda network: loss_by_definition(network, batch, noise(batch)))


@pytest.mark.parametrize("ema", [0.0, 0.7, 1.0])
def test_in_the_papers_form_the_embedding_is_the_moving_average(ema: float) -> None:
    batch, host = tiny_batch(2, dropout=0.4), tiny_host("MTL", paper_form=True, mtl_ema=ema)
    host.embeddings.copy_(torch.rand(3, FEATURES, generator=torch.Generator().manual_seed(5)))
    before = host.embeddings.clone()

    def loss(network: Network) -> Tensor:
        return loss_by_definition(network, batch, [[each] * 4 for each in averages(network, batch, ema, before)])

    assert_descends(host, batch, loss)


@pytest.mark.parametrize("paper_form", [False, True])
def test_a_step_moves_the_averages_once_by_the_features_before_it(paper_form: bool) -> None:
    host = tiny_host("MTL", paper_form=paper_form, mtl_ema=0.3)
    for step in range(2):
        batch, before = tiny_batch(step, dropout=0.4), host.embeddings.clone()
        with torch.no_grad():
            expected = torch.stack(averages(host.network, batch, 0.3, before))
        host.update(batch)
        torch.testing.assert_close(host.embeddings, expected, rtol=1e-12, atol=1e-12)
        assert not torch.equal(host.embeddings, before)


@pytest.mark.parametrize("paper_form", [False, True])
def test_scoring_predicts_as_the_update_does_and_writes_nothing(paper_form: bool) -> None:
    batch, host = tiny_batch(2, dropout=0.4), tiny_host("MTL", paper_form=paper_form, mtl_ema=0.3)
    host.update(tiny_batch(1))
    before = weights_of(host)
    for _ in range(2):
        each = [host.domain_logits(batch, domain, batch.masks[domain]) for domain in range(3)]
        torch.testing.assert_close(host.joint_logits(batch, batch.mask), torch.cat(each), rtol=1e-12, atol=1e-12)
    after = weights_of(host)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    losses = [
        torch.nn.functional.cross_entropy(rows, minibatch.labels)
        for rows, minibatch in zip(each, batch.minibatches, strict=True)
    ]
    assert float(host.update(batch)) == pytest.approx(float(sum(losses).detach()), rel=1e-10)


def test_the_noise_is_that_of_its_step() -> None:
    batches = [tiny_batch(0), tiny_batch(0), tiny_batch(0)]
    batches[2] = Batch(batches[2].minibatches, lambda *_: None, tiny_batch(1).numbers)
    host = tiny_host("MTL")
    logits = [host.domain_logits(batch, 1, None) for batch in batches]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


def test_in_evaluation_the_noise_depends_on_row_and_width_alone() -> None:
    host = tiny_host("MTL").eval()
    first_entries = torch.eye(3, FEATURES, dtype=torch.float64)  # of the embedding, as logits
    with torch.no_grad():
        host.network.classifier.weight.copy_(torch.cat([torch.zeros(3, FEATURES), first_entries], dim=1))
        images = tiny_batch(rows=40).images
        found, of_few, of_others = map(host.predict, (images, images[:5], torch.zeros_like(images)))
    assert torch.equal(found, of_others)
    assert torch.equal(found[:5], of_few)
    noise = found - host.network.classifier.bias.detach()
    assert noise.unique().numel() == 360
    assert abs(float(noise.mean())) < 0.2  # four standard errors
    assert float(noise.std(correction=0)) == pytest.approx(1, abs=0.15)


def test_in_the_papers_form_evaluation_takes_the_mean_feature_of_the_batch() -> None:
    host = tiny_host("MTL", paper_form=True)
    host.update(tiny_batch(7))
    images = tiny_batch().images
    features = host.eval().network.featurizer(images)
    mean = sum(features) / len(features)
    expected = [host.network.classifier(torch.cat([row, mean])) for row in features]
    torch.testing.assert_close(host.predict(images), torch.stack(expected), rtol=1e-10, atol=1e-12)


def test_every_hyperparameter_changes_something() -> None:
    changes = [{}, {"paper_form": True}, {"paper_form": True, "mtl_ema": 0.2}, {"mtl_ema": 0.2}]
    hosts = [tiny_host("MTL", **each) for each in changes]
    for host in hosts:
        host.update(tiny_batch(0))
        host.update(tiny_batch(1))
    noisy, papers, slower, noisy_slower = hosts
    weights = [host.network.classifier.weight for host in hosts]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert torch.equal(weights[0], weights[3])  # nothing reads the averages
    assert not torch.equal(noisy.embeddings, noisy_slower.embeddings)
    assert not torch.equal(papers.embeddings, slower.embeddings)


def test_all_of_its_network_is_scored() -> None:
    host = tiny_host("MTL")
    assert [id(each) for each in host.predict_parameters()] == [id(each) for each in host.network.parameters()]
    assert host.network.classifier.weight.shape == (3, 2 * FEATURES)


@pytest.mark.parametrize("paper_form", [False, True])
def test_it_goes_on_from_its_state(paper_form: bool) -> None:
    assert_goes_on(lambda: tiny_host("MTL", paper_form=paper_form), [tiny_batch(step) for step in range(3)])
