"""Which MLflow store a sweep is tracked in, checked without connecting to it; and credentials kept out of messages."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, quote_plus, unquote, urlsplit

from gga_sweep.errors import Fault, InputError
from gga_sweep.spec.location import Location
from gga_sweep.spec.plan import TRACKING_FILE

SERVERS = ("http", "https")
DATABASES = ("mssql", "mysql", "postgresql")
SCHEMES = (*SERVERS, *DATABASES, "sqlite")

CREDENTIALS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Environment variables from which MLflow takes credentials."""

# File systems on which SQLite's locks cannot be trusted.
_IN_KERNEL = "9p afs beegfs ceph cifs glusterfs gpfs lustre nfs nfs4 orangefs panfs smb3 smbfs"
_IN_FUSE = "ceph-fuse gcsfuse glusterfs goofys juicefs rclone s3fs sshfs"
NETWORK_FILE_SYSTEMS = frozenset([*_IN_KERNEL.split(), *(f"fuse.{name}" for name in _IN_FUSE.split())])
_MOUNTS = Path("/proc/mounts")
_QUERY = re.compile("[?#]")  # where it begins


def resolve_tracking_uri(
    storage: Location, given: str | None, environ: Mapping[str, str], mounts: Path = _MOUNTS
) -> str:
    """The URI to track in: the one given, else `MLFLOW_TRACKING_URI`, else the storage's own SQLite file.

    Args:
        storage: folder of all sweeps, which share one file; a bucket holds none.
        given: the flag's value.
        environ: `os.environ`.
        mounts: the table of mounted file systems, in the format of `/proc/mounts`; where there is no such file (not
            Linux) every disk counts as local.

    Returns:
        SQLite paths made absolute; anything else as written.

    Raises:
        InputError: malformed, or of a kind that MLflow cannot track in; or SQLite on a network file system. The
            message never shows credentials.
    """
    uri, field = None, "storage"
    if isinstance(storage, Path):
        uri = f"sqlite:///{storage.absolute() / TRACKING_FILE}"
    if from_environment := environ.get("MLFLOW_TRACKING_URI"):
        uri, field = from_environment, "MLFLOW_TRACKING_URI"
    if given is not None:
        uri, field = given, "--tracking-uri"
    if uri is None:
        rule = "holds no MLflow store where it is a bucket: give --tracking-uri, or set MLFLOW_TRACKING_URI"
        raise InputError([Fault(field, rule, str(storage), _ALLOWED)], source="tracking")
    if fault := _fault(uri, field, mounts):
        raise InputError([fault], source="tracking")
    path = sqlite_path(uri)
    return uri if path is None else f"sqlite:///{path}"


def sqlite_path(uri: str) -> Path | None:
    """The absolute path of a SQLite URI's file; None for any other URI."""
    scheme, _, path = uri.partition(":///")
    return Path(path).absolute() if scheme == "sqlite" else None


def redact(uri: str) -> str:
    """The URI without user, password and query. Only its scheme where they cannot be separated from the host."""
    head = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|", uri)[0]  # type: ignore[index]  # it always matches
    before, at, after = uri[len(head) :].rpartition("@")  # all before the last one may be a password, whatever it holds
    if _QUERY.search(before):  # or the one stands in the query
        return f"{head}***"
    address, *query = _QUERY.split(after, maxsplit=1)
    return f"{head}{'***@' if at else ''}{address}{'?***' if query else ''}"


def redact_text(text: str, uri: str, environ: Mapping[str, str] = os.environ) -> str:
    """Text, such as an error message, without the credentials of the URI and of MLflow's environment variables."""
    login = (uri.partition("://")[2] or uri).rpartition("@")[0]
    password, query = login.partition(":")[2], "".join(_QUERY.split(uri, maxsplit=1)[1:])
    values = {value or name for name, value in parse_qsl(query, keep_blank_values=True)}
    values = {value for value in values if len(value) > 3}  # a shorter one occurs in any text
    plain = {unquote(login), unquote(password), *values, *(environ.get(name, "") for name in CREDENTIALS)}
    secrets = {uri, query, login, password, *plain, *map(quote, plain), *map(quote_plus, plain)}
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        text = text.replace(secret, redact(uri) if secret == uri else "***")
    return text


def network_file_system(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of network file system that holds `path` (which need not exist yet); None on a local disk."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    target = path.resolve()
    best, kind = -1, ""
    for line in lines:
        _, mount, fs_type, *_ = line.split()
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount))
        if (
            target.is_relative_to(point) and len(point.parts) >= best
        ):  # of two on one point the later one hides the other
            best, kind = len(point.parts), fs_type
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def _fault(uri: str, field: str, mounts: Path) -> Fault | None:
    """The fault of a URI, if it has one. A parser's message is never passed on: it may quote a password."""
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises when it is not the number of a port
    except ValueError:
        return Fault(field, "must be a well-formed URI", redact(uri), _ALLOWED)
    scheme, _, driver = parts.scheme.partition("+")
    if scheme not in SCHEMES or (driver and scheme not in DATABASES):
        why = "; MLflow no longer tracks in plain files" if scheme in ("", "file") else ""
        return Fault(field, f"must be the URI of an MLflow server or database{why}", redact(uri), _ALLOWED)
    if scheme in SERVERS:
        return None if parts.hostname else Fault(field, "must name a host", redact(uri), (f"{scheme}://HOST:PORT",))
    if scheme == "sqlite":
        return _sqlite_fault(uri, field, mounts)
    return _database_fault(uri, parts, field)


_ALLOWED = ("http[s]://HOST:PORT", "sqlite:///FILE", *(f"{scheme}://HOST/DATABASE" for scheme in DATABASES))


def _sqlite_fault(uri: str, field: str, mounts: Path) -> Fault | None:
    path = sqlite_path(uri)
    if path is None or uri in ("sqlite:///", "sqlite:///:memory:") or "?" in uri or path.is_dir():
        return Fault(field, "must name a file", redact(uri), ("sqlite:///relative/FILE", "sqlite:////absolute/FILE"))
    if kind := network_file_system(path, mounts):
        rule = f"SQLite needs a local disk, this is {kind}: give an MLflow server or database with --tracking-uri"
        return Fault(field, rule, str(path))
    return None


def _database_fault(uri: str, parts: SplitResult, field: str) -> Fault | None:
    from sqlalchemy import make_url  # comes with MLflow; not at the top: other URIs need none of it
    from sqlalchemy.exc import SQLAlchemyError

    if not parts.path.strip("/"):
        return Fault(field, "must name a database", redact(uri), (f"{parts.scheme}://HOST/DATABASE",))
    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        return Fault(field, f"its database driver needs the Python package {error.name}", redact(uri))
    except (SQLAlchemyError, ValueError):
        return Fault(field, "must be a database URI with a known driver", redact(uri))
    return None
