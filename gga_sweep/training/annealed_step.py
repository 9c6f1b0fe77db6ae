"""The annealing before one optimiser step: the candidate search with the random streams of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields

import torch
import torch.nn.functional as F
from torch import nn

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.annealing import (
    GGA,
    STEP_MASK,
    Diagnosis,
    Draw,
    DrawOf,
    SearchOutcome,
    diagnose,
    l2_norm,
    moved_radii,
    search_step,
)
from gga_sweep.datasets import Minibatch
from gga_sweep.networks.network import concatenate_masks
from gga_sweep.records import AnnealedStep
from gga_sweep.training.randomness import RunStreams


class StepModel:
    """An algorithm on one step's minibatches, as an `annealing.ScoredModel`."""

    def __init__(
        self,
        algorithm: Algorithm,
        minibatches: Sequence[Minibatch],
        names: Sequence[str],
        streams: RunStreams,
        step: int,
    ) -> None:
        self._algorithm = algorithm
        self._names = names
        self._streams = streams
        self._step = step
        self.batch = Batch(minibatches, self._mask_of_forward, lambda purpose: streams.host(step, purpose))
        self.n_domains = len(minibatches)
        self.module: nn.Module = algorithm
        self.rows = self.batch.rows
        self.ignores_draws = True
        """Whether no forward so far drew random numbers, so that its loss is the same under every mask."""

    def domain_loss(self, domain: int, draw: Draw) -> torch.Tensor:
        """Plain cross-entropy of one domain's minibatch, under the mask that `draw` names."""
        with self._noting_draws(draw, self._names[domain]):
            logits = self._algorithm.domain_logits(self.batch, domain, self._mask(domain, draw))
        return F.cross_entropy(logits, self.batch.minibatches[domain].labels)

    def domain_losses(self, draw_of: DrawOf) -> torch.Tensor:
        """The same of every domain, (n_domains,), in one forward."""
        with self._noting_draws(draw_of(0)):
            logits = self._algorithm.joint_logits(self.batch, self._joint_mask(draw_of))
        parts = zip(self.batch.split(logits), self.batch.minibatches, strict=True)
        return torch.stack([F.cross_entropy(part, minibatch.labels) for part, minibatch in parts])

    def joint_loss(self, draw: Draw) -> torch.Tensor:
        """The same of the concatenated minibatches in one forward."""
        self._streams.seed_global(self._step, draw)
        logits = self._algorithm.joint_logits(self.batch, self._joint_mask(lambda _: draw))
        return F.cross_entropy(logits, self.batch.labels)

    @contextmanager
    def _noting_draws(self, draw: Draw, domain: str = "") -> Iterator[None]:
        """Seed torch's global generators for a forward, and note whether it drew from them or had a mask."""
        self._streams.seed_global(self._step, draw, domain)
        seeded = self._streams.global_state()
        yield
        if self._streams.dropout or self._streams.global_state() != seeded:
            self.ignores_draws = False

    def _joint_mask(self, draw_of: DrawOf) -> torch.Tensor | None:
        return concatenate_masks([self._mask(domain, draw_of(domain)) for domain in range(self.n_domains)])

    def _mask(self, domain: int, draw: Draw) -> torch.Tensor | None:
        return self.batch.masks[domain] if draw == STEP_MASK else self._drawn_mask(domain, draw)

    def _mask_of_forward(self, domain: int, forward: int) -> torch.Tensor | None:
        return self._drawn_mask(domain, (*STEP_MASK, forward) if forward else STEP_MASK)

    def _drawn_mask(self, domain: int, draw: Draw) -> torch.Tensor | None:
        return self._streams.dropout_mask(self._step, draw, self._names[domain], self.rows[domain])


@dataclass(frozen=True, slots=True)
class Annealing:
    """The result of one candidate search, before the optimiser step that follows.

    Args:
        moved_radii: see `AnnealedStep`.
        diagnosis: None where the step is not diagnosed.
    """

    step: int
    outcome: SearchOutcome
    moved_radii: float
    diagnosis: Diagnosis | None
    search_seconds: float
    diagnostics_seconds: float

    def finish(self, update_distance: float) -> AnnealedStep:
        """The line of the ledger.

        Args:
            update_distance: L2 distance that the optimiser's step moved the weights.
        """
        outcome = self.outcome
        diagnosed = dict.fromkeys(field.name for field in fields(Diagnosis))
        if self.diagnosis is not None:
            diagnosed = asdict(self.diagnosis)
        return AnnealedStep(
            step=self.step,
            tried=outcome.tried,
            accepted=outcome.accepted,
            chosen=outcome.chosen,
            alignment_before=outcome.before.alignment,
            alignment_after=outcome.after.alignment,
            loss_before=outcome.before.loss,
            loss_after=outcome.after.loss,
            **diagnosed,
            moved_radii=self.moved_radii,
            moved_updates=outcome.distance / update_distance if update_distance else float("nan"),
        )


def anneal(
    algorithm: Algorithm,
    settings: GGA,
    streams: RunStreams,
    step: int,
    model: StepModel,
    next_model: Callable[[], StepModel],
) -> Annealing:
    """Search candidates before this step's update; at steps to diagnose, measure the gain on other data and masks too.

    Args:
        model: this step's minibatches.
        next_model: the next step's, made only to diagnose.
    """
    scored = algorithm.predict_parameters()
    perturbed = scored if settings.perturbs == "all" else algorithm.featurizer_parameters()
    buffers = list(algorithm.buffers())
    device = perturbed[0].device
    started = time.perf_counter()
    outcome = search_step(
        model,
        scored,
        perturbed,
        buffers,
        lambda candidate: streams.perturbation(step, candidate, device),
        lambda: streams.choice(step),
        settings,
    )
    searched = time.perf_counter()
    diagnosis = None
    if step in settings.diagnosed:
        diagnosis = diagnose(outcome, model, next_model(), scored, perturbed, buffers, settings)
    moved = moved_radii(outcome.distance, settings.radius, sum(parameter.numel() for parameter in perturbed))
    return Annealing(step, outcome, moved, diagnosis, searched - started, time.perf_counter() - searched)


def copy_weights(parameters: Sequence[nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def distance(parameters: Sequence[nn.Parameter], before: Sequence[torch.Tensor]) -> float:
    """L2 distance between the weights now and a copy of them, accumulated in float64."""
    return l2_norm(now.detach() - then for now, then in zip(parameters, before, strict=True))
