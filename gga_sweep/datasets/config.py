"""The `dataset:` block of a sweep file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from gga_sweep.distributions import Model, Whole


class DatasetConfig(Model):
    """The images that a run is trained on.

    Args:
        name: of a dataset that `gga-sweep data list` shows, ImageFolder, or `module:attribute` of an installed package.
        root: folder of the tree `domain/class/image`; not for the embedded digits.
        image_size: side in pixels at which images are decoded and stored (default: the dataset's own).
    """

    name: Annotated[str, Field(min_length=1)]
    root: Path | None = None
    image_size: Annotated[Whole, Field(ge=8, le=1024)] | None = None
