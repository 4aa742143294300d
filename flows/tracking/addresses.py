"""Keeps MLflow on the addresses of this store: variables in the shell that name other ones have no effect here.

Only our own options (--mlruns, --store, --artifacts) choose where runs, models and files go. Credentials, timeouts,
logging and the S3 endpoint stay as the user has set them.
"""

import os

FOREIGN = (  # environment variables that redirect MLflow's client, or the server of `keyhole ui`
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_BACKEND_STORE_URI",
    "MLFLOW_READ_REPLICA_BACKEND_STORE_URI",
    "MLFLOW_REGISTRY_STORE_URI",
    "MLFLOW_WORKSPACE_STORE_URI",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "MLFLOW_ARTIFACTS_DESTINATION",
    "MLFLOW_ARTIFACTS_ONLY",
    "MLFLOW_SERVE_ARTIFACTS",
    "MLFLOW_TRACE_ARCHIVAL_CONFIG",
    "MLFLOW_TRACING_DESTINATION",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID",
)


def drop_foreign_addresses() -> None:
    """Remove the variables from this process's environment, and so from that of its children."""
    for name in FOREIGN:
        os.environ.pop(name, None)
