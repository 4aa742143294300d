"""What users schedule: Prefect flows whose every run is an MLflow run. Importing this imports neither."""
