"""Spawrious: four breeds of dogs in six locations, of which each challenge correlates some in training.

Source: facebookresearch/DomainBed at b93c22a, domainbed/datasets.py, which is that of aengusl/spawrious (Lynch et al.,
arXiv 2303.05470). The download unpacks to `spawrious224/NUMBER/location/breed`, with 3168 images in each folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from gga_sweep.datasets.files import is_folder, is_hidden, is_plain, unfit_names
from gga_sweep.datasets.image_folder import ImageTree
from gga_sweep.errors import Fault, InputError

TEST = "Test"
CLASSES = ("bulldog", "corgi", "dachshund", "labrador")
NEEDS = "the folder that Spawrious was unpacked to: spawrious224, or the one above it"
FIRST_BY_NAME = (
    "of a folder of which not all images are trained on, the first by name are (DomainBed's: the first in the order of "
    "the file system)"
)

_FOLDER = "spawrious224"
_BREEDS = ("bulldog", "dachshund", "labrador", "corgi")  # in the order of DomainBed's locations
_IMAGES = 3168  # of a folder
_CORRELATED = (3072, 2756)  # of a breed in its location, by training domain: int(0.97 * 3168), int(0.87 * 3168)

SIZES: Mapping[str, int] = MappingProxyType({TEST: 8 * _IMAGES, "SC_group_1": 4 * _IMAGES, "SC_group_2": 4 * _IMAGES})
"""Images of each domain, in DomainBed's order."""


@dataclass(frozen=True, slots=True)
class Part:
    """Images of one folder in a domain.

    Args:
        folder: number/location/breed.
        limit: how many, the first by name; None for all.
    """

    folder: str
    limit: int | None = None


Parts = Mapping[str, Sequence[Part]]
"""By domain, its parts in the order that splits refer to."""


def _one_to_one(correlated: Sequence[str], tested: Sequence[str], elsewhere: str) -> Parts:
    """A location for each breed: all images of a training domain are there, but for those that lie `elsewhere`.

    Args:
        correlated, tested: a location for each of `_BREEDS`.
        elsewhere: the location of the others, for all breeds.
    """

    def parts(number: int, locations: Sequence[str], limit: int | None) -> Iterator[Part]:
        for location, breed in zip(locations, _BREEDS, strict=True):
            yield Part(f"{number}/{location}/{breed}", limit)

    domains = {TEST: (*parts(0, tested, None), *parts(1, tested, None))}
    for number, (domain, most) in enumerate(zip(("SC_group_1", "SC_group_2"), _CORRELATED, strict=True)):
        domains[domain] = (*parts(number, correlated, most), *parts(number, [elsewhere] * 4, _IMAGES - most))
    return domains


def _many_to_many(correlated: Sequence[str], tested: Sequence[str]) -> Parts:
    """Two breeds share two locations, which they exchange between the training domains; all lies below folder 0."""

    def parts(order: Sequence[int], locations: Sequence[str], limit: int | None) -> Iterator[Part]:
        for place, breed in zip(order, _BREEDS, strict=True):
            yield Part(f"0/{locations[place]}/{breed}", limit)

    given, exchanged = (0, 1, 2, 3), (1, 0, 3, 2)
    return {
        TEST: (*parts(given, tested, None), *parts(exchanged, tested, None)),
        "SC_group_1": tuple(parts(given, correlated, _IMAGES)),
        "SC_group_2": tuple(parts(exchanged, correlated, _IMAGES)),
    }


CHALLENGES: Mapping[str, Parts] = MappingProxyType(
    {
        "SpawriousO2O_easy": _one_to_one(
            ("desert", "jungle", "dirt", "snow"), ("dirt", "snow", "desert", "jungle"), "beach"
        ),
        "SpawriousO2O_medium": _one_to_one(
            ("mountain", "beach", "dirt", "jungle"), ("jungle", "dirt", "beach", "snow"), "desert"
        ),
        "SpawriousO2O_hard": _one_to_one(
            ("jungle", "mountain", "snow", "desert"), ("mountain", "snow", "desert", "jungle"), "beach"
        ),
        "SpawriousM2M_easy": _many_to_many(
            ("desert", "mountain", "dirt", "jungle"), ("dirt", "jungle", "mountain", "desert")
        ),
        "SpawriousM2M_medium": _many_to_many(
            ("beach", "snow", "mountain", "desert"), ("desert", "mountain", "beach", "snow")
        ),
        "SpawriousM2M_hard": _many_to_many(("dirt", "jungle", "snow", "beach"), ("snow", "beach", "dirt", "jungle")),
    }
)
"""By DomainBed's name."""


def list_images(parts: Parts, root: Path) -> ImageTree:
    """List a challenge.

    Args:
        parts: of `CHALLENGES`.
        root: the folder that holds 0 and 1, or the one that holds `spawrious224`.

    Raises:
        InputError: the root is not a folder; or, all of them named, parts that are missing, cannot be listed or hold no
            image, and names that are no text.
    """
    if not is_folder(root):
        raise InputError([Fault("dataset.root", f"must be {NEEDS}", str(root))])
    place = root / _FOLDER if is_folder(root / _FOLDER) else root
    folders = dict.fromkeys(part.folder for domain in parts.values() for part in domain)
    found: dict[str, tuple[str, ...]] = {}
    faults: list[Fault] = []
    for folder in folders:
        try:
            found[folder] = _images(place, folder)
        except OSError as error:
            faults.append(Fault("dataset.root", f"folder must be readable ({error.strerror})", folder))
    if empty := [folder for folder, images in found.items() if not images]:
        faults.append(Fault("dataset.root", "folders must hold images (.png, .jpg or .jpeg)", empty))
    names = (image for images in found.values() for image in images)
    faults += unfit_names("dataset.root", [image for image in names if not is_plain(image.rpartition("/")[2])])
    if faults:
        raise InputError(faults, source=str(place))
    paths = {
        domain: tuple(image for part in of_domain for image in found[part.folder][: part.limit])
        for domain, of_domain in parts.items()
    }
    labels = {domain: tuple(CLASSES.index(image.split("/")[2]) for image in images) for domain, images in paths.items()}
    return ImageTree(place, CLASSES, paths, labels)


def _images(place: Path, folder: str) -> tuple[str, ...]:
    """The images directly in a folder, by name, relative to `place`; those that DomainBed reads."""
    names = (file.name for file in (place / folder).iterdir() if file.name.endswith((".png", ".jpg", ".jpeg")))
    return tuple(f"{folder}/{name}" for name in sorted(names) if not is_hidden(name))
