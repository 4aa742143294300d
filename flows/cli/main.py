"""The command line. Heavy libraries are imported inside the commands, so that help is fast."""

import json
import math
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import click
from click.core import ParameterSource

from flows.cli.options import options, store_option
from flows.cli.serve import schedule, serve
from flows.cli.server import server
from flows.cli.settings import configuration, option_name
from flows.cli.study import study
from flows.config import CompareConfig, Learner, RunOptions, TrainConfig
from flows.errors import UserError
from flows.output import lost_output, make_tolerant
from flows.text import one_line, printable

STATUSES = ("FINISHED", "FAILED", "KILLED", "RUNNING")
LEARNERS = get_args(Learner)
SET = "argument of the environment; may be repeated"
BAD_INPUT, SOME_FAILED, INTERRUPTED = 2, 1, 130
SWEEPING = {"compare", "serve", "study"}  # commands of several runs
RECORDING = {*SWEEPING, "train", "report"}  # commands whose result is in the store; they only print about it


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="keyhole")
@click.pass_context
def cli(context: click.Context) -> None:
    """Train agents under partial oversight, compare oversight methods, and track every run in MLflow."""
    context.call_on_close(partial(_check_output, context.invoked_subcommand))


@cli.command()
@options(CompareConfig)
@click.option(
    "--resume",
    metavar="[SWEEP]",
    is_flag=False,
    flag_value="",
    help="continue a sweep with its own settings (id, prefix, name; default: the newest unfinished)",
)
@click.option(
    "--force", is_flag=True, help="train every run, including those finished before with equal settings and code"
)
@click.option(
    "--next-seeds",
    is_flag=True,
    help="train --seeds further seeds in the earlier sweep with these settings and this name",
)
@click.option("--only-failed", is_flag=True, help="with --resume: train only the runs that failed")
@click.option(
    "--dry-run", is_flag=True, help="check the sweep and print its runs, updates, time and disk; train nothing"
)
@store_option
def compare(resume: str | None, force: bool, next_seeds: bool, only_failed: bool, dry_run: bool, **values: Any) -> None:
    """Compare oversight methods: every method at every oversight level, or level of --axis, with every seed.

    `--methods all` selects every method. Nested runs, figures and report.html go to MLflow. A run that finished before
    with equal settings, code and libraries is reused. If an earlier sweep has the same settings and all of its runs are
    reusable, no new sweep is made.
    """
    from flows.cli.commands import preview_sweep, resume_sweep, run_comparison

    if next_seeds and (resume is not None or force or only_failed):
        raise UserError("--next-seeds trains new seeds only; leave out --resume, --force and --only-failed")
    if resume is None:
        if only_failed:
            raise UserError("--only-failed applies to a resumed sweep; pass --resume with it")
        options = RunOptions(force=force, reuse=not force, next_seeds=next_seeds)
        (preview_sweep if dry_run else run_comparison)(configuration(CompareConfig, values), options)
    else:
        refuse_settings(values)
        resume_sweep(resume, values["workers"], force, only_failed, dry_run)


def refuse_settings(values: dict[str, Any]) -> None:
    """Raises UserError for a setting other than --workers: a resumed sweep keeps its settings."""
    extra = [name for name, value in values.items() if value not in (None, ()) and name != "workers"]
    if extra:
        raise UserError(f"--resume uses the sweep's own settings; leave out {option_name(extra[0])}")


@cli.command()
@options(TrainConfig)
@store_option
def train(**values: Any) -> None:
    """Train one agent under one oversight method, in this process."""
    from flows.cli.commands import run_one

    run_one(configuration(TrainConfig, values))


def channel_options(function: Callable) -> Callable:
    """Adds the options that say what the overseer of an environment observes."""
    oversight = click.option(
        "--oversight",
        type=click.FloatRange(0, 1),
        metavar="P",
        help="probability that the overseer sees; where the environment takes no oversight_prob, that it audits",
    )
    overseer = click.option(
        "--overseer", default="", metavar="LIMIT|LIMIT", help="limits of the overseer; see `keyhole limits`"
    )
    return oversight(overseer(function))


def with_channel(arguments: tuple[str, ...], oversight: float | None, overseer: str) -> tuple[str, ...]:
    """The arguments of the environment, NAME=VALUE, with those of the overseer's channel."""
    given = () if oversight is None else (f"oversight_prob={oversight!r}",)
    return (*arguments, *given, *((f"overseer={json.dumps(overseer)}",) if overseer else ()))


@cli.command()
@click.argument("env", metavar="ENV")
@click.option("--set", "arguments", multiple=True, metavar="NAME=VALUE", help=SET)
@click.option(
    "--learner", type=click.Choice(LEARNERS), default=LEARNERS[0], show_default=True, help="learner to rehearse"
)
@click.option("--method", metavar="METHOD", help="oversight method to rehearse  [default: gradient_routing]")
@channel_options
def check(
    env: str, arguments: tuple[str, ...], learner: Any, method: str | None, oversight: float | None, overseer: str
) -> None:
    """Check that agents can be trained in the environment ENV, as `compare` and `train` do before they start."""
    from flows.cli.commands import print_findings

    print_findings(env, with_channel(arguments, oversight, overseer), learner, method)


def require_finite(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Returns the value of an option; raises BadParameter for nan and infinity, which pass click's range."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number", context, option)
    return value


@cli.command()
@click.argument("env", metavar="ENV")
@click.option("--set", "arguments", multiple=True, metavar="NAME=VALUE", help=SET)
@channel_options
@click.option("--json", "as_json", is_flag=True, help="print the certificate as JSON")
@click.option("--html", metavar="FILE", help="also write an HTML page that draws the aliased pairs")
@click.option(
    "--reveal", is_flag=True, help="also compute W if the overseer observed one more state variable, for each"
)
@click.option(
    "--max-regret",
    type=click.FloatRange(min=0),
    metavar="NUMBER",
    callback=require_finite,
    help="exit with code 1 unless the unenforceable regret is shown to be at most this",
)
def certify(
    env: str,
    arguments: tuple[str, ...],
    oversight: float | None,
    overseer: str,
    as_json: bool,
    html: str | None,
    reveal: bool,
    max_regret: float | None,
) -> None:
    """Compute what an overseer of the environment ENV can enforce, without training.

    With --max-regret the exit code is 0 if the unenforceable regret (J* - W, worst ties) is at most NUMBER, else 1.
    Where W is a lower bound, the regret is an upper bound. A bound above NUMBER gives 1, because it does not show that
    the regret is within. The certificate is printed either way.
    """
    from flows.cli.commands import certify_world

    certify_world(env, with_channel(arguments, oversight, overseer), as_json, html, reveal, max_regret)


@cli.command()
@click.argument("sweep", required=False)
@store_option
def report(sweep: str | None) -> None:
    """Write the report of SWEEP again, from MLflow alone.

    SWEEP is a run id, a prefix of one, or a sweep's name; default: the newest sweep.
    """
    from flows.cli.commands import make_report

    make_report(sweep)


@cli.command()
@click.argument("sweep", required=False)
@click.option("--parts", metavar="KIND,KIND", help="only the tables of these two kinds, for example masks,baseline")
@store_option
def effects(sweep: str | None, parts: str | None) -> None:
    """Print what parts of arms are worth in SWEEP, as Markdown.

    Every two kinds of parts of which the sweep has all four combinations give a two-by-two table, with the differences
    between its cells over paired seeds. `keyhole compare --controls` trains such arms. SWEEP is a run id, a prefix of
    one, or a sweep's name; default: the newest sweep.
    """
    from flows.cli.commands import existing_store
    from flows.cli.show import print_effects, two_kinds

    kinds = two_kinds(parts)
    print_effects(existing_store(writes=False), sweep, kinds)


@cli.command()
@click.argument("sweep", required=False)
@store_option
def predictions(sweep: str | None) -> None:
    """Print what the certificates of SWEEP predict beside what its agents reached, as Markdown.

    Every world of the sweep that has a certificate gives a table. SWEEP is a run id, a prefix of one, or a sweep's
    name; default: the newest sweep.
    """
    from flows.cli.commands import existing_store
    from flows.cli.show import print_predictions

    print_predictions(existing_store(writes=False), sweep)


@cli.command()
@click.argument("sweep")
@click.option("--undo", is_flag=True, help="show an archived sweep again")
@store_option
def archive(sweep: str, undo: bool) -> None:
    """Hide SWEEP and its runs from `keyhole runs` and MLflow's list; files and registered models stay.

    SWEEP is a run id, a prefix of one, or a sweep's name. `keyhole runs --archived` lists the archived sweeps.
    """
    from flows.cli.cleanup import archive_sweep

    archive_sweep(sweep, undo)


@cli.command()
@click.argument("sweep")
@click.option("--yes", is_flag=True, help="do not ask")
@store_option
def delete(sweep: str, yes: bool) -> None:
    """Delete SWEEP, its runs, their files and the model versions made of them, after a question.

    SWEEP is a run id, a prefix of one, or a sweep's name, archived or not. Nothing brings it back.
    """
    from flows.cli.cleanup import delete_sweep

    delete_sweep(sweep, yes)


@cli.command()
@click.argument("sweep", required=False)
@click.option("--method", metavar="TEXT", help="runs of this oversight method")
@click.option("--env", metavar="TEXT", help="runs whose environment id contains this")
@click.option("--status", type=click.Choice(STATUSES, case_sensitive=False), help="runs with this status")
@click.option("--oversight", type=float, metavar="NUMBER", help="runs at this oversight level")
@click.option("--seed", type=int, metavar="INTEGER", help="runs with this seed")
@click.option("--level", metavar="VALUE", help="runs at this level of their sweep's axis, VALUE or NAME=VALUE")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="number of entries to show")
@click.option("--archived", is_flag=True, help="list archived sweeps instead")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@store_option
def runs(sweep: str | None, limit: int, archived: bool, as_json: bool, **values: Any) -> None:
    """List sweeps and single runs, newest first, or the runs of SWEEP in order of start.

    --method, --oversight, --seed and --level select runs of all sweeps. In a pipe, columns are separated by tabs.
    """
    from flows.cli.commands import list_runs

    list_runs(sweep, values, limit, archived, as_json)


@cli.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="print the whole record as JSON")
@store_option
def show(run: str | None, as_json: bool) -> None:
    """Show one RUN: settings, results, curves and files; for a sweep, its table.

    RUN is a run id, a prefix of one, or a name (the newest run of that name); default: the newest sweep.
    """
    from flows.cli.commands import show_run

    show_run(run, as_json)


OF_AGENTS = ("deploy", "without", "greedy", "env")  # options of `play` that need --agent
OF_PRINTED = ("episodes", "gif")  # options of `play` that --as excludes
OF_ENVIRONMENTS = ("arguments", "overseer")  # options of `play` that need ENV
OPTION_NAMES = {"arguments": "--set"}  # where the option is not named like the parameter


@cli.command()
@click.argument("world", metavar="[ENV]", required=False)
@click.option("--as", "role", type=click.Choice(("agent", "overseer")), help="what you see and do, by keys")
@click.option("--agent", metavar="AGENT", help="run (id, prefix, name), file or registered model")
@click.option("--set", "arguments", multiple=True, metavar="NAME=VALUE", help=SET)
@click.option(
    "--oversight",
    type=click.FloatRange(0, 1),
    help="oversight level  [default: of an agent as trained, of ENV its own]",
)
@click.option("--overseer", default="", metavar="LIMIT|LIMIT", help="limits of the overseer; see `keyhole limits`")
@click.option("--episodes", default=1, show_default=True, type=click.IntRange(1), help="number of episodes")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="seed of the episodes")
@click.option("--deploy", metavar="RULE", help="deployment rule  [default: the method's first]")
@click.option("--without", multiple=True, metavar="BLOCK", help="block to ablate, such as forget or gate; repeatable")
@click.option("--greedy", is_flag=True, help="take the most likely action instead of sampling")
@click.option("--env", metavar="ENV", help="the agent's environment, to trust one that is not keyhole's")
@click.option("--gif", metavar="FILE", help="also write the episodes as a GIF")
@store_option
@click.pass_context
def play(
    context: click.Context,
    world: str | None,
    role: str | None,
    agent: str | None,
    arguments: tuple[str, ...],
    overseer: str,
    gif: str | None,
    **play_options: Any,
) -> None:
    """Play episodes of a saved AGENT in its world, or step through the environment ENV by keys.

    With --agent alone, each step is printed with the overseer's observation.

    With ENV --as agent you choose the actions and see what the agent observes. With ENV --as overseer, or --agent AGENT
    --as overseer, you see the overseer's observations and verdicts of a random policy, or of the agent. The truth is
    printed when the episode has ended. ? lists the keys. In a pipe, each character of the input is a key.
    """
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    check_play(world, agent, role, given)
    from flows.cli.play import PlayOptions, play_agent

    options = PlayOptions(**play_options)
    if role is None:
        assert agent is not None  # check_play
        play_agent(agent, options, gif)
        return
    from flows.cli.play_as import play_environment, play_overseen_agent

    if world is None:
        assert agent is not None  # check_play
        play_overseen_agent(agent, options)
    else:
        play_environment(world, with_channel(arguments, options.oversight, overseer), role, options.seed)


def check_play(world: str | None, agent: str | None, role: str | None, given: list[str]) -> None:
    """Raises UserError for options of `play` that exclude each other; `given` lists those on the command line."""
    if world is None and agent is None:
        raise UserError("missing option '--agent', or an environment ENV with --as agent or --as overseer")
    if world is not None and agent is not None:
        raise UserError(f"found both {world!r} and --agent; name one: an agent is played in its own world")
    if world is not None and role is None:
        raise UserError(f"missing option '--as'; {world!r} is played with --as agent or --as overseer")
    if agent is not None and role == "agent":
        raise UserError("with --as agent you choose the actions; name an environment ENV in place of --agent")
    excluded = dict.fromkeys(OF_AGENTS, "needs --agent") if world is not None else {}
    excluded |= dict.fromkeys(OF_ENVIRONMENTS, "needs an environment ENV") if agent is not None else {}
    excluded |= dict.fromkeys(OF_PRINTED, "has no meaning with --as") if role is not None else {}
    for name in given:
        if name in excluded:
            raise UserError(f"{OPTION_NAMES.get(name, '--' + name)} {excluded[name]}; leave it out")


@cli.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="[NEW]", required=False)
def convert(old: str, new: str | None) -> None:
    """Convert the agent file OLD of an earlier version to the current format and write it to NEW.

    Without NEW the file is converted in place, and the old one is kept as OLD.v1.
    """
    from flows.cli.commands import convert_agent

    convert_agent(old, new)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="address to bind")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="port to bind")
@store_option
def ui(host: str, port: int) -> None:
    """Serve the MLflow UI of the project's runs."""
    from flows.cli.commands import open_page

    open_page(host, port)


@cli.command()
def envs() -> None:
    """List the worlds with a description of each."""
    from flows.cli.commands import list_worlds

    list_worlds()


@cli.command()
@click.argument("names", metavar="[ENV]...", nargs=-1)
@click.option("--out", default=".", metavar="DIR", help="folder of gallery.md and gallery/  [default: this one]")
@click.option("--set", "arguments", multiple=True, metavar="NAME=VALUE", help=SET)
@channel_options
def gallery(
    names: tuple[str, ...], out: str, arguments: tuple[str, ...], oversight: float | None, overseer: str
) -> None:
    """Draw what the agent and the overseer see of each ENV, by default of every world of keyhole that has tables.

    The page gallery.md has a figure for each world and the main numbers of its certificate.
    """
    from flows.cli.gallery import write_gallery

    given = with_channel(arguments, oversight, overseer)
    if given and not names:
        raise UserError("--set, --oversight and --overseer apply to the environments that are named; name one")
    write_gallery(names, given, out)


@cli.command()
@click.argument("names", metavar="[METHOD [OTHER]]", nargs=-1)
@click.option("--parts", is_flag=True, help="list the parts that methods are made of")
def methods(names: tuple[str, ...], parts: bool) -> None:
    """List the oversight methods and the parts that differ from the default.

    With METHOD, every part of it; with two, the parts in which they differ. A method may have parts replaced:
    `keyhole methods "naive(weights=ipw(10))" gradient_routing`.
    """
    from flows.cli.methods import list_methods, list_parts, show_methods

    if len(names) > 2 or (names and parts):
        raise UserError("name one method, or two to compare, or none; --parts takes no name")
    if parts:
        list_parts()
    elif names:
        show_methods(*names)
    else:
        list_methods()


@cli.command()
def limits() -> None:
    """List the limits of an overseer, which --overseer sets.

    Limits separated by | apply from left to right: `--overseer "recall(of=ghost,rate=0.5)|noise(0.05)"`.
    """
    from flows.cli.methods import list_limits

    list_limits()


@cli.command()
@click.argument("kind", metavar="world|method|limit|study", type=click.Choice(("world", "method", "limit", "study")))
@click.argument("name", metavar="NAME")
@click.option("--force", is_flag=True, help="replace files that exist")
def new(kind: str, name: str, force: bool) -> None:
    """Write a commented, working world, oversight method, limit of the overseer or study, with its test, here.

    The files are NAME.py and test_NAME.py. The commands that check, use and test them are printed.
    """
    from flows.cli.new import write_template

    write_template(kind, name, force)


for command in (serve, schedule, server, study):
    cli.add_command(command)


def main() -> None:
    """Runs the command line. Exit codes: 2 for bad input, 1 if a run failed or a regret is too large, 130 on Ctrl-C."""
    make_tolerant()
    signal.signal(signal.SIGTERM, _handle_signal)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # stays ignored under nohup
        signal.signal(signal.SIGHUP, _handle_signal)
    try:
        sys.exit(cli.main(prog_name="keyhole", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as help_request:
        click.echo(help_request.format_message())
        sys.exit(BAD_INPUT)
    except click.ClickException as error:
        _exit(error.format_message(), BAD_INPUT)
    except UserError as error:
        _exit(str(error), BAD_INPUT)
    except (KeyboardInterrupt, click.Abort) as stop:
        # click replaces a KeyboardInterrupt by an Abort without a message
        _exit(str(stop.__cause__ or "") or "stopped" + _what_is_kept(sys.argv[1:]), INTERRUPTED)


def _what_is_kept(arguments: list[str]) -> str:
    """What a command of several runs keeps when it is stopped, for a message."""
    return "; finished runs are kept" if SWEEPING & set(arguments[:1]) else ""


def _check_output(command: str | None) -> None:
    """Report output that was lost. Only a command that exists to print then fails."""
    if error := lost_output():
        print(f"keyhole: standard output is incomplete: {one_line(error)}", file=sys.stderr)
        if command not in RECORDING:
            sys.exit(SOME_FAILED)


def _handle_signal(number: int, frame: object) -> None:
    """Handles SIGTERM and SIGHUP like Ctrl-C: runs are closed and processes stopped."""
    raise KeyboardInterrupt


def _exit(text: str, code: int) -> None:
    print("keyhole: " + printable(one_line(text)), file=sys.stderr)
    sys.exit(code)
