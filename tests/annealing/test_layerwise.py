"""All domains' gradients from one backward, against autograd's own, one domain at a time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import resnet18
from toy_model import ToyModel, fixed_choice, generator_of

from gga_sweep.annealing import GGA, STEP_MASK, search_step
from gga_sweep.annealing.layerwise import LayerwiseGradients
from gga_sweep.networks.builtin.small_cnn import small_cnn
from gga_sweep.networks.network import Network

ROWS = (4, 1, 3)


class Task:
    """A module and one concatenated batch of random inputs in float64; the domains have unequal numbers of rows."""

    def __init__(self, module: nn.Module, shape: Sequence[int], rows: Sequence[int] = ROWS, seed: int = 0) -> None:
        self.module, self.rows = module.double(), rows
        generator = torch.Generator().manual_seed(seed)
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.data.uniform_(0.1, 0.5, generator=generator)
                tensor.data *= 1 - 2 * torch.randint(2, tensor.shape, generator=generator) * tensor.requires_grad
        self.inputs = torch.randn(sum(rows), *shape, generator=generator, dtype=torch.float64)
        self.targets = torch.randn(sum(rows), generator=generator, dtype=torch.float64)

    def losses(self) -> Tensor:
        outputs = self.module(self.inputs).flatten(1).square().mean(1)
        squares = torch.split((outputs - self.targets).square(), list(self.rows))
        return torch.stack([part.mean() for part in squares])

    def written(self, parameters: Sequence[Tensor] | None = None) -> Tensor:
        chosen = list(self.module.parameters()) if parameters is None else parameters
        out = torch.full((len(self.rows), sum(each.numel() for each in chosen)), float("nan"), dtype=torch.float64)
        losses = LayerwiseGradients(self.module, chosen, self.rows).write(self.losses, out)
        torch.testing.assert_close(losses, self.losses().detach(), rtol=0, atol=0)
        assert not losses.requires_grad
        return out

    def reference(self, parameters: Sequence[Tensor] | None = None) -> Tensor:
        """A backward of every domain's rows alone."""
        chosen = list(self.module.parameters()) if parameters is None else parameters
        rows = []
        for images, targets in zip(self.inputs.split(self.rows), self.targets.split(self.rows), strict=True):
            outputs = self.module(images).flatten(1).square().mean(1)
            wanted = [each for each in chosen if each.requires_grad]
            parts = iter(torch.autograd.grad((outputs - targets).square().mean(), wanted, allow_unused=True))
            found = [next(parts) if each.requires_grad else None for each in chosen]
            filled = [
                torch.zeros_like(each) if part is None else part for each, part in zip(chosen, found, strict=True)
            ]
            rows.append(torch.cat([part.flatten() for part in filled]))
        return torch.stack(rows)


def _assert_equal(found: Tensor, expected: Tensor) -> None:
    """To 1e-12 of the largest entry of each domain's gradient."""
    assert float(((found - expected).abs().amax(1) / expected.abs().amax(1)).max()) < 1e-12


def _assert_task_is_split(task: Task, parameters: Sequence[Tensor] | None = None) -> None:
    _assert_equal(task.written(parameters), task.reference(parameters))


def _in_evaluation_mode(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return network


def test_a_toy_network_with_dropout_has_the_gradients_of_the_loop() -> None:
    model = ToyModel(loss_scales=(1.0, 3.0, 0.5))
    out = torch.empty(3, sum(parameter.numel() for parameter in model.parameters), dtype=torch.float64)
    split = LayerwiseGradients(model.module, model.parameters, model.rows)
    split.write(lambda: model.domain_losses(lambda _: STEP_MASK), out)
    parts = [torch.autograd.grad(model.domain_loss(domain, STEP_MASK), model.parameters) for domain in range(3)]
    _assert_equal(out, torch.stack([torch.cat([piece.flatten() for piece in part]) for part in parts]))


@pytest.mark.parametrize("size", [8, 28])
def test_the_small_cnn_is_split(size: int) -> None:
    _assert_task_is_split(Task(Network(*small_cnn((2, size, size)), 5), (2, size, size)))


def test_a_resnet_with_batch_norm_in_evaluation_mode_is_split() -> None:
    network = resnet18(num_classes=3).train()
    _assert_task_is_split(Task(_in_evaluation_mode(network), (3, 16, 16), rows=(2, 1)))


@given(
    groups=st.integers(1, 3),
    inputs=st.integers(1, 2),
    outputs=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    bias=st.booleans(),
    size=st.tuples(st.integers(5, 8), st.integers(5, 8)),
)
@settings(max_examples=25, deadline=None)
def test_any_convolution_is_split(
    groups: int,
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    bias: bool,
    size: tuple[int, int],
) -> None:
    convolution = nn.Conv2d(
        groups * inputs, groups * outputs, kernel, stride, padding, dilation, groups=groups, bias=bias
    )
    _assert_task_is_split(Task(nn.Sequential(convolution, nn.Tanh()), (groups * inputs, *size)))


class Twice(nn.Module):
    """Uses its layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(self.layer(inputs).tanh())


class Branches(nn.Module):
    """Two first layers, one of them without a gradient from the loss, and a layer that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.cut, self.idle = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.left(inputs).tanh() * self.right(inputs) + self.cut(inputs).detach()


class WithoutGraph(nn.Module):
    """Its first layer runs without a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.first(inputs)
        return self.last(features)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (Twice, (4,)),
        (Branches, (4,)),
        (WithoutGraph, (4,)),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2)), (4,)),
        (lambda: nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(inplace=True), nn.Linear(3, 2)), (4,)),
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True), nn.GroupNorm(2, 4)), (2, 5, 5)),
        (lambda: nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(2, 6), nn.Tanh()), (4,)),
        (lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), (5, 4)),
    ],
    ids=["twice", "branches", "without-graph", "in-place", "in-place-no-bias", "in-place-norm", "norm-1d", "sequence"],
)
def test_layers_are_split_however_they_are_put_together(
    module: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    _assert_task_is_split(Task(module(), shape))


@pytest.mark.parametrize("frozen", [["0.weight"], ["0.bias"], ["0.weight", "0.bias"], ["2.weight"], ["4.bias"]])
def test_a_frozen_parameter_counts_as_zero(frozen: list[str]) -> None:
    layers = nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(36, 2)
    task = Task(nn.Sequential(*layers), (2, 5, 5))
    for name in frozen:
        task.module.get_parameter(name).requires_grad_(False)
    _assert_task_is_split(task)
    assert [name for name, each in task.module.named_parameters() if not each.requires_grad] == frozen


@pytest.mark.parametrize("chosen", [["2.weight", "2.bias"], ["2.weight"], ["4.weight", "0.bias"], ["0.weight"]])
def test_parameters_that_are_not_requested_change_nothing(chosen: list[str]) -> None:
    task = Task(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)), (4,))
    _assert_task_is_split(task, [task.module.get_parameter(name) for name in chosen])
    assert all(parameter.requires_grad for parameter in task.module.parameters())


def test_no_gradient_and_no_hook_is_left_behind() -> None:
    task = Task(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), (4,))
    task.written()
    assert all(parameter.grad is None for parameter in task.module.parameters())
    assert not any(layer._forward_hooks for layer in task.module.modules())


def test_no_hook_is_left_after_an_error() -> None:
    task = Task(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), (4,))

    def failing() -> Tensor:
        task.losses()
        raise RuntimeError("out of memory, says the device")

    split = LayerwiseGradients(task.module, list(task.module.parameters()), ROWS)
    with pytest.raises(RuntimeError, match="out of memory"):
        split.write(failing, torch.empty(3, 23, dtype=torch.float64))
    assert not any(layer._forward_hooks for layer in task.module.modules())
    assert all(parameter.requires_grad for parameter in task.module.parameters())


def test_activations_are_freed_without_the_garbage_collector() -> None:
    task = Task(nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2)), (4,))
    seen: list[weakref.ref[Tensor]] = []
    task.module[0].register_forward_hook(lambda _, __, output: seen.append(weakref.ref(output)))
    gc.disable()
    try:
        task.written()
        assert [output() for output in seen] == [None, None]
    finally:
        gc.enable()


class Shared(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.one.weight


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        (Shared, "a parameter stands in several layers"),
        (lambda: nn.Sequential(nn.Embedding(3, 2)), r"0 \(Embedding\): only Linear, Conv2d, GroupNorm, BatchNorm2d"),
        (lambda: nn.BatchNorm2d(2).train(), r"the model \(BatchNorm2d\): .* it must be in evaluation mode"),
        (lambda: nn.BatchNorm2d(2, track_running_stats=False).eval(), "batch statistics couple the rows"),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, affine=False)),
            r"1 \(BatchNorm2d\): batch statistics couple the rows",
        ),
        (lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), "padding must be zeros, in pixels"),
        (lambda: nn.Conv2d(1, 2, 3, padding="same"), "padding must be zeros, in pixels"),
    ],
)
def test_a_model_whose_rows_cannot_be_split_is_refused(module: Callable[[], nn.Module], fault: str) -> None:
    built = module()
    with pytest.raises(ValueError, match=f"'layerwise' cannot split this model, use 'loop': .*{fault}"):
        LayerwiseGradients(built, list(built.parameters()), ROWS)


def test_a_parameter_outside_the_module_is_refused() -> None:
    with pytest.raises(ValueError, match="a parameter stands in no layer of the model"):
        LayerwiseGradients(nn.Linear(2, 2), [nn.Parameter(torch.ones(2))], ROWS)


def test_every_fault_of_a_model_is_named() -> None:
    layers = nn.Sequential(nn.Embedding(3, 2), nn.BatchNorm2d(2))
    with pytest.raises(ValueError, match=r"0 \(Embedding\).*; 1 \(BatchNorm2d\)"):
        LayerwiseGradients(layers, list(layers.parameters()), ROWS)


def test_batch_norm_that_learns_from_the_batch_is_refused_by_the_search() -> None:
    model = ToyModel(batch_norm=True)
    how = GGA(start_step=0, num_steps=1, radius=0.1, num_candidates=1, domain_gradients="layerwise")
    with pytest.raises(ValueError, match=r"featurizer.1 \(BatchNorm1d\)"):
        search_step(model, model.parameters, model.parameters, model.buffers, generator_of(0), fixed_choice(), how)


def test_one_domain_of_the_batch_does_not_touch_another() -> None:
    task = Task(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), (4,))
    before = task.written()
    task.inputs[4:5] += 1.0
    after = task.written()
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.equal(before[1], after[1])
    assert F.cosine_similarity(before[1], after[1], dim=0) < 1
