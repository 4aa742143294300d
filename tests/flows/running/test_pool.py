"""A worker that dies fails its own job and nothing else."""

import os
import signal
import threading
import time

import pytest

from flows.config import CompareConfig
from flows.errors import DeadWorkerError, FailedJobError, StoppedError
from flows.running.pool import Pool
from flows.running.runners import open_pool

HERE = "tests.flows.running.test_pool:"


def answers(question, send):
    send("received", question)
    return os.getpid(), question


def raises(send):
    raise ValueError("first line\nsecond line")


def dies(send):
    os.kill(os.getpid(), signal.SIGKILL)


def waits(send):
    send("received", os.getpid())
    time.sleep(60)


@pytest.fixture
def pool():
    with Pool(1) as pool:
        yield pool


def test_a_job_returns_a_result_and_sends_messages(pool):
    messages = []
    process, answer = pool.do(HERE + "answers", 42, on_message=lambda *message: messages.append(message))
    assert (answer, messages) == (42, [("received", (42,))])
    assert process != os.getpid()


def test_one_process_executes_job_after_job(pool):
    assert pool.do(HERE + "answers", 1)[0] == pool.do(HERE + "answers", 2)[0]


def test_a_job_that_raises_leaves_its_process_alive(pool):
    before = pool.do(HERE + "answers", 1)[0]
    with pytest.raises(FailedJobError, match="second line") as failure:
        pool.do(HERE + "raises")
    assert "in raises" in failure.value.trace
    assert pool.do(HERE + "answers", 2)[0] == before


def test_a_dead_process_is_named_and_replaced(pool):
    before = pool.do(HERE + "answers", 1)[0]
    with pytest.raises(DeadWorkerError, match=rf"process {before} died \(SIGKILL\)"):
        pool.do(HERE + "dies")
    assert pool.do(HERE + "answers", 2)[0] != before


def test_messages_are_not_left_to_the_next_job_if_the_handler_raises(pool):
    def fail(kind, payload):
        raise OSError("store is full")

    with pytest.raises(OSError, match="store is full"):
        pool.do(HERE + "answers", 1, on_message=fail)
    assert pool.do(HERE + "answers", 2)[1] == 2


def test_the_death_of_one_worker_does_not_disturb_another():
    with Pool(2) as pool:
        outcomes = []
        threads = [
            threading.Thread(target=lambda i=i: outcomes.append(pool.do(HERE + "answers", i)[1])) for i in range(4)
        ]
        for thread in threads:
            thread.start()
        with pytest.raises(DeadWorkerError):
            pool.do(HERE + "dies")
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == [0, 1, 2, 3]


def test_stopping_ends_the_processes_and_raises_in_pending_jobs(pool):
    started, outcome = threading.Event(), []
    pids = []

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
    started.wait(30)
    pool.stop()
    thread.join(10)
    assert len(outcome) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    for late in (pool.check, lambda: pool.do(HERE + "answers", 1)):
        with pytest.raises(StoppedError):
            late()


def test_workers_have_one_thread_each(pool):
    assert pool.do(HERE + "threads") == "1"


def threads(send):
    return os.environ["OMP_NUM_THREADS"]


def test_a_nested_open_pool_yields_the_open_pool():
    config = CompareConfig(workers=1)
    with open_pool(config) as first, open_pool(config) as second:
        assert first is second
    with pytest.raises(StoppedError):
        first.check()
