"""ARM against contexts computed group by group, with batch norm written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from descents import assert_goes_on
from tiny_hosts import adam_after, tiny_batch, tiny_host, weights_of
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch

CONTEXT = "network.context_net"


def normalised(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """By the mean and the variance of each channel over images and pixels."""
    channels = []
    for channel in range(maps.shape[1]):
        values = maps[:, channel]
        deviation = (((values - values.mean()) ** 2).mean() + 1e-5).sqrt()
        channels.append(weight[channel] * (values - values.mean()) / deviation + bias[channel])
    return torch.stack(channels, dim=1)


def seen_by_context_network(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """(n, 4, 4), in training mode."""
    maps = images
    for convolution, norm in ((0, 1), (3, 4)):
        maps = F.conv2d(
            maps, weights[f"{CONTEXT}.{convolution}.weight"], weights[f"{CONTEXT}.{convolution}.bias"], padding=2
        )
        maps = normalised(maps, weights[f"{CONTEXT}.{norm}.weight"], weights[f"{CONTEXT}.{norm}.bias"]).relu()
    return F.conv2d(maps, weights[f"{CONTEXT}.6.weight"], weights[f"{CONTEXT}.6.bias"], padding=2)[:, 0]


def logits_of_image(weights: dict[str, Tensor], image: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
    pixels = torch.cat([image.flatten(), context.flatten()])
    features = weights["network.featurizer.1.weight"] @ pixels + weights["network.featurizer.1.bias"]
    features = features if mask is None else features * mask
    return weights["network.classifier.weight"] @ features + weights["network.classifier.bias"]


def loss_by_definition(weights: dict[str, Tensor], batch: Batch) -> Tensor:
    """Batch norm sees all images of the step, a context those of one domain."""
    seen = seen_by_context_network(weights, torch.cat([each.images for each in batch.minibatches]))
    losses = []
    for domain, (minibatch, masks) in enumerate(zip(batch.minibatches, batch.masks, strict=True)):
        context = sum(seen[domain * 4 + row] for row in range(4)) / 4
        for row in range(4):
            mask = None if masks is None else masks[row]
            logits = logits_of_image(weights, minibatch.images[row], context, mask)
            losses.append(-logits.log_softmax(0)[minibatch.labels[row]])
    return sum(losses) / len(losses)


def trained_weights(host: Algorithm, paper_form: bool) -> set[str]:
    names = {name for name, _ in host.named_parameters()}
    return names if paper_form else {name for name in names if not name.startswith(CONTEXT)}


def predicted_in_evaluation(images: Tensor, **changes: int) -> Tensor:
    host = tiny_host("ARM", **changes)
    host.update(tiny_batch())
    with torch.no_grad():
        return host.eval().predict(images)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("paper_form", [False, True])
def test_a_step_descends_the_loss_of_images_in_the_context_of_their_domain(paper_form: bool, dropout: float) -> None:
    host, batch = tiny_host("ARM", paper_form=paper_form), tiny_batch(1, dropout=dropout)
    before = weights_of(host)
    names = trained_weights(host, paper_form)
    for name in names:
        before[name].requires_grad_(True)
    expected = loss_by_definition(before, batch)
    gradients = torch.autograd.grad(expected, [before[name] for name in names])

    loss = host.update(batch)

    assert not loss.requires_grad
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-10)
    after = weights_of(host)
    for name, gradient in zip(names, gradients, strict=True):
        found = host.get_parameter(name).grad
        torch.testing.assert_close(found, gradient, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(after[name], adam_after(before[name].detach(), found), rtol=1e-12, atol=1e-12)
    for name, _ in host.named_parameters():
        assert name in names or torch.equal(after[name], before[name]), name


def test_the_context_networks_statistics_are_those_of_the_joint_batch() -> None:
    host, batch = tiny_host("ARM"), tiny_batch()
    weights = weights_of(host)
    host.update(batch)
    images = torch.cat([each.images for each in batch.minibatches])
    first = F.conv2d(images, weights[f"{CONTEXT}.0.weight"], weights[f"{CONTEXT}.0.bias"], padding=2)
    expected = 0.1 * first.mean((0, 2, 3))
    torch.testing.assert_close(weights_of(host)[f"{CONTEXT}.1.running_mean"], expected, rtol=1e-10, atol=1e-12)


def test_predict_groups_by_batch_size_if_that_divides_and_else_takes_all_together() -> None:
    images = torch.rand(8, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    changed = images.clone()
    changed[0] += 1

    def unmoved(rows: int) -> list[bool]:
        pair = (predicted_in_evaluation(images[:rows]), predicted_in_evaluation(changed[:rows]))
        return [torch.equal(one, other) for one, other in zip(*pair, strict=True)]

    assert unmoved(8) == [False] * 4 + [True] * 4
    assert unmoved(6) == [False] * 6
    assert unmoved(3) == [False] * 3
    halves = torch.cat([predicted_in_evaluation(images[:4]), predicted_in_evaluation(images[4:])])
    torch.testing.assert_close(predicted_in_evaluation(images), halves, rtol=1e-12, atol=1e-12)


def test_batch_size_changes_predictions() -> None:
    images = torch.rand(8, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(predicted_in_evaluation(images), predicted_in_evaluation(images, batch_size=2))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_scored_domain_is_a_group_of_its_own_in_batch_norm_too(dropout: float) -> None:
    host, batch = tiny_host("ARM", batch_size=3), tiny_batch(dropout=dropout)  # of batch_size it takes no notice
    weights = weights_of(host)
    for domain, minibatch in enumerate(batch.minibatches):
        context = seen_by_context_network(weights, minibatch.images).mean(0)
        masks = batch.masks[domain]
        expected = [
            logits_of_image(weights, image, context, None if masks is None else masks[row])
            for row, image in enumerate(minibatch.images)
        ]
        found = host.domain_logits(batch, domain, masks)
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-8, atol=1e-10)
    each = torch.cat([host.domain_logits(batch, domain, batch.masks[domain]) for domain in range(3)])
    torch.testing.assert_close(host.joint_logits(batch, batch.mask), each, rtol=1e-12, atol=1e-12)


def test_scoring_runs_the_context_network_once_a_domain_and_step() -> None:
    host, batch = tiny_host("ARM"), tiny_batch()
    before, seen = weights_of(host), []
    host.network.context_net.register_forward_hook(lambda *_: seen.append(1))
    for _ in range(3):
        host.joint_logits(batch, None)
        for domain in range(3):
            host.domain_logits(batch, domain, None)
    assert len(seen) == 3
    after = weights_of(host)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    host.domain_logits(tiny_batch(1), 0, None)
    assert len(seen) == 6


@pytest.mark.parametrize("layer", ["featurizer.1", "classifier", "context_net.0", "context_net.1"])
def test_scoring_sees_every_weight_as_it_is_now(layer: str) -> None:
    host, batch = tiny_host("ARM", paper_form=True), tiny_batch()
    before = [host.domain_logits(batch, 0, None), host.joint_logits(batch, None)]
    with torch.no_grad():
        host.network.get_submodule(layer).weight.mul_(1.5)
    after = [host.domain_logits(batch, 0, None), host.joint_logits(batch, None)]
    assert not any(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_in_evaluation_scoring_uses_the_statistics_of_training_as_they_are_now() -> None:
    host, batch = tiny_host("ARM"), tiny_batch()
    logits = [host.domain_logits(batch, 0, None)]
    logits.append(host.eval().domain_logits(batch, 0, None))
    host.network.context_net[1].running_mean.add_(1)
    logits.append(host.domain_logits(batch, 0, None))
    logits.append(host.train().domain_logits(batch, 0, None))
    assert torch.equal(logits[3], logits[0])
    assert len({float(each.detach().sum()) for each in logits}) == 3
    torch.testing.assert_close(host.eval().predict(batch.minibatches[0].images), logits[2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("paper_form", [False, True])
def test_featurizer_and_classifier_are_scored_and_the_context_network_is_not(paper_form: bool) -> None:
    host = tiny_host("ARM", paper_form=paper_form)
    scored = {id(each) for each in host.predict_parameters()}
    assert scored == {id(each) for name, each in host.named_parameters() if not name.startswith(CONTEXT)}
    loss = host.domain_logits(tiny_batch(), 0, None).sum()
    unused = (
        torch.autograd.grad(loss, list(host.network.context_net.parameters()), allow_unused=True) if paper_form else ()
    )
    assert all(each is None for each in unused)


def test_the_context_network_is_among_the_weights_that_a_run_selects() -> None:
    trained, fresh = tiny_host("ARM", paper_form=True), tiny_host("ARM", paper_form=True)
    trained.update(tiny_batch())
    images = tiny_batch(1).images
    fresh.network.load_state_dict(trained.network.state_dict())
    assert torch.equal(fresh.eval().predict(images), trained.eval().predict(images))


def test_its_first_weights_are_those_of_the_trial_whatever_torchs_global_generator() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        one = tiny_host("ARM")
        after_one = torch.rand(1)
        torch.manual_seed(3)
        assert torch.equal(torch.rand(1), after_one)
        other = tiny_host("ARM")
    assert all(torch.equal(value, weights_of(other)[name]) for name, value in weights_of(one).items())


@pytest.mark.parametrize("paper_form", [False, True])
def test_it_goes_on_from_its_state(paper_form: bool) -> None:
    assert_goes_on(lambda: tiny_host("ARM", paper_form=paper_form), [tiny_batch(step) for step in range(3)])
