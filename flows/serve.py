"""`keyhole serve`: runs the flows that the Prefect UI or a schedule starts, for as long as this process lives.

Deployments name their flow by module, so a run's process imports the installed code. One sweep or study runs at a time;
the next one waits for it, and then for the store's lock.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psutil

from flows.config import CompareConfig, RunOptions
from flows.errors import UserError, log_suppressed
from flows.prefect_server.server import Server
from flows.project import Project, current_project
from flows.shell import shell_command
from flows.sweep.checks import check_sweep
from flows.tracking.access import check_writable, require_runs

logger = logging.getLogger(__name__)
CLOSE_TIMEOUT = 60.0  # seconds for a sweep to close its runs
NAME = "keyhole"  # default name of a deployment
TRAINING = ("compare", "study")  # flows of which one runs at a time


def serve(config: CompareConfig, options: RunOptions, cron: str | None, timezone: str) -> None:
    """Serve compare, study, certify and report until Ctrl-C.

    A schedule that the user paused stays paused. The other flows keep the schedules that the user gave them.

    Args:
        config: settings of the scheduled sweep, and default values of compare's form.
        options: options of the scheduled sweep.
        cron: when to start a sweep; None for no schedule.
        timezone: time zone of `cron`.
    """
    project = current_project()
    check_writable(project)
    check_sweep(config)
    check_cron(cron, timezone)
    if options.next_seeds:
        from flows.sweep.earlier import check_extensible
        from flows.tracking.store import Store

        check_extensible(Store(require_runs(project)), config)
    with _running_server(project) as server:
        from prefect.context import refresh_global_settings_context

        from flows.prefect_server import schedules

        refresh_global_settings_context()  # Prefect was imported before, to parse the cron expression
        _open_store(project)
        server.wait()
        paused = schedules.is_paused(project, f"compare/{config.name or NAME}")
        print(serving_message(server, config, cron, timezone, paused), flush=True)
        given = partial(schedules.given_schedules, project)
        _run(project, deployments(config, options, cron, timezone, paused, given))
    print("stopped; no schedule starts a sweep until the next `keyhole serve`")


def check_cron(cron: str | None, timezone: str) -> None:
    """Raise UserError if Prefect cannot parse the cron expression or the time zone."""
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        CronSchedule(cron=cron or "* * * * *", timezone=timezone)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"][:1] == ("cron",):
            raise UserError(
                f"--cron: found {cron!r}; write minute hour day month weekday, for example --cron '0 3 * * *'"
            ) from None
        raise UserError(f"--timezone: found {timezone!r}; write for example --timezone Europe/Berlin") from None


def deployments(
    config: CompareConfig,
    options: RunOptions,
    cron: str | None,
    timezone: str,
    paused: bool = False,
    given: Callable[[str], list[Any]] = lambda name: [],
) -> list[Any]:
    """Return the deployments: compare with `config` and its schedule, then the other flows with their defaults.

    Args:
        config: settings of compare.
        options: options of compare.
        cron: schedule of compare; None for none.
        timezone: time zone of `cron`.
        paused: whether that schedule is inactive.
        given: name of a deployment of another flow -> the schedules that the user gave it before.
    """
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    from flows.certify import certify
    from flows.compare import compare
    from flows.report import report
    from flows.study import study

    by_module = EntrypointType.MODULE_PATH
    sweep = compare.to_deployment(
        name=config.name or NAME,
        parameters={"config": config.form(), "options": options.model_dump(mode="json")},
        schedules=[Cron(cron, timezone=timezone, active=not paused)] if cron else [],
        entrypoint_type=by_module,
    )
    others = [
        flow.to_deployment(name=NAME, schedules=given(f"{flow.name}/{NAME}"), entrypoint_type=by_module)
        for flow in (study, certify, report)
    ]
    return [sweep, *others]


def _run(project: Project, served: list[Any]) -> None:
    """Start due runs of deployments until Ctrl-C or SIGTERM; then end those under way and pause the deployments.

    Prefect pauses every deployment when its runner stops. A deployment that the user has paused before is recorded
    first, by making its schedules inactive.
    """
    from prefect.runner import Runner

    from flows.prefect_server import schedules

    stop_requested = threading.Event()

    class Interruptible(Runner):
        def handle_sigterm(self, *_: Any) -> None:
            stop_requested.set()

    async def run_both() -> None:  # two runners, so that a certificate does not wait for a sweep
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop_requested.set)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(runner.start()) for runner in runners]
            while not stop_requested.is_set():
                await asyncio.sleep(0.2)
            for runner in runners:
                runner.stopping = True
            with log_suppressed(logger, "recording which schedules are paused"):
                names = [f"{deployment.flow_name}/{deployment.name}" for deployment in served]
                await asyncio.to_thread(schedules.keep_paused, project, names)
            await asyncio.to_thread(_end_runs)  # before the tasks are cancelled: then Prefect kills the flow runs
            for task in tasks:
                task.cancel()

    runners = sweeps, others = Interruptible(name="sweeps", limit=1), Interruptible(name="others")
    for deployment in served:
        (sweeps if deployment.flow_name in TRAINING else others).add_deployment(deployment)
    asyncio.run(run_both())


def _end_runs() -> None:
    """Terminate the flow runs' processes and wait until they have closed their MLflow runs."""
    flow_runs = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has ended since, or nobody has read its exit code yet
            if "prefect.engine" in process.cmdline():
                process.terminate()
                flow_runs.append(process)
    psutil.wait_procs(flow_runs, timeout=CLOSE_TIMEOUT)


def serving_message(server: Server, config: CompareConfig, cron: str | None, timezone: str, paused: bool) -> str:
    """Return the message printed when serving starts."""
    name = f"compare/{config.name or NAME}"
    when = f"{name} runs at {cron!r} ({timezone})" if cron else f"{name} has no schedule; pass --cron to set one"
    if cron and paused:
        when = f"{when}, but is paused; {shell_command('schedule', 'resume', config.name or NAME)} resumes it"
    return f"{when}\nPrefect UI: {server.page}/deployments\nCtrl-C stops serving."


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
