"""Commands on a sweep in a bucket, copied there from the disk; launches there: tests/cluster."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from empty_plots import leave_plots_empty

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.spec import SweepSpec

if TYPE_CHECKING:  # pytest wants to import it itself
    from console import Command


@pytest.fixture
def on_disk(own_copy: Callable[[], SweepSpec]) -> Ledger:
    return Ledger(own_copy().folder)


@pytest.fixture
def ledger(s3: None, on_disk: Ledger) -> Ledger:
    """The same sweep in a bucket."""
    copy = Ledger(f"s3://sweeps/{uuid.uuid4().hex}/{on_disk.folder.name}")
    for path in Path(str(on_disk.folder)).rglob("*"):
        if path.is_file():
            copy.store.replace(path.relative_to(str(on_disk.folder)).as_posix(), path.read_bytes())
    return copy


def test_status_is_that_of_the_disk(gga: Command, ledger: Ledger, on_disk: Ledger) -> None:
    assert gga("status", ledger.folder).out == gga("status", on_disk.folder).out
    ledger.run(ledger.run_names()[0]).mark(RunStatus.FAILED, "told to fail")
    assert "told to fail" in gga("status", ledger.folder).out
    assert gga("status", ledger.folder, "--watch").code == 0


def test_reports_equal_those_of_the_disk_without_and_with_the_index(
    gga: Command, ledger: Ledger, on_disk: Ledger
) -> None:
    expected = gga("report", on_disk.folder, "--format", "csv").out
    assert expected
    for file in ledger.store.list("index"):
        ledger.store.delete(f"index/{file}")
    for _ in range(2):
        assert gga("report", ledger.folder, "--format", "csv").out == expected
    assert ledger.store.list("index")


def test_verify_finds_a_truncated_file(gga: Command, ledger: Ledger) -> None:
    assert gga("verify", ledger.folder).code == 0
    path = f"runs/{ledger.run_names()[0]}/records.jsonl"
    ledger.store.replace(path, (ledger.store.read(path) or b"")[:-20])
    called = gga("verify", ledger.folder)
    assert called.code == 1
    assert "records.jsonl" in called.out


def test_clean_deletes_unneeded_weights(gga: Command, ledger: Ledger, on_disk: Ledger) -> None:
    weights = [path for path in ledger.store.stats("runs") if path.endswith("/selected")]
    told, told_on_disk = gga("clean", ledger.folder), gga("clean", on_disk.folder)
    assert told.out.splitlines()[:-1] == told_on_disk.out.splitlines()[:-1]
    assert gga("clean", ledger.folder, "--yes").code == 0
    left = [path for path in ledger.store.stats("runs") if path.endswith("/selected")]
    assert 0 < len(left) < len(weights)
    assert gga("verify", ledger.folder).code == 0


def test_a_selected_model_is_loaded_and_predicts(gga: Command, ledger: Ledger, on_disk: Ledger) -> None:
    name = ledger.run_names()[0]
    called = gga("predict", f"{ledger.folder}/runs/{name}")
    assert (called.code, called.err) == (0, "")
    assert called.out == gga("predict", f"{on_disk.folder}/runs/{name}").out


def test_sync_reads_a_bucket(
    gga: Command, ledger: Ledger, tmp_path: Path, template_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_empty(monkeypatch)
    shutil.copyfile(template_store, tmp_path / "mlflow.db")
    called = gga("sync", ledger.folder, "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db")
    assert (called.code, called.err) == (0, "")
    assert "shows 8 runs: 8 new" in called.out
    assert 'href="http://127.0.0.1:5000/#/experiments/' in gga("report", ledger.folder, "--format", "html").out


def test_sync_of_a_bucket_needs_a_tracking_uri(gga: Command, ledger: Ledger) -> None:
    called = gga("sync", ledger.folder)
    assert called.code == 2
    assert "give --tracking-uri" in called.err


def test_a_bucket_folder_without_a_sweep_is_bad_input(gga: Command, s3: None) -> None:
    called = gga("status", "s3://sweeps/nothing-here")
    assert called.code == 2
    assert "must be a sweep's folder" in called.err
    called = gga("status", "gs://sweeps/other")
    assert called.code == 2
    assert "DIR: must be a folder, or a folder of a bucket, got 'gs://sweeps/other'" in called.err
