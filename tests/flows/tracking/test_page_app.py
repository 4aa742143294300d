"""The MLflow UI opens in its view for model training, with our columns, in a browser that has stored nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from flows.tracking import page_app
from flows.tracking.runs_view import FIRST, view

ROOT = Path(__file__).parents[3]
TABLE_WIDTH = 1026  # pixels of the table of runs in a window of 1280 pixels, as measured in a browser
CHECKBOX_WIDTH = 73


def test_the_script_stores_each_default_before_mlflows_own_script_runs():
    page = page_app.with_defaults("<html><head><script src='main.js'></script></head></html>", {"a": '"b"'})
    ours, theirs = page.index('{"a": "\\"b\\""}'), page.index("main.js")
    assert ours < theirs
    assert "localStorage.getItem(name) ?? localStorage.setItem(name, value)" in page


def test_mlflows_scripts_contain_the_names_of_the_defaults():
    build = Path(mlflow.__file__).parent / "server" / "js" / "build"
    scripts = "".join(path.read_text() for path in build.glob("static/js/main.*.js"))
    for name in list(page_app.defaults("1"))[:2]:
        key, _, version = name.partition("_v")
        assert f'key:"{key}",version:{version}' in scripts
    assert 'MACHINE_LEARNING="machine_learning"' in scripts
    assert '["MLflowLocalStorage",r.version,this.scope,e].join("-")' in scripts
    assert 'r.version="1.1"' in scripts
    assert 'reactComponentStateKey="ReactComponentState"' in scripts
    assert "<head>" in (build / "index.html").read_text()


def test_the_columns_up_to_the_status_fit_into_a_window_of_1280_pixels():
    shown = view()["columnOrder"]
    wanted = [
        *FIRST,
        "metrics.`eval/true_return`",
        *(f"tags.`{tag}`" for tag in ("method", "oversight", "seed", "status")),
    ]
    assert shown[: len(wanted)] == wanted
    assert CHECKBOX_WIDTH + sum(view()["columnWidths"][name] for name in wanted) <= TABLE_WIDTH


PROGRAM = """
from flows.tracking import page_app
app = page_app.create_app()
from starlette.testclient import TestClient
with TestClient(app, base_url="http://localhost") as client:
    page, health = client.get("/"), client.get("/health")
print(page.headers["x-frame-options"], page.headers["cache-control"], health.text)
print(page.text)
"""


@pytest.mark.slow
def test_the_application_serves_the_changed_page_and_everything_else_as_mlflow_does(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), page_app.EXPERIMENT: "7"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    headers, _, page = done.stdout.partition("\n")
    assert headers == "SAMEORIGIN no-store OK"
    assert json.dumps(page_app.defaults("7")) in page
    assert "static-files/static/js/main." in page
