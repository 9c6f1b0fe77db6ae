"""The gradient of each domain's loss, as one flat vector per domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gga_sweep.annealing.flat import entry_count, pieces, working_dtype
from gga_sweep.annealing.isolation import Buffers


class DomainGradients(NamedTuple):
    """The gradients, (n_domains, entries) in float32 or float64, and each domain's loss, (n_domains,) in float64."""

    vectors: Tensor
    losses: Tensor


def domain_gradients(
    domain_loss: Callable[[int], Tensor],
    n_domains: int,
    parameters: Sequence[Tensor],
    buffers: Buffers | None = None,
    out: Tensor | None = None,
) -> DomainGradients:
    """One forward and one backward per domain, by `torch.autograd.grad`: no `.grad` is touched and no graph is kept.

    Args:
        domain_loss: returns the scalar loss of domain 0 .. n_domains - 1.
        parameters: to differentiate by. One without gradient (frozen, or unused by a domain) has gradient zero.
        buffers: restored after each domain, so that no domain depends on the forward of another.
        out: (n_domains, entries), overwritten and returned as the vectors; a new tensor where it is None.

    Raises:
        ValueError: if no parameter requires a gradient.
    """
    vectors = empty_gradients(n_domains, parameters) if out is None else out
    kept = Buffers() if buffers is None else buffers
    losses = []
    for domain in range(n_domains):
        with torch.enable_grad(), kept.unchanged():
            loss = domain_loss(domain)
            _write_gradient(loss, parameters, vectors[domain])
        losses.append(loss.detach().double())
    return DomainGradients(vectors, torch.stack(losses))


def empty_gradients(n_domains: int, parameters: Sequence[Tensor]) -> Tensor:
    """An uninitialised (n_domains, entries) tensor on the first parameter's device, for `out`.

    Raises:
        ValueError: if no parameter requires a gradient.
    """
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(f"at least one parameter must require a gradient, got {len(parameters)} that do not")
    return torch.empty(n_domains, entry_count(parameters), dtype=working_dtype(parameters), device=parameters[0].device)


def _write_gradient(loss: Tensor, parameters: Sequence[Tensor], out: Tensor) -> None:
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = iter(torch.autograd.grad(loss, wanted, allow_unused=True))
    for parameter, piece in zip(parameters, pieces(out, parameters), strict=True):
        gradient = next(gradients) if parameter.requires_grad else None
        if gradient is None:
            piece.zero_()
        else:
            piece.copy_(gradient)
