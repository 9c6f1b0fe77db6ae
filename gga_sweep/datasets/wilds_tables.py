"""Datasets of WILDS (p-lambda/wilds), by the tables of metadata that lie beside their images.

The package `wilds` is not imported: it loads PyTorch, and at each import asks a package index for a newer version.
DomainBed's `WILDSDataset` (facebookresearch/DomainBed, domainbed/datasets.py) makes a domain of each value of a column
of metadata, with the images of all splits of WILDS.
"""

from __future__ import annotations

import csv
import io
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gga_sweep.datasets.downloads import DownloadedFile, read_file
from gga_sweep.datasets.files import shown
from gga_sweep.errors import Fault, InputError

_LARGEST_TABLE = 2**30  # bytes: half a million rows of FMoW have a fifth


@dataclass(frozen=True)
class Lookup:
    """A second table, which replaces the values of a column by others.

    Args:
        table: the CSV file, beside the first.
        key, value: its columns.
        otherwise: the value of a key that it lacks.
    """

    table: str
    key: str
    value: str
    otherwise: str


@dataclass(frozen=True)
class MetadataTable:
    """A CSV file with a row for each image.

    Args:
        file: its name.
        image: the path of a row's image, beside the file. Names in braces are columns, `{row}` is the row from 0.
        domain: the column that divides the images into domains.
        domains: its values -> the domains.
        label: the column of classes.
        classes: its values -> the classes; None where they are the same.
        lookup: what the values of `domain` are replaced by first.
        left_out: column and value of the rows without an image.
    """

    file: str
    image: str
    domain: str
    domains: Mapping[str, str]
    label: str
    classes: Mapping[str, str] | None = None
    lookup: Lookup | None = None
    left_out: tuple[str, str] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read, sorted."""
        placed = {name for _, name, _, _ in string.Formatter().parse(self.image) if name not in (None, "row")}
        more = {self.left_out[0]} if self.left_out else set()
        return tuple(sorted({self.domain, self.label, *(name for name in placed if name), *more}))

    def among(self, files: Iterable[DownloadedFile]) -> list[DownloadedFile]:
        """The files of its name."""
        return [file for file in files if file.path.rpartition("/")[2] == self.file]


CAMELYON17 = MetadataTable(
    file="metadata.csv",
    image="patches/patient_{patient}_node_{node}/patch_patient_{patient}_node_{node}_x_{x_coord}_y_{y_coord}.png",
    domain="center",
    domains=MappingProxyType({str(number): f"hospital_{number}" for number in range(5)}),
    label="tumor",
    classes=MappingProxyType({"0": "normal", "1": "tumor"}),
)

_REGIONS = ("Asia", "Europe", "Africa", "Americas", "Oceania", "Other")  # the order in which the table names them

FMOW = MetadataTable(
    file="rgb_metadata.csv",
    image="images/rgb_img_{row}.png",
    domain="country_code",
    domains=MappingProxyType({region: f"region_{number}_{region}" for number, region in enumerate(_REGIONS)}),
    label="category",
    lookup=Lookup("country_code_mapping.csv", key="alpha-3", value="region", otherwise="Other"),
    left_out=("split", "seq"),
)

_FMOW_CLASSES = """
    airport airport_hangar airport_terminal amusement_park aquaculture archaeological_site barn border_checkpoint
    burial_site car_dealership construction_site crop_field dam debris_or_rubble educational_institution
    electric_substation factory_or_powerplant fire_station flooded_road fountain gas_station golf_course
    ground_transportation_station helipad hospital impoverished_settlement interchange lake_or_pond lighthouse
    military_facility multi-unit_residential nuclear_powerplant office_building oil_or_gas_facility park
    parking_lot_or_garage place_of_worship police_station port prison race_track railway_bridge recreational_facility
    road_bridge runway shipyard shopping_mall single-unit_residential smokestack solar_farm space_facility stadium
    storage_tank surface_mine swimming_pool toll_booth tower tunnel_opening waste_disposal water_treatment_facility
    wind_farm zoo
"""

FMOW_CLASSES = tuple(_FMOW_CLASSES.split())


def tabled_images(
    table: MetadataTable,
    found: Sequence[DownloadedFile],
    files: Sequence[DownloadedFile],
    classes: Sequence[str],
) -> dict[str, DownloadedFile]:
    """The images that a table lists: domain/class/image -> the file of the download.

    Args:
        table: how to read it.
        found: the files of its name.
        files: the whole download.
        classes: all class names.

    Raises:
        InputError: several tables, one that cannot be read or lacks a column (named: those that exist), unknown domains
            or labels, images that are not there.
    """
    if len(found) > 1:
        rule = f"must hold one {table.file} (give the folder that is meant)"
        raise InputError([Fault("download", rule, [file.path for file in found])])
    by_path = {file.path: file for file in files}
    beside = found[0].path.removesuffix(table.file)  # pathlib takes ten times as long for half a million paths
    domain_of = _domains(table, by_path, beside)
    class_of = table.classes or {name: name for name in classes}
    layout: dict[str, DownloadedFile] = {}
    unknown: dict[str, dict[str, int]] = {table.domain: {}, table.label: {}}
    missing: list[str] = []
    for number, (line, row) in enumerate(_rows(found[0], table.columns)):
        if table.left_out is not None and row[table.left_out[0]] == table.left_out[1]:
            continue
        domain, name = domain_of(row[table.domain]), class_of.get(row[table.label])
        path = beside + table.image.format_map({**row, "row": str(number)})
        if domain is None:
            unknown[table.domain].setdefault(row[table.domain], line)
        if name is None:
            unknown[table.label].setdefault(row[table.label], line)
        if path not in by_path:
            missing.append(path)
        else:
            layout[f"{domain}/{name}/{path.rpartition('/')[2]}"] = by_path[path]
    allowed = {table.domain: tuple(table.domains), table.label: tuple(class_of)}
    faults = [
        Fault(column, "must hold known values", shown([*values]), allowed[column], min(values.values()))
        for column, values in unknown.items()
        if values
    ]
    if missing:
        rule = f"must hold each image that {table.file} lists, lacks {len(missing)}"
        faults.append(Fault("download", rule, shown(missing)))
    if faults:
        raise InputError(faults, source=found[0].path)
    return layout


def _domains(table: MetadataTable, files: Mapping[str, DownloadedFile], beside: str) -> Callable[[str], str | None]:
    """The domain of a value of the table's column; None of an unknown one."""
    if (lookup := table.lookup) is None:
        return table.domains.get
    if (file := files.get(beside + lookup.table)) is None:
        raise InputError([Fault("download", f"must hold {lookup.table} beside {table.file}", beside or None)])
    values = {row[lookup.key]: row[lookup.value] for _, row in _rows(file, (lookup.key, lookup.value))}
    return lambda value: table.domains.get(values.get(value) or lookup.otherwise)


def _rows(file: DownloadedFile, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The line of each row and its values in these columns; a short row has empty ones."""
    try:
        reader = csv.DictReader(io.TextIOWrapper(io.BytesIO(read_file(file, _LARGEST_TABLE)), "utf-8", newline=""))
        existing = reader.fieldnames or ()
        if lacking := [name for name in columns if name not in existing]:
            raise InputError([Fault("", f"must have the columns {lacking}", [*existing])], source=file.path)
        for row in reader:
            yield reader.line_num, {name: row[name] or "" for name in columns}
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            [Fault("", f"must be a table of comma-separated values ({error})")], source=file.path
        ) from error
