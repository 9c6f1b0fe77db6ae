"""Files that are whole, and one winner where several want the same."""

from __future__ import annotations

import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from services import BUCKET

from gga_sweep.errors import StorageError
from gga_sweep.ledger import s3_store
from gga_sweep.ledger.open_store import open_store
from gga_sweep.ledger.s3_store import S3LedgerStore
from gga_sweep.ledger.store import LedgerStore, PosixStore, for_each
from gga_sweep.spec.location import as_location


@pytest.fixture(params=["file system", "bucket"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerStore:
    if request.param == "file system":
        return PosixStore(tmp_path / "sweep")
    request.getfixturevalue("s3")
    return open_store(as_location(f"s3://{BUCKET}/{uuid.uuid4().hex}/sweep"))


@pytest.fixture
def store(tmp_path: Path) -> PosixStore:
    return PosixStore(tmp_path / "sweep")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "device", "huge"])
def test_what_is_no_file_of_a_ledger_is_not_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "status.json"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        with file.open("wb") as opened:
            opened.truncate(2**40)
    why = "(not a regular file|larger than 67,108,864 bytes)"
    with pytest.raises(StorageError, match=rf"cannot read .*status\.json: {why}"):
        PosixStore(tmp_path).read("status.json")


def test_written_file_is_read(any_store: LedgerStore) -> None:
    assert any_store.read("runs/a/run.json") is None
    any_store.replace("runs/a/run.json", b"one")
    assert any_store.read("runs/a/run.json") == b"one"
    any_store.replace("runs/a/run.json", b"")
    assert any_store.read("runs/a/run.json") == b""


def test_existing_file_is_not_created_again(any_store: LedgerStore) -> None:
    assert any_store.put_if_absent("run.json", b"one")
    assert not any_store.put_if_absent("run.json", b"two")
    assert any_store.read("run.json") == b"one"


def test_only_one_of_many_concurrent_creators_wins(any_store: LedgerStore) -> None:
    start = threading.Barrier(8)

    def want(file: int, content: bytes) -> bool:
        start.wait()
        return any_store.put_if_absent(f"attempts/{file}", content)

    for file in range(10):
        contents = [bytes([number]) * 1000 for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(want, [file] * 8, contents))
        assert sum(won) == 1
        assert any_store.read(f"attempts/{file}") == contents[won.index(True)]


def test_reader_never_sees_a_partly_written_file(any_store: LedgerStore) -> None:
    contents = [bytes([number]) * 200_000 for number in range(2)]
    any_store.replace("records.jsonl", contents[0])

    def write() -> None:
        for number in range(100):
            any_store.replace("records.jsonl", contents[number % 2])

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(any_store.read("records.jsonl"))
    writer.join()
    assert seen == set(contents)


def test_failed_write_leaves_the_old_file(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.replace("runs/a/status.json", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gga_sweep.ledger.store.os.fsync", full)
    with pytest.raises(StorageError, match=r"cannot write .*/status.json: No space left"):
        store.replace("runs/a/status.json", b"new")
    assert store.read("runs/a/status.json") == b"old"
    assert [path.name for path in (store.root / "runs/a").iterdir()] == ["status.json"]


def test_folder_is_listed_sorted(any_store: LedgerStore) -> None:
    for name in ("b", "a", "c/d"):
        any_store.replace(f"runs/{name}", b"")
    any_store.replace("runs-of-another", b"")
    assert any_store.list("runs") == ["a", "b", "c"]
    assert any_store.list("nowhere") == []
    assert any_store.list("runs/a") == []  # a file


def test_empty_folders_are_removed_and_others_are_not(store: PosixStore) -> None:
    store.replace("prefixes/a", b"")
    store.admit("runs/a", 1)
    store.replace("runs/a/status.json", b"", 1)
    store.admit("runs/b", 1)
    draft = store.root / "runs/b/.writer-1/.new-draft"
    draft.write_bytes(b"")
    for folder in ("prefixes", "runs/a", "runs/b", "nowhere"):
        store.remove_empty(folder)
    assert (store.root / "prefixes/a").exists()
    assert [path.name for path in (store.root / "runs/a").iterdir()] == ["status.json"]
    assert draft.exists()
    store.delete("prefixes/a")
    store.remove_empty("prefixes")
    assert not (store.root / "prefixes").exists()
    store.admit("runs/a", 2)  # the next attempt has its own
    store.replace("runs/a/status.json", b"again", 2)
    assert store.read("runs/a/status.json") == b"again"


def test_more_files_than_a_page_of_a_bucket_are_listed(s3: None) -> None:
    store = open_store(as_location(f"s3://{BUCKET}/{uuid.uuid4().hex}"))
    names = [f"run-{number:04d}" for number in range(1100)]
    list(for_each(store, lambda name: store.replace(f"runs/{name}/status.json", b"{}"), names))
    assert store.list("runs") == names
    assert list(store.stats("runs")) == [f"{name}/status.json" for name in names]


def test_stats_give_sizes_and_changing_stamps(any_store: LedgerStore) -> None:
    any_store.replace("runs/a/status.json", b"12345")
    any_store.replace("runs/b/attempts/000001", b"")
    any_store.replace("runs-of-another", b"")
    before = any_store.stats("runs")
    assert {path: found.size for path, found in before.items()} == {"a/status.json": 5, "b/attempts/000001": 0}
    assert any_store.stats("runs/a") == {"status.json": before["a/status.json"]}
    any_store.replace("runs/a/status.json", b"54321")
    after = any_store.stats("runs")
    assert after["a/status.json"].stamp != before["a/status.json"].stamp
    assert after["b/attempts/000001"] == before["b/attempts/000001"]
    assert any_store.stats("nowhere") == any_store.stats("runs/a/status.json") == {}


def test_for_each_keeps_the_order(any_store: LedgerStore) -> None:
    for number in range(100):
        any_store.replace(f"runs/{number}", str(number).encode())
    assert list(for_each(any_store, lambda number: any_store.read(f"runs/{number}"), range(100))) == [
        str(number).encode() for number in range(100)
    ]


def test_for_each_raises_an_error_of_any_item(any_store: LedgerStore) -> None:
    with pytest.raises(StorageError, match="must stay below its root"):
        list(for_each(any_store, any_store.read, ["a", "../b", "c"]))


def test_missing_bucket_is_a_clear_error(s3: None) -> None:
    store = open_store(as_location("s3://no-such-bucket/sweep"))
    with pytest.raises(
        StorageError, match=r"cannot write s3://no-such-bucket/sweep/a: NoSuchBucket: The .* not exist$"
    ):
        store.replace("a", b"")
    with pytest.raises(StorageError, match=r"cannot read s3://no-such-bucket/sweep/a: NoSuchBucket"):
        store.read("a")


def test_unreachable_server_is_a_clear_error(s3: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3_store, "_RETRIES", {"max_retries": 0})
    store = S3LedgerStore(BUCKET, "away")
    with pytest.raises(StorageError, match=r"cannot read s3://sweeps/away/a: [^\n]*127\.0\.0\.1:9[^\n]*$"):
        store.read("a")


def test_conflict_without_a_winner_is_retried(s3: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 answers 409 to a conditional write that meets a deletion: then the object need not be there."""
    import obstore
    from obstore.exceptions import AlreadyExistsError

    store = open_store(as_location(f"s3://{BUCKET}/{uuid.uuid4().hex}"))
    put, conflicts = obstore.put, [AlreadyExistsError("409 Conflict")]

    def put_after_conflicts(*arguments: object, **options: object) -> object:
        if conflicts:
            raise conflicts.pop()
        return put(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(obstore, "put", put_after_conflicts)
    assert store.put_if_absent("a", b"mine")
    assert store.read("a") == b"mine"
    conflicts += [AlreadyExistsError("409 Conflict")] * 9
    with pytest.raises(StorageError, match="requests conflict again and again"):
        store.put_if_absent("b", b"mine")


def test_partly_written_files_are_not_listed(store: PosixStore) -> None:
    store.replace("runs/a", b"")
    (store.root / "runs" / ".new-0123").write_bytes(b"half")
    assert store.list("runs") == ["a"]
    assert store.stats("runs").keys() == {"a"}
    assert store.unfinished_writes() == {"runs/.new-0123": 4}
    assert store.unfinished_writes(min_age=60) == {}
    os.utime(store.root / "runs" / ".new-0123", (0, 0))
    assert store.unfinished_writes(min_age=60) == {"runs/.new-0123": 4}


def test_no_temporary_files_are_left(store: PosixStore) -> None:
    store.replace("a", b"1")
    store.put_if_absent("a", b"2")
    store.put_if_absent("b", b"2")
    assert sorted(path.name for path in store.root.iterdir()) == ["a", "b"]


def test_files_have_the_users_default_permissions(store: PosixStore, tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"")
    store.replace("a", b"")
    store.put_if_absent("b", b"")
    assert {(store.root / name).stat().st_mode for name in "ab"} == {ordinary.stat().st_mode}


def test_deleting_twice_is_no_error(any_store: LedgerStore) -> None:
    any_store.replace("checkpoint", b"1")
    any_store.delete("checkpoint")
    any_store.delete("checkpoint")
    assert any_store.read("checkpoint") is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../other", "runs/../../other", "", "a/.."])
def test_path_cannot_leave_the_root(any_store: LedgerStore, path: str) -> None:
    calls = (any_store.read, any_store.stats, any_store.list, any_store.delete)
    for call in (*calls, lambda p: any_store.replace(p, b""), lambda p: any_store.put_if_absent(p, b"")):
        with pytest.raises(StorageError, match=f"must stay below its root, got '{path}'"):
            call(path)
