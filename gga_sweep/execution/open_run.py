"""Opens one run of a plan for training: its images, its device, its folder. Needs neither Ray nor MLflow."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

from gga_sweep.datasets import Dataset, load_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.errors import GGASweepError
from gga_sweep.execution.recorded_run import FailedRun, ReasonToEnd, RecordedRun, RecordingOptions
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import UNBRANCHED, Branching
from gga_sweep.spec import PlannedRun
from gga_sweep.spec.content_digests import cache_folder
from gga_sweep.spec.location import Location
from gga_sweep.spec.own_code import source_digest


def open_run(
    planned: PlannedRun,
    ledger: Ledger,
    storage: Location,
    digest: str,
    on_gpu: bool,
    options: RecordingOptions | None = None,
    reason_to_stop: Callable[[], str | None] = lambda: None,
    reason_to_end: ReasonToEnd = lambda validations: None,
    branching: Branching = UNBRANCHED,
    workers: int = 0,
) -> RecordedRun | FailedRun:
    """Start or resume a run in its folder.

    Args:
        ledger: where its folder is.
        storage: whose cache holds the images.
        digest: of the images it was planned with.
        on_gpu: whether it trains on the GPU that this process sees.
        options, reason_to_stop, reason_to_end, branching, workers: as for `RecordedRun.open`.

    Raises:
        GGASweepError: the images, or the source of the user's own parts, are not those planned with, or there is no
            CUDA device for a run that needs one.
    """
    for part, planned_with in planned.code.items():
        if _source_digest_once(part) != planned_with:
            raise GGASweepError(f"the source of {part} here is not that the sweep was planned with; launch again")
    dataset = _load_once(planned.config.dataset, cache_folder(storage))
    if dataset.digest != digest:
        raise GGASweepError(
            f"the images of {dataset.name} here are not those the sweep was planned with: "
            f"digest {dataset.digest}, planned {digest}"
        )
    device = torch.device("cpu")
    if on_gpu:
        if not torch.cuda.is_available():
            raise GGASweepError("the run needs a GPU, but this process sees no CUDA device")
        device = torch.device("cuda")
    folder = ledger.run(planned.folder)
    return RecordedRun.open(
        folder,
        planned.key,
        planned.config,
        dataset,
        device,
        options,
        reason_to_stop,
        reason_to_end,
        branching,
        planned.code,
        workers,
    )


@lru_cache(maxsize=2)
def _load_once(config: DatasetConfig, cache: Path) -> Dataset:
    """Cached: a process trains many runs on the same images."""
    return load_dataset(config, cache)


@lru_cache(maxsize=64)
def _source_digest_once(part: str) -> str:
    """Cached: this process imports the module once, whatever becomes of its file."""
    return source_digest(part)
