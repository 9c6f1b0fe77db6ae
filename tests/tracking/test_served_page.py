"""MLflow's page as `gga-sweep ui` serves it: it opens on model training."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from mlflow.server import app as pages

from gga_sweep.tracking.mlflow_internals import BROWSER_SETTINGS, INDEX_VIEW
from gga_sweep.tracking.page import APP_NAME
from gga_sweep.tracking.served_page import create_app


def test_the_page_is_mlflows_after_the_settings_of_a_browser_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path(pages.static_folder, "index.html").read_text(encoding="utf-8")
    monkeypatch.setitem(pages.view_functions, INDEX_VIEW, pages.view_functions[INDEX_VIEW])
    create_app()
    with pages.test_client() as browser:
        answer = browser.get("/", headers={"If-None-Match": "*"})  # of a browser that has MLflow's own page
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    head, script, rest = answer.text.replace("</script>", "<script>", 1).split("<script>", 2)
    assert head + rest == plain
    assert all(f'"{name}": ' in script for name in BROWSER_SETTINGS)
    assert "if (localStorage.getItem(name) === null)" in script


def test_mlflow_finds_the_application_by_its_name() -> None:
    declared = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"][
        "entry-points"
    ]
    module, _, name = declared["mlflow.app"][APP_NAME].partition(":")
    assert getattr(import_module(module), name) is create_app
