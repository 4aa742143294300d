"""Prefect's undocumented classes and methods that flows uses still behave as it needs."""

import asyncio
import inspect
import time
from typing import ClassVar

import pytest
from prefect import tags
from prefect._internal.concurrency.services import QueueService
from prefect.context import TagsContext
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.runner import Runner

from flows.prefect_server.history import discard_history, without_owner_tags
from flows.tracking.process_owner import owner_tags


class Collector(QueueService):
    """A queue service whose items go to a list."""

    delivered: ClassVar[list[str]] = []

    async def _handle(self, item: str) -> None:
        self.delivered.append(item)


def test_draining_a_queue_service_delivers_its_pending_items():
    Collector.instance().send("event")
    Collector.drain_all(timeout=20.0)
    assert Collector.delivered == ["event"]


class Stuck(QueueService):
    """A queue service whose server is slow."""

    handled: ClassVar[list[str]] = []

    async def _handle(self, item: str) -> None:
        self.handled.append(item)
        await asyncio.sleep(0.5)


def test_discarded_events_do_not_delay_the_end_of_the_process():
    worker = Stuck.instance()
    for number in range(50):
        worker.send(number)
    discard_history([Stuck])
    start = time.monotonic()
    Stuck.drain_all(timeout=20.0)
    assert time.monotonic() - start < 5
    assert len(Stuck.handled) < 5


@pytest.mark.parametrize("worker", [EventsWorker, APILogWorker])
def test_the_workers_of_events_and_logs_are_queue_services(worker):
    assert issubclass(worker, QueueService)
    inspect.signature(worker.drain_all).bind(timeout=20.0)


def test_tasks_do_not_inherit_the_owner_tags_but_keep_the_others():
    owner = {f"{name}={value}" for name, value in owner_tags().items()}
    with tags("mine", *owner):
        with without_owner_tags():
            assert TagsContext.get().current_tags == {"mine"}
        assert TagsContext.get().current_tags == {"mine", *owner}


def test_the_runner_calls_the_sigterm_handler_that_serve_overrides_and_reads_the_flag_that_it_sets():
    assert "self.handle_sigterm" in inspect.getsource(Runner.start)
    assert "self.stopping" in inspect.getsource(Runner)
    assert Runner(name="keyhole").stopping is False
