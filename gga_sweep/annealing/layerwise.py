"""All domains' gradients from one forward and one backward of the concatenated batch.

In the layers supported here the rows of a batch do not mix, so the backward of the summed domain losses gives
each row the gradient of its own domain's loss. Only the weights sum over rows: their gradients are computed here, layer
by layer while the backward passes, from the rows of one domain at a time. Forward and backward run at the size of the
whole batch, and nothing is computed twice (except one bias or weight of the first layer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.annealing.flat import pieces

_FEW_PIXELS = 4
_SHOWN_FAULTS = 3
"""Pixels of a convolution's output up to which its weight gradient is faster as a matrix product on a CPU."""


class LayerwiseGradients:
    """The gradients of each domain's loss by the parameters of a module's layers.

    Args:
        module: holds the parameters, each in one layer: `Linear`, `Conv2d`, `GroupNorm`, or batch norm in evaluation
            mode. What has no parameters may be anything that keeps the rows of a batch apart.
        parameters: to differentiate by; one that requires no gradient, or is not reached, has gradient zero.
        rows: images of each domain, in the order of the concatenated batch.

    Raises:
        ValueError: if a parameter is in no layer, in several, or in one whose rows cannot be split.
    """

    def __init__(self, module: nn.Module, parameters: Sequence[Tensor], rows: Sequence[int]) -> None:
        self._parameters = tuple(parameters)
        self._rows = tuple(rows)
        self._layers = layers_with(module, parameters)
        asked_for = set(map(id, parameters))
        self._others = [each for each in module.parameters() if each.requires_grad and id(each) not in asked_for]

    def write(self, domain_losses: Callable[[], Tensor], out: Tensor) -> Tensor:
        """Compute the losses and their gradients.

        Args:
            domain_losses: one forward of the concatenated batch through the module; each domain's mean loss,
                (n_domains,).
            out: (n_domains, entries), overwritten with the gradients.

        Returns:
            The losses, (n_domains,), without graph.
        """
        names = [id(parameter) for parameter in self._parameters]
        places = [dict(zip(names, pieces(row, self._parameters), strict=True)) for row in out]
        backward = _Backward(self._rows, places)
        with torch.enable_grad(), _frozen(self._others):
            with backward.watching(self._layers) as first:
                losses = domain_losses()
            if first:
                torch.autograd.grad(losses.sum(), [each.tensor() for each in first], allow_unused=True)
        backward.zero_what_was_not_reached()
        return losses.detach()


class _FirstOutput(NamedTuple):
    """The output of a layer with nothing to differentiate in front of it."""

    layer: nn.Module
    output: Tensor
    made_by: object

    def tensor(self) -> Tensor:
        """The tensor to differentiate by, so that autograd stops at this layer."""
        overwritten = self.output.grad_fn is not self.made_by
        return min(_trainable(self.layer), key=Tensor.numel) if overwritten else self.output


class _Backward:
    """One backward pass, and where it writes: by domain, the identity of a parameter -> its piece of the gradient."""

    def __init__(self, rows: Sequence[int], places: list[dict[int, Tensor]]) -> None:
        self._rows = list(rows)
        self._places = places
        self._reached: set[int] = set()

    @contextmanager
    def watching(self, layers: Sequence[nn.Module]) -> Iterator[list[_FirstOutput]]:
        """During a forward. Gives the outputs of the first layers, not kept here: their hooks hold this object."""
        first: list[_FirstOutput] = []
        handles = [layer.register_forward_hook(partial(self._watch, first)) for layer in layers]
        try:
            yield first
        finally:
            for handle in handles:
                handle.remove()

    def zero_what_was_not_reached(self) -> None:
        for places in self._places:
            for parameter, piece in places.items():
                if parameter not in self._reached:
                    piece.zero_()

    def _watch(self, first: list[_FirstOutput], layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not output.requires_grad:
            return
        (x,) = inputs
        if not x.requires_grad:
            first.append(_FirstOutput(layer, output, output.grad_fn))
        rows = x.detach()
        output.register_hook(lambda gradient: self._write(layer, rows, gradient.detach()))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _write(self, layer: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
        parameters = (layer.weight, layer.bias)
        for places, gradients in zip(
            self._places, _SPLITS[type(layer)](layer, inputs, outputs, self._rows), strict=True
        ):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if parameter is None or gradient is None or not parameter.requires_grad:
                    continue
                if id(parameter) in self._reached:  # the layer was used before in this forward
                    places[id(parameter)].add_(gradient)
                else:
                    places[id(parameter)].copy_(gradient)
        self._reached.update(map(id, _trainable(layer)))


Split = Iterator[tuple[Tensor | None, Tensor | None]]
"""For each domain the gradients of a layer's weight and bias."""


def _split_linear(layer: nn.Linear, inputs: Tensor, outputs: Tensor, rows: list[int]) -> Split:
    for x, dy in zip(torch.split(inputs, rows), torch.split(outputs, rows), strict=True):
        flat = dy.flatten(0, -2)
        yield flat.T @ x.flatten(0, -2), flat.sum(0)


def _split_convolution(layer: nn.Conv2d, inputs: Tensor, outputs: Tensor, rows: list[int]) -> Split:
    split = _convolution_gradients
    if layer.groups == 1 and inputs.device.type == "cpu" and outputs.shape[2:].numel() <= _FEW_PIXELS:
        split = _convolution_gradients_as_product
    for x, dy in zip(torch.split(inputs, rows), torch.split(outputs, rows), strict=True):
        yield split(layer, x, dy)


def _convolution_gradients(layer: nn.Conv2d, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
    how = ([layer.out_channels], layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups)
    wanted = (False, True, layer.bias is not None)
    _, weight, bias = torch.ops.aten.convolution_backward(outputs, inputs, layer.weight, *how, wanted)
    return weight, bias


def _convolution_gradients_as_product(layer: nn.Conv2d, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """(out, rows * pixels) @ (rows * pixels, in * kernel)."""
    windows = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
    slopes = outputs.transpose(0, 1).flatten(1)
    return (slopes @ windows.transpose(1, 2).flatten(0, 1)).view(layer.weight.shape), slopes.sum(1)


def _split_norm(
    layer: nn.GroupNorm | nn.modules.batchnorm._BatchNorm, inputs: Tensor, outputs: Tensor, rows: list[int]
) -> Split:
    if isinstance(layer, nn.GroupNorm):
        normalised = F.group_norm(inputs, layer.num_groups, eps=layer.eps)
    else:
        normalised = F.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)
    scales = torch.split(_sum_of_pixels(outputs * normalised), rows)
    shifts = torch.split(_sum_of_pixels(outputs), rows)
    for scale, shift in zip(scales, shifts, strict=True):
        yield scale.sum(0), shift.sum(0)


def _sum_of_pixels(values: Tensor) -> Tensor:
    """(rows, channels, any or none) -> (rows, channels)."""
    return values.reshape(*values.shape[:2], -1).sum(2)


_SPLITS: Mapping[type[nn.Module], Callable[..., Split]] = MappingProxyType(
    {
        nn.Linear: _split_linear,
        nn.Conv2d: _split_convolution,
        nn.GroupNorm: _split_norm,
        nn.BatchNorm2d: _split_norm,
    }
)


def _trainable(layer: nn.Module) -> list[Tensor]:
    return [parameter for parameter in layer.parameters(recurse=False) if parameter.requires_grad]


@contextmanager
def _frozen(parameters: Sequence[Tensor]) -> Iterator[None]:
    """A parameter that needs no gradient must not make autograd go further back."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def layers_with(module: nn.Module, parameters: Sequence[Tensor]) -> list[nn.Module]:
    """The layers that hold the parameters.

    Raises:
        ValueError: a parameter is in no layer, in several, or in one whose rows cannot be split.
    """
    wanted = {id(parameter) for parameter in parameters if parameter.requires_grad}
    held = {
        name: wanted & {id(each) for each in layer.parameters(recurse=False)} for name, layer in module.named_modules()
    }
    reasons = {
        f"{name or 'the model'} ({type(layer).__name__})": _why_not(layer, bool(held[name]))
        for name, layer in module.named_modules()
    }
    faults = [f"{name}: {why}" for name, why in reasons.items() if why]
    if sum(map(len, held.values())) > len(set().union(*held.values())):
        faults.append("a parameter stands in several layers")
    if wanted - set().union(*held.values()):
        faults.append("a parameter stands in no layer of the model")
    if faults:
        more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
        shown = "; ".join(faults[:_SHOWN_FAULTS])
        raise ValueError(f"domain_gradients 'layerwise' cannot split this model, use 'loop': {shown}{more}")
    return [layer for name, layer in module.named_modules() if held[name]]


def _why_not(layer: nn.Module, has_parameters: bool) -> str | None:
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and (layer.training or layer.running_mean is None):
        return "batch statistics couple the rows; it must be in evaluation mode"
    if not has_parameters:
        return None
    if type(layer) not in _SPLITS:
        return f"only {', '.join(kind.__name__ for kind in _SPLITS)} are known"
    if isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
        return "padding must be zeros, in pixels"
    return None
