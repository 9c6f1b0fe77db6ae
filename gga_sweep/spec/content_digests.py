"""Digests of what runs read, and the folder that keeps them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gga_sweep.datasets import dataset_digest
from gga_sweep.datasets.files import expanded, is_folder
from gga_sweep.datasets.registry import what_root_must_be
from gga_sweep.errors import Fault, InputError
from gga_sweep.input_files import open_regular
from gga_sweep.networks.choice import is_weights_file
from gga_sweep.spec.arms import Arm
from gga_sweep.spec.location import Location
from gga_sweep.spec.models import TRAINING
from gga_sweep.spec.own_code import own_parts, source_digest
from gga_sweep.spec.plan import CACHE_FOLDER, Contents, SweepSpec


def read_contents(sweep: SweepSpec) -> Contents:
    """Digest the images, the source of the user's own parts and the weights files.

    Raises:
        InputError: the dataset's root is missing, or a file cannot be read.
    """
    if not sweep.dataset.available:
        root = sweep.config.dataset.root
        rule = f"must be {what_root_must_be(sweep.config.dataset.name)}"
        fault = Fault("dataset.root", rule, str(root) if root else None)
        raise InputError([fault], sweep.source)
    cache = cache_folder(sweep.storage)
    kept = is_folder(cache.parent)  # else there is no storage yet, and to look must not make one
    files = {sweep.training_of(arm).weights: _place(arm, "weights") for arm in sweep.arms}
    return Contents(
        dataset=dataset_digest(sweep.config.dataset, cache if kept else None),
        weights={path: _file_digest(path, place) for path, place in files.items() if path and is_weights_file(path)},
        code={name: source_digest(name, field) for name, field in _own_parts(sweep).items()},
    )


def _own_parts(sweep: SweepSpec) -> dict[str, str]:
    """Every `module:attribute` of a sweep, with its field."""
    named = {arm.algorithm: f"arms[{arm.index}].algorithm" for arm in sweep.arms}
    named |= {sweep.config.dataset.name: "dataset.name"}
    named |= {sweep.training_of(arm).network: _place(arm, "network") for arm in sweep.arms}
    return {name: named[name] for name in own_parts(named)}


def _place(arm: Arm, setting: str) -> str:
    """Where in the file a setting of an arm's training stands."""
    return arm.field_of(f"{TRAINING}{setting}")


def cache_folder(storage: Location) -> Path:
    """The folder of content hashes and decoded images, for all sweeps of a storage.

    `GGA_SWEEP_CACHE` names another folder, such as one on the disk of each node. Of a storage in a bucket it is one of
    this user's on this machine.

    Raises:
        InputError: a home directory that is not found.
    """
    if named := os.environ.get("GGA_SWEEP_CACHE"):
        return expanded(Path(named), "GGA_SWEEP_CACHE").absolute()
    if isinstance(storage, Path):
        return storage / CACHE_FOLDER
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gga-sweep"


def _file_digest(path: str, place: str) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        rule = f"the weights file must be readable ({error.strerror})"
        raise InputError([Fault(place, rule, path)]) from error
