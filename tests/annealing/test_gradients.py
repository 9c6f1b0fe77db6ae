"""Per-domain gradients, against ordinary backward passes and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_model import ToyModel

from gga_sweep.annealing import STEP_MASK, domain_gradients
from gga_sweep.annealing.gradients import empty_gradients
from gga_sweep.annealing.isolation import Buffers


def _through_backward(model: ToyModel, domain: int) -> torch.Tensor:
    model.network.zero_grad(set_to_none=True)
    model.domain_loss(domain, STEP_MASK).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters if parameter.grad is not None])


def test_each_row_is_the_gradient_that_backward_gives() -> None:
    model = ToyModel()
    vectors, losses = domain_gradients(lambda domain: model.domain_loss(domain, STEP_MASK), 3, model.parameters)
    for domain in range(3):
        torch.testing.assert_close(vectors[domain], _through_backward(model, domain), rtol=0, atol=0)
        assert float(losses[domain]) == model.domain_loss(domain, STEP_MASK).item()
    assert not losses.requires_grad


def test_a_gradient_entry_is_a_finite_difference() -> None:
    model = ToyModel()
    weight = model.parameters[0]
    vectors, losses = domain_gradients(lambda domain: model.domain_loss(domain, STEP_MASK), 3, model.parameters)
    with torch.no_grad():
        weight[0, 1] += 1e-6
    raised = model.domain_loss(2, STEP_MASK).item()
    assert (raised - float(losses[2])) / 1e-6 == pytest.approx(float(vectors[2, 1]), rel=1e-4)


def test_dot_grad_is_never_touched() -> None:
    model = ToyModel()
    domain_gradients(lambda domain: model.domain_loss(domain, STEP_MASK), 3, model.parameters)
    assert all(parameter.grad is None for parameter in model.parameters)
    kept = [torch.full_like(parameter, 7.0) for parameter in model.parameters]
    for parameter, gradient in zip(model.parameters, kept, strict=True):
        parameter.grad = gradient
    domain_gradients(lambda domain: model.domain_loss(domain, STEP_MASK), 3, model.parameters)
    for parameter, gradient in zip(model.parameters, kept, strict=True):
        assert parameter.grad is gradient
        assert bool((gradient == 7.0).all())


def test_frozen_and_unused_parameters_count_as_zero() -> None:
    model = ToyModel()
    unused = nn.Parameter(torch.ones(4, dtype=torch.float64))
    model.network.classifier.bias.requires_grad_(False)
    parameters = [unused, *model.parameters]
    vectors, _ = domain_gradients(lambda domain: model.domain_loss(domain, STEP_MASK), 3, parameters)
    assert vectors.shape == (3, 4 + sum(parameter.numel() for parameter in model.parameters))
    assert not vectors[:, :4].any()
    assert not vectors[:, -3:].any()
    assert bool(vectors[:, 4:-3].any(dim=1).all())
    assert not model.network.classifier.bias.requires_grad


def test_no_domain_sees_the_buffers_another_left() -> None:
    model = ToyModel(batch_norm=True)
    mean, _, counter = model.buffers
    seen = []

    def loss_of(domain: int) -> torch.Tensor:
        seen.append((mean.clone(), int(counter)))
        return model.domain_loss(domain, STEP_MASK)

    domain_gradients(loss_of, 3, model.parameters, Buffers(model.buffers))
    assert [count for _, count in seen] == [0, 0, 0]
    assert all(torch.equal(value, torch.zeros_like(value)) for value, _ in seen)
    domain_gradients(loss_of, 3, model.parameters)  # not asked to restore them, it does not
    assert [count for _, count in seen[3:]] == [0, 1, 2]


def test_gradients_are_taken_inside_no_grad_too() -> None:
    model = ToyModel()
    with torch.no_grad():
        vectors, _ = domain_gradients(lambda domain: model.domain_loss(domain, STEP_MASK), 3, model.parameters)
    torch.testing.assert_close(vectors[1], _through_backward(model, 1), rtol=0, atol=0)


def test_parameters_that_are_all_frozen_are_refused() -> None:
    model = ToyModel()
    model.network.requires_grad_(False)
    with pytest.raises(ValueError, match="must require a gradient, got 4 that do not"):
        domain_gradients(lambda domain: model.domain_loss(domain, STEP_MASK), 3, model.parameters)


def test_gradients_are_written_where_there_is_room_for_them() -> None:
    model = ToyModel()
    room = empty_gradients(3, model.parameters).fill_(torch.nan)
    vectors, _ = domain_gradients(lambda domain: model.domain_loss(domain, STEP_MASK), 3, model.parameters, out=room)
    assert vectors is room
    torch.testing.assert_close(vectors[2], _through_backward(model, 2), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ([torch.bfloat16, torch.float16], torch.float32),
        ([torch.float32], torch.float32),
        ([torch.float32, torch.float64], torch.float64),
    ],
)
def test_gradients_are_held_in_float32_at_least(dtypes: list[torch.dtype], expected: torch.dtype) -> None:
    parameters = [nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in dtypes]
    vectors, losses = domain_gradients(lambda _: sum(each.double().sum() for each in parameters), 2, parameters)
    assert (vectors.dtype, losses.dtype) == (expected, torch.float64)
    assert torch.equal(vectors, torch.ones_like(vectors))
