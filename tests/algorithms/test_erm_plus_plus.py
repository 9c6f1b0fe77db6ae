"""ERM++: which weights a step trains, and which predict."""

from __future__ import annotations

import pytest
import torch
from descents import assert_goes_on
from tiny_hosts import convolutional_network, tiny_batch, tiny_host, weights_of

from gga_sweep.algorithms.base import Algorithm

NO_WARM_UP = {"ermpp_linear_steps": -1}


def flat(modules: list[torch.nn.Module]) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for module in modules for each in module.parameters()])


def trained(host: Algorithm) -> torch.Tensor:
    return flat([host.network.featurizer, host.network.classifier])


def test_the_first_steps_train_the_classifier_alone_at_their_own_rate() -> None:
    """At steps 0 to 2; Adam moves each weight by about its learning rate."""
    host = tiny_host("ERMPlusPlus", ermpp_linear_steps=2, ermpp_linear_lr=1e-4)
    start = weights_of(host)
    for step in range(3):
        host.update(tiny_batch(step))
    now = host.state_dict()
    assert torch.equal(now["network.featurizer.1.weight"], start["network.featurizer.1.weight"])
    moved = (now["network.classifier.bias"] - start["network.classifier.bias"]).abs().max()
    assert 1e-5 < float(moved) < 3.1e-4
    before = weights_of(host)
    host.update(tiny_batch(3))
    moved = (host.state_dict()["network.featurizer.1.weight"] - before["network.featurizer.1.weight"]).abs().max()
    assert float(moved) == pytest.approx(1e-2, rel=1e-3)  # the first step of a new Adam


def test_it_trains_like_erm_without_the_first_steps() -> None:
    host, erm = tiny_host("ERMPlusPlus", **NO_WARM_UP, ermpp_average_from=1), tiny_host("ERM")
    for step in range(3):
        assert torch.equal(host.update(tiny_batch(step, dropout=0.3)), erm.update(tiny_batch(step, dropout=0.3)))
    assert torch.equal(trained(host), trained(erm))


@pytest.mark.parametrize("average_from", [1, 3, 99])
def test_evaluation_predicts_by_the_mean_of_the_weights(average_from: int) -> None:
    host = tiny_host("ERMPlusPlus", convolutional_network(), **NO_WARM_UP, ermpp_average_from=average_from)
    history = [trained(host)]
    images = tiny_batch(side=8).images
    for step in range(5):
        host.train().update(tiny_batch(step, side=8))
        history.append(trained(host))
        first = min(average_from - 1, step + 1)
        expected = torch.stack(history[first:]).mean(0)
        twin = tiny_host("ERM", convolutional_network())
        torch.nn.utils.vector_to_parameters(expected, twin.network.parameters())
        torch.testing.assert_close(host.eval().predict(images), twin.predict(images), rtol=1e-9, atol=1e-9)


def test_training_mode_predicts_by_the_trained_weights() -> None:
    host = tiny_host("ERMPlusPlus", **NO_WARM_UP, ermpp_average_from=1)
    host.update(tiny_batch())
    images = tiny_batch(1).images
    assert not torch.equal(host.train().predict(images), host.eval().predict(images))
    for mode in (True, False):
        loss = host.train(mode).predict(images).sum()
        assert all(each is not None for each in torch.autograd.grad(loss, host.predict_parameters()))


def test_it_goes_on_after_a_resume() -> None:
    batches = [tiny_batch(step) for step in range(5)]
    assert_goes_on(lambda: tiny_host("ERMPlusPlus", ermpp_linear_steps=1, ermpp_average_from=3), batches)
