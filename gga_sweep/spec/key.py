"""A run's key: a hash of everything that decides its numbers, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gga_sweep.metrics import DEFAULT_METRIC
from gga_sweep.networks.choice import lacks_batch_norm
from gga_sweep.networks.published import PRETRAINED
from gga_sweep.networks.timm_models import is_timm
from gga_sweep.records import Scalar
from gga_sweep.spec.models import RunSpec
from gga_sweep.spec.own_code import own_parts

ANNEALING_NUMERICS = 2
"""Raised when a fix changes what an annealed step computes: only annealed runs get new keys."""

AUGMENTATION_NUMERICS = 2
"""Raised when a fix changes the pixels of an augmentation: only runs that augment get new keys."""

AVERAGING_NUMERICS = 1
"""Raised when a fix changes what weight averaging computes: only runs that average get new keys."""

TRAINING_NUMERICS = 1
"""Raised when a fix changes what every run computes (splits, minibatches, evaluation)."""

# A field at its neutral value is left out of the key, so that a field added later does not orphan older runs.
# These values are frozen for good; they are not the defaults, which may change. Of the annealing: `Option.neutral`.
_NEUTRAL: Mapping[str, Mapping[str, Scalar | None]] = {
    "hyperparameters": {"dropout": 0.0, "weight_decay": 0.0},
    "training": {
        "weights": None,
        "augmentation": "none",
        "augment_validation": False,
        "evaluate": "all",
        "freeze_batch_norm": False,
        "precision": "float32",
        "trainable": "all",
        "averaging": None,
    },
}


_NOTHING: Mapping[str, str] = MappingProxyType({})


def run_key(
    config: RunSpec,
    dataset_digest: str,
    algorithm_numerics: int,
    weights: Mapping[str, str] = _NOTHING,
    code: Mapping[str, str] = _NOTHING,
) -> str:
    """The key, 64 hexadecimal digits.

    Args:
        config: the resolved run.
        dataset_digest: of the dataset's manifest; stands for its root folder.
        algorithm_numerics: of the algorithm's registry entry.
        weights: digests of the content of weights files, of this run's and of others; each stands for its path.
        code: digests of the source of parts named as `module:attribute`, of this run and of others.
    """
    hashed = canonical(config, dataset_digest, algorithm_numerics, weights, code)
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(
    config: RunSpec,
    dataset_digest: str,
    algorithm_numerics: int,
    weights: Mapping[str, str] = _NOTHING,
    code: Mapping[str, str] = _NOTHING,
) -> dict[str, object]:
    """What the key hashes: neutral values and fields that do not apply are left out."""
    training = config.training.model_dump()
    if training["weights"] in weights:
        training["weights"] = weights[training["weights"]]
    elif training["weights"] in ("imagenet", PRETRAINED) and not is_timm(training["network"]):
        training["weights"] = "IMAGENET1K_V1"  # three names of one thing
    if lacks_batch_norm(config.training.network):
        del training["freeze_batch_norm"]
    if config.training.augmentation == "none":
        del training["augment_validation"]
    else:
        training["augmentation"] = {"name": config.training.augmentation, "numerics": AUGMENTATION_NUMERICS}
    if config.training.averaging is not None:
        training["averaging"]["numerics"] = AVERAGING_NUMERICS
    parts: dict[str, object] = {
        "algorithm": {"name": config.algorithm, "numerics": algorithm_numerics},
        "dataset": {"name": config.dataset.name, "digest": dataset_digest, "image_size": config.dataset.image_size},
        "hyperparameters": _without_neutral("hyperparameters", config.hyperparameters),
        "test_domains": sorted(config.test_domains),
        "training": {**_without_neutral("training", training), "numerics": TRAINING_NUMERICS},
        "trial_seed": config.trial_seed,
    }
    if config.selected_from:
        parts["selected_from"] = config.selected_from
    if config.metric != DEFAULT_METRIC:  # the weights that the run keeps, and with `selection` its test records
        parts["metric"] = config.metric
    if config.annealing is not None:
        parts["annealing"] = {**config.annealing.in_key(), "numerics": ANNEALING_NUMERICS}
    if own := code_of(config, code):
        parts["code"] = own
    return parts


def code_of(config: RunSpec, code: Mapping[str, str]) -> dict[str, str]:
    """The digests that are of the run's own parts: its dataset, its network, its algorithm."""
    names = own_parts((config.dataset.name, config.training.network, config.algorithm))
    return {name: code[name] for name in names if name in code}


def folder_name(config: RunSpec, key: str) -> str:
    """`<dataset>_<algorithm>[+<method>]_test-<domains>_seed-<trial seed>-<first 8 digits of the key>`.

    Safe in any path. The method is that of the annealing, `gga` or `gga-l`.
    """
    annealed = "" if config.annealing is None else f"+{config.annealing.method}"
    readable = "_".join(
        [
            _slug(config.dataset.name),
            _slug(config.algorithm) + annealed,
            "test-" + "+".join(_slug(domain) for domain in sorted(config.test_domains)),
            f"seed-{config.trial_seed}",
        ]
    )
    return f"{readable[:120]}-{key[:8]}"


def _without_neutral(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    neutral = _NEUTRAL[group]
    return {name: value for name, value in values.items() if name not in neutral or value != neutral[name]}


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "x"
