"""The commands `keyhole serve` and `keyhole schedule`."""

from typing import Any

import click

from flows.cli.options import options, store_option
from flows.cli.settings import configuration
from flows.config import CompareConfig, RunOptions
from flows.project import current_project


@click.command()
@click.option("--cron", metavar="'M H D M W'", help="when to start a sweep; unset: no schedule")
@click.option(
    "--timezone", default="UTC", show_default=True, metavar="NAME", help="time zone of --cron, e.g. Europe/Berlin"
)
@click.option(
    "--next-seeds", is_flag=True, help="each scheduled sweep adds --seeds seeds to the earlier one with these settings"
)
@options(CompareConfig)
@store_option
def serve(cron: str | None, timezone: str, next_seeds: bool, **values: Any) -> None:
    """Serve compare, study, certify and report in the Prefect UI, and start sweeps on a schedule, until Ctrl-C.

    The other options are those of `keyhole compare`. They are the defaults of its form and the scheduled settings.
    """
    from flows.cli.commands import with_start
    from flows.serve import serve as run

    config = with_start(configuration(CompareConfig, values))

    run(config, RunOptions(next_seeds=next_seeds), cron, timezone)


@click.group()
def schedule() -> None:
    """List, pause, resume or remove the schedules of `keyhole serve`."""


@schedule.command("list")
def list_all() -> None:
    """List the schedules: name, cron, time zone, state, next start."""
    from flows.prefect_server.schedules import list_schedules

    click.echo(list_schedules(current_project()))


def _add_command(verb: str, text: str) -> None:
    @schedule.command(verb, help=text)
    @click.argument("name", required=False)
    def command(name: str | None) -> None:
        from flows.prefect_server.schedules import change_schedules

        click.echo(change_schedules(current_project(), verb, name))


_add_command("pause", "Pause the schedule NAME until it is resumed; without NAME, the only one.")
_add_command("resume", "Resume the schedule NAME; without NAME, the only one.")
_add_command("remove", "Remove the schedule NAME.")
