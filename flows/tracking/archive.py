"""Archives and deletes sweeps.

An archived run is deleted in MLflow's sense, so the MLflow UI hides it, and has the tag `archived`, which distinguishes
it from runs that were deleted on that page. Its files and registered models stay. `delete_runs` removes the rows of a
run from the database, and its files. `mlflow gc` cannot do this: it would also remove all other deleted experiments of
the database. Copies of a deleted run have their own rows and files.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flows.errors import UserError
from flows.tracking.client import RetryingClient
from flows.tracking.results import ARCHIVED, child_runs, running_error
from flows.tracking.store import Store

BATCH = 100  # run ids in one query


def archive_runs(store: Store, sweep: str) -> int:
    """Hide a sweep and its runs; return the number of runs.

    Raises:
        UserError: the sweep is running.
    """
    refuse_running(store, sweep)
    runs = child_runs(store, sweep)
    now = f"{datetime.now():%Y-%m-%d %H:%M}"
    for run_id in [*(run.info.run_id for run in runs), sweep]:  # the sweep last: it can be found until all are hidden
        store.client.set_tag(run_id, ARCHIVED, now)
        store.client.delete_run(run_id)
    return len(runs)


def restore_runs(store: Store, sweep: str) -> int:
    """Show an archived sweep and its runs again; return the number of runs."""
    runs = child_runs(store, sweep, archived=True)
    for run_id in [*(run.info.run_id for run in runs), sweep]:
        store.client.restore_run(run_id)
        store.client.delete_tag(run_id, ARCHIVED)
    return len(runs)


def delete_runs(store: Store, sweep: str) -> int:
    """Remove a sweep, its runs, their files and the model versions made of them; return the number of runs.

    Raises:
        UserError: the sweep is running, or an MLflow server keeps its record.
    """
    refuse_running(store, sweep)
    database = _database(store)
    members = list(members_of(store, sweep))
    for version in model_versions(store, [run.info.run_id for run in members]):
        store.client.delete_model_version(version.name, version.version)
        if not store.client.search_model_versions(f"name = '{version.name}'"):
            store.client.delete_registered_model(version.name)
    for run in members:  # the sweep last: an interrupted deletion can be repeated
        store.artifacts.delete(run.info)
        database._hard_delete_run(run.info.run_id)
    return len(members) - 1


def members_of(store: Store, sweep: str) -> Iterator[Any]:
    """Yield the runs of a sweep, archived ones included, and then the sweep."""
    yield from child_runs(store, sweep)
    yield from child_runs(store, sweep, archived=True)
    yield store.client.get_run(sweep)


def model_versions(store: Store, run_ids: list[str]) -> list[Any]:
    """Return the versions of registered models that are made of these runs."""
    parts = [run_ids[start : start + BATCH] for start in range(0, len(run_ids), BATCH)]
    conditions = [f"run_id IN ({', '.join(map(repr, part))})" for part in parts]
    return [version for condition in conditions for version in store.client.search_model_versions(condition)]


def refuse_running(store: Store, sweep: str) -> None:
    """Raise UserError if the process of a sweep lives, or if that cannot be found out."""
    run = store.client.get_run(sweep)
    if run.info.status == "RUNNING" and store.is_alive(run) is not False:
        raise running_error(run, "wait until it ends or stop it")


def _database(store: Store) -> Any:
    """MLflow's store of the project's database; raise UserError if it is behind an MLflow server."""
    if store.uri.startswith("http"):
        raise UserError(
            f"the MLflow server {store.name} keeps the record and offers no deletion; archive the sweep instead"
        )
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return RetryingClient(SqlAlchemyStore(store.uri, str(store.project.artifacts)), store.name)
