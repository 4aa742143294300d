"""A sweep carries metrics of its own, which MLflow's list and charts show."""

from contextlib import suppress

import pytest

from flows.config import TrainConfig
from flows.sweep import finalize
from flows.tracking import results
from tests.flows import doubles


@pytest.fixture
def sweep(store) -> str:
    """A sweep with two finished runs and a failed one."""
    with store.run("metrics", {"env": "envs:keyhole/TMaze-v0"}, {"kind": "sweep"}) as parent:
        for seed in range(3):
            config = TrainConfig(method="filtering", oversight=0.5, seed=seed, steps=100, checkpoints=2)
            trainer = doubles.fails_on_filtering if seed == 2 else doubles.learns
            with suppress(ValueError), store.run(config.title, {}, config.tags, parent.run_id) as record:
                trainer(config, record)
    return parent.run_id


def test_a_sweep_carries_its_best_true_return_and_its_numbers_of_runs(store, sweep):
    found = results.read_results(store, sweep)
    finalize.log_sweep_metrics(store, found)
    best = max(row.true_return for row in found.finished)
    assert store.client.get_run(sweep).data.metrics == {
        "eval/true_return": best, "sweep/runs": 3, "sweep/finished": 2, "sweep/failed": 1,
    }  # fmt: skip


def test_a_metric_of_a_sweep_is_logged_again_only_if_it_has_changed(store, sweep):
    for _ in range(2):
        finalize.log_sweep_metrics(store, results.read_results(store, sweep))
    (lost,) = [run for run in results.child_runs(store, sweep) if run.info.status == "FAILED"]
    store.client.delete_run(lost.info.run_id)
    finalize.log_sweep_metrics(store, results.read_results(store, sweep))
    history = {name: store.client.get_metric_history(sweep, name) for name in ("sweep/failed", "sweep/finished")}
    assert [point.value for point in history["sweep/failed"]] == [1, 0]
    assert [point.value for point in history["sweep/finished"]] == [2]
    assert {point.step for points in history.values() for point in points} == {0}  # bars, not lines, in MLflow's charts
