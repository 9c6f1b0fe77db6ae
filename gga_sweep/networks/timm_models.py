"""Networks of timm, which sweep files name `timm/NAME`. Timm and torch are imported when a network is built."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

from gga_sweep.errors import Fault, InputError
from gga_sweep.networks.declaration import InputShape
from gga_sweep.networks.published import PRETRAINED, PublishedFile, cached_file, load_file

if TYPE_CHECKING:
    from torch import nn

PREFIX = "timm/"

CHANNELS = 3

_EXAMPLE = "timm/resnet50.ram_in1k"
_NAME = re.compile(r"timm/\w+(\.\w+)?", re.ASCII)
_FIELD = "training.network"

_HUB_FILES = {
    None: ("model.safetensors", "pytorch_model.bin"),
    "open_clip_pytorch_model.bin": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
}
"""By the name that timm gives for a repository of the hub: the files that it tries, in its order."""


def is_timm(network: str) -> bool:
    """Whether a sweep file names a network of timm."""
    return network.startswith(PREFIX)


def is_installed() -> bool:
    """Whether timm is installed. Does not import it."""
    return importlib.util.find_spec("timm") is not None


def name_faults(network: str) -> list[Fault]:
    """The faults of a name that are known without importing timm."""
    if not _NAME.fullmatch(network):
        return [Fault(_FIELD, f"must be timm/NAME or timm/NAME.TAG, such as {_EXAMPLE}", network)]
    if not is_installed():
        return [Fault(_FIELD, "needs the package timm (pip install 'gga-sweep[timm]')", network)]
    return []


def pretrained_faults(network: str) -> list[Fault]:
    """A network with published weights is named with their tag: the default tag depends on timm's version."""
    if "." in network:
        return []
    rule = f"needs a network with the tag of its weights, such as {_EXAMPLE}; {network} has none"
    return [Fault("training.weights", rule, PRETRAINED)]


def timm_featurizer(network: str, input_shape: InputShape, weights: str | None) -> tuple[nn.Module, None]:
    """A network of timm without its head. The width of its features is that of its output.

    Args:
        network: `timm/NAME` or `timm/NAME.TAG`.
        input_shape: of three channels.
        weights: `pretrained` for the published ones, from the cache; None for random ones.

    Raises:
        InputError: unknown name, images of another size than it requires, or weights that are not in the cache.
    """
    config = _config(network)
    height, width = config["input_size"][1:]
    if config.get("fixed_input_size") and (height, width) != input_shape[1:]:
        given = " x ".join(map(str, input_shape[1:]))
        hint = f" (set dataset.image_size: {height})" if height == width else ""
        rule = f"needs images of {height} x {width} pixels{hint}; the dataset's are {given}"
        raise InputError([Fault(_FIELD, rule, network)])
    import timm

    # As a state dict timm adapts the weights like downloaded ones; some networks read a file in another format.
    state = None if weights is None else {"state_dict": load_file(cached_file(published_timm_file(network)))}
    name = network.removeprefix(PREFIX)
    made = timm.create_model(name, pretrained=weights is not None, pretrained_cfg_overlay=state, num_classes=0)
    made.input_statistics = tuple(config["mean"]), tuple(config["std"])
    made.trainable_blocks = _blocks(made)
    heads = config.get("classifier") or ()
    made.head_names = (heads,) if isinstance(heads, str) else tuple(heads)
    return made, None


def published_timm_file(network: str) -> PublishedFile:
    """Where the published weights of a network are.

    Raises:
        InputError: unknown name, no tag, or no published weights.
    """
    if faults := [*name_faults(network), *pretrained_faults(network)]:
        raise InputError(faults)
    config = _config(network)
    if repository := config.get("hf_hub_id"):
        name = config.get("hf_hub_filename")
        return PublishedFile(network, PRETRAINED, repository, _HUB_FILES.get(name) or (str(name),))
    if url := config.get("url"):
        return PublishedFile(network, PRETRAINED, url)
    raise InputError([Fault("training.weights", f"timm publishes no weights of {network}", PRETRAINED)])


def _config(network: str) -> dict[str, Any]:
    """Timm's description of a network: its input, its statistics, its weights.

    Raises:
        InputError: unknown name.
    """
    import timm
    from timm.models import get_pretrained_cfg

    name, _, tag = network.removeprefix(PREFIX).partition(".")
    if timm.is_model(name):
        try:
            found = get_pretrained_cfg(f"{name}.{tag}" if tag else name)
            return dict(found.to_dict())
        except RuntimeError:  # there is no such tag
            known = timm.list_pretrained(f"{name}.*")
    else:
        known = [*timm.list_models(), *timm.list_pretrained()]
    from difflib import get_close_matches

    like = get_close_matches(network, [PREFIX + each for each in known], n=3)
    raise InputError([Fault(_FIELD, "must be a network of timm (timm.list_models())", network, (*like, "..."))])


def _blocks(network: nn.Module) -> tuple[tuple[nn.Parameter, ...], ...]:
    """The parameters of each block, in order; those of the stem are in none. Empty where timm declares no blocks."""
    from timm.models import group_parameters

    matcher = getattr(network, "group_matcher", None)
    if matcher is None:
        return ()
    groups = group_parameters(network, matcher(coarse=False))
    _, *blocks = [tuple(map(network.get_parameter, groups[number])) for number in sorted(groups)]
    if len(blocks) > 1 and all(parameter.ndim == 1 for parameter in blocks[-1]):  # a final norm is no block
        blocks[-2:] = [blocks[-2] + blocks[-1]]
    return tuple(blocks)
