"""Shared by the penalties: the domains' losses from one forward, and a weight with a warm-up."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar


def domain_losses(batch: Batch, logits: Tensor) -> Tensor:
    """The mean cross-entropy of each domain, (domains,), from the logits of the concatenated minibatches."""
    parts = zip(batch.split(logits), batch.minibatches, strict=True)
    return torch.stack([F.cross_entropy(part, minibatch.labels) for part, minibatch in parts])


class PenalisedAlgorithm(Algorithm):
    """Counts its steps, and resets Adam's moments when the penalty gets its full weight."""

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__(network, hyperparameters, setting)
        self._updates = 0

    def penalty_weight(self, early: float, full: float, warm_up: int) -> float:
        """The weight at this step, which is counted: `early` for `warm_up` steps, then `full`.

        The gradient jumps there, so Adam's moments are reset (as in DomainBed).
        """
        if self._updates == warm_up:
            self.optimizer.state.clear()
        weight = full if self._updates >= warm_up else early
        self._updates += 1
        return weight

    @property
    def updates(self) -> int:
        """How many steps are counted."""
        return self._updates

    def get_extra_state(self) -> int:
        """The count, a number instead of a buffer, so that reading it needs no transfer from a device."""
        return self._updates

    def set_extra_state(self, state: int) -> None:
        self._updates = state
