"""RSC against its three equations, image by image, with numpy's percentiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from descents import assert_descends
from tiny_hosts import tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.rsc import _highest
from gga_sweep.networks.network import Network


def softmax(logits: Any) -> Any:
    return np.exp(logits) / np.exp(logits).sum()


def kept_features(network: Network, features: Any, labels: list[int], f_drop: float, b_drop: float) -> Any:
    """Zeros and ones, (images, features)."""
    weight, bias = (each.detach().numpy() for each in (network.classifier.weight, network.classifier.bias))
    kept, lost = [], []
    for feature, label in zip(features, labels, strict=True):
        gradient = weight[label]  # of logit = weight[label] . feature + bias[label]
        keep = gradient < np.percentile(gradient, 100 * (1 - f_drop))
        kept.append(keep)
        before = softmax(weight @ feature + bias)[label]
        lost.append(before - softmax(weight @ (feature * keep) + bias)[label])
    threshold = np.percentile(lost, 100 * (1 - b_drop))
    return np.array([keep if loss >= threshold else np.ones_like(keep) for keep, loss in zip(kept, lost, strict=True)])


def loss_by_definition(network: Network, batch: Batch, f_drop: float, b_drop: float) -> torch.Tensor:
    features = network.featurizer(batch.images)
    features = features if batch.mask is None else features * batch.mask
    kept = kept_features(network, features.detach().numpy(), batch.labels.tolist(), f_drop, b_drop)
    losses = []
    for feature, keep, label in zip(features, kept, batch.labels, strict=True):
        logits = network.classifier(feature * torch.from_numpy(keep.astype(float)))
        losses.append(torch.logsumexp(logits, dim=0) - logits[label])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(("f_drop", "b_drop"), [(1 / 3, 1 / 3), (0.5, 0.1), (0.1, 0.5), (0.0, 0.0), (1.0, 1.0)])
def test_a_step_descends_the_loss_of_muted_features(f_drop: float, b_drop: float, dropout: float) -> None:
    batch = tiny_batch(5, dropout=dropout)
    host = tiny_host("RSC", rsc_f_drop_factor=f_drop, rsc_b_drop_factor=b_drop)
    assert_descends(host, batch, lambda network: loss_by_definition(network, batch, f_drop, b_drop))


@pytest.mark.parametrize("size", [1, 2, 5, 64, 97])
def test_what_is_muted_are_the_values_not_below_numpys_percentile(size: int) -> None:
    for seed, share in enumerate([0.0, 0.05, 1 / 3, 0.25, 0.5, 0.77, 1.0]):
        values = np.random.default_rng(seed).normal(size=(20, size))
        expected = values >= np.percentile(values, 100 * (1 - share), axis=1, keepdims=True)
        assert (_highest(torch.from_numpy(values), share).numpy() == expected).all()


def test_nothing_is_muted_where_it_predicts() -> None:
    host, images = tiny_host("RSC"), tiny_batch().images
    assert torch.equal(host.predict(images), host.network(images))
