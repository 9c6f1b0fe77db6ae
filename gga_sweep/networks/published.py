"""Files of published weights, in the caches of torch and of the Hugging Face hub. A run downloads none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from gga_sweep.errors import Fault, GGASweepError, InputError

PRETRAINED = "pretrained"
"""The value of `training.weights` for the published weights of a network."""


class PublishedFile(NamedTuple):
    """A file of published weights.

    Args:
        network: as sweep files write it.
        weights: the value of `training.weights` that names them.
        source: where they are downloaded from: a URL, or a repository of the Hugging Face hub.
        names: of the file in that repository, the preferred one first; empty for a URL.
    """

    network: str
    weights: str
    source: str
    names: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The source as an address."""
        return f"https://huggingface.co/{self.source}" if self.names else self.source


def cached_file(file: PublishedFile) -> Path:
    """Where the file is in the cache. Downloads nothing.

    Raises:
        InputError: it is not there.
    """
    found = _in_cache(file)
    if found is None:
        rule = (
            f"the weights of {file.network} are not in the cache of this machine, and a run downloads nothing: "
            f"`gga-sweep weights fetch {file.network}` downloads them once, from {file.place}"
        )
        raise InputError([Fault("training.weights", rule, file.weights)])
    return found


def fetch_file(file: PublishedFile) -> Path:
    """Download the file into the cache, unless it is there.

    Raises:
        GGASweepError: it cannot be downloaded.
    """
    found = _in_cache(file)
    if found is not None:
        return found
    try:
        return _download(file)
    except Exception as error:  # of the network, the hub or the disk
        reason = " ".join(str(error).split()) or type(error).__name__
        raise GGASweepError(
            f"the weights of {file.network} cannot be downloaded from {file.place} ({reason}). Check the connection, "
            "or download a state-dict file elsewhere and give its path as training.weights"
        ) from error


def load_file(path: Path) -> dict[str, Any]:
    """The tensors of a file by name."""
    if path.suffix == ".safetensors":
        from safetensors import torch as safetensors

        return dict(safetensors.load_file(path))
    import torch

    return dict(torch.load(path, map_location="cpu", weights_only=True))


def content_name(path: Path) -> str:
    """A name of the content of a cached file.

    The hub's cache links a file to one that is named by its digest; torch's has the digest in the name of the file.
    """
    return path.resolve().name


def _in_cache(file: PublishedFile) -> Path | None:
    if not file.names:
        found = _in_cache_of_torch(file.source)
        return found if found.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = file.source.partition("@")
    for name in file.names:
        found_there = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(found_there, str):
            return Path(found_there)
    return None


def _download(file: PublishedFile) -> Path:
    if not file.names:
        from torch.hub import HASH_REGEX, download_url_to_file

        target = _in_cache_of_torch(file.source)
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = HASH_REGEX.search(target.name)
        download_url_to_file(file.source, str(target), digest and digest.group(1), progress=False)
        return target
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, _, revision = file.source.partition("@")
    *preferred, last = file.names
    for name in preferred:
        try:
            return Path(hf_hub_download(repository, name, revision=revision or None))
        except LocalEntryNotFoundError:  # the hub cannot be reached
            raise
        except EntryNotFoundError:  # the repository has only an older format
            continue
    return Path(hf_hub_download(repository, last, revision=revision or None))


def _in_cache_of_torch(url: str) -> Path:
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints" / url.rpartition("/")[2]
