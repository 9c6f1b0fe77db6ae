"""The interface of an algorithm for the trainer and the annealing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.precision import Precision, computing_in
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar
from gga_sweep.seeding import stream_seed

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Setting:
    """The facts of a run that an algorithm may use, beside its network and its hyperparameters.

    Args:
        n_domains: how many domains it trains on.
        n_classes: how many classes the labels have.
        input_shape: (channels, height, width) of an image.
        dataset, trial_seed: name its random streams.
    """

    n_domains: int
    n_classes: int
    input_shape: tuple[int, int, int]
    dataset: str
    trial_seed: int


class Algorithm(nn.Module, ABC):
    """A network and how one step of training changes it.

    `update` makes exactly one step. The annealing scores the plain cross-entropy of `domain_logits` before it and may
    move the weights, independently of the algorithm. Everything that a step changes must be in `state_dict`
    (parameters, buffers: moving averages, counters, queues) or in the optimisers' state, which a checkpoint holds.
    Everything that a step draws comes from `batch.numbers`, so that a step is a function of the weights, the state and
    its number.

    Args:
        network: on its device already; its input has `EXTRA_CHANNELS` channels more than the images.
        hyperparameters: of the training and of the algorithm, by name.
        setting: of the run.

    Attributes:
        network: maps images to logits as the algorithm predicts in evaluation; its weights are what a run selects. An
            algorithm whose prediction is more than featurizer and classifier puts its own `Network` here.
        optimizer: Adam over the network's parameters. GGA-L adds its noise where this one steps.
        precision: of `reduced_modules` in updates and evaluations. Annealing and diagnostics compute in float32.
    """

    EXTRA_CHANNELS: ClassVar[int] = 0
    """Input channels of the network in addition to the image's."""

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__()
        self.network = network
        self.hyperparameters = hyperparameters
        self.setting = setting
        self.precision: Precision = "float32"
        self.optimizer = self.adam(network.parameters())

    @abstractmethod
    def update(self, batch: Batch) -> Tensor:
        """One step.

        Returns:
            The loss that it descended, before the step: a scalar without graph.
        """

    def predict(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits (n, classes) of images (n, channels, height, width) of no known domain."""
        logits: Tensor = self.network(images, mask)
        return logits

    def reduced_modules(self) -> Sequence[nn.Module]:
        """The modules that compute in `precision`. They take and return single tensors.

        The classifier, losses and penalties cost little, and stay in float32.
        """
        return [getattr(self.network, "featurizer", self.network)]

    def in_precision(self) -> AbstractContextManager[None]:
        """Within the block the algorithm computes in the precision of its updates and evaluations."""
        return computing_in(self.precision, self.reduced_modules())

    def evaluated_logits(self, images: Tensor) -> Tensor:
        """`predict` without a mask, in the precision of evaluations."""
        with self.in_precision():
            return self.predict(images)

    def domain_logits(self, batch: Batch, domain: int, mask: Tensor | None) -> Tensor:
        """Logits of one training domain's minibatch, clean and without the randomisations of `update`.

        Reads the algorithm's state and writes none.

        Args:
            mask: its dropout mask, (its rows, features).
        """
        return self.predict(batch.minibatches[domain].images, mask)

    def joint_logits(self, batch: Batch, mask: Tensor | None) -> Tensor:
        """The same of all domains in one forward of the concatenated minibatches."""
        return self.predict(batch.images, mask)

    def separate_features(self, batch: Batch) -> Tensor:
        """The input of the classifier, (sum of rows, features), of which no domain influences another's rows."""
        return self.network.featurize_separately([each.images for each in batch.minibatches], batch.masks)

    def predict_parameters(self) -> list[nn.Parameter]:
        """The trainable parameters that predict: what alignment is measured over."""
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

    def adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Adam with the run's learning rate and weight decay."""
        lr, weight_decay = (float(self.hyperparameters[name]) for name in ("lr", "weight_decay"))
        return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay)

    def descend(self, loss: Tensor) -> Tensor:
        """One step of `optimizer` along the loss's gradient; the loss without its graph."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        self.optimizer.step()
        return loss.detach()

    def initialised(self, purpose: str, make: Callable[[], Module]) -> Module:
        """A module beside the network, its first weights drawn from the run's stream of that purpose."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(self.setting.dataset, self.setting.trial_seed, "initialisation", purpose))
            module = make()
        return module.to(next(self.network.parameters()).device)
