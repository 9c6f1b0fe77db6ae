"""Downloads as they come, with a few tiny images in each folder."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from PIL import Image

PACS = {
    f"{domain}/{name}/{domain}_{index}.jpg"
    for domain in ("art_painting", "cartoon", "photo", "sketch")
    for name in ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    for index in range(2)
}
VLCS = {
    f"{domain}/{name}/{index}.jpg"
    for domain in ("Caltech101", "LabelMe", "SUN09", "VOC2007")
    for name in ("bird", "car", "chair", "dog", "person")
    for index in range(2)
}
SPECIES = ("bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel")
LOCATIONS = ("38", "46", "100", "43")


@lru_cache(maxsize=4096)
def picture(name: str) -> bytes:
    """A tiny image that no other name has."""
    number = sum(ord(letter) * 257**place for place, letter in enumerate(name)) % 2**24
    stream = io.BytesIO()
    Image.new("RGB", (3, 3), (number >> 16, number >> 8 & 255, number & 255)).save(stream, "png")
    return stream.getvalue()


def content(paths: Iterable[str], below: str = "") -> dict[str, bytes]:
    """An image at every path, below a folder; which one depends on the path alone."""
    return {below + path: picture(path) for path in sorted(paths)}


def lay(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def zipped(archive: Path, files: Mapping[str, bytes]) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as output:
        for path, data in files.items():
            output.writestr(path, data)
    return archive


def tarred(archive: Path, files: Mapping[str, bytes]) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz" if archive.suffix.lower() in (".gz", ".tgz") else "w") as output:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            output.addfile(member, io.BytesIO(data))
    return archive


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def camera_traps() -> tuple[dict[str, bytes], dict[str, object], dict[str, bytes]]:
    """(photographs as downloaded, annotations, the tree that they make), with all that must be left out."""
    photographs: dict[str, bytes] = {}
    expected: dict[str, bytes] = {}
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    categories = [{"id": 30 - number, "name": name} for number, name in enumerate((*SPECIES, "deer"))]
    ids = {category["name"]: category["id"] for category in categories}

    def photograph(location: str, *names: str) -> None:
        key = f"photograph-{len(images)}"
        photographs[f"eccv_18_all_images_sm/{key}.jpg"] = picture(key)
        images.append({"id": key, "location": location, "file_name": f"{key}.jpg", "seq_id": "s"})
        for name in names:
            annotations.append({"id": str(len(annotations)), "image_id": key, "category_id": ids[name]})
            if location in LOCATIONS and name in SPECIES:
                expected[f"location_{location}/{name}/{key}.jpg"] = picture(key)

    for location in LOCATIONS:
        for name in SPECIES:
            photograph(location, name)
    photograph("38", "cat", "dog")  # two animals: it stands in both classes
    photograph("38", "cat", "cat")  # twice the same: once
    photograph("43", "deer")  # no class of the benchmark
    photograph("44", "cat")  # no domain of it
    photograph("46")  # not annotated
    return photographs, {"images": images, "annotations": annotations, "categories": categories}, expected


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()
