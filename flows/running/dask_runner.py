"""Runs on Dask: a cluster of this machine, or the one at an address, whose workers have one thread each.

A worker's death ends the job: Dask's own repetition would train into the folder of the first attempt, so the second
begin of a job counts as a death as well. What a job says comes back as events, in order, before its result.
"""

import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, get_worker

from flows import process_env
from flows.config import CompareConfig
from flows.errors import DeadWorkerError, FailedJobError, UserError
from flows.running.pool import MessageHandler, execute
from flows.text import one_line

SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.admin.tick.limit": "1h",  # a learner that holds the interpreter is no news
}
PATIENCE = 30.0  # seconds
ENDED = ("ended", ())


@contextmanager
def open_workers(config: CompareConfig, size: int) -> Iterator[Callable[[], "DaskWorker"]]:
    """What makes hands; raises UserError if no scheduler answers or a worker has several threads."""
    process_env.use_one_thread()
    with dask.config.set(SETTINGS), _client(config.dask_address, size) as client:
        post = Mailbox(client)
        try:
            yield partial(DaskWorker, client, post)
        finally:
            post.close()


@contextmanager
def _client(address: str, size: int) -> Iterator[Client]:
    if not address:
        with (
            LocalCluster(size, host="127.0.0.1", threads_per_worker=1, dashboard_address=None, silence_logs=50) as here,
            Client(here) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise UserError(f"--dask-address: no Dask scheduler answers at {address!r} ({one_line(error, 200)})") from None
    with client:
        _check_threads(client)
        yield client


def _check_threads(client: Client) -> None:
    crowded = [name for name, threads in client.nthreads().items() if threads > 1]
    if crowded:
        raise UserError(
            f"the Dask worker {crowded[0]} has several threads, and a run needs a process of its own; "
            "start workers with `dask worker --nthreads 1 --nworkers N`"
        )


class Mailbox:
    """Brings what jobs say to who waits for them: one topic for the sweep, one box for each job."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.topic = f"keyhole-{uuid.uuid4().hex}"
        self._boxes: dict[str, queue.SimpleQueue[tuple[str, tuple]]] = {}
        self._restarts: list[threading.Thread] = []
        client.subscribe_topic(self.topic, self._deliver)

    def box(self, name: str) -> "queue.SimpleQueue[tuple[str, tuple]]":
        return self._boxes.setdefault(name, queue.SimpleQueue())

    def forget(self, name: str) -> None:
        self._boxes.pop(name, None)

    def restart(self, worker: str) -> None:
        """Ends a worker's process, whose nanny starts another; many at once do not wait for each other."""
        thread = threading.Thread(target=self._restart, args=(worker,), daemon=True)
        self._restarts.append(thread)
        thread.start()

    def settle(self) -> None:
        """Waits while workers restart: a job sent to one would die with it."""
        for thread in list(self._restarts):
            thread.join(PATIENCE)

    def close(self) -> None:
        self.settle()
        with suppress(Exception):  # the scheduler may be gone
            self._client.unsubscribe_topic(self.topic)

    def _restart(self, worker: str) -> None:
        with suppress(Exception):  # it may be gone, or have no nanny
            self._client.restart_workers([worker], timeout=PATIENCE, raise_for_error=False)

    def _deliver(self, event: tuple[float, tuple]) -> None:
        name, kind, payload = event[1]
        if name in self._boxes:
            self._boxes[name].put((kind, tuple(payload)))


class DaskWorker:
    """Has one job on the cluster at a time."""

    def __init__(self, client: Client, post: Mailbox) -> None:
        self._client, self._post = client, post
        self._job = ""
        self._where = ""
        self._future: Future | None = None
        self._let_go = False

    def do(self, target: str, arguments: tuple, heard: MessageHandler) -> Any:
        """The job's result, as the pool's own processes give it."""
        self._job, self._where = uuid.uuid4().hex, ""
        self._post.settle()
        if self._let_go:
            raise DeadWorkerError("the sweep was stopped before the job was sent")
        box = self._post.box(self._job)
        future = self._client.submit(_work, self._post.topic, self._job, target, arguments, key=self._job, pure=False)
        future.add_done_callback(lambda _: box.put(ENDED))
        self._future = future
        try:
            while (said := box.get()) != ENDED:
                self._handle(*said, heard)
            return self._result(future)
        finally:
            self._post.forget(self._job)

    def kill(self) -> None:
        """Ends the job, and the process that runs it."""
        self._let_go = True
        future, self._future = self._future, None
        if future is None:
            return
        self._post.box(self._job).put(ENDED)
        with suppress(Exception):  # the scheduler may be gone
            future.cancel(force=True)
        if self._where:
            self._post.restart(self._where)

    def _handle(self, kind: str, payload: tuple, heard: MessageHandler) -> None:
        if kind != "begun":
            heard(kind, payload)
        elif self._where:
            raise DeadWorkerError(f"the Dask worker {self._where} died")
        else:
            (self._where,) = payload

    def _result(self, future: Future) -> Any:
        if future.status != "finished":
            cause = future.exception() if future.status == "error" else future.status
            raise DeadWorkerError(f"the Dask worker {self._where or 'of the job'} died ({one_line(cause, 200)})")
        self._future = None
        kind, payload = future.result()
        if kind == "failed":
            raise FailedJobError(*payload)
        return payload


def _work(topic: str, name: str, target: str, arguments: tuple) -> tuple[str, Any]:
    """In the worker: its words are plain data."""
    worker = get_worker()

    def say(kind: str, *payload: Any) -> None:
        worker.log_event(topic, (name, kind, payload))

    say("begun", worker.address)
    return execute(target, arguments, say)
