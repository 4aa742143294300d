"""A process that dies takes its own job along and nothing else."""

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


def answers(question, say):
    say("heard", question)
    return os.getpid(), question


def raises(say):
    raise ValueError("first line\nsecond line")


def dies(say):
    os.kill(os.getpid(), signal.SIGKILL)


def waits(say):
    say("heard", os.getpid())
    time.sleep(60)


@pytest.fixture
def pool():
    with Pool(1) as made:
        yield made


def test_a_job_answers_and_says_things_on_its_way(pool):
    heard = []
    process, answer = pool.do(HERE + "answers", 42, heard=lambda kind, payload: heard.append((kind, payload)))
    assert (answer, heard) == (42, [("heard", (42,))])
    assert process != os.getpid()


def test_one_process_does_job_after_job(pool):
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


def test_a_listener_that_raises_does_not_leave_its_words_to_the_next_job(pool):
    def deaf(kind, payload):
        raise OSError("store is full")

    with pytest.raises(OSError, match="store is full"):
        pool.do(HERE + "answers", 1, heard=deaf)
    assert pool.do(HERE + "answers", 2)[1] == 2


def test_a_death_beside_it_does_not_disturb_a_running_job():
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


def test_stopping_ends_the_processes_and_tells_who_waits(pool):
    process, outcome = threading.Event(), []
    pids = []

    def heard(kind, payload):
        pids.append(payload[0])
        process.set()

    def ask():
        try:
            pool.do(HERE + "waits", heard=heard)
        except StoppedError as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    process.wait(30)
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


def threads(say):
    return os.environ["OMP_NUM_THREADS"]


def test_hands_that_came_before_the_sweep_are_the_sweeps():
    config = CompareConfig(workers=1)
    with open_pool(config) as first, open_pool(config) as second:
        assert first is second
    with pytest.raises(StoppedError):
        first.check()
