"""The five benchmarks of DomainBed, as published, and the other sizes in which they are met.

Folder names are those of DomainBed's trees (facebookresearch/DomainBed, domainbed/datasets.py and scripts/download.py).
Counts are DomainBed's, per domain as commonly quoted; TerraIncognita's were given by khanrc (khanrc/miro#9), and its
download holds 24,330 images today. DomainNet's are those without DomainBed's list of 9,431 duplicates; those with them
are commonly quoted too, and their sum is larger by 9,431. The classes of TerraIncognita stand in DomainBed's
download.py; those of the others are the class folders of the downloads. The 345 of DomainNet are only counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """A size in which a benchmark is known to be met, other than the published one.

    Args:
        remark: what a reader of numbers on it must know.
        images: in all domains together.
        domain_sizes: images of each domain, where they are known. A tree in which each domain has this size or the
            published one is then recognised too, whatever its total.
    """

    remark: str
    images: int
    domain_sizes: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Benchmark:
    """A known tree `domain/class/image`.

    Args:
        name: as DomainBed calls it.
        domain_sizes: published number of images of each domain, in dataset order (sorted folder names).
        n_classes: class folders in each domain.
        classes: their names, sorted; None where they are not listed here.
        variants: other sizes it is met in.
    """

    name: str
    domain_sizes: Mapping[str, int]
    n_classes: int
    classes: tuple[str, ...] | None = None
    variants: tuple[Variant, ...] = ()


_OFFICE_HOME_CLASSES = """
    Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair Clipboards Computer Couch
    Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops Flowers Folder Fork Glasses Hammer Helmet
    Kettle Keyboard Knives Lamp_Shade Laptop Marker Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil
    Postit_Notes Printer Push_Pin Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker Spoon
    TV Table Telephone ToothBrush Toys Trash_Can Webcam
"""

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "PACS",
            {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
            7,
            ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
        ),
        Benchmark(
            "VLCS",
            {"Caltech101": 1415, "LabelMe": 2656, "SUN09": 3282, "VOC2007": 3376},
            5,
            ("bird", "car", "chair", "dog", "person"),
        ),
        Benchmark(
            "OfficeHome",
            {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real World": 4357},
            65,
            tuple(_OFFICE_HOME_CLASSES.split()),
        ),
        Benchmark(
            "TerraIncognita",
            {"location_100": 4879, "location_38": 9767, "location_43": 4020, "location_46": 6122},
            10,
            ("bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel"),
            (
                Variant(
                    "the 24,330 images that today's download gives; published results refer to 24,788",
                    24_330,
                ),
            ),
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
        ),
    )
}
