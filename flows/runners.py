"""Where the runs of a sweep are trained: processes of this machine, or an engine that is there already.

Each runner gives `Hand`s, which the pool keeps busy: a hand does one job at a time, in a process that does nothing
else meanwhile. The parent keeps the books in all of them, so a sweep gives the same numbers everywhere.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from flows import job
from flows.config import CompareConfig
from flows.mistakes import UserError
from flows.pool import Hand, Worker

Hire = Callable[[], Hand]


class Engine(NamedTuple):
    """An engine that is imported when asked for: `package` says whether it is there, `hands` opens it."""

    package: str
    hands: str


ENGINES = {
    "dask": Engine("distributed", "flows.dask_runner"),
    "ray": Engine("ray", "flows.ray_runner"),
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
def hired(config: CompareConfig, size: int) -> Iterator[Hire]:
    """What makes the sweep's `size` hands; the engine is let go at the end."""
    if engine := ENGINES.get(config.runner):
        opened: Any = import_module(engine.hands).opened
        with opened(config, size) as hire:
            yield hire
    else:
        yield partial(Worker, [job.TRAIN])
