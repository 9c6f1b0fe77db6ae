"""SAGE's parts, each against its definition; a step of both is in `test_batch_statistics`."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from descents import assert_same
from tiny_hosts import convolutional_network, linear_network, tiny_batch, tiny_host

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.sage import polar_factor


def polar(matrix: torch.Tensor) -> torch.Tensor:
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (6, 2, 3, 3)])
def test_the_polar_factor_has_the_singular_vectors_and_values_near_one(shape: tuple[int, ...]) -> None:
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = polar_factor(gradient)
    assert found.shape == shape
    exact = polar(gradient.flatten(1))
    symmetric = found.flatten(1) @ exact.mT  # of the same singular vectors
    torch.testing.assert_close(symmetric, symmetric.mT, rtol=0, atol=1e-9)
    values = torch.linalg.svdvals(found.flatten(1))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


def test_the_polar_factor_does_not_depend_on_the_scale_and_is_zero_for_zero() -> None:
    gradient = torch.randn(4, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(polar_factor(1e4 * gradient), polar_factor(gradient), rtol=0, atol=1e-6)
    assert not polar_factor(torch.zeros(4, 7)).any()


def mean_loss(host: Algorithm, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(host.network(batch.images, batch.mask), batch.labels)


@pytest.mark.parametrize("relative", [False, True])
def test_without_noise_the_step_goes_along_the_gradient_after_the_spectral_ascent(relative: bool) -> None:
    batch = tiny_batch(dropout=0.3)
    host = tiny_host("SAGE", sage_gamma=0.0, sage_rho=0.2, sage_relative=relative)
    moved = copy.deepcopy(host)
    gradients = torch.autograd.grad(mean_loss(moved, batch), list(moved.network.parameters()))
    with torch.no_grad():
        for parameter, slope in zip(moved.network.parameters(), gradients, strict=True):
            if parameter.ndim == 1:
                parameter += 0.2 * slope / slope.norm()
            else:
                parameter += 0.2 * polar_factor(slope) * (parameter.norm() if relative else 1)
    expected = torch.autograd.grad(mean_loss(moved, batch), list(moved.network.parameters()))
    host.update(batch)
    for parameter, slope in zip(host.network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, slope, rtol=1e-8, atol=1e-11)


def test_the_noise_grows_with_the_disagreement_and_is_that_of_the_step() -> None:
    """The gradient with noise minus that without is alpha xi, with the same xi for every gamma."""
    batch, found = tiny_batch(), {}
    for gamma in (0.0, 0.5, 1.0):
        host = tiny_host("SAGE", linear_network(), sage_rho=0.0, sage_gamma=gamma)
        host.update(batch)
        found[gamma] = torch.cat([each.grad.flatten() for each in host.network.parameters()])  # type: ignore[union-attr]
    host = tiny_host("SAGE", linear_network())
    flat = []
    for minibatch in batch.minibatches:
        loss = F.cross_entropy(host.network(minibatch.images), minibatch.labels)
        slopes = torch.autograd.grad(loss, list(host.network.parameters()))
        flat.append(torch.cat([each.flatten() for each in slopes]))
    cosine = sum(F.cosine_similarity(flat[i], flat[j], dim=0) for i, j in ((0, 1), (0, 2), (1, 2))) / 3
    xi = (found[1.0] - found[0.0]) / (1 - cosine)
    torch.testing.assert_close(found[0.5] - found[0.0], (found[1.0] - found[0.0]) / 2)
    assert float(xi.mean()) == pytest.approx(0, abs=0.3)
    assert float(xi.std()) == pytest.approx(1, abs=0.2)


def test_domains_that_agree_have_no_noise() -> None:
    """So has one whose gradient is zero, where the cosine is undefined."""
    hosts = [tiny_host("SAGE", sage_gamma=gamma) for gamma in (0.0, 1.0)]
    batch = tiny_batch()
    for host in hosts:
        host.update(Batch(batch.minibatches[:1] * 3, lambda *_: None, batch.numbers))
    assert_same(*hosts, tolerance=1e-9)

    dead = [tiny_host("SAGE", sage_gamma=gamma) for gamma in (0.0, 1.0)]
    for host in dead:
        with torch.no_grad():
            host.network.classifier.weight.zero_()
            host.network.classifier.bias.copy_(torch.tensor([1e4, 0.0, 0.0]))
        first = type(batch.minibatches[0])(batch.minibatches[0].images, torch.zeros(4, dtype=torch.long))
        host.update(Batch([first] * 3, lambda *_: None, batch.numbers))
    assert_same(*dead, tolerance=0)


def test_the_weights_are_restored_to_the_bit_before_the_step() -> None:
    host, found = tiny_host("SAGE", convolutional_network(), sage_rho=0.3), []
    before = [each.detach().clone() for each in host.network.parameters()]
    host.optimizer.register_step_pre_hook(
        lambda *_: found.extend(each.detach().clone() for each in host.network.parameters())
    )
    host.update(tiny_batch(side=8))
    assert all(torch.equal(*pair) for pair in zip(before, found, strict=True))
