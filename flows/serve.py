"""`keyhole serve`: what can be started on Prefect's page, and what a schedule starts, runs while this process does.

Deployments name their flow by module, so the process of a run imports what any other process imports. One sweep runs
at a time: the next one waits for its turn, and then for the store's lock.
"""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from flows.config import CompareConfig
from flows.errors import UserError
from flows.prefect_server.server import Server
from flows.project import Project, current_project
from flows.sweep.checks import check_sweep
from flows.tracking.access import check_writable

CLOSE_TIMEOUT = 60.0  # seconds that a sweep has to close its runs
NAME = "keyhole"  # of a deployment that the user did not name


def serve(config: CompareConfig, cron: str | None, timezone: str) -> None:
    """Serves compare, certify and report until Ctrl-C; `cron` starts compare with `config`."""
    project = current_project()
    check_writable(project)
    check_sweep(config)
    check_cron(cron, timezone)
    with _running_server(project) as server:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()  # Prefect was imported to read the cron expression
        _open_store(project)
        server.wait()
        print(serving_message(server, config, cron, timezone), flush=True)
        _run(*deployments(config, cron, timezone))
    print("stopped; its schedules are paused until the next `keyhole serve`")


def check_cron(cron: str | None, timezone: str) -> None:
    """Raises UserError if Prefect could not schedule that."""
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        CronSchedule(cron=cron or "* * * * *", timezone=timezone)
    except ValidationError as error:
        wrong = error.errors()[0]
        if wrong["loc"][:1] == ("cron",):
            raise UserError(
                f"--cron: found {cron!r}; write minute hour day month weekday, for example --cron '0 3 * * *'"
            ) from None
        raise UserError(f"--timezone: found {timezone!r}; write for example --timezone Europe/Berlin") from None


def deployments(config: CompareConfig, cron: str | None, timezone: str) -> list[Any]:
    """compare with `config` as its form's values, on the schedule; certify and report with theirs."""
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    from flows.certify import certify
    from flows.compare import compare
    from flows.report import report

    by_module = EntrypointType.MODULE_PATH
    sweep = compare.to_deployment(
        name=config.name or NAME,
        parameters={"config": config.model_dump(mode="json")},
        schedules=[Cron(cron, timezone=timezone)] if cron else [],
        entrypoint_type=by_module,
    )
    return [sweep, *(flow.to_deployment(name=NAME, entrypoint_type=by_module) for flow in (certify, report))]


def _run(sweep: Any, *rest: Any) -> None:
    """Starts what is due until Ctrl-C or SIGTERM; then runs under way are closed and the schedules paused."""
    from prefect.runner import Runner

    asked = threading.Event()

    class Interruptible(Runner):
        def handle_sigterm(self, *_: Any) -> None:
            asked.set()

    async def both() -> None:  # a certificate does not wait behind a sweep
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, asked.set)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(runner.start()) for runner in runners]
            while not asked.is_set():
                await asyncio.sleep(0.2)
            for runner in runners:
                runner.stopping = True
            await asyncio.to_thread(_end_runs)  # cancelled first, Prefect would kill them
            for task in tasks:
                task.cancel()

    runners = [Interruptible(name="sweeps", limit=1), Interruptible(name="others")]
    for runner, served in zip(runners, ([sweep], rest), strict=True):
        for deployment in served:
            runner.add_deployment(deployment)
    asyncio.run(both())


def _end_runs() -> None:
    """The processes of flow runs close their books and end."""
    ours = [child for child in psutil.Process().children() if "prefect.engine" in child.cmdline()]
    for process in ours:
        process.terminate()
    psutil.wait_procs(ours, timeout=CLOSE_TIMEOUT)


def serving_message(server: Server, config: CompareConfig, cron: str | None, timezone: str) -> str:
    """What the user reads when it serves."""
    name = f"compare/{config.name or NAME}"
    when = f"{name} runs at {cron!r} ({timezone})" if cron else f"{name} has no schedule; --cron gives it one"
    return f"{when}\nPrefect's page: {server.page}/deployments\nCtrl-C ends it."


@contextmanager
def _running_server(project: Project) -> Iterator[Server]:
    server = Server(project.prefect_home)
    try:
        server.start()
        yield server
    finally:
        server.leave()


def _open_store(project: Project) -> None:
    from flows.tracking.store import Store

    assert Store(project).experiment
