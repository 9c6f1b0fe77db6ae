"""The direction of the variant `guided`: the gradient of the objective."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import Parameter
from torch.nn.attention import SDPBackend, sdpa_kernel

from gga_sweep.annealing.agreement import dot_products, least_aligned_pair
from gga_sweep.annealing.flat import chunks, entry_count, pieces
from gga_sweep.annealing.options import Objective
from gga_sweep.annealing.scoring import DrawOf, Scorer

_DEAD_END = "torch::autograd::Error"
"""The node of a derivative marked `once_differentiable`. The graph ends there: if gradients of certain inputs are
requested, autograd skips the node without an error, and treats the derivative as a constant."""

_NO_SECOND_DERIVATIVE = (
    "direction 'gradient' (variant guided) needs second derivatives, and an operation of the model has none: {}. "
    "Use direction 'random', or an operation that can be differentiated twice"
)


def ascent_signs(
    objective: Objective,
    scorer: Scorer,
    draw_of: DrawOf,
    scored: Sequence[Parameter],
    perturbed: Sequence[Parameter],
) -> Tensor:
    """The signs of the direction of steepest ascent of the objective, at the point that the scorer measured last.

    Args:
        objective: `alignment` and `none` ascend the alignment, `anti` descends it, `loss` descends the joint loss.
        draw_of: the masks of that measurement.

    Returns:
        (entries of `perturbed`,) of int8. 0 where the gradient is, and on a parameter that is not scored.

    Raises:
        ValueError: if an operation of the model has no second derivative.
    """
    if objective == "loss":
        return _signs(-scorer.vectors.mean(dim=0), scored, perturbed)
    gradient = alignment_gradient(scorer, draw_of, scored)
    return _signs(-gradient if objective == "anti" else gradient, scored, perturbed)


def alignment_gradient(scorer: Scorer, draw_of: DrawOf, scored: Sequence[Parameter]) -> Tensor:
    """The gradient of the smallest cosine, (entries of `scored`,), in the memory of the domains' gradients.

    With unit gradients a, b of domains i, j and their cosine c: dc = <(b - c a) / |g_i|, dg_i> + <(a - c b) / |g_j|,
    dg_j>, where dg follows from the Hessian of a domain's loss: two Hessian-vector products, each by a double backward.
    """
    gradients = scorer.vectors
    products = dot_products(gradients)
    i, j = least_aligned_pair(products)
    _differentiate_cosine(gradients[i], gradients[j], products[[i, j]][:, [i, j]])
    for domain in (i, j):
        # Fused attention has no second derivative.
        with sdpa_kernel(SDPBackend.MATH), scorer.domain_loss(domain, draw_of) as loss:
            _multiply_by_hessian(loss, scored, gradients[domain])
    return gradients[i].add_(gradients[j])


def _signs(gradient: Tensor, scored: Sequence[Parameter], perturbed: Sequence[Parameter]) -> Tensor:
    found = dict(zip(map(id, scored), pieces(gradient, scored), strict=True))
    signs = torch.zeros(entry_count(perturbed), dtype=torch.int8, device=gradient.device)
    for parameter, piece in zip(perturbed, pieces(signs, perturbed), strict=True):
        if id(parameter) in found:
            piece.copy_(found[id(parameter)].sign().nan_to_num(0.0))
    return signs


def _differentiate_cosine(one: Tensor, other: Tensor, products: Tensor) -> None:
    """Overwrite two gradients (entries,) by the derivatives of their cosine by each of them."""
    (one_square, product), (_, other_square) = products.to(one.dtype)
    one_norm, other_norm = one_square.sqrt(), other_square.sqrt()
    cosine = product / (one_norm * other_norm)
    for g, h in zip(chunks(one), chunks(other), strict=True):
        a, b = g / one_norm, h / other_norm
        g.copy_((b - cosine * a) / one_norm)
        h.copy_((a - cosine * b) / other_norm)


def _multiply_by_hessian(loss: Tensor, parameters: Sequence[Parameter], vector: Tensor) -> None:
    """Overwrite a vector (entries of `parameters`,) by its product with the Hessian of a loss."""
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    places = [
        piece
        for parameter, piece in zip(parameters, pieces(vector, parameters), strict=True)
        if parameter.requires_grad
    ]
    slopes = torch.autograd.grad(loss, wanted, create_graph=True, allow_unused=True)
    curved = [
        (slope, place.to(slope.dtype))
        for slope, place in zip(slopes, places, strict=True)
        if slope is not None and slope.requires_grad
    ]
    del slopes
    products = _second_derivatives(curved, wanted)
    vector.zero_()
    for place, product in zip(places, products, strict=True):
        if product is not None:
            place.copy_(product)


def _second_derivatives(curved: list[tuple[Tensor, Tensor]], wanted: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The derivatives of the sum of <slope, weight> over the pairs; None where there are none."""
    if not curved:
        return [None] * len(wanted)
    slopes, weights = zip(*curved, strict=True)
    if any(node.name() == _DEAD_END for node in _graph_behind(slopes)):
        raise ValueError(_NO_SECOND_DERIVATIVE.format("a function is marked once_differentiable"))
    try:
        return torch.autograd.grad(slopes, wanted, weights, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(_NO_SECOND_DERIVATIVE.format(error)) from error


def _graph_behind(tensors: Sequence[Tensor]) -> set[Node]:
    """Every node of the autograd graph that these tensors come from."""
    found: set[Node] = set()
    waiting = [tensor.grad_fn for tensor in tensors]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [behind for behind, _ in node.next_functions]
    return found
