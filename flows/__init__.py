"""What users schedule: Prefect flows whose every run is an MLflow run.

Importing this package imports neither, and sees to it that both, once imported, stay local and quiet.
"""

from flows import process_env
from flows.project import here

process_env.settle(here().prefect_home)
