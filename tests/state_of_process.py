"""Prints what a script of the public names leaves changed in its process. Run in a process of its own."""

from __future__ import annotations

import importlib
import logging
import os
import random
import signal
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

OTHERS = (
    *("aiohttp.web", "matplotlib.figure", "mlflow", "ray.tune", "rich.console", "scipy.stats", "torchvision"),
    *("typer", "yaml"),
)
"""Packages that change a process when they are imported; a user who imports them too has that anyway."""


def state() -> dict[str, Any]:
    """What belongs to the user: by name."""
    loggers = [item for item in logging.root.manager.loggerDict.values() if isinstance(item, logging.Logger)]
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32
    return {
        **{f"${name}": value for name, value in os.environ.items()},
        **{f"logger {logger.name}": logger.level for logger in loggers},
        **{str(number): signal.getsignal(number) for number in signal.valid_signals() if number < signal.SIGRTMIN},
        "folder": Path.cwd(),
        "handlers": tuple(logging.root.handlers),
        "hooks": (sys.excepthook, threading.excepthook),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tobytes(),  # type: ignore[index, union-attr]
        "torch": torch.get_rng_state().numpy().tobytes(),
        "torch flags": (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), flags),
        "dtype": torch.get_default_dtype(),
        "warnings": tuple(map(str, warnings.filters)),
    }


class Watched:
    """Prints, for each part of a script, the names of what it changed."""

    def __init__(self) -> None:
        for name in OTHERS:
            with suppress(ModuleNotFoundError):  # not every version of Ray and MLflow needs all of them
                importlib.import_module(name)
        self._before = state()

    def show(self, part: str) -> None:
        now = state()
        names = [name for name in sorted({*self._before, *now}) if name in self._before or "logger" not in name]
        changed = [name for name in names if self._before.get(name) != now.get(name)]
        if "warnings" in changed:
            changed += [line for line in now["warnings"] if line not in self._before["warnings"]]
        self._before = now
        print(f"{part}: {', '.join(changed) or 'nothing'}", flush=True)
