"""Completes Prefect's history of a sweep: flushes the client's events before the server stops.

Prefect derives task history from events, which a client sends in the background. A flow whose process was killed stays
Running on the server, so the next sweep marks it as crashed.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty
from typing import Any

from prefect import tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.context import TagsContext
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.states import Crashed

from flows.prefect_server.server import is_up
from flows.tracking.process_owner import is_abandoned, owner_tags

FLUSH_TIMEOUT = 20.0  # seconds for each of logs, events and task history
INTERRUPTED_TIMEOUT = 1.0  # the same after Ctrl-C; the next sweep closes what the server still shows as running
CAUSE = "its process ended without closing it"
FLOW = FlowFilter.model_validate({"name": {"any_": ["compare", "study"]}})
RUNNING = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}})
UNDER_WAY = TaskRunFilter.model_validate({"state": {"type": {"any_": ["PENDING", "RUNNING", "SCHEDULED"]}}})
SORTED = TaskRunSort.ID_DESC


@contextmanager
def record_history() -> Iterator[None]:
    """Tag flows called inside as this process's; on exit wait until the server has their whole history."""
    owner = sorted(_owner_tags())
    logging.raiseExceptions = False  # else Prefect's log handler prints that its server is away
    with get_client(sync_client=True) as client, tags(*owner):
        if is_up():
            crash_abandoned(client)
        timeout = FLUSH_TIMEOUT
        try:
            yield
        except KeyboardInterrupt:
            timeout = INTERRUPTED_TIMEOUT
            raise
        finally:
            if is_up():
                flush_history(client, owner, timeout)
            discard_history()


@contextmanager
def without_owner_tags() -> Iterator[None]:
    """Submit tasks inside without the owner tags that they would inherit from their flow.

    Prefect treats each tag of a task as a possible concurrency limit. Before the task starts, the server looks up
    the limit and reserves a slot, in a database that may be busy for seconds.
    """
    with TagsContext(current_tags=TagsContext.get().current_tags - _owner_tags()):
        yield


def _owner_tags() -> set[str]:
    return {f"{name}={value}" for name, value in owner_tags().items()}


def crash_abandoned(client: SyncPrefectClient) -> int:
    """Mark flow runs whose process has ended, and their tasks, as crashed; return the number of flow runs."""
    running = client.read_flow_runs(
        flow_filter=FLOW, flow_run_filter=RUNNING, sort=FlowRunSort.START_TIME_DESC, limit=200
    )
    abandoned = [run for run in running if is_abandoned(dict(tag.partition("=")[::2] for tag in run.tags))]
    for run in abandoned:
        same_flow_run = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})
        for task in client.read_task_runs(
            flow_run_filter=same_flow_run, task_run_filter=UNDER_WAY, sort=SORTED, limit=200
        ):
            client.set_task_run_state(task.id, Crashed(message=CAUSE), force=True)
        client.set_flow_run_state(run.id, Crashed(message=CAUSE), force=True)
    return len(abandoned)


def discard_history(services: Sequence[Any] = (APILogWorker, EventsWorker)) -> None:
    """Drop pending logs and events: at exit Prefect would try for seconds to send each to a server that is away."""
    for service in services:
        for instance in list(service._instances.values()):  # no public function discards them
            with suppress(Empty):
                while True:
                    instance._queue.get_nowait()


def flush_history(client: SyncPrefectClient, owner: list[str], timeout: float) -> None:
    """Send pending logs and events, then wait until no task of flows with these tags is under way on the server."""
    APILogWorker.drain_all(timeout=timeout)
    EventsWorker.drain_all(timeout=timeout)
    ours = FlowRunFilter.model_validate({"tags": {"all_": owner}})
    start = time.monotonic()
    while client.read_task_runs(flow_run_filter=ours, task_run_filter=UNDER_WAY, sort=SORTED, limit=1):
        if time.monotonic() - start > timeout:
            return
        time.sleep(0.1)
