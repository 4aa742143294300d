"""Trains runs on Ray: a local cluster, or the one at an address. Each worker is an actor with its own process.

Messages of a job arrive as a stream that ends with its result.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError

from flows import process_env, search_path
from flows.config import CompareConfig
from flows.errors import DeadWorkerError, FailedJobError, UserError
from flows.running.pool import MessageHandler, execute
from flows.text import one_line


@contextmanager
def open_workers(config: CompareConfig, size: int) -> Iterator[Callable[[], "RayWorker"]]:
    """Yields a worker factory; raises UserError if no Ray cluster answers."""
    process_env.use_one_thread()
    try:
        ray.init(
            address=config.ray_address or "local",
            num_cpus=None if config.ray_address else size,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env={"env_vars": {**process_env.ONE_THREAD, **process_env.KEEP_MEMORY}},
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray-address: no Ray answers at {config.ray_address!r} ({one_line(error)})") from None
    try:
        yield RayWorker
    finally:
        ray.shutdown()


class Actor:
    """A Ray actor that executes one job after another."""

    def do(self, target: str, arguments: tuple, folder: str) -> Iterator[tuple[str, Any]]:
        """Yields each message of the job, then "done" or "failed" with its result; it may use modules of `folder`."""
        search_path.append_folder(folder, is_first=True)  # Ray puts the driver's folder first
        messages: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

        def send(kind: str, *payload: Any) -> None:
            messages.put((kind, payload))

        threading.Thread(target=lambda: messages.put(execute(target, arguments, send)), daemon=True).start()
        while True:
            message = messages.get()
            yield message
            if message[0] in ("done", "failed"):
                return


REMOTE_ACTOR: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Actor)


class RayWorker:
    """A Worker with one actor."""

    def __init__(self) -> None:
        self._actor = REMOTE_ACTOR.remote()

    def do(self, target: str, arguments: tuple, on_message: MessageHandler) -> Any:
        """Runs a job in the actor; see Worker."""
        try:
            for reference in self._actor.do.options(num_returns="streaming").remote(target, arguments, os.getcwd()):
                kind, payload = ray.get(reference)
                if kind == "done":
                    return payload
                if kind == "failed":
                    raise FailedJobError(*payload)
                on_message(kind, payload)
        except RayActorError as error:
            raise DeadWorkerError(f"the Ray actor died ({one_line(error, 200)})") from None
        raise DeadWorkerError("the Ray actor ended without an answer")

    def kill(self) -> None:
        """Ends the process immediately."""
        ray.kill(self._actor)
