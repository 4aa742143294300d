"""Prefect's history of a sweep is complete: what a client still holds is delivered before the server goes.

Task history is made from events, which a client sends in the background. A flow whose process was killed
stays Running for ever on the server; it is closed when the next sweep starts.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.context import TagsContext
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.states import Crashed

from flows.tracking.process_owner import is_abandoned, owner_tags

FLUSH_TIMEOUT = 20.0  # seconds
CAUSE = "its process ended without closing it"
FLOW = FlowFilter.model_validate({"name": {"any_": ["compare"]}})
RUNNING = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}})
UNDER_WAY = TaskRunFilter.model_validate({"state": {"type": {"any_": ["PENDING", "RUNNING", "SCHEDULED"]}}})
SORTED = TaskRunSort.ID_DESC


@contextmanager
def record_history() -> Iterator[None]:
    """Flows called inside are this process's; at the end the server has heard all of them."""
    marks = sorted(_owner_tags())
    with get_client(sync_client=True) as client, tags(*marks):
        crash_abandoned(client)
        try:
            yield
        finally:
            flush_history(client, marks)


@contextmanager
def without_owner_tags() -> Iterator[None]:
    """Tasks submitted inside do not inherit the process's marks from their flow.

    A tag of a task is a limit too: before the task begins, the server is asked whether there is one and books a place,
    in a database that may be busy for seconds.
    """
    with TagsContext(current_tags=TagsContext.get().current_tags - _owner_tags()):
        yield


def _owner_tags() -> set[str]:
    return {f"{name}={value}" for name, value in owner_tags().items()}


def crash_abandoned(client: SyncPrefectClient) -> int:
    """Marks flow runs whose process is gone as crashed, their tasks too; how many flow runs there were."""
    running = client.read_flow_runs(
        flow_filter=FLOW, flow_run_filter=RUNNING, sort=FlowRunSort.START_TIME_DESC, limit=200
    )
    dead = [run for run in running if is_abandoned(dict(tag.partition("=")[::2] for tag in run.tags))]
    for run in dead:
        its = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})
        for task in client.read_task_runs(flow_run_filter=its, task_run_filter=UNDER_WAY, sort=SORTED, limit=200):
            client.set_task_run_state(task.id, Crashed(message=CAUSE), force=True)
        client.set_flow_run_state(run.id, Crashed(message=CAUSE), force=True)
    return len(dead)


def flush_history(client: SyncPrefectClient, marks: list[str]) -> None:
    """Sends the logs and events still held, and waits until the server has made task history of them."""
    APILogWorker.drain_all(timeout=FLUSH_TIMEOUT)
    EventsWorker.drain_all(timeout=FLUSH_TIMEOUT)
    ours = FlowRunFilter.model_validate({"tags": {"all_": marks}})
    start = time.monotonic()
    while client.read_task_runs(flow_run_filter=ours, task_run_filter=UNDER_WAY, sort=SORTED, limit=1):
        if time.monotonic() - start > FLUSH_TIMEOUT:
            return
        time.sleep(0.1)
