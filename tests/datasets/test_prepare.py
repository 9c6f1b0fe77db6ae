"""From downloads to trees: whole or not at all, and checked at the end."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from small_downloads import PACS, VLCS, as_json, camera_traps, content, lay, tarred, tree, zipped

from gga_sweep.datasets import Benchmark, prepare, prepare_dataset
from gga_sweep.datasets.catalogue import BENCHMARKS
from gga_sweep.datasets.image_folder import read_tree
from gga_sweep.errors import InputError

DOMAIN_NET = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
SMALL_NET = {
    f"{domain}/{name}/{domain}_{n}.jpg" for domain in DOMAIN_NET for name in ("axe", "zebra") for n in range(3)
}


@pytest.fixture
def small_domain_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """DomainNet as if it had two classes and five images a domain."""
    small = Benchmark("DomainNet", dict.fromkeys(DOMAIN_NET, 5), 2, has_duplicates=True)
    monkeypatch.setattr(prepare, "BENCHMARKS", {**BENCHMARKS, "DomainNet": small})


def test_unpacked_pacs_becomes_a_tree_and_the_download_stays(tmp_path: Path) -> None:
    download = lay(tmp_path / "download", content(PACS, "kfold/"))

    prepared = prepare_dataset("PACS", download, tmp_path / "data" / "PACS")

    assert tree(tmp_path / "data" / "PACS") == content(PACS)
    assert tree(download) == content(PACS, "kfold/")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["PACS"]
    assert (prepared.copied, prepared.linked, prepared.duplicates) == (56, 0, 0)
    assert prepared.check.images == 56
    assert [fault.got for fault in prepared.check.faults] == [14, 14, 14, 14]  # not the published counts
    assert len(read_tree(prepared.root, n_classes=7).classes) == 7


@pytest.mark.parametrize("given", ["folder", "archive"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_read_in_its_folder_or_by_itself(tmp_path: Path, given: str, kind: str) -> None:
    pack = zipped if kind == "zip" else tarred
    archive = pack(tmp_path / "download" / f"VLCS.{kind}", content(VLCS, "VLCS/"))

    prepare_dataset("VLCS", archive if given == "archive" else archive.parent, tmp_path / "VLCS")

    assert tree(tmp_path / "VLCS") == content(VLCS)


@pytest.mark.parametrize("fourth", ["Real World", "Real_World"])
def test_office_home_is_recognised_with_its_65_classes(fourth: str, tmp_path: Path) -> None:
    classes = BENCHMARKS["OfficeHome"].classes or ()
    paths = [f"{domain}/{name}/00001.jpg" for domain in ("Art", "Clipart", "Product", "Real World") for name in classes]
    folder = "OfficeHomeDataset_10072016/"
    download = {path.replace("Real World", fourth): data for path, data in content(paths, folder).items()}
    zipped(tmp_path / "office_home.zip", {**download, folder + "ImageInfo.csv": b"x"})

    prepared = prepare_dataset("OfficeHome", tmp_path / "office_home.zip", tmp_path / "OfficeHome")

    assert tree(tmp_path / "OfficeHome") == content(paths)
    assert prepared.check.classes == classes
    assert not any("class folders" in fault.rule for fault in prepared.check.faults)


def test_camera_traps_come_from_two_archives(tmp_path: Path) -> None:
    photographs, annotations, expected = camera_traps()
    tarred(tmp_path / "in/eccv_18_all_images_sm.tar.gz", photographs)
    zipped(tmp_path / "in/caltech_camera_traps.json.zip", {"caltech_images_20210113.json": as_json(annotations)})

    prepared = prepare_dataset("TerraIncognita", tmp_path / "in", tmp_path / "Terra")

    assert tree(tmp_path / "Terra") == expected
    assert prepared.copied == len(expected)
    assert not any("class folders" in fault.rule for fault in prepared.check.faults)


@pytest.mark.usefixtures("small_domain_net")
def test_domain_net_comes_from_six_archives_without_its_duplicates(tmp_path: Path) -> None:
    for domain in DOMAIN_NET:
        zipped(tmp_path / f"in/{domain}.zip", content(path for path in SMALL_NET if path.startswith(domain)))
    listed = [f"{domain}/axe/{domain}_0.jpg" for domain in DOMAIN_NET]
    (tmp_path / "duplicates.txt").write_text("\n".join([*listed, "real/axe/gone.jpg"]))

    prepared = prepare_dataset("DomainNet", tmp_path / "in", tmp_path / "Net", duplicates=tmp_path / "duplicates.txt")

    assert tree(tmp_path / "Net") == content(SMALL_NET - set(listed))
    assert (prepared.copied, prepared.duplicates, prepared.unknown_duplicates) == (30, 6, 1)
    assert prepared.check.faults == ()
    assert len(prepare_dataset("DomainNet", tmp_path / "in", tmp_path / "All").check.faults) == 6


@pytest.mark.usefixtures("small_domain_net")
def test_unpacked_files_are_used_before_packed_ones(tmp_path: Path) -> None:
    for domain in DOMAIN_NET:
        zipped(tmp_path / f"in/{domain}.zip", content(path for path in SMALL_NET if path.startswith(domain)))
    unpacked = {path for path in SMALL_NET if path.startswith("real/")}
    lay(tmp_path / "in", content(unpacked))
    (tmp_path / "in/real/axe/real_0.jpg").write_bytes(content(["other"])["other"])

    prepared = prepare_dataset("DomainNet", tmp_path / "in", tmp_path / "Net", link=True)

    assert (prepared.copied, prepared.linked) == (30, 6)
    assert set(tree(tmp_path / "Net")) == SMALL_NET
    assert tree(tmp_path / "Net")["real/axe/real_0.jpg"] == content(["other"])["other"]
    assert (tmp_path / "Net/real/axe/real_0.jpg").samefile(tmp_path / "in/real/axe/real_0.jpg")


def test_archives_stay_closed_if_the_unpacked_files_suffice(tmp_path: Path) -> None:
    lay(tmp_path / "in", content(PACS, "kfold/"))
    (tmp_path / "in/other.zip").write_text("no archive")
    prepare_dataset("PACS", tmp_path / "in", tmp_path / "PACS")
    shutil.rmtree(tmp_path / "in/kfold/photo")
    with pytest.raises(InputError, match="archive must be readable"):
        prepare_dataset("PACS", tmp_path / "in", tmp_path / "again")


def test_two_archives_of_the_same_files_are_refused(tmp_path: Path) -> None:
    for name in ("PACS.zip", "PACS (1).zip"):
        zipped(tmp_path / "in" / name, content(PACS, "kfold/"))
    with pytest.raises(InputError, match=r"PACS\.zip repeats another's, got \['kfold/art_painting/dog/art_painting_0"):
        prepare_dataset("PACS", tmp_path / "in", tmp_path / "PACS")


def test_links_share_their_bytes_with_the_download(tmp_path: Path) -> None:
    download = lay(tmp_path / "download", content(PACS, "kfold/"))
    prepared = prepare_dataset("PACS", download, tmp_path / "PACS", link=True)
    assert (prepared.copied, prepared.linked) == (0, 56)
    for path in PACS:
        assert (tmp_path / "PACS" / path).samefile(download / "kfold" / path)


def test_progress_names_each_stage(tmp_path: Path) -> None:
    zipped(tmp_path / "in/a.zip", content(PACS, "kfold/"))
    zipped(tmp_path / "in/b.zip", {"notes.txt": b""})
    told: list[tuple[str, int, int]] = []
    prepare_dataset("PACS", tmp_path / "in", tmp_path / "PACS", progress=lambda *step: told.append(step))
    assert told == [
        *(("listing", done, 2) for done in (1, 2)),
        *(("copying", done, 56) for done in range(1, 57)),
        *(("opening", done, 56) for done in range(1, 57)),
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("packed", [False, True])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, error: type[BaseException], packed: bool) -> None:
    download = tmp_path / "download"
    if packed:
        zipped(download / "PACS.zip", content(PACS, "kfold/"))
    else:
        lay(download, content(PACS, "kfold/"))

    def stop(what: str, done: int, total: int) -> None:
        if what == "copying" and done == 20:
            raise error

    with pytest.raises(error):
        prepare_dataset("PACS", download, tmp_path / "PACS", progress=stop)

    assert [path.name for path in tmp_path.iterdir()] == ["download"]
    assert prepare_dataset("PACS", download, tmp_path / "PACS").copied == 56


def test_a_broken_member_leaves_nothing(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "in" / "PACS.zip", content(PACS))
    data = bytearray(archive.read_bytes())
    data[data.index(content(["sketch/person/sketch_1.jpg"])["sketch/person/sketch_1.jpg"]) + 20] ^= 255
    archive.write_bytes(data)
    with pytest.raises(InputError, match=r"PACS\.zip: 1 fault\n  download: archive must be readable"):
        prepare_dataset("PACS", archive, tmp_path / "PACS")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_unsafe_archive_leaves_nothing(tmp_path: Path) -> None:
    zipped(tmp_path / "in/PACS.zip", {**content(PACS), "../../escaped.png": b"x"})
    with pytest.raises(InputError, match="may not name a path outside itself"):
        prepare_dataset("PACS", tmp_path / "in", tmp_path / "PACS")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["PACS.zip", "in"]


def test_an_empty_root_is_filled_and_any_other_refused(tmp_path: Path) -> None:
    download = lay(tmp_path / "download", content(PACS))
    (tmp_path / "empty").mkdir()
    prepare_dataset("PACS", download, tmp_path / "empty")
    assert tree(tmp_path / "empty") == content(PACS)

    before = tree(lay(tmp_path / "taken", {"mine.txt": b"mine"}))
    (tmp_path / "file").write_text("mine")
    for root in ("taken", "file"):
        with pytest.raises(InputError, match="root: must not exist yet, or be an empty folder"):
            prepare_dataset("PACS", download, tmp_path / root)
    assert tree(tmp_path / "taken") == before


def test_a_root_that_another_process_fills_is_kept(tmp_path: Path) -> None:
    download = lay(tmp_path / "download", content(PACS))

    def somebody_else(what: str, done: int, total: int) -> None:
        lay(tmp_path / "PACS", {"mine.txt": b"mine"})

    with pytest.raises(InputError, match="root: must stay empty meanwhile"):
        prepare_dataset("PACS", download, tmp_path / "PACS", progress=somebody_else)
    assert tree(tmp_path / "PACS") == {"mine.txt": b"mine"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PACS", "download"]


def test_everything_wrong_with_the_request_is_named_at_once(tmp_path: Path) -> None:
    lay(tmp_path / "taken", {"mine.txt": b""})
    with pytest.raises(InputError) as raised:
        prepare_dataset("PACSS", tmp_path / "nowhere", tmp_path / "taken", duplicates=tmp_path / "list.txt")
    assert [fault.field for fault in raised.value.faults] == ["name", "download", "root", "duplicates"]
    assert "must be a benchmark, got 'PACSS'; did you mean 'PACS'? (allowed: VLCS, PACS, OfficeHome" in str(
        raised.value
    )


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"PACS.rar": b""})
    with pytest.raises(
        InputError, match=r"download: must be a folder, an archive or a parquet file, got .*PACS\.rar.*\.tar\.gz"
    ):
        prepare_dataset("PACS", tmp_path / "PACS.rar", tmp_path / "PACS")


def test_a_download_that_holds_something_else_is_refused_by_its_name(tmp_path: Path) -> None:
    download = lay(tmp_path / "download", content(VLCS))
    with pytest.raises(
        InputError, match=r"download: 1 fault\n .*lacks \['art_painting', 'cartoon', 'photo', 'sketch'\]"
    ):
        prepare_dataset("PACS", download, tmp_path / "PACS")
    assert not (tmp_path / "PACS").exists()


@pytest.mark.parametrize(("link", "packed"), [(False, False), (True, False), (True, True)])
def test_too_little_room_is_noticed_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: bool, packed: bool
) -> None:
    download = tmp_path / "download"
    if packed:
        zipped(download / "PACS.zip", content(PACS))
    else:
        lay(download, content(PACS))
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(56 * 4096 - 1))
    if link and not packed:  # links take no room
        prepare_dataset("PACS", download, tmp_path / "deep" / "PACS", link=True)
        return
    with pytest.raises(InputError, match=r"229,376 bytes are free, got '229,375 bytes"):
        prepare_dataset("PACS", download, tmp_path / "deep" / "PACS", link=link)
    assert not (tmp_path / "deep").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(56 * 4096))
    assert prepare_dataset("PACS", download, tmp_path / "deep" / "PACS", link=link).copied == 56


def test_links_across_file_systems_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = lay(tmp_path / "download", content(PACS))
    devices = {download: 1, tmp_path: 2}
    real = Path.stat
    numbered = namedtuple("numbered", "st_dev st_mode")

    def stat(path: Path, *, follow_symlinks: bool = True) -> object:
        found = real(path, follow_symlinks=follow_symlinks)
        return numbered(devices[path], found.st_mode) if path in devices else found

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(InputError, match="link: must stay within one file system"):
        prepare_dataset("PACS", download, tmp_path / "PACS", link=True)


def test_a_disk_that_fills_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download = lay(tmp_path / "download", content(PACS))
    copy = shutil.copyfile

    def full(source: Path, target: Path) -> None:
        if "sketch" in str(target):
            raise OSError(28, "No space left on device", str(target))
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match=r"No space left on device\), got .*sketch"):
        prepare_dataset("PACS", download, tmp_path / "PACS")
    assert [path.name for path in tmp_path.iterdir()] == ["download"]


def test_spawrious_is_read_as_it_is_unpacked_and_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        prepare_dataset("SpawriousO2O_easy", tmp_path, tmp_path / "out")
    assert "name: is read as its download is unpacked: give the folder that Spawrious was unpacked to" in str(
        raised.value
    )
    assert "(allowed: VLCS, PACS, OfficeHome, TerraIncognita, DomainNet, SVIRO, " in str(raised.value)
