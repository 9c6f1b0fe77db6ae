"""Which MLflow store a sweep is tracked in, checked without connecting to it; and credentials kept out of messages."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, quote_plus, unquote, urlsplit

from gga_sweep.datasets.files import expanded
from gga_sweep.errors import Fault, InputError
from gga_sweep.spec.location import Location
from gga_sweep.spec.plan import TRACKING_FILE

SERVERS = ("http", "https")
DATABASES = ("mssql", "mysql", "postgresql")
SCHEMES = (*SERVERS, *DATABASES, "sqlite")

USER, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"
"""Environment variables from which MLflow takes credentials."""

# File systems on which SQLite's locks cannot be trusted.
_IN_KERNEL = "9p afs beegfs ceph cifs glusterfs gpfs lustre nfs nfs4 orangefs panfs smb3 smbfs"
_IN_FUSE = "ceph-fuse gcsfuse glusterfs goofys juicefs rclone s3fs sshfs"
NETWORK_FILE_SYSTEMS = frozenset([*_IN_KERNEL.split(), *(f"fuse.{name}" for name in _IN_FUSE.split())])
_MOUNTS = Path("/proc/mounts")
_QUERY = re.compile("[?#]")  # where it begins
_FILE = "sqlite:///"
_HEADER = re.compile(r"\b((?i:Basic|Bearer|Digest|Token):? +)(?=[a-z.-]*[A-Z0-9_/+=~])[\w+/=.~-]{6,}")  # no plain word
_PLAIN_PATH = re.compile(r"[\w ./~-]*", re.ASCII)  # that no version of SQLAlchemy reads otherwise


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
        uri = f"{_FILE}{storage.absolute() / TRACKING_FILE}"
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
    return uri if path is None else f"{_FILE}{path}"


def sqlite_path(uri: str) -> Path | None:
    """The absolute path of a SQLite URI's file; None for any other URI.

    Raises:
        InputError: a home directory that is not found.
    """
    return expanded(Path(uri.removeprefix(_FILE)), "tracking URI").absolute() if uri.startswith(_FILE) else None


def redact(uri: str) -> str:
    """The URI without user, password and query. Only its scheme where they cannot be separated from the host.

    A file has none of them: its path is shown as it is.
    """
    if uri.startswith(_FILE):
        return uri
    head = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|", uri)[0]  # type: ignore[index]  # it always matches
    before, at, after = uri[len(head) :].rpartition("@")  # all before the last one may be a password, whatever it holds
    if _QUERY.search(before):  # or the one stands in the query
        return f"{head}***"
    address, *query = _QUERY.split(after, maxsplit=1)
    return f"{head}{'***@' if at else ''}{address}{'?***' if query else ''}"


def redact_text(text: str, uri: str, environ: Mapping[str, str] = os.environ) -> str:
    """Text, such as an error message, without the credentials of the URI and of MLflow's environment variables."""
    plain = {environ.get(PASSWORD, ""), environ.get(TOKEN, "")}
    if PASSWORD in environ:
        plain.add(f"{environ.get(USER, '')}:{environ[PASSWORD]}")
    if not uri.startswith(_FILE):
        login = (uri.partition("://")[2] or uri).rpartition("@")[0]
        password, query = login.partition(":")[2], "".join(_QUERY.split(uri, maxsplit=1)[1:])
        values = {value or name for name, value in parse_qsl(query, keep_blank_values=True)}
        plain |= {uri, query, login, password, unquote(login), unquote(password)}
        plain |= {value for value in values if len(value) > 3}  # a shorter one occurs in any text
    secrets = {form for secret in plain - {""} for form in _encoded(secret)}
    for form in sorted(secrets, key=len, reverse=True):
        text = text.replace(form, redact(uri) if form == uri else "***")
    return _HEADER.sub(r"\1***", text)


def _encoded(secret: str) -> Iterator[str]:
    """A secret as servers and drivers may repeat it: plain, and in the encodings of URLs, headers, JSON and HTML."""
    yield secret
    for quoted in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), quoted)
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode) if len(secret) > 3 else ():
        padded = encode(secret.encode(errors="surrogateescape")).decode()
        yield padded
        yield padded.rstrip("=")


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
    if path is None or uri in (_FILE, f"{_FILE}:memory:") or path.is_dir():
        return Fault(field, "must name a file", redact(uri), ("sqlite:///relative/FILE", "sqlite:////absolute/FILE"))
    if not _PLAIN_PATH.fullmatch(str(path)) and not _is_read_as(path):
        rule = (
            "must name a file whose path has no ?, no control character and no code such as %20: MLflow changes these"
        )
        return Fault(field, f"{rule}. Give another file, or a server, with --tracking-uri", str(path))
    if kind := network_file_system(path, mounts):
        rule = f"SQLite needs a local disk, this is {kind}: give an MLflow server or database with --tracking-uri"
        return Fault(field, rule, str(path))
    return None


def _is_read_as(path: Path) -> bool:
    """Whether MLflow opens this very file. SQLAlchemy decodes `%20` (from 2.1 on) and takes `?` for a query's begin."""
    from sqlalchemy import make_url

    text = str(path)
    return text.isprintable() and make_url(f"{_FILE}{text}").database == text


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
