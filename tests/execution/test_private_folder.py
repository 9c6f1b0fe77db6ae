"""Temporary folders are removed by their launch, or by the next one on the same machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gga_sweep.execution.private_folder import private_folder
from gga_sweep.ledger.process import birth_of

KILLED = """
import os, signal, sys
from gga_sweep.execution.private_folder import private_folder
with private_folder(sys.argv[1]) as folder:
    open(f"{folder}/spilled", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_folder_is_private_and_removed(tmp_path: Path) -> None:
    with private_folder(str(tmp_path)) as folder:
        assert Path(folder).parent == tmp_path
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        Path(folder, "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    [left] = tmp_path.iterdir()
    assert (left / "spilled").exists()
    with private_folder(str(tmp_path)) as folder:
        assert list(tmp_path.iterdir()) == [Path(folder)]


def left_by(place: Path, name: str, **owner: object) -> Path:
    folder = place / name
    folder.mkdir()
    (folder / ".owner").write_text(json.dumps(owner))
    return folder


def test_folders_of_others_are_kept(tmp_path: Path) -> None:
    here, mine = socket.gethostname(), birth_of(os.getpid()) or ""
    earlier = f"{mine.rpartition('/')[0]}/1"
    gone = left_by(tmp_path, "gga-gone", host=here, pid=os.getpid(), birth=earlier)  # its id was given again
    kept = [
        left_by(tmp_path, "gga-lives", host=here, pid=os.getpid(), birth=mine),
        left_by(tmp_path, "gga-elsewhere", host="elsewhere", pid=2**22 + 1, birth=earlier),
        left_by(tmp_path, "gga-container", host=here, pid=2**22 + 1, birth="boot/pid:[1]/1"),
        left_by(tmp_path, "gga-odd", pid="one"),
        left_by(tmp_path, "other", host=here, pid=os.getpid(), birth=earlier),
        tmp_path / "gga-without-owner",
    ]
    kept[-1].mkdir()
    (tmp_path / "gga-link").symlink_to(kept[-2])
    (tmp_path / "gga-file").touch()
    with private_folder(str(tmp_path)):
        pass
    assert not gone.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*(path.name for path in kept), "gga-link", "gga-file"]
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_folder_of_another_user_is_kept(tmp_path: Path) -> None:
    here, birth = socket.gethostname(), f"{(birth_of(os.getpid()) or '').rpartition('/')[0]}/1"
    folder = left_by(tmp_path, "gga-gone", host=here, pid=os.getpid(), birth=birth)
    os.chown(folder, 12345, -1)
    with private_folder(str(tmp_path)):
        pass
    assert folder.exists()
