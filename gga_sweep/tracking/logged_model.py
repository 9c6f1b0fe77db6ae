"""Loads a logged model with `mlflow.pyfunc.load_model`, which requires the installed package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gga_sweep.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD
from gga_sweep.execution.model import restore_algorithm
from gga_sweep.ledger.run_header import parse_header
from gga_sweep.tracking import names


class ImageClassifier:
    """A winner's network, on the CPU.

    Args:
        folder: with the run's configuration and weights.
    """

    def __init__(self, folder: Path) -> None:
        header = parse_header((folder / names.CONFIG_FILE).read_bytes())
        self._algorithm = restore_algorithm(header, (folder / names.WEIGHTS_FILE).read_bytes())
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if header.normalise else ((0.0,), (1.0,))
        self._mean, self._std = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)

    def predict(self, images: NDArray[np.float32], params: object = None) -> NDArray[np.float32]:
        """The probability of each class.

        Args:
            images: (n, channels, height, width), in [0, 1].
            params: none are known.

        Returns:
            (n, classes) in the order of the model's metadata.
        """
        with torch.inference_mode():
            inputs = (torch.from_numpy(np.ascontiguousarray(images)) - self._mean) / self._std
            logits = self._algorithm.predict(inputs)
        probabilities: NDArray[np.float32] = logits.softmax(dim=1).numpy()
        return probabilities


def _load_pyfunc(folder: str) -> ImageClassifier:
    """The name that MLflow calls."""
    return ImageClassifier(Path(folder))
