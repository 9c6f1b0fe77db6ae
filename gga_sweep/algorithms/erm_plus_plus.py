"""ERM++: plain training with a head trained first, and prediction by the mean of the weights.

Teterwak, Saito, Tsiligkaridis, Saenko & Plummer, "ERM++: An Improved Baseline for Domain Generalization", WACV 2025,
arXiv 2304.01973.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.algorithms.base import Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.penalties import PenalisedAlgorithm
from gga_sweep.networks.network import Network, uses_batch_statistics
from gga_sweep.records import Scalar


class ERMPlusPlus(PenalisedAlgorithm):
    """The loss is the mean cross-entropy of all images. At first the classifier alone is trained. In evaluation the
    network predicts with the mean of its weights after the updates `ermpp_average_from` - 1, `ermpp_average_from`, ...,
    counted from 1; before, with its own weights.

    Averaged are all floating-point tensors. If batch norm is not frozen, the mean network also has a forward of each
    minibatch, which moves its running statistics.

    `ermpp_linear_steps`: the last step, counted from 0, that trains the classifier alone; -1: none. Adam's moments are
        reset after it.
    `ermpp_linear_lr`: the learning rate until then.
    `ermpp_average_from`: the number of updates from which on weights are averaged.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class ERMPlusPlus. The other parts of ERM++
    are settings of a run: `training.weights` (resnet50.ram_in1k), `training.freeze_batch_norm: false` and
    `training.steps`. Not here: the second training, on all images, for as many steps as were best in the first. It
    would leave no images to select by. (DomainBed's class has code for its learning rates, which nothing calls.) Not
    verified against the paper.

    The annealing scores and moves the weights in training, not their mean.
    """

    network: AveragedNetwork

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__(network, hyperparameters, setting)
        self.network = self.initialised("mean network", lambda: AveragedNetwork(network))

    def update(self, batch: Batch) -> Tensor:
        first = int(self.hyperparameters["ermpp_linear_steps"]) + 1
        done = self.updates
        whole = bool(self.penalty_weight(0.0, 1.0, first))
        for group in self.optimizer.param_groups:
            group["lr"] = float(self.hyperparameters["lr" if whole else "ermpp_linear_lr"])
        with torch.set_grad_enabled(whole):
            features = self.network.featurize(batch.images, batch.mask)
        loss = self.descend(F.cross_entropy(self.network.classifier(features), batch.labels))
        self.network.average(done + 3 - int(self.hyperparameters["ermpp_average_from"]))
        if uses_batch_statistics(self.network.featurizer):
            self.network.move_statistics(batch.images)
        return loss

    def reduced_modules(self) -> Sequence[nn.Module]:
        return [*super().reduced_modules(), self.network.mean_featurizer]

    def predict_parameters(self) -> list[nn.Parameter]:
        """In training those of the network that is trained, in evaluation those of the mean."""
        return [each for part in self.network.parts() for each in part.parameters() if each.requires_grad]


class AveragedNetwork(Network):
    """A network that predicts with a mean of its weights in evaluation mode.

    Args:
        network: whose weights are trained and averaged.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network.featurizer, network.features, network.classifier.out_features)
        self.classifier = network.classifier
        self.mean_featurizer = copy.deepcopy(network.featurizer)
        self.mean_classifier = copy.deepcopy(network.classifier)

    def parts(self) -> tuple[nn.Module, nn.Module]:
        """The featurizer and the classifier that predict in the present mode."""
        if self.training:
            return self.featurizer, self.classifier
        return self.mean_featurizer, self.mean_classifier

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        logits: Tensor = self.parts()[1](self.featurize(images, mask))
        return logits

    def featurize(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        features: Tensor = self.parts()[0](images)
        return features if mask is None else features * mask

    @torch.no_grad()
    def average(self, count: int) -> None:
        """Add the present weights to the mean.

        Args:
            count: how many weights the mean then has, itself included that before; below 2 it becomes the present ones.
        """
        own = [each for part in (self.featurizer, self.classifier) for each in _tensors(part)]
        means = [each for part in (self.mean_featurizer, self.mean_classifier) for each in _tensors(part)]
        if count < 2:
            torch._foreach_copy_(means, own)
        else:
            torch._foreach_lerp_(means, own, 1 / count)

    @torch.no_grad()
    def move_statistics(self, images: Tensor) -> None:
        """Update the running statistics of the mean's batch norm, where that of the trained network is not frozen."""
        for mean, own in zip(self.mean_featurizer.modules(), self.featurizer.modules(), strict=True):
            mean.training = own.training
        self.mean_featurizer(images)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [each for each in module.state_dict().values() if each.is_floating_point()]
