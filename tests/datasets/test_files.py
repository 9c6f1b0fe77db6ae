"""Many files at once, whole files, one writer at a time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from gga_sweep.datasets.files import alone, for_each, whole


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
