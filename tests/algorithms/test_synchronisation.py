"""No step of an algorithm waits for the device.

The device is `meta`, whose tensors have no values: whatever reads one (`item`, `nonzero`, a boolean index, a copy to
the CPU) raises. A copy to the device must not block either.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_hosts import CLASSES, convolutional_network, tiny_host
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.algorithms.batch import Batch
from gga_sweep.datasets import Minibatch
from gga_sweep.networks.network import dropout_mask
from gga_sweep.records import Scalar
from gga_sweep.seeding import stream, tensor_stream

META = torch.device("meta")
ROWS = 4
PENALISED: dict[str, dict[str, Scalar]] = {
    "IRM": {"irm_penalty_anneal_iters": 1},
    "VREx": {"vrex_penalty_anneal_iters": 1},
    "Fishr": {"fishr_penalty_anneal_iters": 1},
    "MixStyle": {"mixstyle_p": 1.0},
    "EQRM": {"eqrm_burnin_iters": 1},
    "ERMPlusPlus": {"ermpp_linear_steps": 0, "ermpp_average_from": 2},
}


class NoBlockingCopies(TorchDispatchMode):
    """Raises where a tensor is copied from the CPU in such a way that the process waits for all work before it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default:
            target, blocks = kwargs.get("device"), not kwargs.get("non_blocking", False)
            source = args[0]
        elif func is torch.ops.aten.copy_.default:
            target, source = args[0].device, args[1]
            blocks = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        else:
            return func(*args, **kwargs)
        if blocks and target == META and source.device.type == "cpu" and source.dim():
            raise AssertionError(f"a blocking copy of {tuple(source.shape)}")
        return func(*args, **kwargs)


class BatchWithoutNumbers(Batch):
    """The device has no generators, and its numbers have no values."""

    def generator(self, purpose: str, device: torch.device) -> torch.Generator:
        return None  # type: ignore[return-value]


def batch_on_the_device(step: int, features: int) -> Batch:
    minibatches = [
        Minibatch(torch.empty(ROWS, 1, 8, 8, device=META), torch.empty(ROWS, dtype=torch.int64, device=META))
        for _ in range(3)
    ]

    def mask(domain: int, forward: int) -> Tensor | None:
        generator = tensor_stream("Tiny", 0, "dropout", step, str(domain), forward)
        return dropout_mask(generator, ROWS, features, 0.5, META)

    return BatchWithoutNumbers(minibatches, mask, lambda purpose: stream("Tiny", 0, "host", step, purpose))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_step_waits_for_the_device(name: str) -> None:
    network = convolutional_network(ALGORITHMS[name].load().EXTRA_CHANNELS).to(META)
    host = tiny_host(name, network, **PENALISED.get(name, {})).float()
    for step in range(3):
        batch = batch_on_the_device(step, network.features)
        with NoBlockingCopies():
            loss = host.update(batch)
        assert loss.device == META
        assert loss.shape == ()


@pytest.mark.parametrize(
    "wait",
    [
        lambda values: values.sum().item(),
        lambda values: float(values.sum()),
        lambda values: values.tolist(),
        lambda values: values.nonzero(),
        lambda values: values[values > 0],
        lambda values: values.cpu(),
        lambda values: bool((values > 0).any()),
    ],
    ids=["item", "float", "tolist", "nonzero", "boolean index", "cpu", "bool"],
)
def test_what_waits_for_the_device_would_be_found(wait: Any) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        wait(torch.empty(CLASSES, device=META))


def test_a_blocking_copy_would_be_found() -> None:
    with NoBlockingCopies():
        torch.ones(3).to(META, non_blocking=True)
        with pytest.raises(AssertionError, match=r"a blocking copy of \(3,\)"):
            torch.ones(3).to(META)
