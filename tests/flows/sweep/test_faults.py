"""A fault ends at most the run it affects; the next run is trained, and every run is closed."""

import errno
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import routing
from flows.cli import commands
from flows.config import CompareConfig, TrainConfig
from flows.errors import DeadWorkerError, FailedJobError
from flows.prefect_server.history import crash_abandoned
from flows.project import Project
from flows.running import worker
from flows.running.pool import Pool
from flows.running.train import run as trained
from flows.sweep.plan import Plan, PlannedRun
from flows.sweep.progress import Plain
from flows.sweep.session import Sweep
from flows.tracking import results
from flows.tracking.process_owner import owner_tags
from flows.tracking.store import Store
from tests.flows.third_party import write_methods

RUNS = CompareConfig(methods=("filtering", "naive"), oversight=(0.1,), seeds=1, steps=10).runs()
TINY = {"steps": 4096, "checkpoints": 4, "training": {"n_envs": 32, "n_steps": 16, "width": 8}}


@pytest.fixture
def sweep(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Sweep]]:
    """Makes a sweep with one worker, trained by a double, without Prefect."""
    pools = []

    def make(double: str) -> Sweep:
        monkeypatch.setattr(worker, "TRAIN", f"tests.flows.doubles:{double}")
        pools.append(Pool(1))
        with store.run(double, {}, {"kind": "sweep"}) as record:
            return Sweep(
                store, record, None, pools[-1], Plain(RUNS), Plan([], [], []), {}, {}, set(), {}, {}, worker.TRAIN
            )

    yield make
    for pool in pools:
        pool.stop()


@pytest.fixture
def third_party(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module outside of the repository that registers a method with a part that draws."""
    folder = tmp_path_factory.mktemp("third_party")
    write_methods(folder, "third_drawing", "third_drawing", "drawn")
    monkeypatch.syspath_prepend(folder)
    yield
    routing.METHODS.pop("third_drawing", None)
    routing.PARTS["weights"].pop("drawn", None)
    sys.modules.pop("third_drawing", None)
    routing.find.cache_clear()


def outcome(sweep: Sweep, config: TrainConfig) -> tuple[str, str]:
    """Returns status and error of a run in MLflow."""
    run = sweep.store.client.get_run(sweep.run_ids[config.title])
    return run.info.status, run.data.tags.get("error", "")


@pytest.mark.parametrize(
    ("double", "reason"),
    [
        ("fills_the_disk", "OSError: [Errno 28] No space left on device"),
        ("needs_much_memory", "Unable to allocate 128. GiB"),
        ("fails_on_filtering", "ValueError: nothing <b>passed</b> the filter"),
    ],
)
def test_a_run_that_raises_fails_with_its_error_and_the_next_is_trained(sweep, double, reason):
    faulty = sweep(double)
    with pytest.raises(FailedJobError):
        faulty.run(PlannedRun(RUNS[0], "key", reuse=False))
    faulty.run(PlannedRun(RUNS[1], "key", reuse=False))
    assert outcome(faulty, RUNS[0])[0] == "FAILED"
    assert reason in outcome(faulty, RUNS[0])[1]
    assert outcome(faulty, RUNS[1]) == ("FINISHED", "")


def test_a_run_whose_processes_die_fails_with_the_signal(sweep):
    faulty = sweep("dies")
    todo = PlannedRun(RUNS[0], "key", reuse=False)
    for attempt in (faulty.run, faulty.retry):
        with pytest.raises(DeadWorkerError):
            attempt(todo)
    status, reason = outcome(faulty, RUNS[0])
    assert (status, len(results.child_runs(faulty.store, faulty.record.run_id))) == ("FAILED", 1)
    assert "died (SIGKILL)" in reason


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradient_routing", "third_drawing:third_drawing"])
def test_a_run_resumed_in_another_process_has_the_same_numbers_and_files(method, sweep, tmp_path, third_party):
    """The part of the third party draws, so it has a state."""
    config = TrainConfig(env="keyhole/DiamondGhost-v0", env_kwargs={"size": 3}, method=method, **TINY)
    faulty = sweep("dies_midway")
    todo = PlannedRun(config, "key", reuse=False)
    with pytest.raises(DeadWorkerError):
        faulty.run(todo)
    folder = faulty.store.folder(faulty.store.client.get_run(faulty.run_ids[config.title]))
    assert (folder / "state.pt").exists()
    run = faulty.store.client.get_run(faulty.retry(todo))
    whole = MemoryRecorder(tmp_path)
    trained(config, whole)
    assert {**whole.points} == {
        (name, point.step): point.value
        for name in run.data.metrics
        for point in faulty.store.client.get_metric_history(run.info.run_id, name)
    }
    assert run.data.tags["resumed"].startswith("from step ")
    assert {file.name for file in folder.iterdir()} == {file.name for file in tmp_path.iterdir()}


class MemoryRecorder:
    """A recorder that maps (series, step) to its value, as MLflow stores it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.points = folder, {}

    def metrics(self, step, values) -> None:
        for name, value in values.items():
            assert (name, step) not in self.points
            self.points[name, step] = 0.0 if np.isnan(value) else float(value)  # MLflow stores nan as 0

    def progress(self, done, value) -> None: ...
    def tags(self, values) -> None: ...


@pytest.mark.slow
def test_an_exception_in_step_fails_the_run_with_that_exception(store, tmp_path):
    config = TrainConfig(env="tests.flows.worlds:odd/Breaks-v0", method="naive", learner="ppo", **TINY)
    with pytest.raises(RuntimeError, match="the bridge is out"), store.run("broken", {}, {}) as record:
        trained(config, record)
    run = store.client.get_run(record.run_id)
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "RuntimeError: the bridge is out")


def test_a_run_is_closed_even_if_its_error_cannot_be_written(store, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with suppress(ValueError), store.run("struck", {}, {}) as record:
        monkeypatch.setattr(Path, "write_text", full)
        raise ValueError("no")
    assert store.client.get_run(record.run_id).info.status == "FAILED"


def test_a_run_whose_last_metrics_cannot_be_written_is_not_finished(store, monkeypatch):
    def refused(_):
        raise OSError("full")

    with suppress(OSError), store.run("struck", {}, {}) as record:
        record._flushed = math.inf  # flush only at the end
        record.metrics(1, {"a": 1.0})
        monkeypatch.setattr(record, "points", refused)
    assert store.client.get_run(record.run_id).info.status == "FAILED"


class History:
    """A double of Prefect's client that records which flow runs are closed."""

    def __init__(self, owners: dict[str, dict[str, str]]) -> None:
        self.runs = [
            SimpleNamespace(id=name, tags=[f"{k}={v}" for k, v in owner.items()]) for name, owner in owners.items()
        ]
        self.closed: list[str] = []

    def read_flow_runs(self, **_):
        return self.runs

    def read_task_runs(self, **_):
        return []

    def set_flow_run_state(self, run, state, force) -> None:
        self.closed.append(run)


def test_only_flow_runs_of_dead_processes_are_closed(monkeypatch):
    monkeypatch.setattr("flows.prefect_server.history.FlowRunFilter", SimpleNamespace(model_validate=json.dumps))
    mine = owner_tags()
    owners = {
        "alive": mine,
        "dead": {**mine, "pid": str(2**22 + 1)},
        "recycled": {**mine, "process": f"{mine['process']}0", "process_started": "0"},
        "elsewhere": {"host": "another", "pid": str(2**22 + 1)},
    }
    history = History(owners)
    assert crash_abandoned(history) == 2
    assert history.closed == ["dead", "recycled"]


def test_a_full_disk_ends_the_command_with_one_line_that_names_resume(monkeypatch, tmp_path, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(commands, "_server", lambda *_: nullcontext())
    monkeypatch.setattr(commands, "_run_flow", full)
    with pytest.raises(SystemExit) as end:
        commands._sweep(Project(tmp_path, tmp_path / "mlruns"), CompareConfig(), None)
    assert end.value.code == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "No space left" in message
    assert "--resume" in message
