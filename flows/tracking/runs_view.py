"""The columns of MLflow's list of runs.

MLflow stores a shared view of an experiment in one of its tags. An address that names the view opens the list with it.
"""

from typing import Any

VIEW = "keyhole"
PRIMARY_METRIC = {"mlflow.experiment.primaryMetric.name": "eval/true_return"}  # experiment's tag: first of the charts
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
# MLflow always shows the run's name and time in front and the duration; widths in pixels. Up to the status, the columns
# are visible in a window of 1280 pixels.
FIRST = {"attributes.`Run Name`": 300, "runDateAndNestInfo": 130}
COLUMNS = {
    "metrics.`eval/true_return`": 120,
    "tags.`method`": 140,
    "tags.`oversight`": 80,
    "tags.`seed`": 55,
    "tags.`status`": 80,
    "tags.`axis`": 80,
    "tags.`level`": 80,
    "tags.`best`": 220,
    "metrics.`eval/true_return/seen`": 160,
    "metrics.`eval/true_return/unseen`": 170,
    "tags.`knowledge`": 90,
    "tags.`exactness`": 90,
    "tags.`env`": 220,
}
LAST = {"duration": 80}


def view() -> dict[str, Any]:
    """The view of MLflow's list of runs, in MLflow's format: newest first, our columns."""
    widths = {**FIRST, **COLUMNS, **LAST}
    return {
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(widths),
        "columnWidths": widths,
    }
