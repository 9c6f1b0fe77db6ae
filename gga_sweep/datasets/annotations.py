"""Annotations of photographs in COCO's format, as a download of TerraIncognita has them."""

from __future__ import annotations

import msgspec

from gga_sweep.datasets.downloads import DownloadedFile, read_file
from gga_sweep.errors import Fault, InputError


class Category(msgspec.Struct, gc=False):
    id: int | str
    name: str


class Image(msgspec.Struct, gc=False):
    id: int | str
    location: int | str
    file_name: str


class Annotation(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int | str


class Annotations(msgspec.Struct):
    """The fields that are read; others are skipped, so that they take no memory."""

    categories: list[Category]
    images: list[Image]
    annotations: list[Annotation]


def read_annotations(file: DownloadedFile) -> Annotations:
    """The annotations of a file.

    Raises:
        InputError: it is no JSON with these lists.
    """
    try:
        return msgspec.json.decode(read_file(file), type=Annotations)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        fields = "images (id, location and file_name), annotations (image_id and category_id), categories (id and name)"
        raise InputError([Fault("", f"must be JSON with the lists {fields}: {error}")], source=file.path) from error
