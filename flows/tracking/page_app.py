"""MLflow's web application, opened in its view for model training and with our columns.

The MLflow UI has a view for generative AI and one for model training. The browser's local storage selects one of them,
and a parameter of the address selects it for that address only. A link to a run has no such parameter and opens the
default, generative AI. The page served here therefore stores our defaults in a browser that has stored none. The page's
own switches still change them.

`mlflow server --app-name keyhole` finds this module through the entry point `mlflow.app` of this package.
"""

import json
import os
from pathlib import Path
from typing import Any

from flows.tracking.runs_view import view

APP = "keyhole"  # name of the entry point
EXPERIMENT = "KEYHOLE_PAGE_EXPERIMENT"  # environment variable: id of the experiment whose columns are set


def create_app() -> Any:
    """Return MLflow's application with our start page."""
    from flask import Response, request
    from mlflow.server import app as pages
    from mlflow.server.fastapi_app import app

    index = Path(str(pages.static_folder), "index.html").read_text(encoding="utf-8")
    page = with_defaults(index, defaults(os.environ.get(EXPERIMENT, "1")))

    @pages.before_request
    def start_page() -> Response | None:
        if request.path != "/":
            return None
        return Response(page, mimetype="text/html", headers={"Cache-Control": "no-store"})

    return app


def defaults(experiment: str) -> dict[str, str]:
    """Return the keys and values that are stored in a browser: the kind of view, the columns, and no open assistant.

    The assistant would take a quarter of the window at the first visit.
    """
    return {
        "mlflow.workflowType_v1": '"machine_learning"',
        "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
        f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState': json.dumps(view()),
    }


def with_defaults(page: str, values: dict[str, str]) -> str:
    """Insert a script into an HTML page that stores each value that the browser's local storage lacks."""
    store = "localStorage.getItem(name) ?? localStorage.setItem(name, value)"
    script = f"for (const [name, value] of Object.entries({json.dumps(values)})) {store}"
    return page.replace("<head>", f"<head><script>{script}</script>", 1)
