"""Published results: the figures, typed a second time from their sources, and how they stand beside ours."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib import resources
from statistics import fmean

import pytest
import yaml
from invented_sweep import invented_comparison, invented_sweep

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.datasets import BENCHMARKS
from gga_sweep.report.document import Section
from gga_sweep.report.published import (
    PUBLISHED_DATASETS,
    PublishedRow,
    published,
    published_gains,
    published_name,
    published_notes,
    published_section,
)
from gga_sweep.report.sections import DIFFERENCE
from gga_sweep.report.wording import ABSENT, arm_in_words, entry_in_words
from gga_sweep.selection import METHODS, Table, build_table
from gga_sweep.spec.protocols import PROTOCOLS

ORDER = ("PACS", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet")

# README images of aristotelisballas/GGA: five datasets in the order above, then the means over four and over five.
RELEASE = """
ERM     | 85.5+-0.2 | 77.3+-0.4 | 66.5+-0.3 | 46.1+-1.8 | 43.8+-0.3 | 68.9 | 63.9
GGA     | 86.4+-0.5 | 78.7+-0.8 | 67.0+-0.3 | 48.5+-1.1 | 44.5+-0.2 | 70.2 | 65.0
GGA-L   | 86.5+-0.7 | 78.4+-0.9 | 66.5+-0.4 | 49.8+-1.8 | 44.5+-0.2 | 70.3 | 65.1
GGA, v1 | 87.3+-0.4 | 79.9+-0.4 | 68.5+-0.2 | 50.6+-0.1 | 45.2+-0.2 | 71.7 | 66.3
"""
# The four datasets without DomainNet, their mean, and that of the first version.
GAINS = """
Mixstyle +1.4 +.6 +.5 +4.0 | +1.6 +.6
GroupDRO +1.6 +.6 -.4 +5.2 | +1.7 +1.4
MMD +.8 +.6 +.4 +5.1 | +1.7 +2.5
AND-mask +.1 +.3 +1.2 -.4 | +.3 +.3
ARM +.1 +.3 +1.2 +2.4 | +1.0 +1.1
IRM -1.5 -.9 -2.1 -3.9 | -2.1 -2.1
MTL +1.8 +.9 -.3 +.8 | +.8 +.9
VREx +.6 -.2 +1.5 -.7 | +.3 +1.0
MLDG +1.2 +1.3 -.2 +.2 | +.6 +1.2
Mixup +1.0 +.4 +.1 +.5 | +.5 +1.5
SagNet -1.0 +.9 +.3 +.7 | +.4 +.4
CORAL +.7 -.4 +.2 +.3 | +.2 +.2
RSC +.1 +.2 0 +.2 | +.1 +.1
Fish +.3 +.9 -.6 +1.8 | +.6 +1.0
SAM +.3 +.2 -1.0 +2.9 | +.6 +1.1
GSAM +.6 0 -.7 -1.0 | -.3 +.2
SAGM +.2 0 -.6 -.1 | -.1 -.2
"""
# Lines of results.tex in DomainBed's results/2020_10_06_7df6f06; the ± of the average stands in its table "Averages".
DOMAINBED = {
    "training-domain-validation": """
        84.7 0.4 & 80.8 0.6 & 97.2 0.3 & 79.3 1.0 & 85.5 0.2
        97.7 0.4 & 64.3 0.9 & 73.4 0.5 & 74.6 1.3 & 77.5 0.4
        61.3 0.7 & 52.4 0.3 & 75.8 0.1 & 76.6 0.3 & 66.5 0.3
        49.8 4.4 & 42.1 1.4 & 56.9 1.8 & 35.7 3.9 & 46.1 1.8
        58.1 0.3 & 18.8 0.3 & 46.7 0.3 & 12.2 0.4 & 59.6 0.1 & 49.8 0.4 & 40.9 0.1""",
    "leave-one-domain-out": """
        83.2 1.3 & 76.8 1.7 & 97.2 0.3 & 74.8 1.3 & 83.0 0.7
        98.0 0.4 & 62.6 0.9 & 70.8 1.9 & 77.5 1.9 & 77.2 0.4
        61.1 0.9 & 50.7 0.6 & 74.6 0.3 & 76.4 0.6 & 65.7 0.5
        34.4 5.6 & 38.1 4.0 & 55.7 1.0 & 37.4 1.1 & 41.4 1.4
        58.1 0.3 & 17.8 0.3 & 47.0 0.3 & 12.2 0.4 & 59.2 0.7 & 49.5 0.6 & 40.6 0.2""",
    "oracle": """
        86.5 1.0 & 81.3 0.6 & 96.2 0.3 & 82.7 1.1 & 86.7 0.3
        97.6 0.3 & 67.9 0.7 & 70.9 0.2 & 74.0 0.6 & 77.6 0.3
        61.7 0.7 & 53.4 0.3 & 74.1 0.4 & 76.2 0.6 & 66.4 0.5
        59.4 0.9 & 49.3 0.6 & 60.1 1.1 & 43.2 0.5 & 53.0 0.3
        58.6 0.3 & 19.2 0.2 & 47.0 0.3 & 13.2 0.2 & 59.9 0.3 & 49.8 0.4 & 41.3 0.1""",
}


def release(dataset: str) -> list[PublishedRow]:
    return [row for row in published(dataset) if "DomainBed" not in row.name]


def domainbed(dataset: str, method: str) -> PublishedRow:
    (row,) = [row for row in published(dataset) if "DomainBed" in row.name and row.selection == method]
    return row


def means() -> dict[str, tuple[float, float]]:
    """Printed means over four and over five datasets, by row."""
    text = resources.files("gga_sweep.report").joinpath("published.yaml").read_text(encoding="utf-8")
    rows = [row for row in yaml.safe_load(text)["rows"] if "means" in row]
    return {row["name"]: (row["means"]["four"], row["means"]["five"]) for row in rows}


@cache
def invented_table() -> Table:
    return build_table(invented_sweep(test_domains=("0", "15", "45", "75")))


def pacs(**changes: object) -> Table:
    """An invented table with the four test domains of PACS."""
    columns = tuple((name,) for name in BENCHMARKS["PACS"].domain_sizes)
    return replace(invented_table(), **{"dataset": "PACS", "columns": columns, **changes})


def section(table: Table) -> Section:
    found = published_section(table)
    assert found is not None
    return found


def said(table: Table) -> dict[str, str]:
    return {note.heading: " ".join([note.sentence, *note.items]) for note in section(table).notes}


def test_the_rows_of_the_release_are_as_printed() -> None:
    for i, line in enumerate(RELEASE.strip().splitlines()):
        name, *values = map(str.strip, line.split("|"))
        rows = [release(dataset)[i] for dataset in ORDER]
        assert {row.name for row in rows} == {name}
        assert [str(row.average) for row in rows] == [value.replace("+-", " ± ") for value in values[:5]]
        assert means()[name] == (float(values[5]), float(values[6]))
        assert all(row.superseded == (name == "GGA, v1") for row in rows)
        assert all(row.domains == {} for row in rows)  # none is published


def test_the_gains_over_other_algorithms_are_as_printed() -> None:
    lines = GAINS.strip().splitlines()
    assert len(lines) == len(published_gains()) == 17
    for line, gain in zip(lines, published_gains(), strict=True):
        algorithm, *numbers = line.replace("|", " ").split()
        assert gain.algorithm.lower() == algorithm.lower()
        assert [*gain.gains] == [*ORDER[:4]]
        assert [*gain.gains.values(), gain.of_four, gain.superseded_of_four] == [float(number) for number in numbers]


@pytest.mark.parametrize("method", DOMAINBED)
def test_domainbeds_rows_are_as_printed_for_every_selection_method(method: str) -> None:
    assert method in METHODS
    for dataset, line in zip(ORDER, DOMAINBED[method].strip().splitlines(), strict=True):
        row = domainbed(dataset, method)
        *domains, average = [cell.strip().replace(" ", " ± ") for cell in line.split("&")]
        assert [*row.domains] == [*BENCHMARKS[dataset].domain_sizes]
        assert [*map(str, row.domains.values()), str(row.average)] == [*domains, average]
        assert row.protocol == "domainbed"


@pytest.mark.parametrize("method", DOMAINBED)
def test_an_average_is_the_mean_of_its_test_domains_within_rounding(method: str) -> None:
    for dataset in ORDER:
        row = domainbed(dataset, method)
        assert row.average.mean == pytest.approx(fmean(one.mean for one in row.domains.values()), abs=0.1001)


def test_printed_means_over_datasets_follow_from_their_parts_but_for_those_the_notes_name() -> None:
    wrong = {}
    for name, printed_means in means().items():
        parts = [row.average.mean for dataset in ORDER for row in published(dataset) if row.name == name]
        for printed, of in zip(printed_means, (parts[:4], parts), strict=True):
            if abs(printed - sum(of) / len(of)) > 0.1001:
                wrong[name] = (printed, sum(of) / len(of))
    for gain in published_gains():
        mean = sum(gain.gains.values()) / 4
        if abs(gain.of_four - mean) > 0.1001:
            wrong[gain.algorithm] = (gain.of_four, mean)
    assert wrong == {"GGA, v1": (71.7, pytest.approx(71.575)), "SagNet": (0.4, pytest.approx(0.225))}
    (note,) = [note for note in published_notes() if note.heading == "Arithmetic"]
    assert note.items == (
        "GGA, v1, mean over four datasets: 71.7 printed, 71.6 by arithmetic",
        "SagNet + GGA, mean gain over four datasets: +0.4 printed, +0.2 by arithmetic",
    )


def test_the_releases_erm_row_is_domainbeds_on_three_datasets_and_another_on_two() -> None:
    for dataset in ORDER:
        theirs, ours = release(dataset)[0], domainbed(dataset, "training-domain-validation")
        equal = theirs.average == ours.average
        assert equal == (dataset in {"PACS", "OfficeHome", "TerraIncognita"})
        assert (theirs.protocol == "domainbed") == equal


def test_a_protocol_that_is_named_as_ours_exists() -> None:
    protocols = {row.protocol for dataset in ORDER for row in published(dataset)}
    assert protocols & PROTOCOLS.keys() == {"domainbed", "gga-paper"}


def test_every_source_and_caveat_is_noted() -> None:
    notes = {note.heading: " ".join([note.sentence, *note.items]) for note in published_notes()}
    assert "arXiv 2502.20162 (corrected July 2025); aristotelisballas/GGA at 5450c2b, README images" in notes["Sources"]
    assert "results 2020_10_06_7df6f06" in notes["Sources"]
    assert "superseded" in notes["Sources"]
    assert "not to have been run again" in notes["Published ERM"]
    assert "does not say what it is" in notes["Published errors"]
    assert "unpaired" in notes["Published differences"]


def test_our_rows_stand_first_and_the_published_ones_are_marked() -> None:
    table = pacs()
    sheet = section(table).sheets[0]
    assert sheet.heads == ("Arm", "art_painting", "cartoon", "photo", "sketch", "Average")
    ours, theirs = sheet.rows[: len(table.rows)], sheet.rows[len(table.rows) :]
    assert ours == tuple((arm_in_words(row), *map(entry_in_words, (*row.entries, row.average))) for row in table.rows)
    assert theirs == (
        ("published: ERM", *[ABSENT] * 4, "85.5 ± 0.2"),
        ("published: GGA", *[ABSENT] * 4, "86.4 ± 0.5"),
        ("published: GGA-L", *[ABSENT] * 4, "86.5 ± 0.7"),
        ("published: GGA, v1 (superseded)", *[ABSENT] * 4, "87.3 ± 0.4"),
        ("published: ERM, DomainBed", "84.7 ± 0.4", "80.8 ± 0.6", "97.2 ± 0.3", "79.3 ± 1.0", "85.5 ± 0.2"),
    )


def test_test_domains_are_matched_by_name_in_any_order() -> None:
    shuffled = pacs(columns=(("sketch",), ("cartoon",), ("art_painting",), ("photo",)))
    assert section(shuffled).sheets[0].rows[-1][1:5] == ("79.3 ± 1.0", "80.8 ± 0.6", "84.7 ± 0.4", "97.2 ± 0.3")


def test_without_a_test_domain_in_common_only_the_average_is_shown() -> None:
    table = pacs(columns=(("a",), ("art_painting", "cartoon"), ("b",), ("c",)))
    sheet = section(table).sheets[0]
    assert sheet.heads == ("Arm", "Average")
    assert sheet.rows[0] == (arm_in_words(table.rows[0]), entry_in_words(table.rows[0].average))
    assert sheet.rows[-1] == ("published: ERM, DomainBed", "85.5 ± 0.2")


def test_an_average_over_other_test_domains_is_noted(table: Table) -> None:
    words = said(replace(table, dataset="PACS", columns=(("art_painting",), ("cartoon",), ("sketch",))))["Average"]
    assert words == (
        "ours is over art_painting, cartoon, sketch; the published ones are over art_painting, cartoon, photo, sketch."
    )
    assert "Average" not in said(pacs())


def test_every_row_of_another_protocol_is_noted() -> None:
    words = said(pacs(protocol="quick"))["Protocol"]
    assert words.startswith("ours is quick. Every published number has another protocol")
    assert words.count("protocol gga-paper") == 2
    assert words.count("protocol domainbed") == 2
    assert words.count("protocol GGA's first") == 1


@pytest.mark.parametrize(
    ("protocol", "same", "others"),
    [
        ("gga-paper", "published: GGA; published: GGA-L: protocol gga-paper, as ours", 3),
        ("domainbed", "published: ERM; published: ERM, DomainBed: protocol domainbed, as ours", 3),
    ],
)
def test_under_the_same_protocol_our_deviations_are_listed(protocol: str, same: str, others: int) -> None:
    words = said(pacs(protocol=protocol))["Protocol"]
    assert words.startswith(same)
    assert "ours: evaluated every 50 steps, not 100 ours: augmentation: none" in words
    assert len(re.findall(r"published: [^:]+: protocol", words.removeprefix(same))) == others
    assert "ours: no deviation known" in said(pacs(protocol=protocol, deviations=()))["Protocol"]


def test_domainbeds_row_is_that_of_the_tables_selection_method() -> None:
    rows = section(pacs(method="leave-one-domain-out")).sheets[0].rows
    assert rows[-1][0] == "published: ERM, DomainBed, leave-one-domain-out cross-validation"
    assert rows[-1][-1] == "83.0 ± 0.7"
    words = said(pacs(method="leave-one-domain-out"))["Selection"]
    assert words == (
        "ours by leave-one-domain-out cross-validation, but by training-domain validation: published: ERM; published: "
        "GGA; published: GGA-L; published: GGA, v1 (superseded)."
    )
    assert "Selection" not in said(pacs())


def test_an_unpublished_selection_method_is_compared_with_training_domain_validation() -> None:
    table = pacs(method="shared-draw")
    assert section(table).sheets[0].rows == section(pacs()).sheets[0].rows
    assert "published: ERM, DomainBed." in said(table)["Selection"]


def test_gains_are_shown_for_the_algorithms_of_the_table() -> None:
    table = pacs()
    assert len(section(table).sheets) == 1
    arms = ("ANDMask + GGA, radius 1e-5", "CORAL", "CORAL + GGA", "SAMple")
    rows = tuple(replace(table.rows[0], arm=arm) for arm in arms)
    _, gains = section(replace(table, rows=rows)).sheets
    assert gains.heads == ("Arm", DIFFERENCE, "GGA as published, PACS", "Mean of four datasets")
    assert gains.rows == (
        ("published: AND-mask + GGA against AND-mask", ABSENT, "+0.1", "+0.3"),
        ("published: CORAL + GGA against CORAL", ABSENT, "+0.7", "+0.2"),
    )
    assert len(section(replace(table, dataset="DomainNet", rows=rows)).sheets) == 1


@pytest.mark.parametrize(("dataset", "column"), [(name, i) for i, name in enumerate(ORDER[:4])])
def test_each_published_gain_is_beside_ours_of_the_same_algorithm(dataset: str, column: int) -> None:
    """All 17 by the names of our catalogue, in the order of the release, whatever the arms are called."""
    (contrast,) = invented_comparison(invented_sweep(arms=("ERM", "ERM + GGA, radius 1e-5"))).selected
    algorithms = [*ALGORITHMS][:18]  # ERM, then those of the table
    contrasts = [replace(contrast, arm=f"ours, {name}") for name in algorithms]
    names = {f"ours, {name}": name for name in algorithms}
    found = published_section(pacs(dataset=dataset), contrasts, names)
    assert found is not None
    _, gains = found.sheets
    mean, low, high = (100 * getattr(contrast.difference, name) for name in ("mean", "low", "high"))
    expected = []
    for line in GAINS.strip().splitlines():
        printed, *numbers = line.replace("|", " ").split()
        (name,) = [name for name in algorithms if name.lower() == printed.lower().replace("-", "")]
        theirs = [f"{float(numbers[i]):+.1f}" for i in (column, 4)]
        expected.append((f"ours, {name}", f"{mean:+.2f} [{low:.2f}, {high:.2f}]", *theirs))
    assert gains.rows == tuple(expected)
    assert len(expected) == 17
    assert "unpaired" in gains.title


def test_each_way_to_anneal_an_algorithm_has_a_line_beside_the_published() -> None:
    first, second = invented_comparison(invented_sweep()).selected
    found = published_section(pacs(), [first, second], {first.arm: "CORAL", second.arm: "CORAL"})
    assert found is not None
    assert [(row[0], row[2]) for row in found.sheets[1].rows] == [(first.arm, "+0.7"), (second.arm, "+0.7")]


def test_a_dataset_without_published_results_has_no_section(table: Table) -> None:
    assert published("RotatedDigits") == ()
    assert published_section(table) is None


def test_the_datasets_with_published_results_are_benchmarks() -> None:
    assert PUBLISHED_DATASETS == ORDER
    assert {*PUBLISHED_DATASETS} <= BENCHMARKS.keys()
    assert all(published(dataset) for dataset in PUBLISHED_DATASETS)


def test_every_published_name_of_a_dataset_is_its_own() -> None:
    for dataset in ORDER:
        names = [published_name(row) for row in published(dataset)]
        assert len(set(names)) == len(names) == 7
