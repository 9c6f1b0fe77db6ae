"""Loads a run's selected model, and evaluates it on any tree of images."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.datasets import Dataset, Minibatch, evaluation_batch, load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.errors import DamagedFileError, Fault, GGASweepError, InputError
from gga_sweep.ledger.open_store import open_store
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.run_reader import Weights
from gga_sweep.networks.network import Network
from gga_sweep.records import Score
from gga_sweep.spec.location import Location, as_location
from gga_sweep.spec.own_code import source_digest
from gga_sweep.training.build import build_algorithm
from gga_sweep.training.checkpoint import parse_weights
from gga_sweep.training.evaluation import evaluate_images

logger = logging.getLogger(__name__)

_RUN_DIR = "must be a run's folder (STORAGE/SWEEP/runs/RUN)"


def open_run_folder(path: str | Location) -> RunFolder:
    """The run in STORAGE/SWEEP/runs/RUN.

    Raises:
        InputError: the path is not of that form.
    """
    whole = as_location(path, "RUN_DIR")
    if isinstance(whole, Path):
        whole = Path(os.path.abspath(whole))  # noqa: PTH100  `resolve` would follow a `runs` that is a link
    if whole.parent.name != "runs":
        raise InputError([Fault("RUN_DIR", _RUN_DIR, str(path))])
    return RunFolder(open_store(whole.parent.parent), whole.name)


def load_model(folder: RunFolder, weights: Weights = "selected") -> Network:
    """The network of a run with the weights of its best validation step, in evaluation mode, on the CPU.

    Args:
        weights: `averaged` loads the averaged weights instead.

    Raises:
        InputError, DamagedFileError: as `load_algorithm`.
    """
    return load_algorithm(folder, weights).network


def load_algorithm(folder: RunFolder, weights: Weights = "selected") -> Algorithm:
    """The run's algorithm with that network, which predicts as the run's evaluations did.

    Raises:
        InputError: the folder holds no run, one that was never evaluated, or one whose weights were removed.
        DamagedFileError: the weights are not those that the run left.
    """
    header, content = _require_header(folder), folder.read_file(weights)
    if content is None:
        raise InputError([Fault("RUN_DIR", _why_without_weights(folder, header, weights), folder.name)])
    folder.check_digests()
    parts = ", ".join(part for part, digest in header.code.items() if source_digest(part) != digest)
    changed = f"run {folder.name}: the source of {parts} changed since it was trained"
    if parts:
        logger.warning(changed)
    try:
        return restore_algorithm(header, content)
    except GGASweepError:
        raise
    except Exception as error:  # of safetensors, or of torch, that cannot make such a network
        if parts:
            raise GGASweepError(f"{changed}, and its {weights} weights do not fit") from error
        raise DamagedFileError(
            f"run {folder.name}: its {weights} does not hold the weights of its run.json's network"
        ) from error


def restore_algorithm(header: RunHeader, weights: bytes) -> Algorithm:
    """The algorithm of a run with these weights, in evaluation mode, on the CPU."""
    algorithm = build_algorithm(header.config, _setting(header))
    algorithm.network.load_state_dict(parse_weights(weights))
    return algorithm.eval()


def evaluate_model(folder: RunFolder, root: Path, weights: Weights = "selected") -> dict[str, tuple[int, Score]]:
    """Evaluate a run's selected model, or its averaged one, on every image of a tree `root/domain/class/image`.

    Images are decoded at the size the model was trained on; a model of one channel sees their mean over colours.

    Returns:
        By domain: the number of images, and the score.

    Raises:
        InputError: no selected model, one of 2 channels, an unreadable tree, or other classes than the model's.
    """
    header, algorithm = _require_header(folder), load_algorithm(folder, weights)
    channels = header.input_shape[0]
    if channels not in (1, 3):
        raise InputError([Fault("RUN_DIR", "must be a model of 1 or 3 channels to look at photographs", channels)])
    config = DatasetConfig(name="ImageFolder", root=root, image_size=header.input_shape[-1])
    with faults_of_data(root):
        tree = load_dataset(config, None)
    if set(tree.classes) != set(header.classes):
        rule = "must have the model's classes as class folders"
        raise InputError([Fault("--data", rule, list(tree.classes), header.classes)], str(root))
    labels = torch.tensor([header.classes.index(name) for name in tree.classes])
    dataset = Dataset(tree.name, tree.classes, tree.domains, tree.digest, header.normalise)

    def predict(images: torch.Tensor) -> torch.Tensor:
        if channels == 1:
            images = images.mean(dim=1, keepdim=True)
        return algorithm.predict(images)

    scores = {}
    for domain in dataset.domains:
        indices = np.arange(len(domain))

        def batch(part: slice, domain=domain, indices=indices) -> Minibatch:  # type: ignore[no-untyped-def]
            read = evaluation_batch(dataset, domain, indices[part], trial_seed=0, step=0, augmentation="none")
            return Minibatch(read.images, labels[read.labels])

        scores[domain.name] = len(domain), evaluate_images(predict, batch, len(domain), torch.device("cpu"))
    return scores


@contextmanager
def faults_of_data(root: Path | None) -> Iterator[None]:
    """Raise faults of the images in `--data ROOT` as faults of that flag, not of a sweep file's field."""
    try:
        yield
    except InputError as error:
        if root is None:
            raise
        faults = [replace(fault, field="--data") if fault.field == "dataset.root" else fault for fault in error.faults]
        raise InputError(faults, str(root)) from error


def _setting(header: RunHeader) -> Setting:
    return Setting(
        n_domains=max(1, len(header.split_digests) - len(header.config.test_domains)),
        n_classes=len(header.classes),
        input_shape=header.input_shape,
        dataset=header.config.dataset.name,
        trial_seed=header.config.trial_seed,
    )


def _why_without_weights(folder: RunFolder, header: RunHeader, weights: Weights) -> str:
    if weights not in folder.read_state().removed:
        why = "was never evaluated" if weights == "selected" else "has not averaged its weights, or not yet"
        return f"must hold {weights} weights; this run {why}"
    return (
        f"must hold {weights} weights; this run's were removed (`clean`, or --keep-checkpoints none). "
        f"`gga-sweep train FILE --run {header.key[:8]}` trains it again, to the same bits, in the sweep's replays/runs"
    )


def _require_header(folder: RunFolder) -> RunHeader:
    header = folder.read_header()
    if header is None:
        raise InputError([Fault("RUN_DIR", _RUN_DIR, folder.name)])
    return header
