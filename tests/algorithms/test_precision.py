"""The precision of updates: what is computed in it, what is not, and what it leaves behind."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tiny_hosts import convolutional_network, tiny_batch, tiny_host
from torch import Tensor, nn

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.precision import computing_in, require_precision
from gga_sweep.datasets import Minibatch
from gga_sweep.errors import InputError
from gga_sweep.records import Scalar
from gga_sweep.training.fingerprint import arithmetic

LEAST_COSINE = 0.95
"""Between a host's gradient in bfloat16 and in float32. A mask of signs flips where an entry is near zero."""

LARGEST_ERROR = 0.03
"""Of a loss in bfloat16, which has 8 bits of mantissa, relative to that in float32."""

EARLY: dict[str, dict[str, Scalar]] = {
    "IRM": {"irm_penalty_anneal_iters": 0, "irm_lambda": 3.0},
    "VREx": {"vrex_penalty_anneal_iters": 0},
    "Fishr": {"fishr_penalty_anneal_iters": 0, "fishr_lambda": 10.0},
    "EQRM": {"eqrm_burnin_iters": 0, "eqrm_lr": 1e-4},
    "ERMPlusPlus": {"ermpp_linear_steps": -1},
}
"""Penalties from the first step on."""


def host_of(name: str, precision: str = "float32", **hyperparameters: Scalar) -> Algorithm:
    network = convolutional_network(ALGORITHMS[name].load().EXTRA_CHANNELS)
    values: dict[str, Scalar] = {"lr": 1e-4, **EARLY.get(name, {}), **hyperparameters}  # inner steps stay near
    host = tiny_host(name, network, **values).float()
    host.precision = precision  # type: ignore[assignment]
    return host


def batch_of(rows: int = 8) -> Batch:
    exact = tiny_batch(rows=rows, side=8)
    minibatches = [Minibatch(each.images.float(), each.labels) for each in exact.minibatches]
    return Batch(minibatches, lambda *_: None, exact.numbers)


def update(host: Algorithm, batch: Batch | None = None) -> tuple[Tensor, Tensor]:
    """The loss, and the gradient of the featurizer and classifier as one vector."""
    with host.in_precision():
        loss = host.update(batch or batch_of())
    grads = [each.grad for each in host.predict_parameters() if each.grad is not None]
    return loss, torch.cat([grad.flatten() for grad in grads])


@pytest.fixture
def seen_logits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.dtype, bool]]:
    """Of every cross-entropy: the type of its logits, and whether it runs under autocast."""
    seen = []
    cross_entropy = F.cross_entropy

    def watched(logits: Tensor, *rest: Tensor) -> Tensor:
        seen.append((logits.dtype, torch.is_autocast_enabled("cpu")))
        return cross_entropy(logits, *rest)

    monkeypatch.setattr(F, "cross_entropy", watched)
    return seen


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_steps_in_bfloat16_near_its_step_in_float32(
    name: str, seen_logits: list[tuple[torch.dtype, bool]]
) -> None:
    exact_loss, exact = update(host_of(name))
    host = host_of(name, "bfloat16")
    loss, gradient = update(host)

    assert torch.isfinite(loss)
    assert abs(float(loss - exact_loss)) <= LARGEST_ERROR * abs(float(exact_loss))
    assert not torch.equal(gradient, exact)
    assert float(F.cosine_similarity(gradient, exact, dim=0)) >= LEAST_COSINE
    # weights, state, loss and gradient are float32, and so is all that is computed from the features
    floating = [each for each in (loss, gradient, *host.state_dict().values()) if isinstance(each, Tensor)]
    assert {each.dtype for each in floating if each.is_floating_point()} == {torch.float32}
    assert set(seen_logits) == {(torch.float32, False)}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_block_in_bfloat16_leaves_no_hooks(name: str) -> None:
    host = host_of(name, "bfloat16")
    update(host)
    for module in host.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_an_inner_step_computes_with_the_weights_that_it_moved() -> None:
    """Autocast's cache would return casts of the weights as they were before the ascent."""
    host, batch = host_of("SAM", "bfloat16", sam_rho=5.0), batch_of()
    twin = copy.deepcopy(host.network)
    _, found = update(host, batch)

    def gradient(network: nn.Module) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            features = network.featurizer(batch.images).float()
        loss = F.cross_entropy(network.classifier(features), batch.labels)
        return list(torch.autograd.grad(loss, list(network.parameters())))

    first = gradient(twin)
    length = torch.cat([each.flatten() for each in first]).norm()
    with torch.no_grad():
        for parameter, slope in zip(twin.parameters(), first, strict=True):
            parameter += 5.0 * slope / length
    expected = torch.cat([each.flatten() for each in gradient(twin)])
    assert float(F.cosine_similarity(found, expected, dim=0)) > 0.999
    assert float(F.cosine_similarity(found, torch.cat([each.flatten() for each in first]), dim=0)) < 0.99


def test_evaluations_have_the_precision_and_predictions_do_not() -> None:
    host, images = host_of("ERM", "bfloat16").eval(), batch_of().images
    exact = host.predict(images)
    reduced = host.evaluated_logits(images)

    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, exact)
    assert torch.allclose(reduced, exact, atol=0.05)
    host.precision = "float32"
    assert torch.equal(host.evaluated_logits(images), exact)


def test_tf32_is_allowed_to_convolutions_within_the_block_alone() -> None:
    with arithmetic(1):
        with pytest.raises(ZeroDivisionError), computing_in("tf32", []):  # noqa: PT012
            assert torch.backends.cudnn.allow_tf32
            assert not torch.backends.cuda.matmul.allow_tf32
            raise ZeroDivisionError
        assert not torch.backends.cudnn.allow_tf32


def test_an_error_in_a_forward_leaves_no_autocast() -> None:
    layer = nn.Linear(3, 2)
    with pytest.raises(RuntimeError, match="shapes"), computing_in("bfloat16", [layer]):
        layer(torch.ones(1, 4))
    assert not torch.is_autocast_enabled("cpu")
    assert layer(torch.ones(1, 3)).dtype == torch.float32


def test_bfloat16_on_a_gpu_without_it_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    gpu = torch.device("cuda")

    rule = r"compute capability 8.0 \(Ampere\) or later; Tesla T4 has 7.5.*bfloat16.*float32, tf32"
    with pytest.raises(InputError, match=rule):
        require_precision("bfloat16", gpu)
    require_precision("tf32", gpu)
    require_precision("bfloat16", torch.device("cpu"))
