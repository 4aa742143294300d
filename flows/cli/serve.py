"""`keyhole serve` and `keyhole schedule` on the command line."""

from typing import Any

import click

from flows.cli.options import options, store_option
from flows.cli.settings import configuration
from flows.config import CompareConfig
from flows.project import current_project


@click.command()
@click.option("--cron", metavar="'M H D M W'", help="when to start a sweep with these settings; unset: never by itself")
@click.option("--timezone", default="UTC", show_default=True, metavar="NAME", help="of --cron, e.g. Europe/Berlin")
@options(CompareConfig)
@store_option
def serve(cron: str | None, timezone: str, **said: Any) -> None:
    """Serve compare, certify and report on Prefect's page, and start sweeps on a schedule, until Ctrl-C.

    The other options are those of `keyhole compare`: they fill its form and are what the schedule starts.
    """
    config = configuration(CompareConfig, said)
    from flows.serve import serve as run

    run(config, cron, timezone)


@click.group()
def schedule() -> None:
    """List, pause, resume or remove what `keyhole serve` has scheduled."""


@schedule.command("list")
def list_all() -> None:
    """List the schedules: name, cron, time zone, state, next start."""
    from flows.prefect_server.schedules import list_schedules

    click.echo(list_schedules(current_project()))


def _changing(verb: str, text: str) -> None:
    @schedule.command(verb, help=text)
    @click.argument("name", required=False)
    def command(name: str | None) -> None:
        from flows.prefect_server.schedules import change_schedules

        click.echo(change_schedules(current_project(), verb, name))


_changing("pause", "Start nothing more by the schedule NAME; without NAME, the only one.")
_changing("resume", "Let the schedule NAME start runs again.")
_changing("remove", "Delete the schedule NAME.")
