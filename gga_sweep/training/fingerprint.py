"""The environment, on which the bits of a run depend in addition to its key: versions, device, arithmetic."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

import torch

from gga_sweep.networks.choice import published_file
from gga_sweep.networks.published import PRETRAINED, cached_file, content_name
from gga_sweep.networks.timm_models import is_timm
from gga_sweep.process_state import kept

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"

_FLAGS = (
    (torch.backends.cuda.matmul, "allow_tf32"),
    (torch.backends.cudnn, "allow_tf32"),
    (torch.backends.cudnn, "benchmark"),
)


def fingerprint(device: torch.device, network: str = "", weights: str | None = None) -> dict[str, str]:
    """The environment of a run, by name. Equal fingerprints promise equal bits for equal keys.

    Args:
        network: of the run: one of timm depends on the version of timm.
        weights: `pretrained` for weights whose content their name does not determine for good.

    Raises:
        InputError: such weights are not in the cache.
    """
    found = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    if device.type == "cuda":
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    if is_timm(network) and weights == PRETRAINED:
        found["weights"] = content_name(cached_file(published_file(network)))
    for package in ("gga-sweep", "torch", "torchvision", "numpy", *(("timm",) if is_timm(network) else ())):
        try:
            found[package] = str(metadata.version(package))
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@contextmanager
def arithmetic(threads: int) -> Iterator[None]:
    """Within the block the arithmetic is that of `set_arithmetic`; then as before."""
    before = torch.get_num_threads()
    flags = [(where, name, getattr(where, name)) for where, name in _FLAGS]
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with kept((_CUBLAS,)):
        set_arithmetic(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            for where, name, value in flags:
                setattr(where, name, value)


def set_arithmetic(threads: int) -> None:
    """Make the arithmetic of this process, which trains runs, a function of its inputs.

    Other thread counts give other bits. TF32 has 10 bits of mantissa, too few for a perturbation of 1e-5. cuDNN must
    not choose its kernels by timing them.
    """
    torch.set_num_threads(threads)
    os.environ.setdefault(_CUBLAS, ":4096:8")
    for where, name in _FLAGS:
        setattr(where, name, False)
    torch.use_deterministic_algorithms(True, warn_only=True)


def fastest_memory_format(device: torch.device) -> torch.memory_format:
    """Of images and convolutions: cuDNN convolves fastest with channels last, a CPU with channels first."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format
