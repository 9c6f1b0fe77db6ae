"""Networks: a featurizer, dropout on its features, a linear classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import nn

from gga_sweep.errors import Fault, InputError
from gga_sweep.networks.choice import is_weights_file, named_featurizer, published_weights

InputShape = tuple[int, int, int]


class Network(nn.Module):
    """Featurizer and classifier, with dropout between them whose mask the caller gives.

    Args:
        featurizer: (n, channels, height, width) -> (n, features).
        features: width of the featurizer's output.
        classes: number of classes.
    """

    def __init__(self, featurizer: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.featurizer = featurizer
        self.features = features
        self.classifier = nn.Linear(features, classes)

    def forward(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Logits, (n, classes).

        Args:
            images: (n, channels, height, width).
            mask: (n, features), from `dropout_mask`; None for no dropout.
        """
        return cast(torch.Tensor, self.classifier(self.featurize(images, mask)))

    def featurize(self, images: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """What the classifier sees: the features, (n, features), those that the mask drops being zero."""
        features: torch.Tensor = self.featurizer(images)
        return features if mask is None else features * mask


def dropout_mask(
    generator: torch.Generator, rows: int, features: int, rate: float, device: torch.device
) -> torch.Tensor | None:
    """A mask of zeros and 1 / (1 - rate), (rows, features); None at rate 0, where nothing is drawn.

    The uniforms do not depend on the rate, so two rates drop nested sets of features.
    """
    if rate == 0:
        return None
    kept = torch.rand(rows, features, generator=generator) >= rate
    return (kept / (1 - rate)).to(device)


class SmallCNN(nn.Module):
    """Three 3x3 convolutions of stride 2 with group norm, then a linear layer: (n, channels, h, w) -> (n, 64).

    Group norm and not batch norm, so that no statistics couple the images of a minibatch.

    Args:
        input_shape: (channels, height, width); sides of at least 8.

    Attributes:
        style_stages: after which MixStyle may mix.
    """

    FEATURES = 64

    def __init__(self, input_shape: InputShape) -> None:
        super().__init__()
        channels, height, width = input_shape
        cells = -(-height // 8) * -(-width // 8)
        self.layers = nn.Sequential(
            *self._block(channels, 16),
            *self._block(16, 32),
            *self._block(32, 64),
            nn.Flatten(),
            nn.Linear(64 * cells, self.FEATURES),
            nn.ReLU(),
        )
        self.style_stages = (self.layers[2], self.layers[5])  # the ends of the first two blocks

    @staticmethod
    def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.layers(images))


def _small_cnn(input_shape: InputShape, weights: str | None) -> tuple[nn.Module, int]:
    featurizer = SmallCNN(input_shape)
    if weights is not None:
        load_featurizer(featurizer, weights)
    return featurizer, SmallCNN.FEATURES


def _resnet(depth: int) -> Callable[[InputShape, str | None], tuple[nn.Module, int]]:
    def build(input_shape: InputShape, weights: str | None) -> tuple[nn.Module, int]:
        from torchvision import models

        name = f"resnet{depth}"
        from_file = weights is not None and is_weights_file(weights)
        published = None if weights is None or from_file else published_weights(name, weights)
        network = models.get_model(name, weights=published)
        features = network.fc.in_features
        network.fc = nn.Identity()
        network.style_stages = (network.layer1, network.layer2, network.layer3)
        if weights is not None and from_file:
            load_featurizer(network, weights)
        if input_shape[0] != 3:
            _set_channels(network.conv1, input_shape[0])
        return network, features

    return build


def _set_channels(layer: nn.Conv2d, channels: int) -> None:
    """Give a convolution so many input channels, whose weights are those it has, repeated in turn, as in DomainBed."""
    repeated = torch.arange(channels) % layer.in_channels
    layer.weight = nn.Parameter(layer.weight.detach()[:, repeated])
    layer.in_channels = channels


_FEATURIZERS: Mapping[str, Callable[[InputShape, str | None], tuple[nn.Module, int]]] = {
    "small-cnn": _small_cnn,
    "resnet18": _resnet(18),
    "resnet50": _resnet(50),
}


def build_network(
    name: str, input_shape: InputShape, classes: int, weights: str | None, generator: torch.Generator
) -> Network:
    """A network with its weights.

    Args:
        name: one of `networks.choice.NETWORKS`, or `module:attribute`, a callable (input_shape) -> (featurizer,
            features).
        input_shape: (channels, height, width) of an image.
        classes: number of classes.
        weights: a torchvision weight name ("imagenet" is its `IMAGENET1K_V1`), the path of a state-dict file of the
            featurizer, or None for random weights.
        generator: of the run's initial weights. Torch's global generator is left as it was.

    Raises:
        InputError: unknown network, or weights that do not fit it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())  # torch's initialisers draw from the global generator
        if name in _FEATURIZERS:
            featurizer, features = _FEATURIZERS[name](input_shape, weights)
        else:
            featurizer, features = named_featurizer(name)(input_shape)
            if weights is not None:
                load_featurizer(featurizer, weights)
        torch.manual_seed(generator.initial_seed() ^ 1)  # the classifier's start must not depend on the weights above
        return Network(featurizer, features, classes)


def load_featurizer(featurizer: nn.Module, path: str) -> None:
    """Load a state-dict file (torch or safetensors); a classification head `fc.*` in it is left out.

    Raises:
        InputError: the file cannot be read, or its tensors do not fit.
    """
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            stored = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
        state = {name: value for name, value in stored.items() if not name.startswith("fc.")}
    except Exception as error:  # torch raises many kinds, from OSError to UnpicklingError, and at length
        rule = f"must be a state-dict file of torch or safetensors ({type(error).__name__})"
        raise InputError([Fault("training.weights", rule, path)]) from error
    try:
        featurizer.load_state_dict(state)
    except RuntimeError as error:
        rule = f"must fit the network: {' '.join(str(error).split())}"
        raise InputError([Fault("training.weights", rule, path)]) from error
