"""Selects where the runs of a sweep are trained: processes of this machine, Dask or Ray.

Each runner supplies a worker factory to the pool. The parent process writes all records, so a sweep gives the same
numbers with every runner.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from flows.errors import UserError
from flows.running import worker
from flows.running.pool import Pool, ProcessWorker, Worker
from flows.study_config import Experiment

WorkerFactory = Callable[[], Worker]
# A ContextVar, because the command line opens the pool before it calls the flow, and a flow's parameters must be JSON.
_current_pool: ContextVar[Pool | None] = ContextVar("pool", default=None)


class Engine(NamedTuple):
    """An optional runner: the `package` it needs, and the `module` of ours that opens it."""

    package: str
    module: str


ENGINES = {
    "dask": Engine("distributed", "flows.running.dask_runner"),
    "ray": Engine("ray", "flows.running.ray_runner"),
}


def check_runner(config: Experiment) -> None:
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
def open_pool(config: Experiment) -> Iterator[Pool]:
    """Opens the pool of a sweep. Re-entrant: a nested call yields the open pool, so workers can start early."""
    if (pool := _current_pool.get()) is not None:
        yield pool
        return
    size = min(config.workers, len(config.runs()))
    with worker_factory(config, size) as factory, Pool(size, factory) as pool:
        token = _current_pool.set(pool)
        try:
            yield pool
        finally:
            _current_pool.reset(token)


@contextmanager
def worker_factory(config: Experiment, size: int) -> Iterator[WorkerFactory]:
    """Yields the worker factory of the configured runner; closes the runner at the end."""
    if engine := ENGINES.get(config.runner):
        open_workers: Any = import_module(engine.module).open_workers
        with open_workers(config, size) as factory:
            yield factory
    else:
        yield partial(ProcessWorker, [worker.trainer(config.kind)])
