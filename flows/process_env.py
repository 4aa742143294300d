"""Prefect and MLflow stay on this machine and hold their tongue: to be imported before either.

Both read these variables when they are imported. A value that the user has set stays as it is.
"""

import os
from pathlib import Path

SILENT = {
    "DO_NOT_TRACK": "true",  # MLflow compares with exactly "true"
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # of each run, where the store is a server
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # schedulers of features that nothing here uses
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the runs' logs still reach Prefect's own pages
    "GIT_PYTHON_REFRESH": "quiet",  # MLflow looks for git at import
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
KEEP_MEMORY = {  # glibc's allocator: what a tensor leaves is kept for the next, for fresh pages cost a fifth of a run
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TOP_PAD_": str(2**24),
}


def configure_environment(prefect_home: Path) -> None:
    """Keep Prefect's home in the project and both programs quiet."""
    for name, value in {**SILENT, "PREFECT_HOME": str(prefect_home)}.items():
        os.environ.setdefault(name, value)


def use_one_thread() -> None:
    """One process a run: one thread for its arithmetic, and the memory it has had, for processes that start after."""
    for name, value in {**ONE_THREAD, **KEEP_MEMORY}.items():
        os.environ.setdefault(name, value)
