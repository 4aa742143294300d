"""What the runs of one sweep share: the store, the sweep's own run, threads, processes, a display.

Apart from the flow, because Prefect sends a flow's functions to other processes by value, with all they refer to.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from prefect.runtime import deployment
from prefect.task_runners import ThreadPoolTaskRunner

from flows.config import CompareConfig, TrainConfig, title
from flows.errors import StoppedError
from flows.project import here
from flows.running import worker
from flows.running.pool import Pool
from flows.running.runners import staffed
from flows.sweep.lock import only_sweep
from flows.sweep.plan import REUSES, Plan, Todo, Wish, plan
from flows.sweep.progress import Progress, progress
from flows.tracking.access import writable
from flows.tracking.cache_key import TAG, surroundings
from flows.tracking.provenance import facts, run_tags
from flows.tracking.recorder import RunRecorder
from flows.tracking.reuse import copy, twin
from flows.tracking.store import CONFIG, Store

AHEAD = 1  # run that is opened, and waits for a process, while another's books are closed: no process waits for them


class Sweep(NamedTuple):
    """An open sweep."""

    store: Store
    record: RunRecorder
    threads: ThreadPoolTaskRunner[Any]
    pool: Pool
    progress: Progress
    plan: Plan
    wanted: dict[str, Todo]  # title of a run -> what is to be done of it
    tried: dict[str, str]  # title of a run -> id of its MLflow run
    reused: set[str]  # titles of the runs that were copied

    def todo(self, config: TrainConfig) -> Todo:
        """What is to be done of that run."""
        return self.wanted[title(config)]

    def do(self, todo: Todo) -> str:
        """The run in an MLflow run below the sweep's: what a finished twin has recorded, or else training; its id."""
        self.pool.check()  # a thread may be free for the next run while a sweep is being stopped
        original = twin(self.store, todo.key) if todo.reuse and not todo.again else None
        with self.store.run(
            title(todo.config),
            {} if original else facts(todo.config),
            {**run_tags(todo.config), TAG: todo.key, "attempt": str(todo.attempt)},
            parent=self.record.run_id,
            watch=partial(self.progress.moved, todo.config),
            again=todo.again,
        ) as record:
            self.tried[title(todo.config)] = record.run_id
            if original:
                copy(self.store, original, record)
                self.reused.add(title(todo.config))
            else:
                self.pool.do("flows.running.worker:train", worker.TRAIN, todo.config, record.folder, heard=record.hear)
        return record.run_id

    def once_more(self, todo: Todo) -> str:
        """The same run again, from where its last state was kept."""
        return self.do(todo._replace(again=self.tried[title(todo.config)], attempt=todo.attempt + 1))

    @contextmanager
    def shown(self, config: TrainConfig) -> Iterator[None]:
        """The run is on display, and so is what becomes of it."""
        self.progress.began(config)
        try:
            yield
        except StoppedError:
            self.progress.ended(config, "stopped")
            raise
        except BaseException as error:
            self.progress.ended(config, f"failed: {error}")
            raise
        self.progress.ended(config, "reused" if title(config) in self.reused else "finished")


_current: ContextVar[Sweep] = ContextVar("sweep")


def current() -> Sweep:
    """The sweep that this flow or task belongs to."""
    return _current.get()


@contextmanager
def opened(config: CompareConfig, wish: Wish) -> Iterator[Sweep]:
    """Locks the store, closes what dead processes left in it, and starts the sweep; ends it whatever happens."""
    project = here()
    writable(project)
    scheduled = deployment.id is not None
    if scheduled:
        _stopped_once()
    store = Store(project)
    with (
        only_sweep(project, wait=scheduled),
        staffed(config) as pool,  # processes import while the store opens
        ThreadPoolTaskRunner[Any](max_workers=config.workers + AHEAD) as threads,
    ):
        store.reap()
        made = plan(store, config, wish, surroundings(config.env, worker.TRAIN))
        tags = {"kind": "sweep", CONFIG: config.model_dump_json(), REUSES: str(wish.reuse)}
        with (
            store.run(sweep_name(config), facts(config), tags, again=wish.resume) as record,
            progress([todo.config for todo in made.todo]) as display,
            _set(
                Sweep(
                    store,
                    record,
                    threads,
                    pool,
                    display,
                    made,
                    {title(todo.config): todo for todo in made.todo},
                    {},
                    set(),
                )
            ),
        ):
            yield current()


@contextmanager
def _set(sweep: Sweep) -> Iterator[None]:
    """The sweep is the current one; at the end its processes stop, first of all, for its threads wait for them."""
    token = _current.set(sweep)
    try:
        yield
    finally:
        sweep.pool.stop()
        _current.reset(token)


def _stopped_once() -> None:
    """Ctrl-C reaches the whole group, and whoever serves the flow sends SIGTERM, perhaps twice: one of them is heard.

    The next one would cut short the closing of the runs.
    """

    def heard(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, heard)


def sweep_name(config: CompareConfig) -> str:
    """What the user calls it, else the environment and the time."""
    return config.name or f"{config.env.rpartition('/')[2]}-{datetime.now():%Y%m%d-%H%M%S}"
