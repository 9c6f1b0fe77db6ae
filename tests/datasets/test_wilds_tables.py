"""WILDS's files become DomainBed's domains, by the tables of metadata beside them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_downloads import lay, tarred, tree
from small_wilds import CODES, FMOW_ROWS, REGIONS, Row, as_csv, camelyon17, camelyon_rows, fmow, patch_of

from gga_sweep.datasets import BENCHMARKS, check_dataset, describe, load_dataset, prepare, prepare_dataset, registry
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.datasets.dataset_check import check_tree
from gga_sweep.domainbed.registry import DOMAINS
from gga_sweep.errors import InputError


def domainbed_camelyon(rows: list[Row]) -> dict[str, str]:
    """By DomainBed's definition: environment `hospital_<center>`, label `tumor` (1 is tumor), images of all splits."""
    return {
        f"hospital_{row['center']}/{('normal', 'tumor')[int(str(row['tumor']))]}/{patch_of(row).rpartition('/')[2]}": (
            patch_of(row)
        )
        for row in rows
    }


def domainbed_fmow() -> dict[str, str]:
    """Environment `region_<number>` of the country's region, all splits but the sequestered one."""
    layout = {}
    for number, row in enumerate(FMOW_ROWS):
        region = CODES.get(str(row["country_code"])) or "Other"
        if row["split"] != "seq":
            name = f"rgb_img_{number}.png"
            layout[f"region_{REGIONS.index(region)}_{region}/{row['category']}/{name}"] = f"images/{name}"
    return layout


@pytest.fixture
def three_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """FMoW with the three classes and eight images of the small download."""
    classes = ("airport", "multi-unit_residential", "zoo")
    small = replace(BENCHMARKS["WILDSFMoW"], classes=classes, n_classes=3, images=8)
    for module in (prepare, registry):
        monkeypatch.setattr(module, "BENCHMARKS", {**BENCHMARKS, "WILDSFMoW": small})


@pytest.mark.parametrize("above", ["", "data/camelyon17_v1.0/"])
@pytest.mark.parametrize("link", [False, True])
def test_a_domain_of_camelyon17_is_a_hospital(tmp_path: Path, above: str, link: bool) -> None:
    rows = camelyon_rows()
    files = camelyon17(rows)
    lay(tmp_path / "in" / above, files)

    made = prepare_dataset("WILDSCamelyon", tmp_path / "in", tmp_path / "tree", link=link)

    expected = domainbed_camelyon(rows)
    assert tree(tmp_path / "tree") == {path: files[source] for path, source in expected.items()}
    assert (made.copied, made.linked) == ((0, 20) if link else (20, 0))
    assert [domain.name for domain in made.check.domains] == [f"hospital_{number}" for number in range(5)]
    assert [fault.got for fault in made.check.faults] == [4] * 5  # not the published counts


def test_the_labels_are_those_of_wilds(tmp_path: Path) -> None:
    rows = camelyon_rows()
    prepare_dataset("WILDSCamelyon", lay(tmp_path / "in", camelyon17(rows)), tmp_path / "tree")
    dataset = load_dataset(DatasetConfig(name="WILDSCamelyon", root=tmp_path / "tree", image_size=8), None)
    tumor = {patch_of(row).rpartition("/")[2]: row["tumor"] for row in rows}
    for domain in dataset.domains:
        assert domain.labels.tolist() == [tumor[sample.rpartition("/")[2]] for sample in domain.sample_ids]


def test_the_archive_of_wilds_is_read_as_it_comes(tmp_path: Path) -> None:
    files = camelyon17(camelyon_rows())
    archive = tarred(tmp_path / "archive.tar.gz", {f"./{path}": content for path, content in files.items()})
    prepare_dataset("WILDSCamelyon", archive, tmp_path / "tree")
    assert set(tree(tmp_path / "tree")) == set(domainbed_camelyon(camelyon_rows()))


@pytest.mark.usefixtures("three_classes")
def test_a_domain_of_fmow_is_a_region_and_may_lack_classes(tmp_path: Path) -> None:
    files = fmow()

    made = prepare_dataset("WILDSFMoW", lay(tmp_path / "in", files), tmp_path / "tree")

    expected = domainbed_fmow()
    assert tree(tmp_path / "tree") == {path: files[source] for path, source in expected.items()}
    assert made.check.faults == ()
    assert made.check.remarks == ("WILDSFMoW: 8 images are published in all, but not those of each domain",)
    config = DatasetConfig(name="WILDSFMoW", root=tmp_path / "tree", image_size=8)
    dataset = load_dataset(config, None)
    assert dataset.classes == ("airport", "multi-unit_residential", "zoo")
    assert {domain.name: domain.labels.tolist() for domain in dataset.domains} == {
        "region_0_Asia": [2],
        "region_1_Europe": [0, 1],
        "region_2_Africa": [0],
        "region_3_Americas": [2],
        "region_4_Oceania": [0],
        "region_5_Other": [2, 2],
    }
    assert [domain.name.rpartition("_")[0] for domain in dataset.domains] == [*DOMAINS["WILDSFMoW"]]
    assert describe(config).domain_sizes == dataset.domain_sizes
    (tmp_path / "tree/region_5_Other/zoo/rgb_img_6.png").unlink()
    assert [str(fault) for fault in check_dataset(config).faults] == [
        "dataset.root: 8 images were published in all domains together, got 7"
    ]


def test_a_class_that_a_domain_may_lack_must_still_be_in_another(tmp_path: Path) -> None:
    prepared = lay(tmp_path, {f"region_{number}_{name}/zoo/1.png": b"" for number, name in enumerate(REGIONS)})
    (fault,) = check_tree("WILDSFMoW", prepared, BENCHMARKS["WILDSFMoW"]).unloadable[:1]
    assert str(fault) == "dataset.root: must hold two classes or more, got ['zoo']"


def test_fmow_without_its_folder_is_refused_since_its_domains_are_not_counted() -> None:
    with pytest.raises(InputError, match="WILDSFMoW needs its folder, since the images of each domain are not publ"):
        describe(DatasetConfig(name="WILDSFMoW"))


def table_with(change: Callable[[dict[str, object]], object]) -> dict[str, bytes]:
    """Camelyon17 with the third row (line 4) changed."""
    files, rows = camelyon17(camelyon_rows()), [dict(row) for row in camelyon_rows()]
    change(rows[2])
    return {**files, "metadata.csv": as_csv(rows, index=True)}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            table_with(lambda row: row.update(center=5)),
            "line 4: center: must hold known values, got ['5'] (allowed: 0, 1, 2, 3, 4)",
        ),
        (
            table_with(lambda row: row.update(tumor="")),
            "line 4: tumor: must hold known values, got [''] (allowed: 0, 1)",
        ),
        (
            table_with(lambda row: row.update(patient="../../004")),
            "download: must hold each image that metadata.csv lists, lacks 1, got ['patches/patient_../../004_node_0/",
        ),
        (
            {**camelyon17(camelyon_rows()), "metadata.csv": b"patient,node\n004,1\n"},
            "must have the columns ['center', 'tumor', 'x_coord', 'y_coord'], got ['patient', 'node']",
        ),
        ({**camelyon17(camelyon_rows()), "metadata.csv": b""}, "must have the columns ['center', 'node', 'patient'"),
        ({**camelyon17(camelyon_rows()), "metadata.csv": b"\xff\xfe"}, "must be a table of comma-separated values"),
        (
            {**camelyon17(camelyon_rows()), "other/metadata.csv": b""},
            "must hold one metadata.csv (give the folder that is meant), got ['metadata.csv', 'other/metadata.csv']",
        ),
    ],
    ids=["center", "label", "outside", "columns", "empty", "no text", "two tables"],
)
def test_a_table_that_cannot_be_used_is_refused_before_anything_is_written(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(InputError) as raised:
        prepare_dataset("WILDSCamelyon", lay(tmp_path / "in", files), tmp_path / "tree")
    assert message in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_fmow_without_its_table_of_countries_is_refused(tmp_path: Path) -> None:
    files = {path: content for path, content in fmow().items() if path != "country_code_mapping.csv"}
    with pytest.raises(InputError, match=r"must hold country_code_mapping\.csv beside rgb_metadata\.csv"):
        prepare_dataset("WILDSFMoW", lay(tmp_path / "in", files), tmp_path / "tree")


def test_reading_the_tables_loads_neither_torch_nor_wilds_nor_pyarrow(tmp_path: Path) -> None:
    lay(tmp_path / "in", camelyon17(camelyon_rows()))
    code = (
        "import sys; from pathlib import Path; import gga_sweep; from gga_sweep.datasets import prepare_dataset\n"
        f"prepare_dataset('WILDSCamelyon', Path({str(tmp_path / 'in')!r}), Path({str(tmp_path / 'tree')!r}))\n"
        "print({'torch', 'wilds', 'pyarrow', 'pandas'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
