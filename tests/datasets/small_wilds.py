"""Downloads of WILDS, with a few tiny images."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from small_downloads import picture

REGIONS = ("Asia", "Europe", "Africa", "Americas", "Oceania", "Other")

Row = Mapping[str, object]


def as_csv(rows: Iterable[Row], index: bool = False) -> bytes:
    """A table as pandas writes it: with its index in a first column without a name, or not."""
    listed = [{"": number, **row} if index else dict(row) for number, row in enumerate(rows)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(listed[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return stream.getvalue().encode()


def camelyon_rows(per_class: int = 2) -> list[Row]:
    """Patients 4, 24, 44, 64 and 84, of centers 0 to 4; the two classes take turns."""
    return [
        {
            "patient": f"{20 * center + 4:03d}",
            "node": center % 2,
            "x_coord": 100 * number,
            "y_coord": 100 * number + center,
            "tumor": number % 2,
            "slide": 10 * center,
            "center": center,
            "split": number % 3 == 2,
        }
        for number in range(2 * per_class)
        for center in range(5)
    ]


def patch_of(row: Row) -> str:
    patient = f"patient_{row['patient']}_node_{row['node']}"
    return f"patches/{patient}/patch_{patient}_x_{row['x_coord']}_y_{row['y_coord']}.png"


def camelyon17(rows: Sequence[Row]) -> dict[str, bytes]:
    """The files of `camelyon17_v1.0/`."""
    table = as_csv(({**row, "split": int(bool(row["split"]))} for row in rows), index=True)
    return {"metadata.csv": table, "RELEASE_v1.0.txt": b"", **{patch_of(row): picture(patch_of(row)) for row in rows}}


FMOW_ROWS: tuple[Row, ...] = tuple(
    {
        "split": split,
        "img_filename": "x_rgb.jpg",
        "category": category,
        "country_code": code,
        "timestamp": "2016-01-01T00:00:00Z",
    }
    for split, category, code in (
        ("train", "zoo", "IND"),
        ("train", "airport", "FRA"),
        ("seq", "airport", "IND"),
        ("val", "airport", "KEN"),
        ("test", "zoo", "BRA"),
        ("train", "airport", "AUS"),
        ("val", "zoo", "XKX"),
        ("test", "zoo", "ATA"),
        ("test", "multi-unit_residential", "FRA"),
    )
)
CODES = {"IND": "Asia", "FRA": "Europe", "KEN": "Africa", "BRA": "Americas", "AUS": "Oceania", "ATA": ""}


def fmow(rows: Sequence[Row] = FMOW_ROWS) -> dict[str, bytes]:
    """The files of `fmow_v1.1/`: no image of the sequestered rows."""
    countries = [{"name": code.title(), "alpha-3": code, "region": region} for code, region in CODES.items()]
    images = {
        f"images/rgb_img_{number}.png": picture(f"fmow {number}")
        for number, row in enumerate(rows)
        if row["split"] != "seq"
    }
    return {"rgb_metadata.csv": as_csv(rows), "country_code_mapping.csv": as_csv(countries), **images}
