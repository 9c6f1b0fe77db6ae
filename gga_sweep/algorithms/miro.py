"""MIRO, mutual information regularization with oracle: stay close to the features of the pretrained network.

Cha, Lee, Park & Chun, "Domain Generalization by Mutual-Information Regularization with Pre-trained Models", ECCV 2022,
arXiv 2203.10789.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar

_LEAST_VARIANCE = 1e-5
_FIRST_VARIANCE = 0.1


class MIRO(Algorithm):
    """The loss is the mean cross-entropy of all images + `miro_lambda` times the sum, over the stages of the
    featurizer, of the mean over entries of

        ((z - z_0)^2 / v + log v) / 2,   v = softplus(b) + 1e-5,

    with z the output of a stage and z_0 that of the same stage of the oracle: a copy of the featurizer as it was before
    the first step, frozen and in evaluation mode. Each channel has its own b, at first such that v = 0.1.

    `miro_lambda`: weight of the penalty; 0 is ERM.
    `miro_lr_mult`: learning rate of the b, in units of `lr`; they share Adam with the network.

    Stages: the stem and the four layers of a ResNet, as in the release (its `stem_block`); the three blocks of the
    small network (our choice). A featurizer from elsewhere names its own in an attribute `feature_stages`, a sequence
    of its submodules; else they are those of timm's `feature_info`, or the featurizer as a whole. The channels are the
    second of four dimensions of an output, else the last.

    Source of the form: kakaobrain/miro, domainbed/algorithms/miro.py, with the defaults of its config.yaml. There batch
    norm is always frozen (here `training.freeze_batch_norm`). Not verified against the paper. From random weights the
    oracle is no knowledge worth keeping: set `training.weights`.
    """

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__(network, hyperparameters, setting)
        self.oracle = copy.deepcopy(network.featurizer).requires_grad_(False).eval()
        blank = next(network.parameters()).new_zeros(1, *setting.input_shape)
        start = math.log(math.expm1(_FIRST_VARIANCE - _LEAST_VARIANCE))
        self.biases = nn.ParameterList(
            nn.Parameter(blank.new_full(_by_channel(each), start)) for each in self._oracle_features(blank)
        )
        lr = float(hyperparameters["lr"]) * float(hyperparameters["miro_lr_mult"])
        self.optimizer.add_param_group({"params": list(self.biases), "lr": lr})

    def update(self, batch: Batch) -> Tensor:
        with _outputs_of_stages(self.network.featurizer) as features:
            logits = self.predict(batch.images, batch.mask)
        penalty = logits.new_zeros(())
        for ours, its, bias in zip(features, self._oracle_features(batch.images), self.biases, strict=True):
            variance = F.softplus(bias) + _LEAST_VARIANCE
            difference = ours.to(bias.dtype) - its.to(bias.dtype)  # in bfloat16 it would be rounded once more
            penalty = penalty + (difference.square() / variance + variance.log()).mean() / 2
        loss = F.cross_entropy(logits, batch.labels) + float(self.hyperparameters["miro_lambda"]) * penalty
        return self.descend(loss)

    def reduced_modules(self) -> Sequence[nn.Module]:
        return [*super().reduced_modules(), self.oracle]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.oracle.eval()
        return self

    @torch.no_grad()
    def _oracle_features(self, images: Tensor) -> list[Tensor]:
        with _outputs_of_stages(self.oracle) as features:
            self.oracle(images)
        return features


def feature_stages(featurizer: nn.Module) -> list[nn.Module]:
    """The submodules whose outputs are compared with the oracle's, in order."""
    if named := getattr(featurizer, "feature_stages", None):
        return list(named)
    if told := getattr(featurizer, "feature_info", None):
        return [featurizer.get_submodule(stage["module"]) for stage in told]
    return [featurizer]


@contextmanager
def _outputs_of_stages(featurizer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what the stages return within the block."""
    found: list[Tensor] = []
    with ExitStack() as hooks:
        for stage in feature_stages(featurizer):
            hooks.enter_context(stage.register_forward_hook(lambda stage, inputs, output: found.append(output)))
        yield found


def _by_channel(features: Tensor) -> list[int]:
    """The shape of one number a channel that broadcasts to features (n, ...)."""
    channel = 1 if features.ndim == 4 else features.ndim - 1
    return [size if dimension == channel else 1 for dimension, size in enumerate(features.shape)]
