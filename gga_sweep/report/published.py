"""Published results on the five benchmarks, shown beside our tables: `published.yaml` and its section."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from statistics import fmean
from types import MappingProxyType
from typing import Any

import yaml

from gga_sweep.report.document import Footnote, Section, Sheet
from gga_sweep.report.headline import score_rows
from gga_sweep.report.wording import ABSENT, ARM, AVERAGE, DIFFERENCE, column_heads, difference_in_words
from gga_sweep.selection import DEFAULT_METHOD, METHODS, Contrast, Table, domain_label

ARITHMETIC = "Arithmetic"
MARK = "published: "
"""Prefix of every published row's name."""

PUBLISHED_DATASETS = ("PACS", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet")
"""All that `published` has rows on, as DomainBed calls them, in the order of the GGA release."""

_NO_ALGORITHMS: Mapping[str, str] = MappingProxyType({})
_ROUNDING = 0.1 + 1e-9  # parts and mean are each printed to within 0.05


@dataclass(frozen=True, slots=True)
class PublishedNumber:
    """An accuracy as printed.

    Args:
        mean: in percent.
        error: the number after the ±, in points; NaN without one.
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
        name: of the arm, with what distinguishes rows of the same arm.
        source: "GGA" or "DomainBed".
        protocol: it was made under; ours of that name, where there is one, is meant to be the same.
        selection: name of the selection method.
        average: over the dataset's test domains.
        domains: each test domain by its folder's name; empty where none is published.
        superseded: withdrawn by a later version of its source.
    """

    dataset: str
    name: str
    source: str
    protocol: str
    selection: str
    average: PublishedNumber
    domains: Mapping[str, PublishedNumber]
    superseded: bool


@dataclass(frozen=True, slots=True)
class PublishedGain:
    """The published gain of GGA on an algorithm: the difference of two averages over test domains, in points.

    Args:
        algorithm: its name.
        gains: by dataset; DomainNet was not run.
        of_four: their mean as printed.
        superseded_of_four: the same in the first version, before the release was corrected.
    """

    algorithm: str
    gains: Mapping[str, float]
    of_four: float
    superseded_of_four: float


@cache
def published(dataset: str) -> tuple[PublishedRow, ...]:
    """Every published row on the dataset: those of the GGA release, then DomainBed's by selection method.

    None on a dataset that is not among `PUBLISHED_DATASETS`.
    """
    return tuple(_row(dataset, row) for row in _data()["rows"] if dataset in row["accuracy"])


@cache
def published_gains() -> tuple[PublishedGain, ...]:
    """All of the GGA release, in the order of its table."""
    return tuple(
        PublishedGain(
            algorithm,
            {dataset: gain for dataset, gain in numbers.items() if dataset in PUBLISHED_DATASETS},
            numbers["of_four"],
            numbers["superseded_of_four"],
        )
        for algorithm, numbers in _data()["gains"].items()
    )


def published_notes() -> tuple[Footnote, ...]:
    """The notes for all published numbers."""
    return (
        *(Footnote(note["heading"], note["sentence"], tuple(note.get("items", ()))) for note in _data()["notes"]),
        Footnote(
            ARITHMETIC,
            "printed means that do not follow from their printed parts, rounding allowed for:",
            tuple(_not_following()),
        ),
    )


@cache
def _data() -> dict[str, Any]:
    text = resources.files("gga_sweep.report").joinpath("published.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data


def _row(dataset: str, row: Mapping[str, Any]) -> PublishedRow:
    accuracy, protocol = row["accuracy"][dataset], row["protocol"]
    numbers = {name: _number(printed) for name, printed in accuracy.items()} if isinstance(accuracy, dict) else {}
    return PublishedRow(
        dataset=dataset,
        name=row["name"],
        source=row["source"],
        protocol=protocol[dataset] if isinstance(protocol, dict) else protocol,
        selection=row["selection"],
        average=numbers.pop("average") if numbers else _number(accuracy),
        domains=numbers,
        superseded=row.get("superseded", False),
    )


def _number(printed: str) -> PublishedNumber:
    return PublishedNumber(*map(float, printed.split(" ± ")))


def _not_following() -> Iterator[str]:
    """Printed means that are impossible within the rounding of their parts."""
    for row in _data()["rows"]:
        if means := row.get("means"):
            parts = [_number(row["accuracy"][dataset]).mean for dataset in PUBLISHED_DATASETS]
            for of, mean in (("four", fmean(parts[:4])), ("five", fmean(parts))):
                if abs(means[of] - mean) > _ROUNDING:
                    yield f"{row['name']}, mean over {of} datasets: {means[of]:.1f} printed, {mean:.1f} by arithmetic"
    for gain in published_gains():
        mean = fmean(gain.gains.values())
        if abs(gain.of_four - mean) > _ROUNDING:
            what = f"{gain.algorithm} + GGA, mean gain over four datasets"
            yield f"{what}: {_gain(gain.of_four)} printed, {_gain(mean)} by arithmetic"


def published_name(row: PublishedRow) -> str:
    """ "published: GGA, v1 (superseded)"."""
    return f"{MARK}{row.name}" + " (superseded)" * row.superseded


def published_section(
    table: Table, contrasts: Sequence[Contrast] = (), algorithms: Mapping[str, str] = _NO_ALGORITHMS
) -> Section | None:
    """Our rows, then the published ones, each marked as such; None if there is none on the dataset.

    Rows of other selection methods than the table's are left out where the source has one of the table's method. Gains
    over other algorithms have a sheet of their own, with those algorithms that an arm of the table is named after, or
    anneals.

    Args:
        table: ours.
        contrasts: of its selected runs.
        algorithms: annealed arm -> its algorithm, if its contrast is with that algorithm without annealing.
    """
    rows = _shown(table)
    if not rows:
        return None
    gains = [*_gains_sheet(table, [(algorithms[one.arm], one) for one in contrasts if one.arm in algorithms])]
    several = any(column in _single_domains(rows) for column in table.columns)
    return Section(
        name="published",
        title=f"Beside published results on {table.dataset} (accuracy in percent)",
        sheets=(
            Sheet(
                title="",
                heads=(ARM, *column_heads(table)) if several else (ARM, AVERAGE),
                rows=(*score_rows(table, by_domain=several), *(_theirs(table, row, several) for row in rows)),
            ),
            *gains,
        ),
        notes=(
            _protocol_note(table, rows),
            *_selection_note(table, rows),
            *_domains_note(table, rows),
            *(note for note in published_notes() if gains or note.heading != ARITHMETIC),  # about what is shown
        ),
    )


def _shown(table: Table) -> list[PublishedRow]:
    """Of each source the rows under the table's selection method, else those under training-domain validation."""
    rows = published(table.dataset)
    known = {row.source for row in rows if row.selection == table.method}
    return [row for row in rows if row.selection == (table.method if row.source in known else DEFAULT_METHOD)]


def _single_domains(rows: Sequence[PublishedRow]) -> set[tuple[str, ...]]:
    return {(name,) for row in rows for name in row.domains}


def _theirs(table: Table, row: PublishedRow, several: bool) -> tuple[str, ...]:
    numbers = (row.domains.get(domain_label(column)) for column in table.columns * several)
    return published_name(row), *(str(number) if number else ABSENT for number in (*numbers, row.average))


def _gains_sheet(table: Table, ours: Sequence[tuple[str, Contrast]]) -> Iterator[Sheet]:
    """Gains over the algorithms that an arm anneals or its name begins with, in the order of the release.

    Args:
        ours: algorithms, each with the contrast of its annealed arm.
    """
    mine: dict[str, list[tuple[str, str]]] = {_bare(row.arm.split()[0]): [] for row in table.rows if row.arm.split()}
    for algorithm, contrast in ours:
        mine.setdefault(_bare(algorithm), []).append((contrast.arm, difference_in_words(contrast.difference)))
    gains = [one for one in published_gains() if _bare(one.algorithm) in mine and table.dataset in one.gains]
    if not gains:
        return
    rows: list[tuple[str, ...]] = []
    for one in gains:
        theirs = f"{MARK}{one.algorithm} + GGA against {one.algorithm}", ABSENT
        gained = _gain(one.gains[table.dataset]), _gain(one.of_four)
        rows += [(*side, *gained) for side in mine[_bare(one.algorithm)] or [theirs]]
    yield Sheet(
        title="Gains over other algorithms: ours (paired) and the published (unpaired), in points of accuracy",
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
            f"ours is {table.protocol}. Every published number has another protocol, so its difference to ours is not "
            "the effect of a method:",
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
    """A note if our average is over other test domains than theirs."""
    theirs = _single_domains(rows)
    if set(table.columns) != theirs:
        yield Footnote(
            "Average",
            f"ours is over {', '.join(map(domain_label, table.columns))}; the published ones are over "
            f"{', '.join(sorted(map(domain_label, theirs)))}.",
        )
