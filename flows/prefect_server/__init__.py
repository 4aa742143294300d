"""The project's Prefect server, its history and schedules."""
