"""Lists and changes schedules on the project's Prefect server; `compare/nightly` is flow name / deployment name."""

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.sorting import DeploymentSort, FlowRunSort

from flows.errors import UserError, unknown_name
from flows.prefect_server.server import Server, healthy, unanswered
from flows.project import Project
from flows.shell import shell_command

MAX_SCHEDULES = 200  # the server's limit for one query
NEXT = FlowRunFilter.model_validate({"state": {"name": {"any_": ["Scheduled", "Late"]}}})


class Scheduled(NamedTuple):
    """A schedule of a deployment; `deployment` and `schedule` are Prefect's ids."""

    name: str
    cron: str
    timezone: str
    active: bool
    next: datetime | None
    deployment: Any
    schedule: Any


def open_client(project: Project) -> SyncPrefectClient:
    """Open a client of the running server, before any other client is made; raise UserError if no server answers."""
    named = os.environ.get("PREFECT_API_URL")
    if named and not healthy(named):
        raise unanswered(named)
    url = named or Server(project.prefect_home).found_own()
    if url is None:
        raise UserError(
            f"no Prefect server of this project runs; start one with {shell_command('serve')}, or set PREFECT_API_URL"
        )
    os.environ["PREFECT_API_URL"] = url
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()
    return get_client(sync_client=True)


def read_schedules(client: SyncPrefectClient) -> list[Scheduled]:
    """Return every schedule, sorted by name."""
    schedules = [
        Scheduled(
            name=f"{client.read_flow(deployment.flow_id).name}/{deployment.name}",
            cron=getattr(schedule.schedule, "cron", str(schedule.schedule)),
            timezone=getattr(schedule.schedule, "timezone", None) or "UTC",
            active=schedule.active and not deployment.paused,
            next=_next(client, deployment.id),
            deployment=deployment.id,
            schedule=schedule.id,
        )
        for deployment in _deployments(client)
        for schedule in deployment.schedules
    ]
    return sorted(schedules, key=lambda one: (one.name, one.cron))


def _next(client: SyncPrefectClient, deployment: Any) -> datetime | None:
    same_deployment = DeploymentFilter.model_validate({"id": {"any_": [deployment]}})
    planned = client.read_flow_runs(
        deployment_filter=same_deployment, flow_run_filter=NEXT, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=1
    )
    return planned[0].next_scheduled_start_time if planned else None


def schedule_table(schedules: list[Scheduled]) -> str:
    """Format the schedules, one line each."""
    if not schedules:
        return f"no schedule; create one with {shell_command('serve', '--cron', '0 3 * * *')}"
    rows = [(one.name, one.cron, one.timezone, "active" if one.active else "paused", _when(one)) for one in schedules]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _when(one: Scheduled) -> str:
    return f"next {one.next.astimezone():%Y-%m-%d %H:%M}" if one.active and one.next else ""


def select_schedules(schedules: list[Scheduled], name: str | None) -> list[Scheduled]:
    """Select the schedules of one deployment.

    Args:
        schedules: every schedule.
        name: deployment name, with or without the flow name in front; None if there is only one deployment.

    Raises:
        UserError: there is no such deployment, or `name` is None and there are several.
    """
    names = sorted({one.name for one in schedules})
    if not names:
        raise UserError(schedule_table([]).replace("no schedule", "there is no schedule"))
    if name is None and len(names) > 1:
        raise UserError(f"there are {len(names)} schedules; name one of {', '.join(names)}")
    named = [one for one in schedules if name in (None, one.name, one.name.partition("/")[2])]
    if not named:
        raise unknown_name("schedule", str(name), [full.partition("/")[2] for full in names])
    return named


def pause(client: SyncPrefectClient, one: Scheduled) -> None:
    """Stop starting runs; runs that were planned are dropped.

    `keyhole serve` pauses its deployments when it stops. An inactive schedule shows that the user has paused it.
    """
    client.update_deployment_schedule(one.deployment, one.schedule, active=False)
    client.pause_deployment(one.deployment)


def resume(client: SyncPrefectClient, one: Scheduled) -> None:
    """Plan runs by the schedule again."""
    client.update_deployment_schedule(one.deployment, one.schedule, active=True)
    client.resume_deployment(one.deployment)


def remove(client: SyncPrefectClient, one: Scheduled) -> None:
    """Delete the schedule; its deployment can still be started manually."""
    client.delete_deployment_schedule(one.deployment, one.schedule)


CHANGES = {"pause": (pause, "paused"), "resume": (resume, "resumed"), "remove": (remove, "removed")}


def is_paused(project: Project, name: str) -> bool:
    """Return whether the user has paused the deployment `name`, "flow/deployment", of the running server."""
    with open_client(project) as client:
        schedules = [schedule for one in _deployments(client, name) for schedule in one.schedules]
    return any(not schedule.active for schedule in schedules)


def given_schedules(project: Project, name: str) -> list[DeploymentScheduleCreate]:
    """Return the schedules of the deployment `name`, to give them to it again: serving it anew would delete them."""
    with open_client(project) as client:
        given = [schedule for one in _deployments(client, name) for schedule in one.schedules]
    fields = set(DeploymentScheduleCreate.model_fields)
    return [DeploymentScheduleCreate.model_validate(one.model_dump(include=fields)) for one in given]


def keep_paused(project: Project, names: Sequence[str]) -> None:
    """Make the schedules of the deployments `names` inactive if they are paused: `keyhole serve` does not resume them.

    To be called before `keyhole serve` itself pauses the deployments.
    """
    with open_client(project) as client:
        for one in _deployments(client, *names):
            for schedule in one.schedules if one.paused else []:
                client.update_deployment_schedule(one.id, schedule.id, active=False)


def _deployments(client: SyncPrefectClient, *names: str) -> list[Any]:
    """The deployments of the server, or those with these names, "flow/deployment"."""
    found = client.read_deployments(sort=DeploymentSort.NAME_ASC, limit=MAX_SCHEDULES)
    return [one for one in found if not names or f"{client.read_flow(one.flow_id).name}/{one.name}" in names]


def list_schedules(project: Project) -> str:
    """Run `keyhole schedule list`."""
    with open_client(project) as client:
        return schedule_table(read_schedules(client))


def change_schedules(project: Project, verb: str, name: str | None) -> str:
    """Run `keyhole schedule pause | resume | remove`; return a line for each changed schedule."""
    change, outcome = CHANGES[verb]
    with open_client(project) as client:
        selected = select_schedules(read_schedules(client), name)
        for one in selected:
            change(client, one)
    return "\n".join(f"{one.name} ({one.cron}): {outcome}" for one in selected)
