"""GroupDRO, distributionally robust optimization over groups: give domains with higher loss more weight.

Sagawa, Koh, Hashimoto & Liang, ICLR 2020, arXiv 1911.08731 (algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.penalties import domain_losses
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar


class GroupDRO(Algorithm):
    """With L_d the mean cross-entropy of domain d, its weight q_d, at first equal for all, and then the loss:

        q_d <- q_d exp(groupdro_eta L_d) / sum over domains of the same,   loss = sum over domains of q_d L_d.

    The weights are constants to the gradient, and are kept from step to step. If batch norm is not frozen, each domain
    has its own batch statistics.

    `groupdro_eta`: step size of the weights; 0 is ERM.
    `groupdro_mean`: whether the loss is the mean over domains of q_d L_d, and not their sum. For Adam the two differ
        only in the weight that weight decay has beside them.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class GroupDRO; the mean is that of 7df6f06
    and of the GGA release. In the paper a minibatch is of one group.
    """

    q: Tensor

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__(network, hyperparameters, setting)
        weight = next(network.parameters())
        self.register_buffer("q", weight.new_full((setting.n_domains,), 1 / setting.n_domains))

    def update(self, batch: Batch) -> Tensor:
        losses = domain_losses(batch, self.network.classifier(self.separate_features(batch)))
        with torch.no_grad():
            self.q.mul_(torch.exp(float(self.hyperparameters["groupdro_eta"]) * losses))
            self.q.div_(self.q.sum())
        loss = losses @ self.q
        return self.descend(loss / len(batch) if self.hyperparameters["groupdro_mean"] else loss)
