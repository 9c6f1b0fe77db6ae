"""A selected model out of a run's folder."""

from __future__ import annotations

import torch

from gga_sweep.errors import Fault, InputError
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.networks import Network, build_network
from gga_sweep.training.checkpoint import parse_weights


def load_model(folder: RunFolder) -> Network:
    """The network of a run with the weights of its best validation step, in evaluation mode, on the CPU.

    Raises:
        InputError: the folder holds no run, or one that was never evaluated.
    """
    header, weights = folder.read_header(), folder.read_selected()
    if header is None or weights is None:
        rule = "must be a run's folder with selected weights (STORAGE/SWEEP/runs/RUN)"
        raise InputError([Fault("RUN_DIR", rule, folder.name)])
    network = build_network(
        header.config.training.network,
        header.input_shape,
        len(header.classes),
        None,  # whatever it started from, the stored weights replace it
        torch.Generator(),
    )
    network.load_state_dict(parse_weights(weights))
    return network.eval()
