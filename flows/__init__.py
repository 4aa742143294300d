"""Prefect flows that train, compare and certify; every training run is an MLflow run.

Importing this package sets the environment variables that keep Prefect and MLflow local and quiet. It imports neither.
"""

from flows import process_env
from flows.project import current_project

process_env.configure_environment(current_project().prefect_home)
