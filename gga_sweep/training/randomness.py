"""The random streams of a run: every purpose of training, in one place.

| purpose | indices | what is drawn |
|---|---|---|
| `initialisation` | | the network's weights |
| `initialisation` | module | the weights of an algorithm's further modules |
| `split`, `minibatch`, `augment` | see `gga_sweep.datasets` | which images, and how they are augmented |
| `dropout` | step, draw ..., domain | a dropout mask: the rows of one domain |
| `global` | step, draw ..., domain | torch's global generator, for layers of a user's own network that draw from it |
| `host` | step, purpose | draws of an algorithm's update: pairs, mixing weights, held-out domains |
| `perturbation` | step, candidate | the annealing's noise |
| `choice` | step | the candidate that the objective `none` chooses, or its signs |
| `gradient-noise` | step | the noise of GGA-L |
| `probe` | domain, split | the images on which gradient agreement is measured |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gga_sweep.annealing import Draw
from gga_sweep.networks.network import dropout_mask
from gga_sweep.seeding import stream, stream_seed, tensor_stream


@dataclass(frozen=True, slots=True)
class RunStreams:
    """Named by dataset and trial seed alone, so that all arms and draws of a trial seed share them.

    Args:
        features: width of the dropout mask.
        dropout: its rate.
        device: of the masks.
    """

    dataset: str
    trial_seed: int
    features: int
    dropout: float
    device: torch.device

    def dropout_mask(self, step: int, draw: Draw, domain: str, rows: int) -> torch.Tensor | None:
        """(rows, features); None at rate 0."""
        if self.dropout == 0:
            return None
        generator = tensor_stream(self.dataset, self.trial_seed, "dropout", step, *draw, domain)
        return dropout_mask(generator, rows, self.features, self.dropout, self.device)

    def seed_global(self, step: int, draw: Draw, domain: str = "") -> None:
        """Make a forward's draws from torch's global generators a function of its purpose.

        Not by `torch.manual_seed`, which formats a stack trace at each call until CUDA is initialised.
        """
        seed = stream_seed(self.dataset, self.trial_seed, "global", step, *draw, domain)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda" and not torch.cuda.is_current_stream_capturing():  # a graph may not seed
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)

    def global_state(self) -> tuple[object, ...]:
        """The state of the generators that `seed_global` seeds, to compare; none of a graph that is being captured."""
        state: tuple[object, ...] = (torch.default_generator.get_state().numpy().tobytes(),)
        if self.device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
            state = (*state, torch.cuda.get_rng_state(self.device).numpy().tobytes())
        return state

    def host(self, step: int, purpose: str) -> np.random.Generator:
        return stream(self.dataset, self.trial_seed, "host", step, purpose)

    def perturbation(self, step: int, candidate: int, device: torch.device) -> torch.Generator:
        return tensor_stream(self.dataset, self.trial_seed, "perturbation", step, candidate, device=device)

    def choice(self, step: int) -> torch.Generator:
        return tensor_stream(self.dataset, self.trial_seed, "choice", step)

    def gradient_noise(self, step: int, device: torch.device) -> torch.Generator:
        return tensor_stream(self.dataset, self.trial_seed, "gradient-noise", step, device=device)
