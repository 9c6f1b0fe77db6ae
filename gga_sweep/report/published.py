"""What others published on the five benchmarks, to stand beside a table of ours.

Figures in percent and points, typed as printed. Their sources are `GGA_SOURCE` and `DOMAINBED_SOURCE`; of the second,
the file domainbed/results/2020_10_06_7df6f06/results.tex, with its ERM rows for all three selection methods. Nobody
seems to have published numbers of GGA for single test domains.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

from gga_sweep.report.sections import DIFFERENCE, Section, Sheet, difference_in_words
from gga_sweep.report.wording import (
    ABSENT,
    ARM,
    AVERAGE,
    Footnote,
    arm_in_words,
    column_heads,
    entry_in_words,
)
from gga_sweep.selection import DEFAULT_METHOD, METHODS, Contrast, Table, domain_label

GGA_SOURCE = (
    "Ballas & Diou, Gradient-Guided Annealing for Domain Generalization, CVPR 2025, arXiv 2502.20162 (corrected July "
    "2025); aristotelisballas/GGA at 5450c2b, README images"
)
DOMAINBED_SOURCE = "facebookresearch/DomainBed, results 2020_10_06_7df6f06"
ARITHMETIC = "Arithmetic"
MARK = "published: "
"""Stands in front of every published row's name."""

PUBLISHED_DATASETS = ("PACS", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet")
"""All that `published` has rows on, as DomainBed calls them, in the order of the GGA release."""

_NO_HOSTS: Mapping[str, str] = MappingProxyType({})
_ROUNDING = 0.1 + 1e-9  # parts and mean are each printed to within 0.05


@dataclass(frozen=True, slots=True)
class PublishedNumber:
    """An accuracy as printed.

    Args:
        mean: in percent.
        error: what is printed behind the ±, in points; NaN where nothing is.
    """

    mean: float
    error: float = math.nan

    def __str__(self) -> str:
        """ "84.7 ± 0.4"."""
        return f"{self.mean:.1f}" + (f" ± {self.error:.1f}" if math.isfinite(self.error) else "")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One published line on one dataset.

    Args:
        dataset: as DomainBed calls it.
        name: of the arm, with what tells it from its namesakes.
        source: where it stands.
        protocol: it was made under; ours of that name, where we have one, is meant to be the same.
        selection: name of the selection method.
        error: what the ± is, in words.
        average: over the dataset's test domains.
        domains: each test domain by its folder's name; empty where none is published.
        superseded: withdrawn by a later version of its source.
    """

    dataset: str
    name: str
    source: str
    protocol: str
    selection: str
    error: str
    average: PublishedNumber
    domains: Mapping[str, PublishedNumber]
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class PublishedAverage:
    """The mean over datasets that the GGA release prints for one arm, in percent.

    Args:
        name: as `PublishedRow.name`.
        of_four: PACS, VLCS, OfficeHome and TerraIncognita.
        of_five: these and DomainNet.
    """

    name: str
    of_four: float
    of_five: float


@dataclass(frozen=True, slots=True)
class PublishedGain:
    """What GGA added to another algorithm: the difference of two averages over test domains, in points.

    Args:
        host: the algorithm.
        gains: by dataset; DomainNet was not run.
        of_four: their mean as printed.
        superseded_of_four: the same in the first version, before the release was corrected.
    """

    host: str
    gains: Mapping[str, float]
    of_four: float
    superseded_of_four: float


_STANDARD_ERROR = "standard error over three trial seeds (ddof 0)"

# (name, superseded), then mean and ± on each of `PUBLISHED_DATASETS`, then the means over four and five.
_GGA_ROWS = (
    ("ERM", False, (85.5, 0.2, 77.3, 0.4, 66.5, 0.3, 46.1, 1.8, 43.8, 0.3), 68.9, 63.9),
    ("GGA", False, (86.4, 0.5, 78.7, 0.8, 67.0, 0.3, 48.5, 1.1, 44.5, 0.2), 70.2, 65.0),
    ("GGA-L", False, (86.5, 0.7, 78.4, 0.9, 66.5, 0.4, 49.8, 1.8, 44.5, 0.2), 70.3, 65.1),
    ("GGA, v1", True, (87.3, 0.4, 79.9, 0.4, 68.5, 0.2, 50.6, 0.1, 45.2, 0.2), 71.7, 66.3),
)
# Whose values the release's ERM row equals.
_ERM_PROTOCOL = {
    "PACS": "domainbed",
    "VLCS": "SWAD",
    "OfficeHome": "domainbed",
    "TerraIncognita": "domainbed",
    "DomainNet": "SWAD",
}

_DOMAINS = {
    "PACS": ("art_painting", "cartoon", "photo", "sketch"),
    "VLCS": ("Caltech101", "LabelMe", "SUN09", "VOC2007"),
    "OfficeHome": ("Art", "Clipart", "Product", "Real World"),
    "TerraIncognita": ("location_100", "location_38", "location_43", "location_46"),
    "DomainNet": ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
}
# Mean and ± on each of `_DOMAINS`, then of the average.
_DOMAINBED_ERM = {
    DEFAULT_METHOD: {
        "PACS": (84.7, 0.4, 80.8, 0.6, 97.2, 0.3, 79.3, 1.0, 85.5, 0.2),
        "VLCS": (97.7, 0.4, 64.3, 0.9, 73.4, 0.5, 74.6, 1.3, 77.5, 0.4),
        "OfficeHome": (61.3, 0.7, 52.4, 0.3, 75.8, 0.1, 76.6, 0.3, 66.5, 0.3),
        "TerraIncognita": (49.8, 4.4, 42.1, 1.4, 56.9, 1.8, 35.7, 3.9, 46.1, 1.8),
        "DomainNet": (58.1, 0.3, 18.8, 0.3, 46.7, 0.3, 12.2, 0.4, 59.6, 0.1, 49.8, 0.4, 40.9, 0.1),
    },
    "leave-one-domain-out": {
        "PACS": (83.2, 1.3, 76.8, 1.7, 97.2, 0.3, 74.8, 1.3, 83.0, 0.7),
        "VLCS": (98.0, 0.4, 62.6, 0.9, 70.8, 1.9, 77.5, 1.9, 77.2, 0.4),
        "OfficeHome": (61.1, 0.9, 50.7, 0.6, 74.6, 0.3, 76.4, 0.6, 65.7, 0.5),
        "TerraIncognita": (34.4, 5.6, 38.1, 4.0, 55.7, 1.0, 37.4, 1.1, 41.4, 1.4),
        "DomainNet": (58.1, 0.3, 17.8, 0.3, 47.0, 0.3, 12.2, 0.4, 59.2, 0.7, 49.5, 0.6, 40.6, 0.2),
    },
    "oracle": {
        "PACS": (86.5, 1.0, 81.3, 0.6, 96.2, 0.3, 82.7, 1.1, 86.7, 0.3),
        "VLCS": (97.6, 0.3, 67.9, 0.7, 70.9, 0.2, 74.0, 0.6, 77.6, 0.3),
        "OfficeHome": (61.7, 0.7, 53.4, 0.3, 74.1, 0.4, 76.2, 0.6, 66.4, 0.5),
        "TerraIncognita": (59.4, 0.9, 49.3, 0.6, 60.1, 1.1, 43.2, 0.5, 53.0, 0.3),
        "DomainNet": (58.6, 0.3, 19.2, 0.2, 47.0, 0.3, 13.2, 0.2, 59.9, 0.3, 49.8, 0.4, 41.3, 0.1),
    },
}

# On the first four of `PUBLISHED_DATASETS`, then their mean, then the first version's.
_GAINS = {
    "MixStyle": (1.4, 0.6, 0.5, 4.0, 1.6, 0.6),
    "GroupDRO": (1.6, 0.6, -0.4, 5.2, 1.7, 1.4),
    "MMD": (0.8, 0.6, 0.4, 5.1, 1.7, 2.5),
    "AND-mask": (0.1, 0.3, 1.2, -0.4, 0.3, 0.3),
    "ARM": (0.1, 0.3, 1.2, 2.4, 1.0, 1.1),
    "IRM": (-1.5, -0.9, -2.1, -3.9, -2.1, -2.1),
    "MTL": (1.8, 0.9, -0.3, 0.8, 0.8, 0.9),
    "VREx": (0.6, -0.2, 1.5, -0.7, 0.3, 1.0),
    "MLDG": (1.2, 1.3, -0.2, 0.2, 0.6, 1.2),
    "Mixup": (1.0, 0.4, 0.1, 0.5, 0.5, 1.5),
    "SagNet": (-1.0, 0.9, 0.3, 0.7, 0.4, 0.4),
    "CORAL": (0.7, -0.4, 0.2, 0.3, 0.2, 0.2),
    "RSC": (0.1, 0.2, 0.0, 0.2, 0.1, 0.1),
    "Fish": (0.3, 0.9, -0.6, 1.8, 0.6, 1.0),
    "SAM": (0.3, 0.2, -1.0, 2.9, 0.6, 1.1),
    "GSAM": (0.6, 0.0, -0.7, -1.0, -0.3, 0.2),
    "SAGM": (0.2, 0.0, -0.6, -0.1, -0.1, -0.2),
}


def published(dataset: str) -> tuple[PublishedRow, ...]:
    """Every published row on the dataset: those of the GGA release, then DomainBed's by selection method.

    None on a dataset that is not among `PUBLISHED_DATASETS`.
    """
    return _ROWS.get(dataset, ())


def published_notes() -> tuple[Footnote, ...]:
    """What must be said beside any published number."""
    return (
        Footnote(
            "Sources",
            "as printed, to one decimal:",
            (
                f"{GGA_SOURCE}: ERM, GGA, GGA-L. v1 is of February 2025 and superseded by the correction.",
                f"{DOMAINBED_SOURCE}: every row named DomainBed.",
            ),
        ),
        Footnote(
            "Published ERM",
            "the release's row equals DomainBed's on PACS, OfficeHome and TerraIncognita, and what SWAD and SAGM print "
            "on VLCS and DomainNet (15001 steps; DomainBed's own row is of 5001). It seems not to have been run again "
            "under GGA's settings, so a difference to it is one between protocols too.",
        ),
        Footnote(
            "Published errors",
            "of DomainBed's rows, and of the ERM values equal to them, the ± is the standard error over three trial "
            "seeds (ddof 0); of every other row the source does not say what it is.",
        ),
        Footnote(
            "Published differences",
            "are differences of two means, unpaired, without a test or an interval. No values by trial seed are "
            "published, and none of GGA by test domain.",
        ),
        Footnote(
            ARITHMETIC,
            "printed means that do not follow from their printed parts, rounding allowed for:",
            tuple(_not_following()),
        ),
    )


def published_section(
    table: Table, contrasts: Sequence[Contrast] = (), hosts: Mapping[str, str] = _NO_HOSTS
) -> Section | None:
    """Our rows, then the published ones, each marked as such; None if there is none on the dataset.

    Rows of other selection methods than the table's are left out where the source has one of the table's method. Gains
    over other algorithms stand in a sheet of their own, of those algorithms that an arm of the table is named after, or
    anneals.

    Args:
        table: ours.
        contrasts: of its selected runs.
        hosts: annealed arm -> its algorithm, where its contrast is with that algorithm without annealing.
    """
    rows = _shown(table)
    if not rows:
        return None
    gains = [*_gains_sheet(table, [(hosts[one.arm], one) for one in contrasts if one.arm in hosts])]
    several = any(column in _single_domains(rows) for column in table.columns)
    return Section(
        name="published",
        title=f"Beside published results on {table.dataset} (accuracy in percent)",
        sheets=(
            Sheet(
                title="",
                heads=(ARM, *column_heads(table)) if several else (ARM, AVERAGE),
                rows=(*_ours(table, several), *(_theirs(table, row, several) for row in rows)),
            ),
            *gains,
        ),
        notes=(
            _protocol_note(table, rows),
            *_selection_note(table, rows),
            *_domains_note(table, rows),
            *(note for note in published_notes() if gains or note.heading != ARITHMETIC),  # on what is not shown here
        ),
    )


def published_name(row: PublishedRow) -> str:
    """ "published: GGA, v1 (superseded)"."""
    return f"{MARK}{row.name}" + " (superseded)" * row.superseded


def _gga_rows(dataset: str) -> Iterator[PublishedRow]:
    i = 2 * PUBLISHED_DATASETS.index(dataset)
    for name, superseded, values, *_ in _GGA_ROWS:
        protocol = _ERM_PROTOCOL[dataset] if name == "ERM" else "GGA's first" if superseded else "gga-paper"
        yield PublishedRow(
            dataset=dataset,
            name=name,
            source=GGA_SOURCE,
            protocol=protocol,
            selection=DEFAULT_METHOD,
            error=_STANDARD_ERROR if protocol == "domainbed" else "not stated",
            average=PublishedNumber(*values[i : i + 2]),
            domains={},
            superseded=superseded,
        )


def _domainbed_rows(dataset: str) -> Iterator[PublishedRow]:
    for method, values in _DOMAINBED_ERM.items():
        numbers = [PublishedNumber(*values[dataset][i : i + 2]) for i in range(0, len(values[dataset]), 2)]
        yield PublishedRow(
            dataset=dataset,
            name="ERM, DomainBed" if method == DEFAULT_METHOD else f"ERM, DomainBed, {METHODS[method].label}",
            source=DOMAINBED_SOURCE,
            protocol="domainbed",
            selection=method,
            error=_STANDARD_ERROR,
            average=numbers[-1],
            domains=dict(zip(_DOMAINS[dataset], numbers[:-1], strict=True)),
        )


_ROWS = MappingProxyType({dataset: (*_gga_rows(dataset), *_domainbed_rows(dataset)) for dataset in PUBLISHED_DATASETS})

PUBLISHED_AVERAGES = tuple(PublishedAverage(name, of_four, of_five) for name, _, _, of_four, of_five in _GGA_ROWS)
"""Of the GGA release, in the order of its rows."""

PUBLISHED_GAINS = tuple(
    PublishedGain(host, dict(zip(PUBLISHED_DATASETS[:4], values[:4], strict=True)), *values[4:])
    for host, values in _GAINS.items()
)
"""Of the GGA release, in the order of its table."""


def _shown(table: Table) -> list[PublishedRow]:
    """Of each source the rows under the table's selection method, else those under training-domain validation."""
    rows = published(table.dataset)
    known = {row.source for row in rows if row.selection == table.method}
    return [row for row in rows if row.selection == (table.method if row.source in known else DEFAULT_METHOD)]


def _single_domains(rows: Sequence[PublishedRow]) -> set[tuple[str, ...]]:
    return {(name,) for row in rows for name in row.domains}


def _ours(table: Table, several: bool) -> Iterator[tuple[str, ...]]:
    for row in table.rows:
        yield arm_in_words(row), *(entry_in_words(entry) for entry in (*row.entries * several, row.average))


def _theirs(table: Table, row: PublishedRow, several: bool) -> tuple[str, ...]:
    numbers = (row.domains.get(domain_label(column)) for column in table.columns * several)
    return published_name(row), *(str(number) if number else ABSENT for number in (*numbers, row.average))


def _gains_sheet(table: Table, ours: Sequence[tuple[str, Contrast]]) -> Iterator[Sheet]:
    """Gains over the algorithms that an arm anneals or its name begins with, in the order of the release.

    Args:
        ours: algorithms, each with a contrast of what annealing adds to it.
    """
    mine: dict[str, list[tuple[str, str]]] = {_bare(row.arm.split()[0]): [] for row in table.rows if row.arm.split()}
    for host, contrast in ours:
        mine.setdefault(_bare(host), []).append((contrast.arm, difference_in_words(contrast.difference)))
    gains = [one for one in PUBLISHED_GAINS if _bare(one.host) in mine and table.dataset in one.gains]
    if not gains:
        return
    rows: list[tuple[str, ...]] = []
    for one in gains:
        theirs = f"{MARK}{one.host} + GGA against {one.host}", ABSENT
        gained = _gain(one.gains[table.dataset]), _gain(one.of_four)
        rows += [(*side, *gained) for side in mine[_bare(one.host)] or [theirs]]
    yield Sheet(
        title="Gains over other algorithms: ours, in pairs, beside the published, unpaired (points of accuracy)",
        heads=(ARM, DIFFERENCE, f"GGA as published, {table.dataset}", "Mean of four datasets"),
        rows=tuple(rows),
    )


def _bare(name: str) -> str:
    """The name in letters and digits: the sources write "AND-mask", "ANDMask"."""
    return "".join(filter(str.isalnum, name)).casefold()


def _gain(points: float) -> str:
    return f"{points:+.1f}"


def _protocol_note(table: Table, rows: Sequence[PublishedRow]) -> Footnote:
    same = [published_name(row) for row in rows if row.protocol == table.protocol]
    other = [f"{published_name(row)}: protocol {row.protocol}" for row in rows if row.protocol != table.protocol]
    if not same:
        return Footnote(
            "Protocol",
            f"ours is {table.protocol}; every published number was made under another, so a difference to ours says "
            "nothing of a method:",
            tuple(other),
        )
    return Footnote(
        "Protocol",
        f"{'; '.join(same)}: protocol {table.protocol}, as ours, which departs from it in what is listed here. Every "
        "other row was made under another protocol.",
        (*(f"ours: {deviation}" for deviation in table.deviations or ("no deviation known",)), *other),
    )


def _selection_note(table: Table, rows: Sequence[PublishedRow]) -> Iterator[Footnote]:
    if other := [published_name(row) for row in rows if row.selection != table.method]:
        yield Footnote(
            "Selection",
            f"ours by {table.method_label}, but by {METHODS[DEFAULT_METHOD].label}: {'; '.join(other)}.",
        )


def _domains_note(table: Table, rows: Sequence[PublishedRow]) -> Iterator[Footnote]:
    """Said where our average is over something else than theirs."""
    theirs = _single_domains(rows)
    if set(table.columns) != theirs:
        yield Footnote(
            "Average",
            f"ours is over {', '.join(map(domain_label, table.columns))}; the published ones are over "
            f"{', '.join(sorted(map(domain_label, theirs)))}.",
        )


def _not_following() -> Iterator[str]:
    """Printed means that no values within the rounding of their parts can have."""
    for average in PUBLISHED_AVERAGES:
        values = [row.average.mean for rows in _ROWS.values() for row in rows if row.name == average.name]
        for printed, mean, of in (
            (average.of_four, fmean(values[:4]), "four"),
            (average.of_five, fmean(values), "five"),
        ):
            if abs(printed - mean) > _ROUNDING:
                yield f"{average.name}, mean over {of} datasets: {printed:.1f} printed, {mean:.1f} by arithmetic"
    for gain in PUBLISHED_GAINS:
        mean = fmean(gain.gains.values())
        if abs(gain.of_four - mean) > _ROUNDING:
            what = f"{gain.host} + GGA, mean gain over four datasets"
            yield f"{what}: {_gain(gain.of_four)} printed, {_gain(mean)} by arithmetic"
