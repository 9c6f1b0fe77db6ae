"""Credentials of a tracking store: they reach the store, and appear nowhere."""

from __future__ import annotations

import base64
import html
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented_ledger import finish, invented_report
from tracked_sweep import QUICK

from gga_sweep.errors import GGASweepError, InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.spec import Plan
from gga_sweep.tracking.projector import Projector
from gga_sweep.tracking.store import why_unusable
from gga_sweep.tracking.tracking_uri import redact, redact_text, resolve_tracking_uri

SECRETS = {
    "password": "s3cret-passw0rd",
    "query": "t0ken-in-a-query",
    "MLFLOW_TRACKING_PASSWORD": "passw0rd-of-the-environment",
    "MLFLOW_TRACKING_TOKEN": "t0ken-of-the-environment",
}
URI = f"https://anna:{SECRETS['password']}@127.0.0.1:9/mlflow?token={SECRETS['query']}"


@pytest.fixture(autouse=True)
def _credentials_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, SECRETS[name])


@pytest.fixture
def plan(plan: Plan) -> Plan:
    """Of a sweep that is tracked in a store that asks for a password."""
    return replace(plan, sweep=replace(plan.sweep, tracking_uri=URI))


def told(text: str | bytes) -> list[str]:
    """The secrets that stand in it."""
    content = text if isinstance(text, bytes) else text.encode()
    return [name for name, secret in SECRETS.items() if secret.encode() in content]


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_neither_mlflow_nor_the_ledger_holds_one(plan: Plan, ledger: Ledger, uri: str, storage: Path) -> None:
    for run in plan.runs:
        finish(ledger, run)
    with Projector(plan, ledger, uri) as projector:
        assert projector.close(60, invented_report(plan, ledger))
    files = list(files_below(storage))
    assert {"mlflow.db", "records.jsonl"} <= {path.name for path in files}
    assert {path.name: told(path.read_bytes()) for path in files if told(path.read_bytes())} == {}


def complain(uri: str) -> NoReturn:
    """As careless as a driver may be."""
    raise ConnectionError(f"no answer from {uri}: password {SECRETS['password']}, {' '.join(SECRETS.values())}")


def test_no_warning_of_an_outage_tells_one(
    plan: Plan, ledger: Ledger, storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    finish(ledger, plan.runs[0])
    with (
        caplog.at_level(logging.DEBUG),
        Projector(plan, ledger, URI, connect=complain, pace=QUICK) as projector,
    ):
        assert not projector.close(0.5)
    assert "no answer from https://***@127.0.0.1:9/mlflow?***" in caplog.text
    assert told(caplog.text) == []
    assert [path.name for path in files_below(storage) if told(path.read_bytes())] == []


def test_no_error_tells_one(plan: Plan, ledger: Ledger) -> None:
    with (
        pytest.raises(GGASweepError, match="tracking is required") as error,
        Projector(plan, ledger, URI, connect=complain, require_tracking=True),
    ):
        pass
    assert told(str(error.value)) == []
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=16).map("s3cr".__add__)
SHAPES = (
    "https://anna:{password}@host:5000/x?token={token}",
    "https://{token}@host:5000",
    "postgresql://anna:{password}@host/db?password={token}",
    "mysql+pymysql://anna:{password}@host/?ssl_key={token}&x=1",
    "ftp://anna:{password}@host?{token}",
    "https://anna:{password}@host:port#{token}",
    "anna:{password}@host",
    "http://anna:{password}@[::1?token={token}",
)


@settings(deadline=None)  # the first database's URI loads SQLAlchemy
@given(st.sampled_from(SHAPES), SECRET, SECRET, st.booleans())
def test_whatever_it_holds_a_uri_is_shown_without_its_secrets(
    shape: str, password: str, token: str, quoted: bool
) -> None:
    """However well it is written: a password with an @ or a ? in it should be quoted, and often is not."""
    secrets = {name: text for name, text in (("password", password), ("token", token)) if f"{{{name}}}" in shape}
    uri = shape.format(**{name: quote(text) if quoted else text for name, text in secrets.items()})
    shown = [redact(uri), redact_text(f"no answer from {uri}", uri, {})]
    if quoted:  # else no parser of URIs could have found them, to complain of
        shown += [redact_text(f"{name} {text}, {quote(text)}", uri, {}) for name, text in secrets.items()]
    try:
        resolve_tracking_uri(Path("/data"), uri, {})
    except InputError as error:
        shown.append(str(error))
    for text in shown:
        assert "s3cr" not in text
        assert [name for name, secret in secrets.items() if secret[4:] in text] == []


@settings(deadline=None)
@given(SECRET, st.sampled_from(["", "é", "%", "@:/", '"', "&", "+ "]))
def test_no_encoding_of_a_login_is_shown(password: str, special: str) -> None:
    """As servers and proxies repeat the header of a request, and drivers the parts of a URI."""
    login = f"anna:{password}{special}"
    uri = f"https://{quote(login, safe=':')}@host:5000"
    encoded = [
        base64.b64encode(login.encode()).decode(),
        base64.urlsafe_b64encode(login.encode()).decode(),
        base64.b64encode(f"{password}{special}".encode()).decode(),
        quote(login, safe=""),
        quote_plus(login),
        quote(login, safe="").lower() if password.islower() else quote(login),
        json.dumps(login),
        repr(login),
        html.escape(login),
    ]
    for form in encoded:
        shown = redact_text(f"400: Authorization: Basic {form} of {form}, x={form}&y", uri, {})
        assert form.rstrip("=") not in shown
        assert password[4:] not in shown


@pytest.mark.parametrize("scheme", ["Basic", "bearer", "Token", "Digest"])
def test_a_repeated_authorisation_header_is_never_shown(scheme: str) -> None:
    """Whatever gave the credentials: MLflow reads files of its own, too."""
    shown = redact_text(f"refused 'Authorization: {scheme} YW5uYTpzM2NyZXQ=' of anna", "https://host", {})
    assert shown == f"refused 'Authorization: {scheme} ***' of anna"
    assert redact_text("a basic example, no token at all", "https://host", {}) == "a basic example, no token at all"


def test_the_login_of_the_environment_is_not_shown_as_its_header() -> None:
    environ = {"MLFLOW_TRACKING_USERNAME": "anna", "MLFLOW_TRACKING_PASSWORD": "s3cret-passw0rd"}
    header = base64.b64encode(b"anna:s3cret-passw0rd").decode()
    assert redact_text(f"no access with {header}", "https://host", environ) == "no access with ***"
    assert redact_text("anna may not", "https://host", {"MLFLOW_TRACKING_USERNAME": "anna"}) == "anna may not"


def test_what_mlflow_finds_in_the_environment_is_taken_out_of_messages_too() -> None:
    shown = redact_text("refused: " + ", ".join(SECRETS.values()), URI)
    assert told(shown) == []
    assert shown.startswith("refused: ")


class _Echo(BaseHTTPRequestHandler):
    """Refuses every request, and repeats its header."""

    def do_GET(self) -> None:
        body = f"bad request: {self.headers['Authorization']}".encode()
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Print nothing."""


def test_a_server_that_repeats_the_header_of_a_request_makes_us_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name)
    with HTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            reason = why_unusable(f"http://anna:{SECRETS['password']}@127.0.0.1:{server.server_port}") or ""
        finally:
            server.shutdown()
            thread.join()
    assert "bad request: Basic ***" in reason
    assert base64.b64encode(f"anna:{SECRETS['password']}".encode()).decode()[:12] not in reason
    assert told(reason) == []
