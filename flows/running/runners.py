"""Where the runs of a sweep are trained: processes of this machine, or an engine that is there already.

Each runner gives `Hand`s, which the pool keeps busy: a hand does one job at a time, in a process that does nothing
else meanwhile. The parent keeps the books in all of them, so a sweep gives the same numbers everywhere.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from flows.config import CompareConfig
from flows.errors import UserError
from flows.running import worker
from flows.running.pool import Pool, ProcessWorker, Worker

WorkerFactory = Callable[[], Worker]
_current_pool: ContextVar[Pool | None] = ContextVar("waiting", default=None)


class Engine(NamedTuple):
    """An engine that is imported when asked for: `package` says whether it is there, `module` opens it."""

    package: str
    module: str


ENGINES = {
    "dask": Engine("distributed", "flows.running.dask_runner"),
    "ray": Engine("ray", "flows.running.ray_runner"),
}


def check_runner(config: CompareConfig) -> None:
    """Raises UserError if the engine's package is not installed."""
    if engine := ENGINES.get(config.runner):
        try:
            import_module(engine.package)
        except ModuleNotFoundError:
            name = config.runner
            raise UserError(
                f"--runner {name}: {engine.package} is not installed; pip install 'keyhole[{name}]'"
            ) from None


@contextmanager
def open_pool(config: CompareConfig) -> Iterator[Pool]:
    """The hands of a sweep. Inside of such a block they are the same ones: they may come before the sweep is opened."""
    if (waiting := _current_pool.get()) is not None:
        yield waiting
        return
    size = min(config.workers, len(config.runs()))
    with worker_factory(config, size) as hire, Pool(size, hire) as pool:
        token = _current_pool.set(pool)
        try:
            yield pool
        finally:
            _current_pool.reset(token)


@contextmanager
def worker_factory(config: CompareConfig, size: int) -> Iterator[WorkerFactory]:
    """What makes the sweep's `size` hands; the engine is let go at the end."""
    if engine := ENGINES.get(config.runner):
        open_workers: Any = import_module(engine.module).open_workers
        with open_workers(config, size) as hire:
            yield hire
    else:
        yield partial(ProcessWorker, [worker.TRAIN])
