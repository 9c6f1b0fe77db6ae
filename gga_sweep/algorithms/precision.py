"""The precision in which an algorithm's networks compute; everything else of a step stays in float32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from gga_sweep.errors import Fault, InputError
from gga_sweep.process_state import replaced

Precision = Literal["float32", "tf32", "bfloat16"]


@contextmanager
def computing_in(precision: Precision, modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within the block the forwards of these modules, and their backwards, compute in this precision.

    With `tf32` all convolutions of the block do, where the device has TF32. With `bfloat16` the modules compute under
    autocast, and return float32. Weights, and what is computed from the modules' outputs, are float32.
    """
    with ExitStack() as stack:
        if precision == "tf32":
            stack.enter_context(replaced(torch.backends.cudnn, "allow_tf32", True))
        elif precision == "bfloat16":
            for module in modules:
                stack.enter_context(_in_bfloat16(module))
        yield


def require_precision(precision: Precision, device: torch.device) -> None:
    """Check that a device has it. TF32 is not checked: a device without it computes in float32.

    Raises:
        InputError: bfloat16 on a GPU without it.
    """
    if precision != "bfloat16" or device.type != "cuda":
        return
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        major, minor = torch.cuda.get_device_capability(device)
        rule = (
            f"bfloat16 needs a GPU of compute capability 8.0 (Ampere) or later; {torch.cuda.get_device_name(device)} "
            f"has {major}.{minor}"
        )
        raise InputError([Fault("training.precision", rule, precision, ("float32", "tf32"))])


@contextmanager
def _in_bfloat16(module: nn.Module) -> Iterator[None]:
    """By hooks, so that every call of the module is covered."""
    scopes: list[torch.autocast] = []

    def enter(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # Without autocast's cache, which would return casts of the weights as they were before an inner step.
        scope = torch.autocast(inputs[0].device.type, torch.bfloat16, cache_enabled=False)
        scope.__enter__()  # type: ignore[no-untyped-call]  # torch leaves it so
        scopes.append(scope)

    def leave(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None) -> Tensor | None:
        scopes.pop().__exit__(None, None, None)
        return None if output is None else output.float()  # None after an error

    handles = module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
