"""The application that `gga-sweep ui` serves: MLflow's own, whose page opens on model training.

`mlflow server --app-name gga-sweep` finds it, by the entry point `mlflow.app` of the package.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlflow.server import app as _pages
from mlflow.server.fastapi_app import app

from gga_sweep.tracking.mlflow_internals import BROWSER_SETTINGS, INDEX_VIEW

__all__ = ["app"]


def _index() -> Any:
    """MLflow's page, preceded by settings for a browser that has none of its own."""
    page = Path(_pages.static_folder, "index.html").read_text(encoding="utf-8")
    script = (
        f"for (const [name, value] of Object.entries({json.dumps(BROWSER_SETTINGS)}))"
        " if (localStorage.getItem(name) === null) localStorage.setItem(name, JSON.stringify(value));"
    )
    # Not cached: another server of MLflow's at this address has its own page.
    headers = {"Cache-Control": "no-store"}
    page = page.replace("<head>", f"<head><script>{script}</script>", 1)
    return _pages.response_class(page, headers=headers, mimetype="text/html")


_pages.view_functions[INDEX_VIEW] = _index
