"""The schedules that Prefect's server of the project keeps: `compare/nightly` is the flow and the deployment's name."""

import os
from datetime import datetime
from typing import Any, NamedTuple

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.sorting import DeploymentSort, FlowRunSort

from flows.errors import UserError, unknown_name
from flows.prefect_server.server import Server
from flows.project import Project

MAX_SCHEDULES = 200  # that the server gives at once
NEXT = FlowRunFilter.model_validate({"state": {"name": {"any_": ["Scheduled", "Late"]}}})


class Scheduled(NamedTuple):
    """A deployment's schedule."""

    name: str
    cron: str
    timezone: str
    active: bool
    next: datetime | None
    deployment: Any
    schedule: Any


def open_client(project: Project) -> SyncPrefectClient:
    """A client of the server that runs; raises UserError if none does. To be called before a client was made."""
    url = Server(project.prefect_home).found()
    if url is None:
        raise UserError(
            "no Prefect server of this project runs; start one with `keyhole serve`, or set PREFECT_API_URL"
        )
    os.environ["PREFECT_API_URL"] = url
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()
    return get_client(sync_client=True)


def read_schedules(client: SyncPrefectClient) -> list[Scheduled]:
    """Every schedule, by name."""
    found = [
        Scheduled(
            name=f"{client.read_flow(deployment.flow_id).name}/{deployment.name}",
            cron=getattr(schedule.schedule, "cron", str(schedule.schedule)),
            timezone=getattr(schedule.schedule, "timezone", None) or "UTC",
            active=schedule.active and not deployment.paused,
            next=_next(client, deployment.id),
            deployment=deployment.id,
            schedule=schedule.id,
        )
        for deployment in client.read_deployments(sort=DeploymentSort.NAME_ASC, limit=MAX_SCHEDULES)
        for schedule in deployment.schedules
    ]
    return sorted(found, key=lambda one: (one.name, one.cron))


def _next(client: SyncPrefectClient, deployment: Any) -> datetime | None:
    its = DeploymentFilter.model_validate({"id": {"any_": [deployment]}})
    waiting = client.read_flow_runs(
        deployment_filter=its, flow_run_filter=NEXT, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=1
    )
    return waiting[0].next_scheduled_start_time if waiting else None


def schedule_table(schedules: list[Scheduled]) -> str:
    """A line for each."""
    if not schedules:
        return "no schedule; make one with `keyhole serve --cron '0 3 * * *'`"
    rows = [(one.name, one.cron, one.timezone, "active" if one.active else "paused", _when(one)) for one in schedules]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _when(one: Scheduled) -> str:
    return f"next {one.next.astimezone():%Y-%m-%d %H:%M}" if one.active and one.next else ""


def select_schedules(schedules: list[Scheduled], wanted: str | None) -> list[Scheduled]:
    """The schedules of the deployment that `wanted` names, with or without its flow; None: of the only one."""
    names = sorted({one.name for one in schedules})
    if not names:
        raise UserError(schedule_table([]).replace("no schedule", "there is no schedule"))
    if wanted is None and len(names) > 1:
        raise UserError(f"there are {len(names)} schedules; name one of {', '.join(names)}")
    named = [one for one in schedules if wanted in (None, one.name, one.name.partition("/")[2])]
    if not named:
        raise unknown_name("schedule", str(wanted), [name.partition("/")[2] for name in names])
    return named


def pause(client: SyncPrefectClient, one: Scheduled) -> None:
    """Nothing more is started; what was planned is dropped."""
    client.pause_deployment(one.deployment)


def resume(client: SyncPrefectClient, one: Scheduled) -> None:
    """The schedule plans runs again."""
    client.update_deployment_schedule(one.deployment, one.schedule, active=True)
    client.resume_deployment(one.deployment)


def remove(client: SyncPrefectClient, one: Scheduled) -> None:
    """The schedule is gone; its deployment can still be started by hand."""
    client.delete_deployment_schedule(one.deployment, one.schedule)


CHANGES = {"pause": (pause, "paused"), "resume": (resume, "resumed"), "remove": (remove, "removed")}


def list_schedules(project: Project) -> str:
    """`keyhole schedule list`."""
    with open_client(project) as client:
        return schedule_table(read_schedules(client))


def change_schedules(project: Project, verb: str, wanted: str | None) -> str:
    """`keyhole schedule pause | resume | remove`; what was done, a line for each schedule."""
    act, done = CHANGES[verb]
    with open_client(project) as client:
        those = select_schedules(read_schedules(client), wanted)
        for one in those:
            act(client, one)
    return "\n".join(f"{one.name} ({one.cron}): {done}" for one in those)
