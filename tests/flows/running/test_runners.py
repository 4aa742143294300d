"""A runner changes where a run is trained, and nothing of what comes out of it."""

import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.config import CompareConfig
from flows.errors import DeadWorkerError, FailedJobError, StoppedError, UserError
from flows.running.pool import Pool
from flows.running.runners import ENGINES, check_runner, worker_factory
from flows.running.worker import TRAIN

HERE = "tests.flows.running.test_pool:"
RUNS = CompareConfig(
    env="keyhole/DiamondGhost-v0", env_kwargs={"size": 2}, methods=("gradient_routing", "reward_model"),
    oversight=(0.3,), seeds=1, steps=2_048, checkpoints=2, training={"n_envs": 32, "n_steps": 32, "width": 16},
).runs()  # fmt: skip


@pytest.fixture(scope="module", params=ENGINES)
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """Two hands on the engine, on a cluster of this machine."""
    engine = request.param
    if importlib.util.find_spec(ENGINES[engine].package) is None:
        pytest.skip(f"{ENGINES[engine].package} is not installed: pip install 'keyhole[{engine}]'")
    with worker_factory(CompareConfig(runner=engine), 2) as hire, Pool(2, hire) as made:
        yield made


def trained(pool: Pool, folder: Path) -> list[list[tuple[str, tuple]]]:
    """What each of the runs says on its way, progress and metrics."""
    said = []
    for config in RUNS:
        words: list[tuple[str, tuple]] = []
        place = folder / config.method
        place.mkdir(parents=True)
        pool.do(
            "flows.running.worker:run_training",
            TRAIN,
            config,
            place,
            heard=lambda kind, payload, to=words: to.append((kind, payload)),
        )
        assert (place / "agent.zip").exists()
        said.append(words)
    return said


@pytest.mark.slow
def test_a_run_says_the_same_bit_for_bit_on_every_engine(pool, tmp_path):
    with Pool(1) as processes:
        expected = trained(processes, tmp_path / "processes")
    found = trained(pool, tmp_path / "engine")
    timeless = [[word for word in words if "time" not in str(word)] for words in (*expected, *found)]
    assert timeless[:2] == timeless[2:]
    assert any("selected/true_return" in str(word) for word in timeless[0])


@pytest.mark.slow
def test_an_engines_job_answers_and_says_things_in_order(pool):
    heard = []
    process, answer = pool.do(HERE + "answers", 42, heard=lambda kind, payload: heard.append((kind, payload)))
    assert (answer, heard) == (42, [("heard", (42,))])
    assert process != os.getpid()
    assert pool.do(HERE + "threads") == "1"


@pytest.mark.slow
def test_an_engines_job_that_raises_gives_its_last_line_and_trace(pool):
    with pytest.raises(FailedJobError, match="second line") as failure:
        pool.do(HERE + "raises")
    assert "in raises" in failure.value.trace


@pytest.mark.slow
def test_an_engines_process_that_dies_takes_its_own_job_along(pool):
    with pytest.raises(DeadWorkerError, match="died"):
        pool.do(HERE + "dies")
    assert pool.do(HERE + "answers", 2)[1] == 2


@pytest.mark.slow
def test_an_engines_listener_that_raises_ends_the_job(pool):
    def deaf(kind, payload):
        raise OSError("store is full")

    with pytest.raises(OSError, match="store is full"):
        pool.do(HERE + "waits", heard=deaf)
    assert pool.do(HERE + "answers", 2)[1] == 2


@pytest.mark.slow
def test_stopping_ends_an_engines_jobs(pool):  # the last test: it stops the pool
    begun, outcome, pids = threading.Event(), [], []

    def heard(kind, payload):
        pids.append(payload[0])
        begun.set()

    def ask():
        try:
            pool.do(HERE + "waits", heard=heard)
        except StoppedError as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert begun.wait(30)
    pool.stop()
    thread.join(30)
    assert len(outcome) == 1
    start = time.monotonic()
    while Path(f"/proc/{pids[0]}").exists():
        assert time.monotonic() - start < 20
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Dask cluster that somebody else has started, with Dask's own settings."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install 'keyhole[dask]'")
    with distributed.LocalCluster(
        1, host="127.0.0.1", threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as made:
        yield made.scheduler_address


@pytest.mark.slow
def test_somebody_elses_cluster_does_not_repeat_a_job_in_secret(cluster):
    with worker_factory(CompareConfig(runner="dask", dask_address=cluster), 1) as hire, Pool(1, hire) as pool:
        assert pool.do(HERE + "answers", 1)[1] == 1
        with pytest.raises(DeadWorkerError, match="died"):
            pool.do(HERE + "dies")
        assert pool.do(HERE + "answers", 2)[1] == 2


@pytest.mark.slow
def test_a_worker_that_lacks_the_runs_folder_says_what_must_be_shared(cluster, tmp_path):
    shared = pytest.raises(FailedJobError, match="workers must share the store's file system")
    with worker_factory(CompareConfig(runner="dask", dask_address=cluster), 1) as hire, Pool(1, hire) as pool, shared:
        pool.do("flows.running.worker:run_training", TRAIN, RUNS[0], tmp_path / "not_here")


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_costs_one_line(monkeypatch):
    runner = pytest.importorskip(
        "flows.running.dask_runner", reason="distributed is not installed: pip install 'keyhole[dask]'"
    )
    monkeypatch.setattr(runner, "PATIENCE", 2.0)
    config = CompareConfig(runner="dask", dask_address="tcp://127.0.0.1:1")
    with pytest.raises(UserError, match="no Dask scheduler answers at"), worker_factory(config, 1):
        pass


def test_an_engine_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(ENGINES, "dask", ENGINES["dask"]._replace(package="no_such_package"))
    with pytest.raises(UserError, match=r"pip install 'keyhole\[dask\]'"):
        check_runner(CompareConfig(runner="dask"))


def test_the_machines_own_processes_need_no_engine():
    check_runner(CompareConfig())


class Restarting:
    """A Dask client whose worker takes its time to restart."""

    def __init__(self):
        self.back, self.sent = threading.Event(), []

    def subscribe_topic(self, *_):
        pass

    def restart_workers(self, *_, **__):
        self.back.wait(30)

    def submit(self, *_, **__):
        self.sent.append(self.back.is_set())
        raise OSError("the job was sent")


def test_no_job_is_sent_to_a_dask_worker_that_restarts():
    dask = pytest.importorskip("flows.running.dask_runner", exc_type=ImportError)
    client = Restarting()
    post = dask.Mailbox(client)
    post.restart("tcp://127.0.0.1:1")
    threading.Timer(0.2, client.back.set).start()
    with pytest.raises(OSError, match="the job was sent"):
        dask.DaskWorker(client, post).do(HERE + "answers", (2,), None)
    assert client.sent == [True]


def test_no_job_is_sent_to_dask_after_the_stop():
    dask = pytest.importorskip("flows.running.dask_runner", exc_type=ImportError)
    client = Restarting()
    hand = dask.DaskWorker(client, dask.Mailbox(client))
    hand.kill()
    with pytest.raises(DeadWorkerError, match="stopped"):
        hand.do(HERE + "answers", (2,), None)
    assert client.sent == []
