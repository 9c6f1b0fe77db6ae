"""The annealing of one step as one would write it down first: the reference that the real one must equal.

Per domain a forward and a backward with the graph kept, gradients concatenated, a joint forward where it is required,
noise drawn tensor by tensor, parameters cloned, everything read at once. It shares no code with the package; the
settings it is given are those of the package, whose names it uses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gga_sweep.annealing import GGA, GGAL, Draw


class Model(Protocol):
    """Any model with its minibatches; a loss depends on nothing but the parameters and the draw of the mask."""

    @property
    def parameters(self) -> Sequence[Tensor]: ...

    @property
    def n_domains(self) -> int: ...

    def domain_loss(self, domain: int, draw: Draw) -> Tensor: ...

    def joint_loss(self, draw: Draw) -> Tensor: ...


class Tried(NamedTuple):
    """One candidate: its score, whether it passed the gate and whether it became the best."""

    alignment: float
    loss: float
    passed: bool
    accepted: bool


class Found(NamedTuple):
    """What the search saw, in order. The weights end at the chosen candidate."""

    before: tuple[float, float]
    tried: list[Tried]
    chosen: int | None

    @property
    def accepted(self) -> list[int]:
        return [index for index, candidate in enumerate(self.tried) if candidate.accepted]


def straightforward_search(
    model: Model,
    perturbed: Sequence[Tensor],
    noise_generator: Callable[[int], torch.Generator],
    choice_generator: Callable[[], torch.Generator],
    settings: GGA,
) -> Found:
    """Search around the present weights, by whichever rules the settings say."""

    def put(values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(perturbed, values, strict=True):
                parameter.copy_(value)

    def random_candidate(index: int) -> list[Tensor]:
        around = {"start": theta, "current": walker, "accepted": best}[settings.origin]
        generator = noise_generator(index)
        return [
            value + torch.empty_like(value).uniform_(-settings.radius, settings.radius, generator=generator)
            for value in around
        ]

    def towards(signs: list[Tensor], index: int) -> list[Tensor]:
        step = settings.radius / 2**index
        return [value + step * sign for value, sign in zip(theta, signs, strict=True)]

    theta = walker = best = [parameter.detach().clone() for parameter in perturbed]
    points: list[list[Tensor]] = []
    tried: list[Tried] = []
    before = score(model, settings, ("start",))
    best_alignment, best_loss = before
    reference = before[1]
    if settings.direction == "gradient":
        signs = ascent_signs(model, perturbed, settings)
    for index in range(settings.num_candidates):
        points.append(random_candidate(index) if settings.direction == "random" else towards(signs, index))
        put(points[-1])
        walker = points[-1]
        alignment, loss = score(model, settings, ("candidate", index))
        better = {
            "alignment": alignment > best_alignment,
            "none": alignment > best_alignment,
            "anti": alignment < best_alignment,
            "loss": loss < best_loss,
        }[settings.objective]
        passed = loss - reference < tolerance(settings, reference)
        tried.append(Tried(alignment, loss, passed, passed and better))
        if passed and better:
            best, best_alignment, best_loss = points[-1], alignment, loss
            walker = theta
            if settings.loss_reference == "accepted":
                reference = loss
            if settings.direction == "gradient":
                break
    accepted = [index for index, candidate in enumerate(tried) if candidate.accepted]
    chosen = accepted[-1] if accepted else None
    if settings.objective == "none" and accepted and settings.direction == "random":
        among = [index for index, candidate in enumerate(tried) if candidate.passed]
        chosen = among[int(torch.randint(len(among), (1,), generator=choice_generator()))]
    if settings.objective == "none" and accepted and settings.direction == "gradient":
        points.append(towards(random_signs(signs, choice_generator()), accepted[-1]))
        put(points[-1])
        alignment, loss = score(model, settings, ("candidate", len(tried)))
        passed = loss - reference < tolerance(settings, reference)
        tried.append(Tried(alignment, loss, passed, False))
        chosen = len(tried) - 1 if passed else None
    put(theta if chosen is None else points[chosen])
    return Found(before, tried, chosen)


def tolerance(settings: GGA, reference: float) -> float:
    """In nats."""
    return settings.loss_tolerance * (reference if settings.loss_gate == "relative" else 1)


def score(model: Model, settings: GGA, name: Draw) -> tuple[float, float]:
    """Alignment and joint loss; the name is that of the point, for masks that are new at every forward."""
    losses, gradients = losses_and_gradients(model, lambda forward: _draw(settings, name, forward))
    alignment = min(cosines(gradients)).item()
    if settings.joint_loss == "forward":
        return alignment, model.joint_loss(_draw(settings, name, model.n_domains)).item()
    return alignment, sum(loss.item() for loss in losses) / model.n_domains


def losses_and_gradients(
    model: Model, draw: Callable[[int], Draw], differentiable: bool = False
) -> tuple[list[Tensor], list[Tensor]]:
    losses = [model.domain_loss(domain, draw(domain)) for domain in range(model.n_domains)]
    gradients = []
    for loss in losses:
        parts = torch.autograd.grad(loss, list(model.parameters), retain_graph=True, create_graph=differentiable)
        gradients.append(torch.cat([part.flatten() for part in parts]))
    return losses, gradients


def cosines(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Over unordered pairs."""
    return [F.cosine_similarity(a, b, dim=0) for a, b in itertools.combinations(gradients, 2)]


def ascent_signs(model: Model, perturbed: Sequence[Tensor], settings: GGA) -> list[Tensor]:
    """The signs of the gradient of what the search is after, at the present weights."""
    losses, gradients = losses_and_gradients(model, lambda forward: _draw(settings, ("start",), forward), True)
    aim = -torch.stack(losses).mean() if settings.objective == "loss" else torch.stack(cosines(gradients)).min()
    if settings.objective == "anti":
        aim = -aim
    return [slope.sign() for slope in torch.autograd.grad(aim, list(perturbed))]


def random_signs(like: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Fair coins for the signs that are not 0."""
    return [sign * (2.0 * torch.randint(2, sign.shape, generator=generator, dtype=torch.int8) - 1) for sign in like]


def straightforward_noise(model: Model, generator: torch.Generator, settings: GGAL) -> tuple[float, list[Tensor]]:
    """GGA-L: alpha, and what is added to the gradient of each parameter."""
    alpha = settings.gamma
    if settings.alpha == "adaptive":
        pairs = cosines(losses_and_gradients(model, lambda _: ("step",))[1])
        alpha = settings.gamma * (1 - sum(cosine.item() for cosine in pairs) / len(pairs))
    sizes = [parameter.numel() for parameter in model.parameters]
    xi = torch.empty(sum(sizes), dtype=model.parameters[0].dtype)
    if settings.noise == "gaussian":
        xi.normal_(generator=generator)
    if settings.noise == "uniform":
        xi.uniform_(0, 1, generator=generator)
    if settings.noise == "uniform-centred":
        xi.uniform_(-0.5, 0.5, generator=generator)
    parts = zip(xi.split(sizes), model.parameters, strict=True)
    return alpha, [alpha * part.view(parameter.shape) for part, parameter in parts]


def _draw(settings: GGA, name: Draw, forward: int) -> Draw:
    return ("step",) if settings.mask == "step" else (*name, forward)
