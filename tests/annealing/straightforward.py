"""The search of one annealed step as one would write it down first: the reference that the real one must equal.

Per domain a forward and a backward with the graph kept, gradients concatenated, one joint forward, noise drawn tensor
by tensor, parameters cloned. It shares no code with the package.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from toy_host import ToyHost


def straightforward_search(
    host: ToyHost,
    perturbed: Sequence[Tensor],
    noise_generator: Callable[[int], torch.Generator],
    *,
    radius: float,
    num_candidates: int,
    loss_tolerance: float,
    origin: str,
    mask: str,
    joint_loss: str,
    loss_reference: str,
) -> list[int]:
    """The accepted candidates, in order; the weights end at the last of them."""

    def score(name: tuple[str | int, ...]) -> tuple[float, float]:
        def draw(forward: int) -> tuple[str | int, ...]:
            return ("step",) if mask == "step" else (*name, forward)

        losses = [host.domain_loss(domain, draw(domain)) for domain in range(host.n_domains)]
        gradients = []
        for loss in losses:
            parts = torch.autograd.grad(loss, host.parameters, retain_graph=True)
            gradients.append(torch.cat([part.flatten() for part in parts]))
        cosines = [F.cosine_similarity(a, b, dim=0).item() for a, b in itertools.combinations(gradients, 2)]
        if joint_loss == "forward":
            return min(cosines), host.joint_loss(draw(host.n_domains)).item()
        return min(cosines), sum(loss.item() for loss in losses) / host.n_domains

    def put(values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(perturbed, values, strict=True):
                parameter.copy_(value)

    def moved(values: list[Tensor], candidate: int) -> list[Tensor]:
        generator = noise_generator(candidate)
        return [v + torch.empty_like(v).uniform_(-radius, radius, generator=generator) for v in values]

    theta = [parameter.detach().clone() for parameter in perturbed]
    best, best_alignment = theta, score(("start",))[0]
    walker = theta
    reference = score(("start",))[1]
    accepted = []
    for candidate in range(num_candidates):
        proposal = moved({"start": theta, "current": walker, "accepted": best}[origin], candidate)
        put(proposal)
        walker = proposal
        alignment, loss = score(("candidate", candidate))
        if alignment > best_alignment and loss - reference < loss_tolerance:
            accepted.append(candidate)
            best, best_alignment = proposal, alignment
            walker = theta
            if loss_reference == "accepted":
                reference = loss
    put(best)
    return accepted
