"""Many files at once, whole files, one writer at a time."""

from __future__ import annotations

import os
import pwd
import stat
import threading
import time
from pathlib import Path

import pytest

from gga_sweep.datasets import files
from gga_sweep.datasets.files import alone, for_each, make_private, whole


@pytest.mark.parametrize("n", [0, 1, 5000])
def test_results_come_in_the_order_of_the_paths(n: int) -> None:
    paths = [f"{index}.png" for index in range(n)]
    assert list(for_each(str.upper, paths)) == [path.upper() for path in paths]


def test_results_do_not_pile_up_unread() -> None:
    done: list[str] = []
    results = for_each(lambda path: done.append(path), [str(index) for index in range(100_000)])
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(done) < 10_000


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "file"
    with whole(file) as draft:
        draft.write_text("all of it")
        assert not file.exists()
    assert file.read_text() == "all of it"

    def fail_half_way() -> None:
        with whole(file) as draft:
            draft.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert file.read_text() == "all of it"
    assert list(file.parent.iterdir()) == [file]


def test_folders_are_made_for_their_user_alone(tmp_path: Path) -> None:
    make_private(tmp_path / "storage" / "cache" / "manifests")
    for folder in ("cache", "cache/manifests"):
        assert stat.S_IMODE((tmp_path / "storage" / folder).stat().st_mode) == 0o700
    make_private(tmp_path / "storage" / "cache" / "manifests")


@pytest.mark.parametrize("place", ["cache", "cache/manifests"])
def test_a_folder_that_another_user_can_alter_is_refused(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "cache" / "manifests"
    make_private(folder)
    (tmp_path / place).chmod(0o777)
    with pytest.raises(PermissionError, match=r"other users can write to it: `chmod go-w .*`"):
        make_private(folder)


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache" / "manifests"
    make_private(folder)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(PermissionError, match=f"user {pwd.getpwuid(owner).pw_name} owns it"):
        make_private(folder)


def test_a_folder_of_ones_own_in_a_shared_one_like_tmp_is_private(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch").chmod(0o1777)
    make_private(tmp_path / "scratch" / "manifests")


def wait_for(lock: Path) -> None:
    with alone(lock):
        pass


def test_a_lock_that_is_held_for_ever_ends_the_wait_and_names_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "_SILENT_SECONDS", 0.1)
    monkeypatch.setattr(files, "_PATIENCE", 0.5)
    message = rf"process {os.getpid()} of .* on .* holds .*lock and wrote nothing for"
    with alone(tmp_path / "lock"), pytest.raises(OSError, match=message):
        wait_for(tmp_path / "lock")
    assert f"waiting for process {os.getpid()} of" in caplog.text
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600  # or another user could hold it


def test_a_holder_that_still_writes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PATIENCE", 1.0)
    held = threading.Event()

    def work() -> None:
        with alone(tmp_path / "lock"):
            held.set()
            for number in range(15):
                (tmp_path / "draft").write_text(str(number))
                time.sleep(0.1)

    thread = threading.Thread(target=work)
    thread.start()
    held.wait()
    with alone(tmp_path / "lock"):
        assert (tmp_path / "draft").read_text() == "14"
    thread.join()


def test_one_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with alone(tmp_path / "lock"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5
