"""Which file of a download is which image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_downloads import PACS, SPECIES, VLCS, as_json, camera_traps, lay, tree

from gga_sweep.datasets.catalogue import BENCHMARKS
from gga_sweep.datasets.downloads import DownloadedFile, list_folder
from gga_sweep.datasets.layouts import Layout, find_layout, read_duplicates
from gga_sweep.errors import InputError


def files(paths: Iterable[str]) -> list[DownloadedFile]:
    return [DownloadedFile(path, 1, Path("download"), packed=False) for path in paths]


def found(name: str, paths: Iterable[str]) -> dict[str, str]:
    return {path: file.path for path, file in find_layout(BENCHMARKS[name], files(paths)).items()}


@settings(max_examples=20)
@given(above=st.sampled_from(["", "kfold/", "PACS/", "downloads/pacs_data/pacs_data/", "photo/"]))
def test_domain_folders_are_found_wherever_they_lie_together(above: str) -> None:
    assert found("PACS", (above + path for path in PACS)) == {path: above + path for path in PACS}


def test_domain_folders_are_found_each_in_a_folder_of_its_own() -> None:
    def own(path: str) -> str:
        domain = path.split("/")[0]
        return f"{domain}/{domain}/{path}" if domain == "SUN09" else f"{domain}/{path}"

    assert found("VLCS", map(own, VLCS)) == {path: own(path) for path in VLCS}


def test_files_of_other_datasets_and_lists_are_skipped() -> None:
    other = ["domain_net/sketch/zebra/1.jpg", "domain_net/real/zebra/1.jpg", "kfold/sketch.json", "kfold/readme/1.jpg"]
    more = ["PACS/photo/person/1.jpg", "kfold/photo/person/readme.json"]
    assert found("PACS", ["kfold/" + path for path in PACS] + other + more) == {path: "kfold/" + path for path in PACS}


def test_missing_domains_are_named_beside_the_folders_that_are_there() -> None:
    paths = [path.replace("VOC2007", "PASCAL").replace("SUN09/", "SUN/full/") for path in VLCS]
    with pytest.raises(InputError) as raised:
        found("VLCS", paths)
    assert "lacks ['SUN09', 'VOC2007'], got ['Caltech101', 'LabelMe', 'PASCAL', 'full']" in str(raised.value)
    assert "(allowed: Caltech101, LabelMe, SUN09, VOC2007)" in str(raised.value)


def test_domains_that_lie_in_two_places_are_refused() -> None:
    with pytest.raises(InputError) as raised:
        found("PACS", [above + path for path in PACS for above in ("kfold/", "PACS/")])
    assert "domain 'cartoon' must lie in one place" in str(raised.value)
    assert "got ['PACS', 'kfold']" in str(raised.value)
    assert len(raised.value.faults) == 4


def test_two_names_of_one_domain_are_refused() -> None:
    domains = ("Art", "Clipart", "Product", "Real World", "RealWorld")
    with pytest.raises(
        InputError, match=r"domain 'Real World' must lie in one place .*, got .'Real World', 'RealWorld'"
    ):
        found("OfficeHome", [f"{domain}/Mug/1.jpg" for domain in domains])


def test_classes_that_are_missing_are_named_before_anything_is_written() -> None:
    with pytest.raises(InputError) as raised:
        found("PACS", (path for path in PACS if not path.startswith("photo/dog/") and "/house/" not in path))
    assert "download: domain 'photo' must have the class folders of the other domains, lacks ['dog']" in str(
        raised.value
    )
    assert "must hold 7 classes, got 6" in str(raised.value)


def terra_incognita(folder: Path) -> Layout:
    return find_layout(BENCHMARKS["TerraIncognita"], list_folder(folder))


def lay_camera_traps(folder: Path, annotations: object, name: str = "caltech_images_20210113.json") -> Path:
    return lay(folder, {**camera_traps()[0], name: as_json(annotations)})


@pytest.mark.parametrize("name", ["caltech_images_20210113.json", "labels/caltech_camera_traps.json"])
def test_annotated_photographs_become_locations_and_species(tmp_path: Path, name: str) -> None:
    _, annotations, expected = camera_traps()
    folder = lay_camera_traps(tmp_path, annotations, name)

    layout = terra_incognita(folder)

    assert {path: (file.place / file.path).read_bytes() for path, file in layout.items()} == expected
    assert len(expected) == 4 * len(SPECIES) + 3


def test_camera_traps_that_are_a_tree_already_are_taken_as_they_are(tmp_path: Path) -> None:
    expected = camera_traps()[2]
    lay(tmp_path, {"terra_incognita/" + path: data for path, data in expected.items()})
    layout = terra_incognita(tmp_path)
    assert {path: tree(tmp_path)[file.path] for path, file in layout.items()} == expected


def test_photographs_that_are_annotated_but_not_there_are_counted_and_named(tmp_path: Path) -> None:
    folder = lay_camera_traps(tmp_path, camera_traps()[1])
    for number in range(7):
        (folder / f"eccv_18_all_images_sm/photograph-{number}.jpg").unlink()
    with pytest.raises(
        InputError, match=r"lacks 7 of 43, got \['location_38/bird/photograph-0\.jpg', .*'and 2 more'\]"
    ):
        terra_incognita(folder)


def test_annotations_without_photographs_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"caltech_camera_traps.json": as_json(camera_traps()[1])})
    with pytest.raises(InputError, match="must hold the photographs in eccv_18_all_images_sm/"):
        terra_incognita(tmp_path)


def test_two_files_of_annotations_are_refused(tmp_path: Path) -> None:
    folder = lay_camera_traps(tmp_path, camera_traps()[1])
    lay(folder, {"old/caltech_camera_traps.json": b"{}"})
    with pytest.raises(InputError, match="must hold one file of annotations"):
        terra_incognita(folder)


def broken(change: str) -> Any:
    annotations: Any = camera_traps()[1]
    if change == "no list":
        return {"images": []}
    if change == "a list of nothing":
        return []
    if change == "no file name":
        del annotations["images"][0]["file_name"]
    elif change == "unknown category":
        annotations["annotations"][0]["category_id"] = 99
    elif change == "a path":
        annotations["images"][0]["file_name"] = "../../photograph-0.jpg"
    return annotations


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no list", r"must be JSON with the lists images .*: Object missing required field `categories`"),
        ("a list of nothing", r"must be JSON with the lists .*: Expected `object`, got `array`"),
        ("no file name", r"missing required field `file_name` - at `\$\.images\[0\]`"),
        ("unknown category", r"annotations: category_id must be of a category, got \['99'\]"),
        ("a path", r"images: file_name must be a plain name, got \['\.\./\.\./photograph-0\.jpg'\]"),
    ],
)
def test_annotations_that_cannot_be_used_are_refused(tmp_path: Path, change: str, message: str) -> None:
    folder = lay_camera_traps(tmp_path, broken(change))
    with pytest.raises(InputError, match=message):
        terra_incognita(folder)


def test_annotations_that_are_no_json_are_refused(tmp_path: Path) -> None:
    folder = lay(tmp_path, {**camera_traps()[0], "caltech_camera_traps.json": b"{"})
    with pytest.raises(InputError, match=r"caltech_camera_traps\.json: 1 fault\n  must be JSON"):
        terra_incognita(folder)


def test_a_list_of_duplicates_is_read_line_by_line(tmp_path: Path) -> None:
    lines = "clipart/cat/1.jpg\n\n  real/dog/2.jpg  \r\nclipart/cat/1.jpg\n"
    (tmp_path / "list.txt").write_text(lines)
    assert read_duplicates(tmp_path / "list.txt", ("clipart", "real")) == {"clipart/cat/1.jpg", "real/dog/2.jpg"}


def test_lines_that_name_no_image_are_refused_with_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("clipart/cat/1.jpg\nclipart/1.jpg\n\nvideo/cat/1.jpg\n")
    with pytest.raises(InputError) as raised:
        read_duplicates(tmp_path / "list.txt", ("clipart", "real"))
    assert [fault.field for fault in raised.value.faults] == ["line 2", "line 4"]
    assert str(tmp_path / "list.txt") in str(raised.value)
    with pytest.raises(InputError, match="must be a text file"):
        read_duplicates(tmp_path / "nowhere.txt", ("clipart", "real"))
