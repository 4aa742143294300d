"""Environment defaults that keep Prefect and MLflow local and silent.

Both read these variables when they are imported, so this module must be imported first. Values set by the user win.
"""

import os
from pathlib import Path

SILENT = {
    "DO_NOT_TRACK": "true",  # MLflow compares with exactly "true"
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # else printed for each run if the store is a server
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # these schedulers serve features that we do not use
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # logs still reach the Prefect UI
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # else it prints each event that a lost server does not receive
    "PREFECT_CLIENT_MAX_RETRIES": "2",  # a sweep does not wait minutes for a server that is away
    "PREFECT_API_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",  # MLflow looks for git at import
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
KEEP_MEMORY = {  # glibc keeps freed memory for the next tensor; faulting in fresh pages costs a fifth of a run
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TOP_PAD_": str(2**24),
}


def configure_environment(prefect_home: Path) -> None:
    """Sets Prefect's home and the variables that silence Prefect and MLflow, unless the user has set them.

    Processes that start later replace characters that their output's encoding lacks.
    """
    for name, value in {**SILENT, "PREFECT_HOME": str(prefect_home)}.items():
        os.environ.setdefault(name, value)
    encoding = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    os.environ["PYTHONIOENCODING"] = f"{encoding}:replace"


def use_one_thread() -> None:
    """Gives processes that start later one arithmetic thread each and an allocator that keeps freed memory."""
    for name, value in {**ONE_THREAD, **KEEP_MEMORY}.items():
        os.environ.setdefault(name, value)
