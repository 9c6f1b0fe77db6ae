"""Networks: a featurizer, dropout on its features, a linear classifier."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from io import BufferedReader
from typing import cast

import torch
from torch import nn

from gga_sweep.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD
from gga_sweep.errors import Fault, InputError
from gga_sweep.input_files import open_regular
from gga_sweep.networks.builtin import NETWORKS
from gga_sweep.networks.choice import is_weights_file, named_featurizer, published_weights
from gga_sweep.networks.declaration import InputShape
from gga_sweep.networks.timm_models import CHANNELS, is_timm, timm_featurizer

_SHOWN_NAMES = 3
"""Tensors of a file that does not fit, of each kind of difference."""


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
        """The input of the classifier: the features, (n, features), with those that the mask drops set to zero."""
        features: torch.Tensor = self.featurizer(images)
        return features if mask is None else features * mask

    def featurize_separately(
        self, minibatches: Sequence[torch.Tensor], masks: Sequence[torch.Tensor | None]
    ) -> torch.Tensor:
        """The same of several minibatches, none of which influences another: (sum of rows, features).

        Each has its own forward if batch norm uses batch statistics. Otherwise one joint forward gives the same result,
        and costs less.

        Args:
            minibatches: each (its rows, channels, height, width).
            masks: of each.
        """
        if uses_batch_statistics(self):
            return torch.cat([self.featurize(*each) for each in zip(minibatches, masks, strict=True)])
        return self.featurize(torch.cat(list(minibatches)), concatenate_masks(masks))


def uses_batch_statistics(module: nn.Module) -> bool:
    """Whether any batch norm in it normalises by the statistics of the batch, and not by running ones."""
    norms = (each for each in module.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm))
    return any(norm.training or norm.running_mean is None for norm in norms)


def concatenate_masks(masks: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """Masks of several minibatches as one; None if there is no dropout."""
    present = [mask for mask in masks if mask is not None]
    return torch.cat(present) if present else None


def dropout_mask(
    generator: torch.Generator, rows: int, features: int, rate: float, device: torch.device
) -> torch.Tensor | None:
    """A mask of zeros and 1 / (1 - rate), (rows, features); None at rate 0, where nothing is drawn.

    The uniforms do not depend on the rate, so two rates drop nested sets of features.
    """
    if rate == 0:
        return None
    kept = torch.rand(rows, features, generator=generator) >= rate
    return (kept / (1 - rate)).to(device, non_blocking=True)


def build_network(
    name: str,
    input_shape: InputShape,
    classes: int,
    weights: str | None,
    generator: torch.Generator,
    trainable: str = "all",
) -> Network:
    """A network with its weights.

    Args:
        name: of a built-in network; `timm/NAME`; or `module:attribute`, a callable (input_shape) -> (featurizer,
            features). Attributes that its featurizer may have: `style_stages` (for MixStyle), `trainable_blocks` (a
            sequence of the parameters of each block, for `last:N`), `input_statistics` (the mean and standard deviation
            of each channel of its images, where they are not ImageNet's).
        input_shape: (channels, height, width) of an image.
        classes: number of classes.
        weights: "pretrained", a torchvision weight name ("imagenet" is its `IMAGENET1K_V1`), the path of a state-dict
            file of the featurizer, or None for random weights.
        generator: of the run's initial weights. Torch's global generator stays as it is.
        trainable: "all"; "head", the classifier alone; or "last:N", it and the featurizer's last N blocks.

    Raises:
        InputError: unknown network, weights that do not fit it, or blocks that it does not have.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())  # torch's initialisers draw from the global generator
        featurizer, features = _featurizer(name, input_shape, weights)
        _freeze(featurizer, name, trainable)
        torch.manual_seed(generator.initial_seed() ^ 1)  # the classifier's start must not depend on the weights above
        return Network(featurizer, features, classes)


def _featurizer(name: str, input_shape: InputShape, weights: str | None) -> tuple[nn.Module, int]:
    known = NETWORKS.get(name)
    file = weights if weights is not None and is_weights_file(weights) else None
    channels = CHANNELS if is_timm(name) else None if known is None else known.channels
    shape = input_shape if channels is None else (channels, *input_shape[1:])
    featurizer: nn.Module
    if is_timm(name):
        featurizer, features = _checked(name, timm_featurizer(name, shape, None if file else weights), shape)
    elif known is None:
        featurizer, features = _checked(name, named_featurizer(name)(input_shape), input_shape)
    else:
        published = None if weights is None or file is not None else published_weights(name, weights)
        featurizer, features = known.build(shape, published)
    if file is not None:
        load_featurizer(featurizer, file)
    if channels not in (None, input_shape[0]):
        _set_channels(featurizer, input_shape[0])
    _take_statistics(featurizer, input_shape[0])
    return featurizer, features


def _checked(name: str, made: object, shape: InputShape) -> tuple[nn.Module, int]:
    """A featurizer that is not ours and the width of its features, run once on a blank image.

    Args:
        made: the pair; a width of None is any.

    Raises:
        InputError: it is no featurizer with the width of its features.
    """
    if not (isinstance(made, tuple | list) and len(made) == 2 and isinstance(made[0], nn.Module)):
        rule = f"{name} must return (featurizer, features): a torch.nn.Module, and the width of its output"
        raise InputError([Fault("training.network", rule, type(made).__name__)])
    featurizer, features = made
    training = featurizer.training
    try:
        with torch.no_grad():
            found = featurizer.eval()(torch.zeros(1, *shape))
    except Exception as error:  # a module may raise anything
        rule = f"{name} must accept images (n, {', '.join(map(str, shape))}): {type(error).__name__}: {error}"
        raise InputError([Fault("training.network", rule)]) from error
    finally:
        featurizer.train(training)
    if features is None and isinstance(found, torch.Tensor) and found.ndim == 2:
        features = found.shape[1]
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != (1, features):
        rule = f"{name} must map an image to (1, {features!r}), as many features as it says"
        if features is None:
            rule = f"{name} must map an image to (1, features): it has no pooled features"
        got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise InputError([Fault("training.network", rule, got)])
    return featurizer, features


def _set_channels(featurizer: nn.Module, channels: int) -> None:
    """Give the first convolution so many input channels, whose weights are those it has, repeated, as in DomainBed."""
    layer = next(module for module in featurizer.modules() if isinstance(module, nn.Conv2d))
    repeated = torch.arange(channels) % layer.in_channels
    layer.weight = nn.Parameter(layer.weight.detach()[:, repeated])
    layer.in_channels = channels


def _take_statistics(featurizer: nn.Module, channels: int) -> None:
    """Let a featurizer rescale its input, which ImageNet's statistics normalise, to statistics of its own.

    Args:
        channels: of its input; those that an algorithm adds to the image stay as they are.
    """
    mean, std = getattr(featurizer, "input_statistics", (IMAGENET_MEAN, IMAGENET_STD))
    if (tuple(mean), tuple(std)) == (IMAGENET_MEAN, IMAGENET_STD):
        return
    mean, std, given_mean, given_std = (
        torch.tensor(each, dtype=torch.float64) for each in (mean, std, IMAGENET_MEAN, IMAGENET_STD)
    )
    scale, shift = torch.ones(channels), torch.zeros(channels)
    scale[: len(std)], shift[: len(std)] = given_std / std, (given_mean - mean) / std
    # Not in the state dict, which has the names of published weights.
    featurizer.register_buffer("input_scale", scale.view(-1, 1, 1), persistent=False)
    featurizer.register_buffer("input_shift", shift.view(-1, 1, 1), persistent=False)
    featurizer.register_forward_pre_hook(_rescale)


def _rescale(featurizer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    images, *others = inputs
    shift, scale = featurizer.get_buffer("input_shift"), featurizer.get_buffer("input_scale")
    return torch.addcmul(shift, images, scale), *others


def _freeze(featurizer: nn.Module, name: str, trainable: str) -> None:
    """Make the featurizer's parameters constants, save those of its last blocks.

    Raises:
        InputError: it has not so many blocks, or does not declare them.
    """
    if trainable == "all":
        return
    trained: set[int] = set()
    if trainable != "head":
        last = int(trainable.partition(":")[2])
        blocks = getattr(featurizer, "trainable_blocks", ())
        if not 1 <= last <= len(blocks):
            rule = f"{name} has {len(blocks)} blocks" if blocks else f"{name} declares no `trainable_blocks`"
            allowed = ("all", "head", *([f"last:1 .. last:{len(blocks)}"] if blocks else ()))
            raise InputError([Fault("training.trainable", rule, trainable, allowed)])
        trained = {id(parameter) for block in blocks[-last:] for parameter in block}
    for parameter in featurizer.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def load_featurizer(featurizer: nn.Module, path: str) -> None:
    """Load a state-dict file (torch or safetensors); a classification head in it (`fc.*`, or timm's) is left out.

    Raises:
        InputError: the file cannot be read, or its tensors do not fit.
    """
    heads = tuple(f"{head}." for head in ("fc", *getattr(featurizer, "head_names", ())))
    try:
        with open_regular(path) as file:
            if path.endswith(".safetensors"):
                from safetensors.torch import load_file

                stored = load_file(path)
            else:
                _require_uncompressed(file)
                stored = torch.load(file, map_location="cpu", weights_only=True)
        state = {name: value for name, value in stored.items() if not name.startswith(heads)}
    except Exception as error:  # torch raises many kinds, from OSError to UnpicklingError, and at length
        rule = f"must be a state-dict file of torch or safetensors ({type(error).__name__})"
        raise InputError([Fault("training.weights", rule, path)]) from error
    if differing := _differences(featurizer.state_dict(), state):
        rule = f"must hold the tensors of the network: {'; '.join(differing)}"
        raise InputError([Fault("training.weights", rule, path)])
    featurizer.load_state_dict(state)


def _differences(own: Mapping[str, torch.Tensor], given: Mapping[str, object]) -> list[str]:
    """How the tensors of a file differ from a network's, in words, by the first names of each kind."""
    shapes = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in given.items()}
    reshaped = {
        name: f"{name} is {shapes[name]}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in shapes and shapes[name] != tuple(tensor.shape)
    }
    kinds = {
        "lacks": [name for name in own if name not in given],
        "has besides": [name for name in given if name not in own],
        "has other shapes": list(reshaped.values()),
    }
    return [
        f"it {kind} {', '.join(names[:_SHOWN_NAMES])}"
        + (f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else "")
        for kind, names in kinds.items()
        if names
    ]


def _require_uncompressed(file: BufferedReader) -> None:
    """torch.save compresses nothing; a small archive could unpack to more than the memory holds."""
    if zipfile.is_zipfile(file) and any(entry.compress_type for entry in zipfile.ZipFile(file).infolist()):
        raise ValueError("compressed")
    file.seek(0)
