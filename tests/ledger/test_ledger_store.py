"""Files that are whole, and one winner where several want the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gga_sweep.errors import StorageError
from gga_sweep.ledger.store import PosixStore


@pytest.fixture
def store(tmp_path: Path) -> PosixStore:
    return PosixStore(tmp_path / "sweep")


def test_what_is_written_is_read(store: PosixStore) -> None:
    assert store.read("runs/a/run.json") is None
    store.replace("runs/a/run.json", b"one")
    assert store.read("runs/a/run.json") == b"one"
    store.replace("runs/a/run.json", b"")
    assert store.read("runs/a/run.json") == b""


def test_a_file_that_exists_stays_as_it_is(store: PosixStore) -> None:
    assert store.put_if_absent("run.json", b"one")
    assert not store.put_if_absent("run.json", b"two")
    assert store.read("run.json") == b"one"


def test_of_many_that_want_a_file_exactly_one_wins(store: PosixStore) -> None:
    start = threading.Barrier(8)

    def want(file: int, content: bytes) -> bool:
        start.wait()
        return store.put_if_absent(f"attempts/{file}", content)

    for file in range(10):
        contents = [bytes([number]) * 1000 for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(want, [file] * 8, contents))
        assert sum(won) == 1
        assert store.read(f"attempts/{file}") == contents[won.index(True)]


def test_a_reader_never_sees_a_half(store: PosixStore) -> None:
    contents = [bytes([number]) * 200_000 for number in range(2)]
    store.replace("records.jsonl", contents[0])

    def write() -> None:
        for number in range(100):
            store.replace("records.jsonl", contents[number % 2])

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(store.read("records.jsonl"))
    writer.join()
    assert seen == set(contents)


def test_a_failed_write_leaves_the_old_file(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.replace("runs/a/status.json", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gga_sweep.ledger.store.os.fsync", full)
    with pytest.raises(StorageError, match=r"cannot write .*/status.json: No space left"):
        store.replace("runs/a/status.json", b"new")
    assert store.read("runs/a/status.json") == b"old"
    assert [path.name for path in (store.root / "runs/a").iterdir()] == ["status.json"]


def test_a_folder_is_listed_sorted_without_files_still_being_written(store: PosixStore) -> None:
    for name in ("b", "a", "c/d"):
        store.replace(f"runs/{name}", b"")
    (store.root / "runs" / ".new-0123").write_bytes(b"half")
    assert store.list("runs") == ["a", "b", "c"]
    assert store.list("nowhere") == []
    assert store.list("runs/a") == []  # a file


def test_nothing_is_left_beside_the_files(store: PosixStore) -> None:
    store.replace("a", b"1")
    store.put_if_absent("a", b"2")
    store.put_if_absent("b", b"2")
    assert sorted(path.name for path in store.root.iterdir()) == ["a", "b"]


def test_files_have_the_permissions_that_any_file_of_the_user_gets(store: PosixStore, tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"")
    store.replace("a", b"")
    store.put_if_absent("b", b"")
    assert {(store.root / name).stat().st_mode for name in "ab"} == {ordinary.stat().st_mode}


def test_a_deleted_file_is_gone_and_may_be_deleted_again(store: PosixStore) -> None:
    store.replace("checkpoint", b"1")
    store.delete("checkpoint")
    store.delete("checkpoint")
    assert store.read("checkpoint") is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../other", "runs/../../other", "", "a/.."])
def test_a_path_cannot_leave_the_root(store: PosixStore, path: str) -> None:
    calls = (store.read, store.stamp, store.list, store.delete)
    for call in (*calls, lambda p: store.replace(p, b""), lambda p: store.put_if_absent(p, b"")):
        with pytest.raises(StorageError, match=f"must stay below its root, got '{path}'"):
            call(path)
