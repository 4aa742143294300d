"""An archived sweep is hidden and can be shown again; a deleted one is gone with its files and model versions."""

from collections.abc import Callable

import pytest

from flows.cli import listing
from flows.cli.listing import Filters
from flows.config import TrainConfig
from flows.errors import UserError
from flows.sweep.finalize import finalize
from flows.tracking import archive, cache_key, model_registry, results, reuse
from flows.tracking.missing import Missing
from flows.tracking.store import Store
from tests.flows import doubles

ENV = "envs:keyhole/TMaze-v0"
CONFIG = TrainConfig(env=ENV, method="naive", oversight=0.5, steps=100, checkpoints=2)
KEY = cache_key.run_key(CONFIG, "code")


@pytest.fixture
def make(store: Store) -> Callable[[str, str], tuple[str, str]]:
    """Makes a finished sweep of one run with a registered model; returns the ids of both."""

    def make(name: str, env: str) -> tuple[str, str]:
        with store.run(name, {"env": env}, {"kind": "sweep"}) as parent:
            tags = {**CONFIG.tags, cache_key.CACHE_KEY: KEY}
            with store.run(CONFIG.title, {"env": env}, tags, parent.run_id) as run:
                doubles.acts(CONFIG, run)
        finalize(store, parent.run_id, Missing())
        return parent.run_id, run.run_id

    return make


def listed(store: Store, archived: bool = False) -> set[str]:
    return {entry["id"] for entry in listing.list_entries(store, None, Filters(), archived)}


def test_an_archived_sweep_is_hidden_until_it_is_shown_again(store, make):
    sweep, run = make("outdated", "envs:keyhole/Archived-v0")
    assert archive.archive_runs(store, sweep) == 1
    assert sweep not in listed(store)
    assert sweep in listed(store, archived=True)
    visible = {found.info.run_id for found in store.client.search_runs([store.experiment])}  # as in the MLflow UI
    assert not visible & {sweep, run}
    with pytest.raises(UserError, match=r"unknown sweep 'outdated'|no sweep"):
        results.find_sweep(store, "outdated")
    assert archive.restore_runs(store, results.find_sweep(store, "outdated", archived=True)) == 1
    assert sweep in listed(store)
    assert [found.info.run_id for found in results.child_runs(store, sweep)] == [run]
    assert "archived" not in store.client.get_run(run).data.tags
    assert sweep not in listed(store, archived=True)
    archive.delete_runs(store, sweep)


def test_files_models_and_reuse_of_an_archived_sweep_stay(store, make):
    sweep, run = make("outdated", "envs:keyhole/Kept-v0")
    archive.archive_runs(store, sweep)
    assert reuse.find_equal_run(store, KEY).info.run_id == run
    assert model_registry.find_model(store, "keyhole-Kept-v0-naive").exists()
    archive.delete_runs(store, sweep)


def test_a_run_that_was_deleted_on_mlflows_page_is_not_reused(store, make):
    sweep, run = make("outdated", "envs:keyhole/Deleted-v0")
    store.client.delete_run(run)
    assert reuse.find_equal_run(store, KEY) is None
    assert sweep not in listed(store, archived=True)
    store.client.restore_run(run)
    archive.delete_runs(store, sweep)


def test_a_deleted_sweep_leaves_neither_rows_nor_files_nor_models(store, make):
    sweep, run = make("outdated", "envs:keyhole/Gone-v0")
    versions = archive.model_versions(store, [sweep, run])
    assert [(version.name, version.run_id) for version in versions] == [("keyhole-Gone-v0-naive", run)]
    assert archive.delete_runs(store, sweep) == 1
    assert not [name for name in (sweep, run) if (store.project.artifacts / name).exists()]
    for name in (sweep, run):
        with pytest.raises(Exception, match="not found"):
            store.client.get_run(name)
    assert model_registry.find_model(store, "keyhole-Gone-v0-naive") is None


def test_deletion_keeps_an_earlier_version_of_a_model_that_another_sweep_made(store, make):
    first, _ = make("first", "envs:keyhole/Shared-v0")
    second, _ = make("second", "envs:keyhole/Shared-v0")
    archive.delete_runs(store, second)
    assert model_registry.find_model(store, "keyhole-Shared-v0-naive").exists()
    archive.delete_runs(store, first)


def test_copies_of_a_deleted_run_keep_their_numbers_and_files(store, make):
    original, run = make("original", "envs:keyhole/Copied-v0")
    with store.run("copy", {"env": ENV}, {"kind": "sweep"}) as parent:
        tags = {**CONFIG.tags, cache_key.CACHE_KEY: KEY}
        with store.run(CONFIG.title, {}, tags, parent.run_id) as copied:
            reuse.copy_run(store, store.client.get_run(run), copied)
    before = results.read_results(store, parent.run_id)
    archive.delete_runs(store, original)
    assert results.read_results(store, parent.run_id) == before
    assert (copied.folder / "agent.zip").stat().st_size > 0
    assert reuse.find_equal_run(store, KEY).info.run_id == copied.run_id
    archive.delete_runs(store, parent.run_id)


def test_a_running_sweep_is_neither_archived_nor_deleted(store):
    with store.run("alive", {"env": ENV}, {"kind": "sweep"}) as parent:
        for change in (archive.archive_runs, archive.delete_runs):
            with pytest.raises(UserError, match=r"sweep alive is running \(process"):
                change(store, parent.run_id)
    assert store.client.get_run(parent.run_id).info.lifecycle_stage == "active"
    archive.delete_runs(store, parent.run_id)


def test_an_interrupted_archiving_or_deletion_can_be_repeated(store, make, monkeypatch):
    sweep, run = make("outdated", "envs:keyhole/Repeated-v0")
    store.client.set_tag(run, results.ARCHIVED, "yesterday")
    store.client.delete_run(run)
    assert results.find_sweep(store, "outdated") == sweep
    assert archive.archive_runs(store, sweep) == 0
    assert archive.restore_runs(store, sweep) == 1
    archive.delete_runs(store, sweep)
    assert sweep not in listed(store)
