"""Trains runs on Dask: a local cluster, or the one at an address, with single-threaded workers.

The death of a worker ends its job. Dask would repeat the job in the folder of the first attempt, so a job that starts
a second time is reported as a death too. Messages of a job arrive as Dask events, in order and before its result.
"""

import logging
import os
import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, get_worker

from flows import process_env, search_path
from flows.config import CompareConfig
from flows.errors import DeadWorkerError, FailedJobError, UserError, log_suppressed
from flows.running.pool import MessageHandler, execute
from flows.text import one_line

logger = logging.getLogger(__name__)
SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.admin.tick.limit": "1h",  # a learner that holds the interpreter lock is normal
}
TIMEOUT = 30.0  # seconds
ENDED = ("ended", ())


@contextmanager
def open_workers(config: CompareConfig, size: int) -> Iterator[Callable[[], "DaskWorker"]]:
    """Yields a worker factory.

    Raises:
        UserError: No scheduler answers, or a worker has several threads.
    """
    process_env.use_one_thread()
    with dask.config.set(SETTINGS), _client(config.dask_address, size) as client:
        mailbox = Mailbox(client)
        try:
            yield partial(DaskWorker, client, mailbox)
        finally:
            mailbox.close()


@contextmanager
def _client(address: str, size: int) -> Iterator[Client]:
    if not address:
        with (
            LocalCluster(size, host="127.0.0.1", threads_per_worker=1, dashboard_address=None, silence_logs=50) as own,
            Client(own) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=TIMEOUT)
    except (OSError, ValueError) as error:
        raise UserError(f"--dask-address: no Dask scheduler answers at {address!r} ({one_line(error, 200)})") from None
    with client:
        _check_threads(client)
        yield client


def _check_threads(client: Client) -> None:
    threaded = [name for name, threads in client.nthreads().items() if threads > 1]
    if threaded:
        raise UserError(
            f"the Dask worker {threaded[0]} has several threads, and a run needs a process of its own; "
            "start workers with `dask worker --nthreads 1 --nworkers N`"
        )


class Mailbox:
    """Delivers the messages of jobs: one Dask topic for the sweep, one queue for each job."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.topic = f"keyhole-{uuid.uuid4().hex}"
        self._queues: dict[str, queue.SimpleQueue[tuple[str, tuple]]] = {}
        self._restarts: list[threading.Thread] = []
        client.subscribe_topic(self.topic, self._deliver)

    def queue_of(self, name: str) -> "queue.SimpleQueue[tuple[str, tuple]]":
        return self._queues.setdefault(name, queue.SimpleQueue())

    def forget(self, name: str) -> None:
        self._queues.pop(name, None)

    def restart(self, worker: str) -> None:
        """Ends a worker's process in a thread; the worker's nanny starts a new one."""
        thread = threading.Thread(target=self._restart, args=(worker,), daemon=True)
        self._restarts.append(thread)
        thread.start()

    def settle(self) -> None:
        """Waits until no worker is restarting, because a job sent to one would die with it."""
        for thread in list(self._restarts):
            thread.join(TIMEOUT)

    def close(self) -> None:
        self.settle()
        with log_suppressed(logger, "unsubscribing from Dask", logging.INFO):  # the scheduler may be gone
            self._client.unsubscribe_topic(self.topic)

    def _restart(self, worker: str) -> None:
        with log_suppressed(logger, "restarting a Dask worker", logging.INFO):  # it may be gone, or have no nanny
            self._client.restart_workers([worker], timeout=TIMEOUT, raise_for_error=False)

    def _deliver(self, event: tuple[float, tuple]) -> None:
        name, kind, payload = event[1]
        if name in self._queues:
            self._queues[name].put((kind, tuple(payload)))


class DaskWorker:
    """A Worker with one job on the cluster at a time."""

    def __init__(self, client: Client, mailbox: Mailbox) -> None:
        self._client, self._mailbox = client, mailbox
        self._job = ""
        self._address = ""
        self._future: Future | None = None
        self._killed = False

    def do(self, target: str, arguments: tuple, on_message: MessageHandler) -> Any:
        """Runs a job on the cluster; see Worker."""
        self._job, self._address = uuid.uuid4().hex, ""
        self._mailbox.settle()
        if self._killed:
            raise DeadWorkerError("the sweep was stopped before the job was sent")
        messages = self._mailbox.queue_of(self._job)
        future = self._client.submit(
            _work, self._mailbox.topic, self._job, target, arguments, os.getcwd(), key=self._job, pure=False
        )
        future.add_done_callback(lambda _: messages.put(ENDED))
        self._future = future
        try:
            while (message := messages.get()) != ENDED:
                self._handle(*message, on_message)
            return self._result(future)
        finally:
            self._mailbox.forget(self._job)

    def kill(self) -> None:
        """Cancels the job and ends the process that runs it."""
        self._killed = True
        future, self._future = self._future, None
        if future is None:
            return
        self._mailbox.queue_of(self._job).put(ENDED)
        with log_suppressed(logger, "cancelling a Dask job", logging.INFO):  # the scheduler may be gone
            future.cancel(force=True)
        if self._address:
            self._mailbox.restart(self._address)

    def _handle(self, kind: str, payload: tuple, on_message: MessageHandler) -> None:
        if kind != "started":
            on_message(kind, payload)
        elif self._address:
            raise DeadWorkerError(f"the Dask worker {self._address} died")
        else:
            (self._address,) = payload

    def _result(self, future: Future) -> Any:
        if future.status != "finished":
            cause = future.exception() if future.status == "error" else future.status
            raise DeadWorkerError(f"the Dask worker {self._address or 'of the job'} died ({one_line(cause, 200)})")
        self._future = None
        kind, payload = future.result()
        if kind == "failed":
            raise FailedJobError(*payload)
        return payload


def _work(topic: str, name: str, target: str, arguments: tuple, folder: str) -> tuple[str, Any]:
    """Executes a job in a Dask worker, with user modules of `folder`; messages and result are plain data."""
    search_path.append_folder(folder)
    worker = get_worker()

    def send(kind: str, *payload: Any) -> None:
        worker.log_event(topic, (name, kind, payload))

    send("started", worker.address)
    return execute(target, arguments, send)
