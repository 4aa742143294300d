"""Prefect flows that train, compare and certify; every training run is an MLflow run.

Importing this package sets the environment variables that keep Prefect and MLflow local and quiet. It imports neither.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from flows import process_env, search_path
from flows.project import current_project

if TYPE_CHECKING:
    from pandas import DataFrame

search_path.undo_prefects_order()
process_env.configure_environment(current_project().prefect_home)


def results(sweep: str | None = None, *, mlruns: str | Path | None = None, store: str | None = None) -> "DataFrame":
    """Return the results of a sweep as a pandas DataFrame; see `flows.reporting.dataframe.sweep_dataframe`.

    >>> flows.results("quick").groupby(["row", "oversight"]).true_return.mean()
    """
    from flows.reporting.dataframe import sweep_dataframe

    return sweep_dataframe(sweep, mlruns, store)
