from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gga_sweep.errors import InputError
from gga_sweep.spec.location import as_location
from gga_sweep.tracking.tracking_uri import network_file_system, redact, redact_text, resolve_tracking_uri, sqlite_path

MOUNTS = r"""
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb /home/scratch xfs rw 0 0
fs /with\040blank lustre rw 0 0
/dev/sdc /twice ext4 rw 0 0
me@host: /twice fuse.sshfs rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mounts"
    path.write_text(MOUNTS.strip() + "\n")
    return path


def test_without_a_choice_all_sweeps_of_a_storage_share_its_file() -> None:
    assert resolve_tracking_uri(Path("/data/results"), None, {}) == "sqlite:////data/results/mlflow.db"


def test_the_flag_goes_before_the_environment_and_that_before_the_default() -> None:
    environ = {"MLFLOW_TRACKING_URI": "http://environment:5000"}
    assert resolve_tracking_uri(Path("/data"), None, environ) == "http://environment:5000"
    assert resolve_tracking_uri(Path("/data"), "https://flag/mlflow", environ) == "https://flag/mlflow"
    assert resolve_tracking_uri(Path("/data"), None, {"MLFLOW_TRACKING_URI": ""}).startswith("sqlite:///")


def test_a_relative_sqlite_file_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_tracking_uri(Path("results"), "sqlite:///here.db", {}) == f"sqlite:///{tmp_path}/here.db"
    assert resolve_tracking_uri(Path("results"), None, {}) == f"sqlite:///{tmp_path}/results/mlflow.db"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://host/x", "must be the URI of an MLflow server or database, got 'ftp://host/x'"),
        ("./mlruns", "no longer tracks in plain files, got './mlruns'"),
        ("file:///data/mlruns", "no longer tracks in plain files, got 'file:///data/mlruns'"),
        ("", "must be the URI"),
        ("http://", "must name a host, got 'http://'"),
        ("http://:5000", "must name a host"),
        ("http+tcp://host", "must be the URI"),
        ("http://host:port", "must be a well-formed URI, got 'http://host:port'"),
        ("http://[::1", "must be a well-formed URI"),
        ("sqlite://", "must name a file"),
        ("sqlite:///", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:////data/x.db?mode=ro", "must name a file"),
        ("postgresql://host", "must name a database, got 'postgresql://host'"),
        ("postgresql+nonsense://host/db", "must be a database URI with a known driver"),
    ],
)
def test_a_uri_that_mlflow_cannot_track_in_is_an_input_fault(uri: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_tracking_uri(Path("/data"), uri, {})
    assert message in str(caught.value)
    assert "--tracking-uri" in str(caught.value)


def test_a_missing_database_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)  # importing it now fails
    with pytest.raises(InputError, match="needs the Python package psycopg2"):
        resolve_tracking_uri(Path("/data"), "postgresql+psycopg2://user:secret@host/db", {})


def test_the_field_at_fault_is_the_environment_variable() -> None:
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI: must"):
        resolve_tracking_uri(Path("/data"), None, {"MLFLOW_TRACKING_URI": "nonsense"})


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/results", "nfs4"),
        ("/home/scratch/results", None),
        ("/data/results", None),
        ("/homework", None),
        ("/with blank/results", "lustre"),
        ("/twice/results", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_latest_mount_tells_the_file_system(path: str, kind: str | None, mounts: Path) -> None:
    assert network_file_system(Path(path), mounts) == kind


def test_where_mounts_are_not_listed_every_disk_counts_as_local(tmp_path: Path) -> None:
    assert network_file_system(Path("/home/me"), tmp_path / "absent") is None


def test_sqlite_on_a_network_file_system_is_refused_and_a_server_is_not(mounts: Path) -> None:
    with pytest.raises(InputError, match=r"local disk, this is nfs4: .*--tracking-uri, got '/home/me/mlflow.db'"):
        resolve_tracking_uri(Path("/home/me"), None, {}, mounts)
    with pytest.raises(InputError, match=r"got '/home/other\.db'"):
        resolve_tracking_uri(Path("/data"), "sqlite:////home/other.db", {}, mounts)
    assert resolve_tracking_uri(Path("/home/me"), "http://server:5000", {}, mounts) == "http://server:5000"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000/mlflow", "http://host:5000/mlflow"),
        ("http://me:secret@host:5000", "http://***@host:5000"),
        ("postgresql://me:se/cr@et@host/db", "postgresql://***@host/db"),
        ("postgresql://me:se/cr@et?@host/db", "postgresql://***"),
        ("postgresql://host/db?password=secret", "postgresql://host/db?***"),
        ("http://host/db?token=se@cret", "http://***"),
        ("http://host/db#token=secret", "http://host/db?***"),
        ("me:secret@host", "***@host"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("sqlite:////me@work/runs #1?/mlflow.db", "sqlite:////me@work/runs #1?/mlflow.db"),
    ],
)
def test_credentials_are_never_shown(uri: str, shown: str) -> None:
    assert redact(uri) == shown


def test_a_message_keeps_the_path_of_a_file() -> None:
    uri = "sqlite:////home/me:we@work/runs #1/mlflow.db"
    assert redact_text(f"unable to open {uri}, /home/me:we@work", uri, {}) == f"unable to open {uri}, /home/me:we@work"


@pytest.mark.parametrize("part", ["p%20q", "p%2Fq", "really?", "a\tb", "two\nlines"])
def test_a_path_that_mlflow_would_change_is_refused(part: str) -> None:
    storage = Path("/data") / part
    with pytest.raises(InputError) as caught:
        resolve_tracking_uri(storage, None, {})
    [fault] = caught.value.faults
    assert (fault.field, fault.got) == ("storage", f"/data/{part}/mlflow.db")
    assert "has no ?, no control character and no code such as %20" in fault.rule
    assert "--tracking-uri" in fault.rule
    assert resolve_tracking_uri(storage, "sqlite:////data/mlflow.db", {}) == "sqlite:////data/mlflow.db"


@pytest.mark.parametrize("part", ["me@work", "100%", "runs #1", "a:b@c", "é 😀", "~x", "a&b=c+d;e", "[x]", "a\\b'"])
def test_any_other_path_is_taken_as_it_is(part: str) -> None:
    assert resolve_tracking_uri(Path("/data") / part, None, {}) == f"sqlite:////data/{part}/mlflow.db"


def test_the_home_directory_is_known_in_the_path_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert resolve_tracking_uri(Path("/data"), "sqlite:///~/x.db", {}) == "sqlite:////home/me/x.db"
    assert resolve_tracking_uri(Path("/data"), None, {"MLFLOW_TRACKING_URI": "sqlite:///~/x.db"}).endswith("/me/x.db")
    with pytest.raises(InputError, match="home directory not found"):
        resolve_tracking_uri(Path("/data"), "sqlite:///~nobody-of-that-name/x.db", {})


def test_credentials_are_taken_out_of_messages() -> None:
    uri = "postgresql://me:p%40ss@host/db?sslpassword=deep"
    message = f"cannot connect to {uri} as me with password p@ss (p%40ss), sslpassword=deep"
    shown = redact_text(message, uri)
    assert "host/db" in shown
    assert not any(secret in shown for secret in ("p@ss", "p%40ss", "deep"))
    assert redact_text("nothing to hide", "http://host") == "nothing to hide"


def test_a_bucket_needs_a_store_elsewhere() -> None:
    bucket = as_location("s3://sweeps/here")
    with pytest.raises(
        InputError, match=r"storage: holds no MLflow store .* give --tracking-uri.*got 's3://sweeps/here'"
    ):
        resolve_tracking_uri(bucket, None, {})
    assert resolve_tracking_uri(bucket, "http://host:5000", {}) == "http://host:5000"
    assert resolve_tracking_uri(bucket, None, {"MLFLOW_TRACKING_URI": "http://host:5000"}) == "http://host:5000"


def test_only_a_sqlite_uri_has_a_path() -> None:
    assert sqlite_path("sqlite:////data/x.db") == Path("/data/x.db")
    assert sqlite_path("http://host/x.db") is None
