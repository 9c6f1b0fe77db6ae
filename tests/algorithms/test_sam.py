"""The sharpness methods against their ascent and descent written out on flat vectors."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_domain import network_whose_gradients_share_memory
from small_runs import batch_norm_featurizer
from tiny_hosts import adam_after, linear_network, tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sam(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return second


def gsam(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    direction = second / np.linalg.norm(second)
    orthogonal = first - (first @ direction) * direction
    return second - 0.4 * orthogonal


def sagm(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first + second) / 2


METHODS: dict[str, tuple[dict[str, Scalar], float, Combine]] = {
    "SAM": ({"sam_rho": 0.3}, 0.0, sam),
    "GSAM": ({"sam_rho": 0.3, "gsam_alpha": 0.4}, 0.0, gsam),
    "SAGM": ({"sam_rho": 0.3, "sagm_alpha": 0.2}, 0.2, sagm),
}
"""Hyperparameters, by how many gradients the ascent is drawn back, what is descended by."""

every_method = pytest.mark.parametrize("name", METHODS)


def gradient_at(network: Network, weights: np.ndarray, batch: Batch) -> tuple[np.ndarray, float]:
    moved = copy.deepcopy(network)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights), moved.parameters())
    loss = F.cross_entropy(moved(batch.images, batch.mask), batch.labels)
    gradients = torch.autograd.grad(loss, list(moved.parameters()))
    return torch.cat([each.flatten() for each in gradients]).numpy(), loss.item()


def flat(network: Network) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in network.parameters()])


@every_method
@pytest.mark.parametrize("network", [linear_network, network_whose_gradients_share_memory])
def test_a_step_goes_along_what_it_makes_of_both_gradients(name: str, network: Callable[[], Network]) -> None:
    own, drawn_back, combine = METHODS[name]
    batch, host = tiny_batch(dropout=0.5), tiny_host(name, network(), **own)
    before = flat(host.network)
    first, loss = gradient_at(host.network, before.numpy(), batch)
    second, _ = gradient_at(host.network, before.numpy() + (0.3 / np.linalg.norm(first) - drawn_back) * first, batch)
    expected = torch.from_numpy(combine(first, second))
    assert host.update(batch).item() == pytest.approx(loss, rel=1e-12)
    followed = torch.cat([each.grad.flatten() for each in host.network.parameters()])  # type: ignore[union-attr]
    torch.testing.assert_close(followed, expected, rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(flat(host.network), adam_after(before, followed), rtol=1e-12, atol=1e-12)


@every_method
def test_the_step_starts_from_the_weights_of_before_to_the_bit(name: str) -> None:
    host = tiny_host(name, **METHODS[name][0])
    before, found = flat(host.network), []
    host.optimizer.register_step_pre_hook(lambda *_: found.append(flat(host.network)))
    host.update(tiny_batch())
    assert [torch.equal(each, before) for each in found] == [True]


@every_method
def test_running_statistics_are_written_once_a_step(name: str) -> None:
    ends = []
    for host_name, own in ((name, METHODS[name][0]), ("ERM", {})):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = Network(*batch_norm_featurizer((1, 4, 4)), 3).double()
            host = tiny_host(host_name, network, **own)
            host.update(tiny_batch())
        ends.append(dict(network.named_buffers()))
    torch.testing.assert_close(*ends, rtol=0, atol=0)
