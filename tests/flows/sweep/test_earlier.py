"""Which earlier sweep leaves nothing to train, and which one gets further seeds."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from pydantic import ValidationError

from flows import compare
from flows.config import CompareConfig, RunOptions, TrainConfig
from flows.errors import UserError
from flows.sweep import earlier, execute, plan, prefect_artifacts, session
from flows.tracking import cache_key
from flows.tracking.results import child_runs, read_results
from flows.tracking.store import CONFIG, Store

CONFIGURATION = CompareConfig(methods=("naive", "filtering"), oversight=(0.1,), seeds=2, steps=10, name="nightly")
DIGEST = "code"
NEXT = RunOptions(next_seeds=True)


def record(store: Store, parent: str, run: TrainConfig, error: Exception | None = None) -> str:
    """Records a run of a sweep that fails with `error`, or finishes; returns its id."""
    tags = {**run.tags, cache_key.CACHE_KEY: cache_key.run_key(run, DIGEST), "attempt": "1"}
    with suppress(ValueError), store.run(run.title, {"steps": 10}, tags, parent) as recorder:
        if error:
            raise error
    return recorder.run_id


@pytest.fixture
def sweep(store: Store) -> Iterator[str]:
    """A finished sweep whose runs are all finished."""
    params = {"env": CONFIGURATION.env, "seeds": CONFIGURATION.seeds}
    tags = {"kind": "sweep", CONFIG: CONFIGURATION.model_dump_json()}
    with store.run("nightly", params, tags) as parent:
        for run in CONFIGURATION.runs():
            record(store, parent.run_id, run)
    yield parent.run_id
    store.client.delete_run(parent.run_id)


def found(store: Store, config: CompareConfig = CONFIGURATION, digest: str = DIGEST, **options: bool) -> str | None:
    """Returns the id of the sweep that leaves nothing to train."""
    unchanged = earlier.find_unchanged(store, config, RunOptions(**options), digest)
    return unchanged and unchanged.info.run_id


def test_a_sweep_whose_runs_are_all_reusable_leaves_nothing_to_train(store, sweep):
    assert found(store) == sweep
    elsewhere = CONFIGURATION.model_copy(update={"workers": 7, "runner": "dask", "dask_address": "tcp://head:8786"})
    assert found(store, elsewhere) == sweep


@pytest.mark.parametrize(
    "change",
    [{"seeds": 1}, {"seeds": 3}, {"name": ""}, {"steps": 11}, {"methods": ("naive",)}, {"reference": "filtering"}],
)
def test_other_settings_or_another_name_are_trained(store, sweep, change):
    assert found(store, CONFIGURATION.model_copy(update=change)) is None


def test_other_code_and_force_are_trained(store, sweep):
    assert found(store, digest="other code") is None
    assert found(store, force=True, reuse=False) is None


def fail(store: Store, run: Any) -> None:
    store.client.set_terminated(run.info.run_id, "FAILED")


def delete(store: Store, run: Any) -> None:
    store.client.delete_run(run.info.run_id)


def mark(store: Store, run: Any) -> None:
    store.client.set_tag(run.info.run_id, cache_key.NOT_REUSABLE, "imported a module while it trained")


def remove_files(store: Store, run: Any) -> None:
    shutil.rmtree(store.folder(run))


def repeat(store: Store, run: Any) -> None:
    """The run was trained again, without success."""
    config = next(config for config in CONFIGURATION.runs() if config.title == run.info.run_name)
    parent = run.data.tags["mlflow.parentRunId"]
    again = record(store, parent, config, ValueError("no"))
    store.client.set_tag(again, "attempt", "2")


@pytest.mark.parametrize("change", [fail, delete, mark, remove_files, repeat])
def test_a_sweep_with_one_run_that_failed_or_is_missing_is_trained(store, sweep, change: Callable):
    change(store, child_runs(store, sweep)[1])
    assert found(store) is None


def test_an_unfinished_sweep_is_trained(store, sweep):
    store.client.set_terminated(sweep, "KILLED")
    assert found(store) is None


def test_a_scheduled_sweep_without_changes_makes_no_run_and_publishes_the_earlier_report(store, sweep, monkeypatch):
    @contextmanager
    def opened():
        yield store

    published = []
    monkeypatch.setattr(execute, "locked_store", opened)
    monkeypatch.setattr(execute, "experiment_digest", lambda *_: DIGEST)
    monkeypatch.setattr(execute, "open_sweep", lambda *_: pytest.fail("a sweep was opened"))
    monkeypatch.setattr(prefect_artifacts, "publish_report", lambda page, text: published.append((page, text)))
    before = store.client.search_runs([store.experiment]).to_list()

    def start(*_):
        pytest.fail("a run was started")

    outcome = compare.run_experiment(compare.SWEEP, CONFIGURATION, RunOptions(), start)
    assert outcome.result() == sweep
    assert outcome.unchanged.startswith("nothing new since 20")
    assert f"sweep nightly ({sweep[:8]})" in outcome.unchanged
    assert published == [(store.folder(store.client.get_run(sweep)) / "report.html", f"`{outcome.unchanged}`")]
    assert len(store.client.search_runs([store.experiment]).to_list()) == len(before)


def plan_of(store: Store, config: CompareConfig = CONFIGURATION) -> tuple[CompareConfig, RunOptions, plan.Plan]:
    """The extended sweep, its options and its plan."""
    extended, options = earlier.with_next_seeds(store, config, NEXT, DIGEST)
    return extended, options, plan.make_plan(store, extended, options, DIGEST)


def test_next_seeds_continue_after_the_largest_in_the_same_sweep(store, sweep):
    extended, options, planned = plan_of(store, CONFIGURATION.model_copy(update={"seeds": 3}))
    assert (extended.seeds, options.resume) == (5, sweep)
    assert {todo.config.seed for todo in planned.todo} == {2, 3, 4}
    assert len(planned.todo) == 6
    assert len(planned.finished) == 4


def test_next_seeds_repeat_failed_runs_but_no_finished_one(store, sweep):
    runs = child_runs(store, sweep)
    fail(store, runs[0])
    _, _, planned = plan_of(store)
    assert sorted(todo.config.seed for todo in planned.todo if todo.resume_id) == [int(runs[0].data.tags["seed"])]
    assert len(planned.finished) == 3


def test_an_extended_sweep_reports_the_number_of_all_seeds(store, sweep):
    extended, options, _ = plan_of(store)
    tags = {"kind": "sweep", CONFIG: extended.model_dump_json()}
    with store.run("ignored", {"seeds": extended.seeds}, tags, resume_id=options.resume):
        pass
    assert read_results(store, sweep).params["seeds"] == "4"
    assert earlier.with_next_seeds(store, CONFIGURATION, NEXT, DIGEST)[0].seeds == 6


def test_next_seeds_without_an_earlier_sweep_name_the_settings_that_are_sought(store, sweep):
    with pytest.raises(
        UserError, match="no earlier sweep with these settings and the name 'weekly'; start one without"
    ):
        earlier.with_next_seeds(store, CONFIGURATION.model_copy(update={"name": "weekly"}), NEXT, DIGEST)


def test_next_seeds_are_not_mixed_with_runs_of_other_code(store, sweep):
    with pytest.raises(UserError, match="code or libraries have changed since sweep nightly"):
        earlier.with_next_seeds(store, CONFIGURATION, NEXT, "other code")


def test_next_seeds_are_not_mixed_with_runs_whose_code_is_not_known(store, sweep):
    mark(store, child_runs(store, sweep)[1])
    with pytest.raises(UserError, match="or nothing shows that they have not"):
        earlier.with_next_seeds(store, CONFIGURATION, NEXT, DIGEST)


def test_next_seeds_extend_the_finished_sweep_and_not_one_that_was_aborted_with_more_seeds(store, sweep):
    aborted = CONFIGURATION.model_copy(update={"seeds": 10})
    with (
        pytest.raises(KeyboardInterrupt),
        store.run("nightly", {}, {"kind": "sweep", CONFIG: aborted.model_dump_json()}),
    ):
        raise KeyboardInterrupt
    extended, options = earlier.with_next_seeds(store, CONFIGURATION, NEXT, DIGEST)
    assert (options.resume, extended.seeds) == (sweep, 4)


def test_settings_from_python_equal_stored_ones(store):
    config = CONFIGURATION.model_copy(update={"name": "tuples", "env_kwargs": {"shape": (3, 4)}})
    with store.run("tuples", {}, {"kind": "sweep", CONFIG: config.model_dump_json()}):
        pass
    earlier.check_extensible(store, config)


def test_next_seeds_of_a_running_sweep_are_refused(store, sweep):
    store.client.update_run(sweep, "RUNNING")
    with pytest.raises(UserError, match=r"sweep nightly is running \(process \d+ on "):
        earlier.with_next_seeds(store, CONFIGURATION, NEXT, DIGEST)


@pytest.mark.parametrize("other", [{"resume": "a"}, {"force": True}, {"only_failed": True}])
def test_next_seeds_exclude_options_that_repeat_runs(other):
    with pytest.raises(ValidationError, match="next_seeds trains new seeds only"):
        RunOptions(next_seeds=True, **other)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "--next-seeds", "--resume"], "leave out --resume, --force and --only-failed"),
        (["compare", "--next-seeds", "--force"], "leave out --resume, --force and --only-failed"),
    ],
)
def test_invalid_next_seeds_are_rejected_with_one_line(keyhole, words, message):
    code, _, err = keyhole(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


def test_a_continued_sweep_is_planned_after_its_process_owns_it(store, sweep, monkeypatch):
    """Another machine may add runs until then."""
    owned = []

    @contextmanager
    def run(*_, resume_id, **__):
        owned.append(resume_id)
        yield None

    def planned(*_):
        assert owned == [sweep]
        raise KeyError("planned")

    @contextmanager
    def pool(_):
        yield None

    monkeypatch.setattr(Store, "run", run)
    monkeypatch.setattr(session, "open_pool", pool)
    monkeypatch.setattr(session, "make_plan", planned)
    extended, options = earlier.with_next_seeds(store, CONFIGURATION, NEXT, DIGEST)
    with pytest.raises(KeyError, match="planned"), session.open_sweep(store, extended, options, DIGEST):
        pass
