"""Files are read only if they are regular, and only up to a bounded size."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gga_sweep.input_files import open_regular, read_regular


def test_content_of_a_file_is_returned(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert read_regular(tmp_path / "file", 3) == b"abc"
    with open_regular(tmp_path / "file") as opened:
        assert opened.read() == b"abc"


def test_a_larger_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than 1,000 bytes"):
        read_regular(tmp_path / "file", 1000)


@pytest.mark.timeout(20)
def test_a_file_without_an_end_is_read_up_to_its_size() -> None:
    assert read_regular("/proc/self/pagemap", 10**6) == b""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "socket":
            server.bind(str(path))
        else:
            path.mkdir()
        with pytest.raises(OSError, match=r"not a regular file|Is a directory|No such device"):
            read_regular(path, 10)
