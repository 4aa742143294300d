"""Training processes: each does one job at a time, and one that dies takes only its own job along.

Every process has a pipe of its own. A queue shared by all would stay locked for ever when the process that
was writing to it is killed. A process imports its libraries once and then serves job after job.
"""

import gc
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pkgutil import resolve_name
from typing import Any, Protocol

from flows import process_env
from flows.errors import DeadWorkerError, FailedJobError, StoppedError
from flows.text import exception_line

MessageHandler = Callable[[str, tuple], None]  # takes the name and arguments of what a job says on its way


class Worker(Protocol):
    """Does one job at a time, in a process that does nothing else meanwhile."""

    def do(self, target: str, arguments: tuple, heard: MessageHandler) -> Any:
        """The job's result. Passes what it says on to `heard`; raises DeadWorkerError or FailedJobError."""

    def kill(self) -> None:
        """Ends the process at once; who waits in `do` gets an error."""


class ProcessWorker:
    """One process and our end of its pipe."""

    def __init__(self, warm: Sequence[str] = ()) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, tuple(warm)), daemon=True)
        self.process.start()
        theirs.close()  # theirs alone now, so that their death reads as the end of the pipe

    def do(self, target: str, arguments: tuple, heard: MessageHandler) -> Any:
        try:
            self._pipe.send((target, arguments))
            while True:
                kind, payload = self._pipe.recv()
                if kind == "done":
                    return payload
                if kind == "failed":
                    raise FailedJobError(*payload)
                heard(kind, payload)
        except (EOFError, ConnectionError):
            raise DeadWorkerError(self._exit_reason()) from None

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def _exit_reason(self) -> str:
        self.process.join(5)
        code = self.process.exitcode
        cause = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        return f"the process {self.process.pid} died ({cause})"


class Pool:
    """`size` hands. `do` waits for an idle one; a dead one is replaced before the next job."""

    def __init__(self, size: int, hire: Callable[[], Worker] = ProcessWorker) -> None:
        process_env.use_one_thread()
        self._hire = hire
        self._stopped = False
        self._lock = threading.Lock()
        self._workers = {hire() for _ in range(size)}
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def do(self, target: str, *arguments: Any, heard: MessageHandler = lambda kind, payload: None) -> Any:
        """The result of `target` ("module:function") called with `arguments` and a `say(kind, *payload)`.

        Raises FailedJobError if it raises, DeadWorkerError if its process dies, StoppedError after `stop`.
        """
        worker = self._idle.get()
        try:
            return worker.do(target, arguments, heard)
        except FailedJobError:
            raise
        except BaseException:  # it is dead, or in the middle of a job that nobody hears any more
            worker = self._replace(worker)
            raise
        finally:
            self._idle.put(worker)

    def check(self) -> None:
        """Raises StoppedError after `stop`."""
        if self._stopped:
            raise StoppedError("the sweep was stopped")

    def stop(self) -> None:
        """Ends every process; whoever waits for one gets StoppedError."""
        with self._lock:
            self._stopped = True
            for worker in self._workers:
                worker.kill()

    def _replace(self, old: Worker) -> Worker:
        with self._lock:
            self.check()
            old.kill()
            self._workers.remove(old)
            fresh = self._hire()
            self._workers.add(fresh)
            return fresh


def _serve(pipe: Connection, warm: tuple[str, ...]) -> None:
    """The life of a process. Ctrl-C reaches the whole group: here the parent decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    for module in warm:
        _warm_up(module)
    gc.freeze()  # what is imported stays: nobody need look through it again
    while True:
        try:
            target, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(execute(target, arguments, lambda kind, *payload: pipe.send((kind, payload))))


def _warm_up(module: str) -> None:
    try:
        resolve_name(module)
    except Exception:  # the job that needs it will raise the same, where somebody listens
        return


def execute(target: str, arguments: tuple, say: Callable[..., None]) -> tuple[str, Any]:
    """ "done" with what the job returns, or "failed" with its last line and its trace."""
    try:
        return "done", resolve_name(target)(*arguments, say)
    except Exception as error:
        return "failed", (exception_line(error), traceback.format_exc())


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
