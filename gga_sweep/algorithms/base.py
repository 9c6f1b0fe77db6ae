"""What a host algorithm offers the trainer and the annealing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from gga_sweep.domains import Minibatch
from gga_sweep.networks import Network
from gga_sweep.records import Scalar


class Algorithm(nn.Module, ABC):
    """A network and how one step of training changes it.

    `update` makes exactly one step. The annealing scores `predict` before it and may move the weights; the algorithm
    does not know. All that a step changes must be in `state_dict` or in the optimisers' state.

    Args:
        network: moved to its device already.
        hyperparameters: of the training and of the algorithm, by name.
    """

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar]) -> None:
        super().__init__()
        self.network = network
        self.hyperparameters = hyperparameters
        self.optimizer = torch.optim.Adam(
            network.parameters(),
            lr=float(hyperparameters["lr"]),
            weight_decay=float(hyperparameters["weight_decay"]),
        )

    @abstractmethod
    def update(self, minibatches: Sequence[Minibatch], mask: torch.Tensor | None) -> torch.Tensor:
        """One step on one minibatch per training domain.

        Args:
            minibatches: in dataset order.
            mask: dropout mask of the concatenated batch, (sum of rows, features); None at rate 0.

        Returns:
            The joint loss before the step, a scalar without graph.
        """

    def predict(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (n, classes) of images (n, channels, height, width)."""
        logits: torch.Tensor = self.network(images, mask)
        return logits

    def predict_parameters(self) -> list[nn.Parameter]:
        """The trainable parameters that `predict` uses: what alignment is measured over."""
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def featurizer_parameters(self) -> list[nn.Parameter]:
        """Those of the featurizer: all that the `released` variant perturbs.

        Raises:
            ValueError: if the network has no featurizer, or it has nothing to train.
        """
        featurizer = getattr(self.network, "featurizer", None)
        found = [] if featurizer is None else [each for each in featurizer.parameters() if each.requires_grad]
        if not found:
            why = "no `featurizer`" if featurizer is None else "a `featurizer` without trainable parameters"
            raise ValueError(
                "annealing.perturbs 'featurizer' (variant released) perturbs a featurizer; "
                f"{type(self.network).__name__} has {why}. Use perturbs 'all', or let the algorithm override "
                "`featurizer_parameters`"
            )
        return found

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Everything with optimiser state, by name, for the checkpoint."""
        return {"optimizer": self.optimizer}
