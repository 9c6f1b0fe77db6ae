"""MixStyle: inside the network, give an image the style of a mixture of its own and another's.

Zhou, Yang, Qiao & Xiang, ICLR 2021, arXiv 2104.02008.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.errors import Fault, InputError
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar

_EPSILON = 1e-6


class MixStyle(Algorithm):
    """After a stage of the featurizer, with chance `mixstyle_p`, every image's feature maps x become

        x~ = m + s (x - mu(x)) / sigma(x),   m = lam mu(x) + (1 - lam) mu(x'),   s = lam sigma(x) + (1 - lam) sigma(x').

    mu and sigma are the mean and the standard deviation over the pixels of a channel, sigma^2 = variance + 1e-6, both
    constants to the gradient; x' is another image of the joint batch, by a random permutation; lam ~ Beta(alpha, alpha)
    an image. The loss is the mean cross-entropy of all images. Chance, permutation and lam are drawn at each stage
    and step.

    Styles are mixed only in the forward of `update`, not in predictions or in the annealing.

    `mixstyle_p`: 0 is ERM, 1 mixes at every stage and step.
    `mixstyle_alpha`: near 0, an image has its own style or the other's; large, one half-way between.

    Stages: a ResNet's `layer1`, `layer2`, `layer3`, as in the paper; the first and second block of the small network
    (our choice). A featurizer from elsewhere names its own in an attribute `style_stages`, a sequence of its submodules
    with outputs (n, channels, height, width).

    DomainBed has no MixStyle. The permutation is the paper's "random shuffle", in which x' may be of the same domain.
    The authors' code (KaiyangZhou/mixstyle-release) divides the variance by pixels - 1; here, as in the paper, it is
    divided by pixels. Mixed styles differ through the 1e-6 alone, but Adam enlarges that on small maps: with SmallCNN
    on 8x8 pixels (maps of 4x4 and 2x2) the first update differs by 2 to 3 %, the fourth by up to 10 %; on 28x28 by at
    most 0.3 %. The GGA release (aristotelisballas/GGA at 5450c2b) has MixStyle on ResNet-50 with p = 1, although the
    function's name says 0.5; its ResNet-18 is without MixStyle.

    Raises:
        InputError: a featurizer that names no stages.
    """

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__(network, hyperparameters, setting)
        style_stages(network.featurizer)  # checked before the first step

    def update(self, batch: Batch) -> Tensor:
        with self._mixing(batch):
            logits = self.predict(batch.images, batch.mask)
        return self.descend(F.cross_entropy(logits, batch.labels))

    @contextmanager
    def _mixing(self, batch: Batch) -> Iterator[None]:
        """Mix styles within the block. Permanent hooks would also be in copies of the network."""
        with ExitStack() as hooks:
            for index, stage in enumerate(style_stages(self.network.featurizer)):
                hooks.enter_context(stage.register_forward_hook(self._mix_after(batch, index)))
            yield

    def _mix_after(self, batch: Batch, index: int) -> Callable[..., Tensor]:
        p, alpha = (float(self.hyperparameters[name]) for name in ("mixstyle_p", "mixstyle_alpha"))

        def mix(stage: nn.Module, inputs: object, maps: Tensor) -> Tensor:
            numbers = batch.numbers(f"style after stage {index}")
            if numbers.random() >= p:
                return maps
            others = torch.from_numpy(numbers.permutation(len(maps))).to(maps.device, non_blocking=True)
            exact = maps.float() if maps.dtype == torch.bfloat16 else maps  # too few bits for a variance
            weights = torch.from_numpy(numbers.beta(alpha, alpha, len(maps))).to(exact, non_blocking=True)
            return mix_styles(exact, others, weights).to(maps.dtype)

        return mix


def mix_styles(maps: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """Feature maps (n, channels, height, width), each with weight (n,) in its own style, the rest from image (n,)."""
    mean = maps.detach().mean((2, 3), keepdim=True)
    centred = maps - mean
    variance = centred.detach().square().mean((2, 3), keepdim=True)  # on a CPU in half the time of `var_mean`
    deviation, weights = (variance + _EPSILON).sqrt(), weights[:, None, None, None]
    mixed_mean, mixed_deviation = (torch.lerp(each[others], each, weights) for each in (mean, deviation))
    return torch.addcmul(mixed_mean, centred, mixed_deviation / deviation)


def style_stages(featurizer: nn.Module) -> Sequence[nn.Module]:
    """The submodules after which styles are mixed.

    Raises:
        InputError: the featurizer names none.
    """
    stages = getattr(featurizer, "style_stages", None)
    submodules = list(featurizer.modules())[1:]
    named = isinstance(stages, Sequence | nn.ModuleList) and all(stage in submodules for stage in stages)
    if not (named and stages):
        rule = "must name, for MixStyle, submodules of its featurizer in a sequence `style_stages`"
        raise InputError([Fault("training.network", rule, type(featurizer).__name__)])
    found: Sequence[nn.Module] = stages
    return found
