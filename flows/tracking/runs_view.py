"""The columns of MLflow's list of runs.

MLflow stores a shared view of an experiment in one of its tags. An address that names the view opens the list with it.
"""

from typing import Any

VIEW = "keyhole"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
# MLflow always shows these columns; widths in pixels
FIRST = {"attributes.`Run Name`": 290, "runDateAndNestInfo": 150, "duration": 80}
COLUMNS = {
    "tags.`best`": 220,
    "tags.`method`": 150,
    "tags.`oversight`": 80,
    "tags.`seed`": 55,
    "metrics.`eval/true_return`": 125,
    "metrics.`eval/true_return/seen`": 160,
    "metrics.`eval/true_return/unseen`": 170,
    "tags.`knowledge`": 90,
    "tags.`exactness`": 90,
    "tags.`env`": 220,
}


def view() -> dict[str, Any]:
    """The view of MLflow's list of runs, in MLflow's format: newest first, our columns."""
    widths = {**FIRST, **COLUMNS}
    return {
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(widths),
        "columnWidths": widths,
    }
