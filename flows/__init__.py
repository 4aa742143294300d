"""What users schedule: Prefect flows whose every run is an MLflow run.

Importing this package imports neither, and sees to it that both, once imported, stay local and quiet.
"""

from flows import process_env
from flows.project import current_project

process_env.configure_environment(current_project().prefect_home)
