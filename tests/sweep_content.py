"""Small sweep files, as mappings, and trees of photographs for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from gga_sweep.errors import Fault, InputError
from gga_sweep.spec import Contents, load

CONTENTS = Contents(dataset="d" * 32)

GGA: dict[str, Any] = {"algorithm": "ERM", "annealing": {"method": "gga"}}
GGA_L: dict[str, Any] = {"algorithm": "ERM", "annealing": {"method": "gga-l"}}


def content(**changes: Any) -> dict[str, Any]:
    """ERM on rotated digits, changed at the top."""
    return {"name": "tiny", "dataset": {"name": "RotatedDigits"}, "arms": [{"algorithm": "ERM"}], **changes}


def faults_of(source: Any, overrides: tuple[str, ...] = ()) -> list[str]:
    """Field, rule and value of each."""
    with pytest.raises(InputError) as caught:
        load(source, overrides=overrides)
    return [shown(fault) for fault in caught.value.faults]


def fault_cases(text: str) -> list[tuple[dict[Any, Any], str]]:
    """What a file changes, in YAML, and after an arrow the fault; a line that is indented continues the one above."""
    found = re.findall(r"^(\S.*?)\n    -> (.*?)(?=\n\S|\n\Z)", text, flags=re.DOTALL | re.MULTILINE)
    return [(yaml.safe_load(changes), " ".join(message.split())) for changes, message in found]


def shown(fault: Fault) -> str:
    return str(replace(fault, allowed=()))


def two_arms(**changes: Any) -> dict[str, Any]:
    """ERM and an annealed arm on two test domains, two trial seeds, three draws of lr."""
    return content(
        **{
            "arms": [{"algorithm": "ERM"}, GGA],
            "test_domains": [0, 75],
            "trial_seeds": [0, 1],
            "draws": 3,
            "defaults": {"lr": 1e-3, "annealing.start_step": 2, "annealing.num_steps": 3},
            "search_space": {"lr": {"loguniform": [3e-4, 3e-3]}},
            "training": {"steps": 10},
            **changes,
        }
    )


def write_tree(
    root: Path,
    domains: Sequence[str] = ("art", "photo", "sketch"),
    classes: Sequence[str] = ("cat", "dog"),
    per_class: int = 5,
) -> Path:
    """Write root/domain/class/image: noise, no two images alike."""
    rng = np.random.default_rng(0)
    for domain in domains:
        for name in classes:
            (root / domain / name).mkdir(parents=True)
            for index in range(per_class):
                pixels = rng.integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / domain / name / f"{index}.png")
    return root


def on_tree(root: Path | None, **changes: Any) -> dict[str, Any]:
    """A sweep on a tree of photographs, in batches that its domains can fill."""
    dataset = {"name": "ImageFolder", "image_size": 16, **({} if root is None else {"root": str(root)})}
    return content(**{"dataset": dataset, "defaults": {"batch_size": 2}, **changes})
