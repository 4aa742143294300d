"""A runner changes where a run is trained, but not its results."""

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
    """Two workers of the engine, on a local cluster."""
    engine = request.param
    if importlib.util.find_spec(ENGINES[engine].package) is None:
        pytest.skip(f"{ENGINES[engine].package} is not installed: pip install 'keyhole[{engine}]'")
    with worker_factory(CompareConfig(runner=engine), 2) as factory, Pool(2, factory) as pool:
        yield pool


def trained(pool: Pool, folder: Path) -> list[list[tuple[str, tuple]]]:
    """Trains each run; returns its messages."""
    messages = []
    for config in RUNS:
        received: list[tuple[str, tuple]] = []
        run_folder = folder / config.method
        run_folder.mkdir(parents=True)
        pool.do(
            "flows.running.worker:run_training",
            TRAIN,
            config,
            run_folder,
            on_message=lambda kind, payload, to=received: to.append((kind, payload)),
        )
        assert (run_folder / "agent.zip").exists()
        messages.append(received)
    return messages


@pytest.mark.slow
def test_a_run_sends_equal_messages_bit_for_bit_on_every_engine(pool, tmp_path):
    with Pool(1) as processes:
        expected = trained(processes, tmp_path / "processes")
    found = trained(pool, tmp_path / "engine")
    timeless = [[m for m in messages if "time" not in str(m)] for messages in (*expected, *found)]
    assert timeless[:2] == timeless[2:]
    assert any("selected/true_return" in str(message) for message in timeless[0])


@pytest.mark.slow
def test_a_job_on_an_engine_returns_a_result_and_sends_messages(pool):
    messages = []
    process, answer = pool.do(HERE + "answers", 42, on_message=lambda *message: messages.append(message))
    assert (answer, messages) == (42, [("received", (42,))])
    assert process != os.getpid()
    assert pool.do(HERE + "threads") == "1"


@pytest.mark.slow
def test_a_job_that_raises_on_an_engine_gives_its_error_and_trace(pool):
    with pytest.raises(FailedJobError, match="second line") as failure:
        pool.do(HERE + "raises")
    assert "in raises" in failure.value.trace


@pytest.mark.slow
def test_a_process_that_dies_on_an_engine_fails_only_its_own_job(pool):
    with pytest.raises(DeadWorkerError, match="died"):
        pool.do(HERE + "dies")
    assert pool.do(HERE + "answers", 2)[1] == 2


@pytest.mark.slow
def test_a_message_handler_that_raises_ends_the_job_on_an_engine(pool):
    def fail(kind, payload):
        raise OSError("store is full")

    with pytest.raises(OSError, match="store is full"):
        pool.do(HERE + "waits", on_message=fail)
    assert pool.do(HERE + "answers", 2)[1] == 2


@pytest.mark.slow
def test_stopping_ends_the_jobs_of_an_engine(pool):  # the last test: it stops the pool
    started, outcome, pids = threading.Event(), [], []

    def on_message(kind, payload):
        pids.append(payload[0])
        started.set()

    def wait():
        try:
            pool.do(HERE + "waits", on_message=on_message)
        except StoppedError as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert started.wait(30)
    pool.stop()
    thread.join(30)
    assert len(outcome) == 1
    start = time.monotonic()
    while Path(f"/proc/{pids[0]}").exists():
        assert time.monotonic() - start < 20
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """An existing Dask cluster with Dask's default settings."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install 'keyhole[dask]'")
    with distributed.LocalCluster(
        1, host="127.0.0.1", threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
def test_an_existing_cluster_does_not_repeat_a_job(cluster):
    with worker_factory(CompareConfig(runner="dask", dask_address=cluster), 1) as factory, Pool(1, factory) as pool:
        assert pool.do(HERE + "answers", 1)[1] == 1
        with pytest.raises(DeadWorkerError, match="died"):
            pool.do(HERE + "dies")
        assert pool.do(HERE + "answers", 2)[1] == 2


@pytest.mark.slow
def test_a_worker_without_the_runs_folder_reports_what_must_be_shared(cluster, tmp_path):
    shared = pytest.raises(FailedJobError, match="workers must share the store's file system")
    with (
        worker_factory(CompareConfig(runner="dask", dask_address=cluster), 1) as factory,
        Pool(1, factory) as pool,
        shared,
    ):
        pool.do("flows.running.worker:run_training", TRAIN, RUNS[0], tmp_path / "not_here")


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_a_user_error(monkeypatch):
    runner = pytest.importorskip(
        "flows.running.dask_runner", reason="distributed is not installed: pip install 'keyhole[dask]'"
    )
    monkeypatch.setattr(runner, "TIMEOUT", 2.0)
    config = CompareConfig(runner="dask", dask_address="tcp://127.0.0.1:1")
    with pytest.raises(UserError, match="no Dask scheduler answers at"), worker_factory(config, 1):
        pass


def test_a_missing_engine_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(ENGINES, "dask", ENGINES["dask"]._replace(package="no_such_package"))
    with pytest.raises(UserError, match=r"pip install 'keyhole\[dask\]'"):
        check_runner(CompareConfig(runner="dask"))


def test_local_processes_need_no_engine():
    check_runner(CompareConfig())


class Restarting:
    """A double of Dask's client whose worker restarts slowly."""

    def __init__(self):
        self.back, self.sent = threading.Event(), []

    def subscribe_topic(self, *_):
        pass

    def restart_workers(self, *_, **__):
        self.back.wait(30)

    def submit(self, *_, **__):
        self.sent.append(self.back.is_set())
        raise OSError("the job was sent")


def test_no_job_is_sent_to_a_restarting_dask_worker():
    dask = pytest.importorskip("flows.running.dask_runner", exc_type=ImportError)
    client = Restarting()
    mailbox = dask.Mailbox(client)
    mailbox.restart("tcp://127.0.0.1:1")
    threading.Timer(0.2, client.back.set).start()
    with pytest.raises(OSError, match="the job was sent"):
        dask.DaskWorker(client, mailbox).do(HERE + "answers", (2,), None)
    assert client.sent == [True]


def test_no_job_is_sent_to_dask_after_the_stop():
    dask = pytest.importorskip("flows.running.dask_runner", exc_type=ImportError)
    client = Restarting()
    worker = dask.DaskWorker(client, dask.Mailbox(client))
    worker.kill()
    with pytest.raises(DeadWorkerError, match="stopped"):
        worker.do(HERE + "answers", (2,), None)
    assert client.sent == []
