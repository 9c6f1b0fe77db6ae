"""SagNet against its three steps, written image by image."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tiny_hosts import CLASSES, FEATURES, tiny_batch, tiny_host, weights_of
from torch import Tensor, nn

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


def style(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over one image's features, the variance over one less than there are."""
    mean = sum(features) / FEATURES
    return mean, sum((each - mean) ** 2 for each in features) / (FEATURES - 1)


def content(features: Tensor) -> Tensor:
    mean, variance = style(features)
    return (features - mean) / (variance + 1e-5).sqrt()


class ByDefinition:
    """Featurizer f, classifier c and style classifier s, and an Adam of torch's for each."""

    def __init__(self, host: Algorithm, w_adv: float) -> None:
        self.f, self.c = copy.deepcopy(host.network.featurizer), copy.deepcopy(host.network.classifier)
        self.s = copy.deepcopy(host.get_submodule("style_classifier"))
        self.adam_f, self.adam_c, self.adam_s = (torch.optim.Adam(each.parameters(), lr=1e-2) for each in self.parts)
        self.w_adv = w_adv

    @property
    def parts(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.f, self.c, self.s

    def features(self, batch: Batch, forward: int) -> Tensor:
        rows, masks = self.f(batch.images), batch.masks_of_forward(forward)
        return rows if masks[0] is None else rows * torch.cat(masks)  # type: ignore[arg-type]

    def step(self, batch: Batch) -> Tensor:
        content_loss = self.content_loss(batch)
        self.clear()
        content_loss.backward()
        self.adam_f.step()
        self.adam_c.step()

        self.clear()
        F.cross_entropy(self.style_logits(batch, 1, "other contents of style"), batch.labels).backward()
        self.adam_s.step()

        self.clear()
        probabilities = self.style_logits(batch, 2, "other contents of the adversary").log_softmax(1)
        losses = [-sum(row) / CLASSES for row in probabilities]
        (self.w_adv * sum(losses) / len(losses)).backward()
        self.adam_f.step()
        return content_loss.detach()

    def clear(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def content_loss(self, batch: Batch) -> Tensor:
        numbers, features = batch.numbers("mixed styles"), self.features(batch, 0)
        own = [float(numbers.random()) for _ in features]
        others = numbers.permutation(len(features))
        mixed = []
        for row, weight, other in zip(features, own, others, strict=True):
            mean, variance = (
                weight * mine + (1 - weight) * its for mine, its in zip(style(row), style(features[other]), strict=True)
            )
            mixed.append(content(row) * (variance + 1e-5).sqrt() + mean)
        return F.cross_entropy(self.c(torch.stack(mixed)), batch.labels)

    def style_logits(self, batch: Batch, forward: int, purpose: str) -> Tensor:
        features = self.features(batch, forward)
        swapped = []
        for row, other in zip(features, batch.numbers(purpose).permutation(len(features)), strict=True):
            mean, variance = style(row)
            swapped.append(content(features[other]).detach() * (variance + 1e-5).sqrt() + mean)
        return self.s(torch.stack(swapped))


@pytest.mark.parametrize(("w_adv", "dropout"), [(0.1, 0.0), (3.0, 0.4), (0.0, 0.4)])
def test_three_steps_equal_the_definitions(w_adv: float, dropout: float) -> None:
    host = tiny_host("SagNet", sag_w_adv=w_adv)
    reference = ByDefinition(host, w_adv)
    for step in range(3):
        batch = tiny_batch(step, dropout=dropout)
        loss, expected = host.update(batch), reference.step(batch)
        assert not loss.requires_grad
        assert float(loss) == pytest.approx(float(expected), rel=1e-9)
    found = (host.network.featurizer, host.network.classifier, host.get_submodule("style_classifier"))
    for part, expected_part in zip(found, reference.parts, strict=True):
        for one, other in zip(part.parameters(), expected_part.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


def test_the_featurizer_takes_two_steps_an_update_and_the_classifiers_one() -> None:
    host = tiny_host("SagNet")
    host.update(tiny_batch())
    steps = {
        name: {float(state["step"]) for state in optimizer.state.values()}
        for name, optimizer in host.optimizers().items()
    }
    assert steps == {"featurizer": {2.0}, "content": {1.0}, "style": {1.0}}


def test_content_style_and_adversary_each_have_a_forward_of_the_joint_batch() -> None:
    host, rows = tiny_host("SagNet"), []
    host.network.featurizer.register_forward_hook(lambda _, inputs, output: rows.append(len(output)))
    host.update(tiny_batch())
    assert rows == [12, 12, 12]


def test_prediction_and_scoring_know_no_other_image_and_no_style_network() -> None:
    host, batch = tiny_host("SagNet"), tiny_batch(dropout=0.4)
    before = weights_of(host)
    expected = host.network.classifier(host.network.featurizer(batch.images) * batch.mask)
    assert torch.equal(host.joint_logits(batch, batch.mask), expected)
    each = [host.domain_logits(batch, domain, batch.masks[domain]) for domain in range(3)]
    torch.testing.assert_close(torch.cat(each), expected, rtol=1e-12, atol=1e-12)
    assert {id(one) for one in host.predict_parameters()} == {id(one) for one in host.network.parameters()}
    after = weights_of(host)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_style_networks_first_weights_are_those_of_the_trial() -> None:
    first, again = tiny_host("SagNet"), tiny_host("SagNet")
    assert torch.equal(*(each.get_parameter("style_classifier.weight") for each in (first, again)))
    assert first.get_parameter("style_classifier.weight").shape == (CLASSES, FEATURES)
