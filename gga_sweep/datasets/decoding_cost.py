"""What it takes to decode a photograph: measured on some of a tree's."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from gga_sweep.datasets.image_cache import decode
from gga_sweep.datasets.image_folder import image_paths, scan_folders

_PHOTOGRAPHS = 32


def decoding_seconds(root: Path, size: int) -> float:
    """Seconds that one of a tree's photographs takes, on one core: the mean over some from everywhere in it.

    Args:
        root: of the tree.
        size: side in pixels at which images are stored.

    Raises:
        InputError: the tree cannot be listed.
        OSError: one of them cannot be opened.
    """
    paths = list(image_paths(scan_folders(root)))
    chosen = paths[:: max(1, len(paths) // _PHOTOGRAPHS)]
    return statistics.fmean(_seconds(root / path, size) for path in chosen)


def _seconds(path: Path, size: int) -> float:
    """Reading it counts: of the page cache, as in a second epoch."""
    path.read_bytes()
    started = time.perf_counter()
    decode(path.read_bytes(), size)
    return time.perf_counter() - started
