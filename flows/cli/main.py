"""The command line. Nothing heavy is imported before a command needs it, so help appears at once."""

import signal
import sys
from typing import Any

import click

from flows.cli.options import options, store_option
from flows.cli.serve import schedule, serve
from flows.cli.settings import configuration
from flows.config import CompareConfig, TrainConfig
from flows.errors import UserError
from flows.text import one_line

STATUSES = ("FINISHED", "FAILED", "KILLED", "RUNNING")
BAD_INPUT, SOME_FAILED, INTERRUPTED = 2, 1, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="keyhole")
def cli() -> None:
    """Train agents under partial oversight, compare oversight methods, and see every run in MLflow."""


@cli.command()
@options(CompareConfig)
@click.option(
    "--resume",
    metavar="[SWEEP]",
    is_flag=False,
    flag_value="",
    help="go on with a sweep (run id, its start, or name; default: the newest unfinished), with its own settings",
)
@click.option("--force", is_flag=True, help="run all anew, also what was run before with equal settings and code")
@click.option("--only-failed", is_flag=True, help="with --resume: only the runs that failed")
@store_option
def compare(resume: str | None, force: bool, only_failed: bool, **said: Any) -> None:
    """Compare oversight methods: every method at every oversight level with every seed.

    `--methods all` takes every method. Nested runs, pictures and report.html go to MLflow. A run that was done before
    with equal settings, code and libraries is not done again.
    """
    from flows.cli.commands import resume_sweep, run_sweep

    if resume is None:
        if only_failed:
            raise UserError("--only-failed says what to do of a sweep that goes on; pass --resume with it")
        run_sweep(configuration(CompareConfig, said), force)
    else:
        refuse_settings(said)
        resume_sweep(resume, said["workers"], force, only_failed)


def refuse_settings(said: dict[str, Any]) -> None:
    """A sweep that goes on has its settings; only how many work on it may change."""
    extra = [name for name, value in said.items() if value not in (None, ()) and name != "workers"]
    if extra:
        option = "--" + extra[0].rpartition("__")[2].replace("_", "-")
        raise UserError(f"--resume takes the sweep's own settings; leave out {option}")


@cli.command()
@options(TrainConfig)
@store_option
def train(**said: Any) -> None:
    """Train one agent under one oversight method, in this process."""
    from flows.cli.commands import run_one

    run_one(configuration(TrainConfig, said))


@cli.command()
@click.argument("env", metavar="ENV")
@click.option("--set", "said", multiple=True, metavar="NAME=VALUE", help="argument of the environment; repeat it")
@click.option("--json", "as_json", is_flag=True, help="print the certificate as JSON")
@click.option("--html", metavar="FILE", help="also write a page with the aliased pairs drawn")
def certify(env: str, said: tuple[str, ...], as_json: bool, html: str | None) -> None:
    """Compute what an overseer of the environment ENV can enforce, before anything is trained."""
    from flows.cli.commands import certify_world

    certify_world(env, said, as_json, html)


@cli.command()
@click.argument("sweep", required=False)
@store_option
def report(sweep: str | None) -> None:
    """Make the report of SWEEP again, from MLflow alone.

    SWEEP is a run id, the start of one, or a sweep's name; without it, the newest sweep.
    """
    from flows.cli.commands import make_report

    make_report(sweep)


@cli.command()
@click.argument("sweep", required=False)
@click.option("--method", metavar="TEXT", help="runs of this oversight method")
@click.option("--env", metavar="TEXT", help="runs in worlds whose id has this in it")
@click.option("--status", type=click.Choice(STATUSES, case_sensitive=False), help="runs of this status")
@click.option("--oversight", type=float, metavar="NUMBER", help="runs at this oversight level")
@click.option("--seed", type=int, metavar="INTEGER", help="runs of this seed")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="show no more than the newest")
@click.option("--json", "as_json", is_flag=True, help="print them as JSON")
@store_option
def runs(sweep: str | None, limit: int, as_json: bool, **said: Any) -> None:
    """List sweeps and single runs, newest first, or the runs of SWEEP as they started.

    With --method, --oversight or --seed: all runs that are so, of any sweep. Into a pipe, columns are parted by tabs.
    """
    from flows.cli.commands import list_runs

    list_runs(sweep, said, limit, as_json)


@cli.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="print all that is known as JSON")
@store_option
def show(run: str | None, as_json: bool) -> None:
    """Show one RUN: settings, results, curves and files; of a sweep its table.

    RUN is a run id, the start of one, or a name, whose newest is meant; without it, the newest sweep.
    """
    from flows.cli.commands import show_run

    show_run(run, as_json)


@cli.command()
@click.option("--agent", required=True, metavar="AGENT", help="run (id, its start, name), file, or registered model")
@click.option("--oversight", type=click.FloatRange(0, 1), help="probability that the overseer sees  [default: trained]")
@click.option("--episodes", default=1, show_default=True, type=click.IntRange(1), help="how many")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="of the episodes")
@click.option("--deploy", metavar="RULE", help="deployment rule  [default: its method's first]")
@click.option("--without", multiple=True, metavar="BLOCK", help="block to ablate: retain, forget or gate; repeat it")
@click.option("--greedy", is_flag=True, help="take the likeliest action, not a drawn one")
@click.option("--env", metavar="ENV", help="the agent's world, to vouch for one that is not keyhole's own")
@click.option("--gif", metavar="FILE", help="also draw the episodes into a GIF")
@store_option
def play(agent: str, gif: str | None, **how: Any) -> None:
    """Play episodes of a saved AGENT in its world, in the terminal, with what the overseer sees."""
    from flows.cli.play import PlayOptions
    from flows.cli.play import play as played

    played(agent, PlayOptions(**how), gif)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="address")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="port")
@store_option
def ui(host: str, port: int) -> None:
    """Open MLflow's page on the project's runs."""
    from flows.cli.commands import open_page

    open_page(host, port)


@cli.command()
def envs() -> None:
    """List the worlds: id and what is true of it."""
    from flows.cli.commands import list_worlds

    list_worlds()


@cli.command()
def methods() -> None:
    """List the oversight methods: what each does, and how it is deployed."""
    from flows.cli.commands import list_methods

    list_methods()


for command in (serve, schedule):
    cli.add_command(command)


def main() -> None:
    """Runs the command line: exit code 2 for bad input, 1 if something failed, 130 on Ctrl-C."""
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, _terminated)  # the terminal was closed
    try:
        sys.exit(cli.main(prog_name="keyhole", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        click.echo(help_wanted.format_message())
        sys.exit(BAD_INPUT)
    except click.ClickException as error:
        _say(error.format_message(), BAD_INPUT)
    except UserError as mistake:
        _say(str(mistake), BAD_INPUT)
    except (KeyboardInterrupt, click.Abort) as stop:
        _say(
            str(stop.__cause__ or "") or "stopped; what was finished is kept", INTERRUPTED
        )  # click's Abort says nothing


def _terminated(number: int, frame: object) -> None:
    """SIGTERM ends things as Ctrl-C does: runs are closed, processes stopped."""
    raise KeyboardInterrupt


def _say(text: str, code: int) -> None:
    print("keyhole: " + one_line(text), file=sys.stderr)
    sys.exit(code)
