"""A pool of worker processes. Each executes one job at a time; a worker that dies fails only its own job.

The pool replaces a dead worker and never repeats its job. `flows.sweep.execute.train` resumes the run once, elsewhere.

Every process has its own pipe. A queue shared by all processes would stay locked if the process that writes to it were
killed. A process is forked from a server process that has imported the libraries, and executes job after job.
"""

import gc
import logging
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pkgutil import resolve_name
from typing import Any, Protocol

from flows import process_env
from flows.errors import DeadWorkerError, FailedJobError, StoppedError
from flows.text import exception_line

logger = logging.getLogger(__name__)
MessageHandler = Callable[[str, tuple], None]  # receives the name and arguments of each message that a job sends
# Imported once, by the process from which workers are forked; the first optimiser of a process imports torch._dynamo
LIBRARIES = ["flows.running.train", "torch._dynamo"]


class Worker(Protocol):
    """Executes one job at a time in a process of its own."""

    def do(self, target: str, arguments: tuple, on_message: MessageHandler) -> Any:
        """Runs a job and returns its result.

        Args:
            target: Function, as "module:function". It is called with `arguments` and a function `send(kind, *payload)`.
            arguments: Positional arguments, picklable.
            on_message: Receives each message that the job sends.

        Raises:
            FailedJobError: The job raised an exception.
            DeadWorkerError: The process died.
        """

    def kill(self) -> None:
        """Ends the process immediately; a pending `do` raises an error."""


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Blocks SIGINT in this thread; a process started in the block inherits the mask, so Ctrl-C does not reach it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ProcessWorker:
    """A child process, which starts with its first job, and the parent's end of its pipe."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(LIBRARIES)
        with _blocked_interrupts():
            forkserver.ensure_running()  # it imports the libraries while this process goes on
        self._pipe, self._child_end = self._context.Pipe()
        self.process = self._context.Process(target=_serve, args=(self._child_end, tuple(preload)), daemon=True)
        self._starting, self._killed = threading.Lock(), False

    def _start(self) -> None:
        """Starts the process, once."""
        with self._starting:
            if self._killed or self.process.pid is not None:
                return
            self.process.start()
            self._child_end.close()  # the child holds the only copy, so its death reads as the end of the pipe

    def do(self, target: str, arguments: tuple, on_message: MessageHandler) -> Any:
        """Runs a job in the process; see Worker."""
        self._start()
        try:
            self._pipe.send((target, arguments))
            while True:
                kind, payload = self._pipe.recv()
                if kind == "done":
                    return payload
                if kind == "failed":
                    raise FailedJobError(*payload)
                on_message(kind, payload)
        except (EOFError, ConnectionError):
            raise DeadWorkerError(self._exit_reason()) from None

    def kill(self) -> None:
        """Ends the process immediately."""
        with self._starting:
            self._killed = True
            if self.process.pid is None:
                self._child_end.close()
                return
        self.process.kill()
        self.process.join()

    def _exit_reason(self) -> str:
        if self.process.pid is None:
            return "the process was ended before it started"
        self.process.join(5)
        code = self.process.exitcode
        cause = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        return f"the process {self.process.pid} died ({cause})"


class Pool:
    """`size` workers. `do` waits for an idle one; a dead one is replaced before its next job."""

    def __init__(self, size: int, worker_factory: Callable[[], Worker] = ProcessWorker) -> None:
        process_env.use_one_thread()
        self._worker_factory = worker_factory
        self._stopped = False
        self.size = size
        self._lock = threading.Lock()
        self._workers = {worker_factory() for _ in range(size)}
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def do(self, target: str, *arguments: Any, on_message: MessageHandler = lambda kind, payload: None) -> Any:
        """Runs a job in an idle worker and returns its result; see Worker.

        Raises:
            FailedJobError: The job raised an exception.
            DeadWorkerError: The process died.
            StoppedError: The pool was stopped.
        """
        worker = self._idle.get()
        try:
            return worker.do(target, arguments, on_message)
        except FailedJobError:
            raise
        except BaseException:  # the worker is dead, or still busy with a job whose messages have no reader
            worker = self._replace(worker)
            raise
        finally:
            self._idle.put(worker)

    def check(self) -> None:
        """Raises StoppedError after `stop`."""
        if self._stopped:
            raise StoppedError("the sweep was stopped")

    def stop(self) -> None:
        """Ends every process; a pending or later `do` raises StoppedError."""
        with self._lock:
            self._stopped = True
            for worker in self._workers:
                worker.kill()

    def _replace(self, old: Worker) -> Worker:
        with self._lock:
            self.check()
            old.kill()
            self._workers.remove(old)
            replacement = self._worker_factory()
            self._workers.add(replacement)
            return replacement


def _serve(pipe: Connection, preload: tuple[str, ...]) -> None:
    """Main loop of a worker process. Ctrl-C reaches the whole process group, but only the parent handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    for module in preload:
        _preload(module)
    gc.freeze()  # imported modules are never garbage; later collections need not scan them
    while True:
        try:
            target, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(execute(target, arguments, lambda kind, *payload: pipe.send((kind, payload))))


def _preload(module: str) -> None:
    try:
        resolve_name(module)
    except Exception as error:  # the job that needs the module raises the same error
        logger.info("preloading %s failed: %s", module, exception_line(error))


def execute(target: str, arguments: tuple, send: Callable[..., None]) -> tuple[str, Any]:
    """Calls a job; returns ("done", result) or ("failed", (exception on one line, traceback))."""
    try:
        return "done", resolve_name(target)(*arguments, send)
    except Exception as error:
        return "failed", (exception_line(error), traceback.format_exc())


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
