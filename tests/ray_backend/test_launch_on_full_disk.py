"""The storage of a sweep fills up while trial actors write to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import leave, make_room, mounted
from small_sweep import small_sweep, train_without_ray

import gga_sweep
from gga_sweep.errors import StorageError
from gga_sweep.execution.verify import verify
from gga_sweep.ledger.run_reader import DETERMINISTIC
from gga_sweep.records import RunStatus

pytestmark = pytest.mark.usefixtures("local_ray", "quick_launches")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, 8192) as disk:
        yield disk


def test_a_full_disk_stops_a_launch_with_a_message_and_changes_no_bit(small_disk: Path, tmp_path: Path) -> None:
    content, uri = small_sweep(), f"sqlite:///{tmp_path}/mlflow.db"
    expected = train_without_ray(gga_sweep.load(content, storage=tmp_path / "large"))
    sweep = gga_sweep.load(content, storage=small_disk / "storage", tracking_uri=uri)
    said = []
    for kib in (4, 48):
        leave(small_disk, kib)
        try:
            said.append(str(gga_sweep.run_sweep(sweep).stopped))
        except StorageError as error:
            said.append(str(error))
    make_room(small_disk)
    result = gga_sweep.run_sweep(sweep)

    assert all(str(small_disk) in words and "No space left on device" in words for words in said), said
    assert {run.status for run in result.records} == {RunStatus.DONE}
    for run in expected:
        again = result.ledger.run(run.name)
        assert [again.read_file(name) for name in DETERMINISTIC] == [run.read_file(name) for name in DETERMINISTIC]
    assert verify(result.ledger).findings == ()
