"""The application that `gga-sweep ui` serves: MLflow's own, whose page opens on model training.

`mlflow server --app-name gga-sweep` finds it, by the entry point `mlflow.app` of the package.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from gga_sweep.tracking.mlflow_internals import BROWSER_SETTINGS, INDEX_VIEW


def create_app() -> Any:
    """MLflow's application with a page of our own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "starlette.middleware.wsgi")  # MLflow's own matter
        # Only here: MLflow looks at this module before it starts a process for it.
        from mlflow.server import app as pages
        from mlflow.server.fastapi_app import app

    def index() -> Any:
        """MLflow's page, preceded by settings for a browser that has none of its own."""
        page = Path(pages.static_folder, "index.html").read_text(encoding="utf-8")
        script = (
            f"for (const [name, value] of Object.entries({json.dumps(BROWSER_SETTINGS)}))"
            " if (localStorage.getItem(name) === null) localStorage.setItem(name, JSON.stringify(value));"
        )
        page = page.replace("<head>", f"<head><script>{script}</script>", 1)
        # Not cached: another server of MLflow's at this address has its own page.
        return pages.response_class(page, headers={"Cache-Control": "no-store"}, mimetype="text/html")

    pages.view_functions[INDEX_VIEW] = index
    return app
