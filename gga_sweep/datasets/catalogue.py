"""The datasets with a name. An entry declares everything specific to its dataset.

Folder names are those of DomainBed's trees (facebookresearch/DomainBed, domainbed/datasets.py and scripts/download.py),
and so is the order of the benchmarks. Counts are DomainBed's, per domain as commonly quoted; TerraIncognita's were
given by khanrc (khanrc/miro#9), and its download holds 24,330 images today. SVIRO's are not published: its classes are
the seven of its paper (arXiv 2001.03483). DomainNet's are those without DomainBed's
list of 9,431 duplicates; those with them are commonly quoted too, and their sum is larger by 9,431. The classes of
TerraIncognita are from DomainBed's download.py; those of the others are the class folders of the downloads. The 345 of
DomainNet are only counted. Of WILDS, domains, classes and images are those that DomainBed's `WILDSDataset` takes from
p-lambda/wilds at 4726775; the numbers of regions are from facebookresearch/DomainBed#142. Patches of each hospital are
as a public analysis of Camelyon17's table counts them: their sum is WILDS's 455,954, and hospitals 1 and 2 are its
validation and test split. Of FMoW only the sum of the regions is public.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from gga_sweep.datasets import digits, mnist, spawrious
from gga_sweep.datasets.dataset import Dataset, DatasetDescription
from gga_sweep.datasets.image_folder import ImageTree
from gga_sweep.datasets.wilds_tables import CAMELYON17, FMOW, FMOW_CLASSES, MetadataTable


@dataclass(frozen=True, kw_only=True)
class Traits:
    """The facts of a dataset that protocols use. The defaults are for photographs without an entry.

    Learning rate, radius and steps are from the table of the GGA release as corrected in July 2025
    (aristotelisballas/GGA at 5450c2b, README image hp.png); the defaults are its values for PACS.

    Args:
        small_images: 28 x 28 pixels, for which DomainBed has a small network and its own ranges.
        evaluate_every: steps between two evaluations in DomainBed (domainbed/datasets.py, `CHECKPOINT_FREQ`).
        largest_batch: upper end of the batch sizes that DomainBed draws (domainbed/hparams_registry.py).
        domainbed_labels: of the domains in DomainBed's tables, in dataset order; empty where DomainBed lacks it.
        crops: whether DomainBed's augmentation crops its images.
        test_domains: those that it was published to be tested on; empty for all.
        deviations: how its images differ from DomainBed's, as sentences.
        gga_lr, gga_radius, gga_steps: of the GGA paper's runs.
    """

    small_images: bool = False
    evaluate_every: int = 300
    largest_batch: float = 2**5.5
    domainbed_labels: tuple[str, ...] = ()
    crops: bool = True
    test_domains: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    gga_lr: float = 3e-5
    gga_radius: float = 1e-5
    gga_steps: int = 5001


@dataclass(frozen=True)
class Embedded:
    """A dataset that is made from installed packages.

    Args:
        name: the dataset's.
        describe, digest, load: its description, what identifies its content, and the dataset itself.
        traits: its facts for the protocols.
    """

    name: str
    describe: Callable[[], DatasetDescription]
    digest: Callable[[], str]
    load: Callable[[], Dataset]
    traits: Traits


@dataclass(frozen=True)
class MadeFromFiles:
    """A dataset that is made in memory, from files in its root that are no photographs.

    Args:
        name: the dataset's.
        needs: what its root must be.
        describe: its description; without a root, as published.
        digest: what identifies its content.
        load: the dataset itself.
        traits: its facts for the protocols.
    """

    name: str
    needs: str
    describe: Callable[[Path | None], DatasetDescription]
    digest: Callable[[Path], str]
    load: Callable[[Path], Dataset]
    traits: Traits


@dataclass(frozen=True)
class Variant:
    """A known size of a benchmark, other than the published one.

    Args:
        remark: a caveat for numbers on it.
        images: in all domains together.
        domain_sizes: images of each domain, where they are known. A tree in which each domain has this size or the
            published one is then recognised too, whatever its total.
    """

    remark: str
    images: int
    domain_sizes: Mapping[str, int] | None = None


@dataclass(frozen=True)
class AnnotatedPhotographs:
    """A download whose tree is made from annotations: COCO Camera Traps.

    Args:
        photographs: the folder that holds them all.
        annotations: what the name of the JSON file may match.
        domain: a domain's name, with `{}` for the location of a photograph.
    """

    photographs: str
    annotations: tuple[str, ...]
    domain: str


@dataclass(frozen=True)
class Benchmark:
    """A known dataset of photographs: a tree `domain/class/image`, unless `list_images` reads another.

    Args:
        name: as DomainBed calls it.
        domain_sizes: published number of images of each domain, in dataset order (sorted folder names); None where no
            source gives it.
        n_classes: class folders in each domain.
        classes: their names, sorted; None where they are not listed here.
        variants: its other known sizes.
        annotated: how to read a download that has annotations; None if its downloads hold domain folders only.
        has_duplicates: whether DomainBed excludes images that it lists in a file.
        aliases: other names of its domains' folders, each with the domain.
        needs: what its root must be.
        list_images: lists the images of a root that is no such tree.
        table: how to read a download that has a table of metadata; None without one.
        images: in all domains together, where those of each are not published.
        every_class: whether each domain has images of each class.
        traits: its facts for the protocols.
    """

    name: str
    domain_sizes: Mapping[str, int | None]
    n_classes: int
    classes: tuple[str, ...] | None = None
    variants: tuple[Variant, ...] = ()
    annotated: AnnotatedPhotographs | None = None
    has_duplicates: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    needs: str = "the folder that holds domain/class/image"
    list_images: Callable[[Path], ImageTree] | None = None
    table: MetadataTable | None = None
    images: int | None = None
    every_class: bool = True
    traits: Traits = Traits()

    @property
    def published_sizes(self) -> dict[str, int]:
        """Images of each domain whose number is published."""
        return {domain: size for domain, size in self.domain_sizes.items() if size is not None}


def traits_of(dataset: str) -> Traits:
    """The facts of a dataset for the protocols, by its name; the defaults of `Traits` for one without an entry.

    >>> traits_of("DomainNet").evaluate_every, traits_of("my_package:my_dataset").evaluate_every
    (1000, 300)
    """
    return _TRAITS.get(dataset, Traits())


_DIGITS = Traits(small_images=True, evaluate_every=100, largest_batch=2**7)
"""A domain of theirs has as few as 240 training images, so batches stay below 128 (DomainBed's MNIST: below 512)."""

EMBEDDED: Mapping[str, Embedded] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Embedded(
                "RotatedDigits",
                digits.describe_rotated_digits,
                digits.rotated_digits_digest,
                digits.rotated_digits,
                _DIGITS,
            ),
            Embedded(
                "ColoredDigits",
                digits.describe_colored_digits,
                digits.colored_digits_digest,
                digits.colored_digits,
                _DIGITS,
            ),
        )
    }
)

_MNIST = Traits(small_images=True, evaluate_every=100, largest_batch=2**9)

FROM_FILES: Mapping[str, MadeFromFiles] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            MadeFromFiles(
                "ColoredMNIST",
                mnist.NEEDS,
                mnist.describe_colored_mnist,
                mnist.colored_mnist_digest,
                mnist.colored_mnist,
                replace(
                    _MNIST,
                    domainbed_labels=("+90%", "+80%", "-90%"),
                    deviations=(f"{mnist.DEALT_ONCE}, and labels and colours flipped once",),
                ),
            ),
            MadeFromFiles(
                "RotatedMNIST",
                mnist.NEEDS,
                mnist.describe_rotated_mnist,
                mnist.rotated_mnist_digest,
                mnist.rotated_mnist,
                replace(
                    _MNIST,
                    domainbed_labels=("0", "15", "30", "45", "60", "75"),
                    deviations=(
                        mnist.DEALT_ONCE,
                        "digits are rotated with bilinear interpolation, as in DomainBed at b93c22a (at 7df6f06: "
                        "bicubic)",
                    ),
                ),
            ),
        )
    }
)

_SVIRO_VEHICLES = ("aclass", "escape", "hilux", "i3", "lexus", "tesla", "tiguan", "tucson", "x5", "zoe")

_OFFICE_HOME_CLASSES = """
    Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair Clipboards Computer Couch
    Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops Flowers Folder Fork Glasses Hammer Helmet
    Kettle Keyboard Knives Lamp_Shade Laptop Marker Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil
    Postit_Notes Printer Push_Pin Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker Spoon
    TV Table Telephone ToothBrush Toys Trash_Can Webcam
"""

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        benchmark.name: benchmark
        for benchmark in (
            Benchmark(
                "VLCS",
                {"Caltech101": 1415, "LabelMe": 2656, "SUN09": 3282, "VOC2007": 3376},
                5,
                ("bird", "car", "chair", "dog", "person"),
                traits=Traits(domainbed_labels=("C", "L", "S", "V"), gga_lr=1e-5, gga_radius=1e-6),
            ),
            Benchmark(
                "PACS",
                {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
                7,
                ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
                traits=Traits(domainbed_labels=("A", "C", "P", "S")),
            ),
            Benchmark(
                "OfficeHome",
                {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real World": 4357},
                65,
                tuple(_OFFICE_HOME_CLASSES.split()),
                aliases=dict.fromkeys(("RealWorld", "Real_World"), "Real World"),
                traits=Traits(domainbed_labels=("A", "C", "P", "R")),
            ),
            Benchmark(
                "TerraIncognita",
                {"location_100": 4879, "location_38": 9767, "location_43": 4020, "location_46": 6122},
                10,
                ("bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel"),
                variants=(
                    Variant("the 24,330 images that today's download gives; published results refer to 24,788", 24_330),
                ),
                annotated=AnnotatedPhotographs(
                    photographs="eccv_18_all_images_sm",
                    annotations=("caltech_images_*.json", "caltech_camera_traps.json"),
                    domain="location_{}",
                ),
                traits=Traits(domainbed_labels=("L100", "L38", "L43", "L46")),
            ),
            Benchmark(
                "DomainNet",
                {
                    "clipart": 48129,
                    "infograph": 51605,
                    "painting": 72266,
                    "quickdraw": 172500,
                    "real": 172947,
                    "sketch": 69128,
                },
                345,
                variants=(
                    Variant(
                        "with images of DomainBed's list of 9,431 duplicates; published results leave them out",
                        596_006,
                        {
                            "clipart": 48833,
                            "infograph": 53201,
                            "painting": 75759,
                            "quickdraw": 172500,
                            "real": 175327,
                            "sketch": 70386,
                        },
                    ),
                ),
                has_duplicates=True,
                traits=Traits(
                    evaluate_every=1000,
                    largest_batch=2**5,
                    domainbed_labels=("clip", "info", "paint", "quick", "real", "sketch"),
                    gga_steps=15_001,
                ),
            ),
            Benchmark(
                "SVIRO",
                dict.fromkeys(_SVIRO_VEHICLES),
                7,
                traits=Traits(domainbed_labels=_SVIRO_VEHICLES),
            ),
            Benchmark(
                "WILDSCamelyon",
                {
                    "hospital_0": 59436,
                    "hospital_1": 34904,
                    "hospital_2": 85054,
                    "hospital_3": 129838,
                    "hospital_4": 146722,
                },
                2,
                ("normal", "tumor"),
                table=CAMELYON17,
                traits=Traits(evaluate_every=100, domainbed_labels=tuple(CAMELYON17.domains.values())),
            ),
            Benchmark(
                "WILDSFMoW",
                dict.fromkeys(FMOW.domains.values()),
                len(FMOW_CLASSES),
                FMOW_CLASSES,
                table=FMOW,
                images=470_086,
                every_class=False,
                traits=Traits(evaluate_every=100, domainbed_labels=tuple(f"region_{number}" for number in range(6))),
            ),
            *(
                Benchmark(
                    name,
                    spawrious.SIZES,
                    len(spawrious.CLASSES),
                    spawrious.CLASSES,
                    needs=spawrious.NEEDS,
                    list_images=partial(spawrious.list_images, parts),
                    traits=Traits(
                        evaluate_every=100,
                        domainbed_labels=tuple(spawrious.SIZES),
                        crops=False,
                        test_domains=(spawrious.TEST,),
                        deviations=(spawrious.FIRST_BY_NAME,),
                    ),
                )
                for name, parts in spawrious.CHALLENGES.items()
            ),
        )
    }
)

_TRAITS: Mapping[str, Traits] = MappingProxyType(
    {
        **{name: entry.traits for name, entry in EMBEDDED.items()},
        **{name: entry.traits for name, entry in FROM_FILES.items()},
        **{name: entry.traits for name, entry in BENCHMARKS.items()},
        "Debug28": _MNIST,
    }
)
