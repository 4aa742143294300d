"""Runs on Ray: a cluster of this machine, or the one at an address. Each hand is an actor, a process of its own.

What a job says comes back as a stream that ends with its result.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError

from flows import process_env
from flows.config import CompareConfig
from flows.errors import DeadWorkerError, FailedJobError, UserError
from flows.running.pool import MessageHandler, execute
from flows.text import one_line


@contextmanager
def open_workers(config: CompareConfig, size: int) -> Iterator[Callable[[], "RayWorker"]]:
    """What makes hands; raises UserError if no Ray answers."""
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
    """A process that does one job after the other."""

    def do(self, target: str, arguments: tuple) -> Iterator[tuple[str, Any]]:
        """What the job says, and at last "done" or "failed" with what came out."""
        words: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

        def say(kind: str, *payload: Any) -> None:
            words.put((kind, payload))

        threading.Thread(target=lambda: words.put(execute(target, arguments, say)), daemon=True).start()
        while True:
            said = words.get()
            yield said
            if said[0] in ("done", "failed"):
                return


REMOTE_ACTOR: Any = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Actor)


class RayWorker:
    """Has one actor."""

    def __init__(self) -> None:
        self._actor = REMOTE_ACTOR.remote()

    def do(self, target: str, arguments: tuple, heard: MessageHandler) -> Any:
        """The job's result, as the pool's own processes give it."""
        try:
            for said in self._actor.do.options(num_returns="streaming").remote(target, arguments):
                kind, payload = ray.get(said)
                if kind == "done":
                    return payload
                if kind == "failed":
                    raise FailedJobError(*payload)
                heard(kind, payload)
        except RayActorError as error:
            raise DeadWorkerError(f"the Ray actor died ({one_line(error, 200)})") from None
        raise DeadWorkerError("the Ray actor ended without an answer")

    def kill(self) -> None:
        """Ends the process at once."""
        ray.kill(self._actor)
