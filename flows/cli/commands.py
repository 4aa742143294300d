"""Implements the commands.

Input is checked before anything starts. Slow imports run while the Prefect server starts.
"""

import errno
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, TypeVar

from flows import process_env
from flows.config import CompareConfig, Learner, RunOptions, SharedConfig, TrainConfig, with_module
from flows.errors import UserError
from flows.project import Project, current_project
from flows.shell import shell_command
from flows.sweep.lock import sweep_lock
from flows.sweep.progress import open_display
from flows.text import one_line, printable
from flows.tracking.access import check_answers, check_writable, require_runs
from flows.tracking.client import StoreLostError

if TYPE_CHECKING:
    from flows.sweep.plan import Plan
    from flows.tracking.store import Store

SOME_FAILED = 1
Settings = TypeVar("Settings", bound=SharedConfig)
AGAIN = "--force trains them again"
Show = Callable[["Store", str], None]  # prints the results of the sweep or study with this run id


def run_comparison(config: CompareConfig, options: RunOptions) -> None:
    """`keyhole compare`: runs the flow on the project's Prefect server."""
    from flows.sweep.checks import check_sweep, expand_controls

    project, config = writable_project(), expand_controls(with_start(config))
    with sweep_lock(project):
        check_sweep(config)
        sweep = ""
        if options.next_seeds:
            sweep = _extend(existing_store(), config, options)[2]
        else:
            runs = len(config.runs())
            print(f"{runs} runs of {config.steps:,} steps each, {min(runs, config.workers)} side by side")
        _print_budget(config)
        _sweep(project, config, options, sweep)


def with_start(config: Settings) -> Settings:
    """Replaces the name of the agent that runs start from by the path of its file; raises UserError."""
    if not config.start:
        return config
    from flows.cli.play import find_agent

    return config.model_copy(update={"start": str(find_agent(config.start)[0].resolve())})


def _extend(store: "Store", config: CompareConfig, options: RunOptions) -> "tuple[CompareConfig, Plan, str]":
    """Prints which runs `--next-seeds` adds to which sweep; returns its whole settings, its plan and its run id."""
    from flows.sweep import earlier
    from flows.sweep.plan import experiment_digest

    digest = experiment_digest(config)
    extended, resumed = earlier.with_next_seeds(store, config, options, digest)
    return extended, _print_plan(store, extended, resumed, digest), resumed.resume


def _print_plan(store: "Store", config: CompareConfig, options: RunOptions, digest: str) -> "Plan":
    """Prints the plan of a sweep that is resumed or extended, and returns it."""
    from flows.sweep.plan import make_plan

    name = store.client.get_run(options.resume).info.run_name
    planned = make_plan(store, config, options, digest)
    print(f"sweep {printable(name)}, {len(config.runs())} runs of {config.steps:,} steps each: {planned}", flush=True)
    return planned


def preview_sweep(config: CompareConfig, options: RunOptions) -> None:
    """`keyhole compare --dry-run`: checks a sweep and prints its size; trains and writes nothing."""
    from flows.sweep import earlier
    from flows.sweep.checks import check_sweep, expand_controls
    from flows.sweep.plan import experiment_digest
    from flows.tracking.cache_key import run_key
    from flows.tracking.reuse import find_equal_run
    from flows.tracking.store import Store

    project, config = current_project(), expand_controls(with_start(config))
    check_sweep(config)
    if options.next_seeds:
        store = existing_store(writes=False)
        extended, planned, _ = _extend(store, config, options)
        _print_preview(extended, len(planned.todo), store)
        return
    found = Store(project) if project.store or project.database.exists() else None
    runs, reused = config.runs(), 0
    if found and not options.force:
        digest = experiment_digest(config)
        if unchanged := earlier.find_unchanged(found, config, options, digest):
            print(f"{earlier.nothing_new(unchanged)} ({AGAIN})")
            return
        reused = sum(find_equal_run(found, run_key(run, digest)) is not None for run in runs)
    equal = f", {reused} of them reused from equal finished runs" if reused else ""
    print(f"{len(runs)} runs of {config.steps:,} steps each, {min(len(runs), config.workers)} side by side{equal}")
    _print_preview(config, len(runs) - reused, found)


def _print_preview(config: CompareConfig, runs: int, store: "Store | None") -> None:
    from flows.sweep.budget import estimate

    _print_budget(config)
    print(f"{estimate(config, runs, store)}\ndry run: nothing was trained or written")


def _print_budget(config: SharedConfig) -> None:
    """Prints rollouts and optimiser steps of a run; warns if there are few, and notes what arms lack in their world."""
    from flows.sweep.budget import run_budget
    from flows.sweep.method_checks import sweep_notes

    for note in sweep_notes(config):
        print(f"keyhole: {note}", file=sys.stderr, flush=True)
    budget = run_budget(config)
    print(budget, flush=True)
    if budget.warning:
        print(f"keyhole: {budget.warning}", file=sys.stderr, flush=True)


def resume_sweep(sweep: str, workers: str | None, force: bool, only_failed: bool, dry_run: bool) -> None:
    """`keyhole compare --resume`: continues an unfinished sweep with its own settings."""
    from flows.cli.settings import with_changes
    from flows.sweep import plan
    from flows.sweep.checks import check_sweep

    store = existing_store()
    with sweep_lock(store.project):
        parent = plan.find_unfinished(store, sweep)
        config = with_changes(plan.stored_config(parent), {"workers": workers})
        check_sweep(config)
        reuse = parent.data.tags.get(plan.REUSE_TAG) != "False" and not force
        options = RunOptions(resume=parent.info.run_id, force=force, reuse=reuse, only_failed=only_failed)
        planned = _print_plan(store, config, options, plan.experiment_digest(config))
        if dry_run:
            _print_preview(config, len(planned.todo), store)
        else:
            _print_budget(config)
            _sweep(store.project, config, options, parent.info.run_id)


def _sweep(project: Project, config: CompareConfig, options: Any, continued: str = "") -> None:
    """Runs a sweep; `continued` is the run id of an existing one, which need not be the newest unfinished sweep."""
    resume = shell_command("compare", "--resume", *filter(None, [continued[:8]]), project=project)
    run_flow(project, config, options, "flows.compare:compare_here", _show, resume)


def run_flow(project: Project, config: Any, options: Any, flow: str, show: Show, resume: str) -> None:
    """Runs a flow on the project's Prefect server, and prints its results; exits with 1 if runs failed.

    Args:
        project: The project.
        config: The settings of a sweep or study.
        options: What to resume, repeat, reuse or extend.
        flow: Function that runs it, as "module:function"; imported while the server starts.
        show: Prints the results.
        resume: The command that continues it after an interruption.
    """
    try:
        with _server(project, config, options) as unchanged:
            failure = _run_flow(config, options, flow, show) if unchanged is None else _point_to(unchanged, show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; finished runs are kept; continue with {resume}") from None
    except StoreLostError as error:
        failure = f"{error}; finished runs are kept; when the store answers again, continue with {resume}"
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        failure = f"disk full ({error}); free some space, then {resume}; finished runs are kept"
    if failure:
        print(f"keyhole: {failure}", file=sys.stderr)
        sys.exit(SOME_FAILED)


def _run_flow(config: Any, options: Any, flow: str, show: Show) -> str:
    """Runs the flow and prints its results. Returns one line that lists the failed runs, or an empty string."""
    from flows.sweep.execute import FailedRunsError
    from flows.tracking.store import Store

    try:
        outcome = resolve_name(flow)(config, options)
    except FailedRunsError as error:
        show(Store(current_project()), error.sweep)
        return str(error)
    if outcome.unchanged:
        print(f"{outcome.unchanged} ({AGAIN})")
    show(Store(current_project()), outcome.sweep)
    return ""


def _point_to(sweep: Any, show: Show) -> str:
    """Prints that an earlier sweep leaves nothing to train, and its results. Returns an empty line: nothing failed."""
    from flows.sweep import earlier
    from flows.tracking.store import Store

    print(f"{earlier.nothing_new(sweep)} ({AGAIN})")
    show(Store(current_project()), sweep.info.run_id)
    return ""


@contextmanager
def _server(project: Project, config: Any, options: RunOptions) -> Iterator[Any]:
    """Starts the Prefect server and the worker processes; stops the server at the end.

    Yields:
        An earlier sweep that leaves nothing to train, or None. If there is one, the server need not be ready.
    """
    from rich.console import Console

    from flows.prefect_server.server import Server, ServerError
    from flows.running.runners import open_pool

    server = Server(project.prefect_home)
    interrupted = False
    try:
        with ExitStack() as stack:
            with Console().status("Prefect server starting"):
                server.start()
                stack.enter_context(open_pool(config))
                unchanged = _unchanged(project, config, options)  # imports MLflow and Prefect while the server starts
                if unchanged is None:
                    with suppress(ServerError):  # the sweep then runs without it, and says so
                        server.wait()
            yield unchanged
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        server.leave(interrupted)


def _unchanged(project: Project, config: Any, options: RunOptions) -> Any:
    """Opens the store and returns the earlier sweep that leaves nothing to train, or None."""
    from flows.sweep import earlier
    from flows.sweep.plan import experiment_digest
    from flows.tracking.store import Store

    store = Store(project)
    assert store.experiment
    return earlier.find_unchanged(store, config, options, experiment_digest(config))


def run_one(config: TrainConfig) -> None:
    """`keyhole train`: trains one run in this process."""
    from flows.sweep.checks import check_run

    project, config = writable_project(), with_start(config)
    process_env.use_one_thread()
    check_run(config)
    _print_budget(config)
    from flows.reporting.dead_experts import run_note
    from flows.reporting.numbers import deployed_return
    from flows.running.worker import TRAIN
    from flows.tracking import cache_key
    from flows.tracking.provenance import run_params
    from flows.tracking.results import run_rows
    from flows.tracking.store import Store
    from flows.user_code import module_digests

    store, modules = Store(project), module_digests()
    tags = {
        **config.tags,
        cache_key.CACHE_KEY: cache_key.run_key(config, cache_key.code_digest(config.env, TRAIN)),
    }
    with open_display([config]) as display:
        display.began(config)
        watch = partial(display.moved, config)
        with store.run(config.title, run_params(config), tags, on_progress=watch) as record:
            resolve_name(TRAIN)(config, record)
            record.tags(cache_key.not_reusable_tags(modules))
        display.ended(config, "finished")
    rows = run_rows(store.client.get_run(record.run_id))
    if note := run_note(rows):
        print(f"keyhole: {note}", file=sys.stderr)
    for row in rows:
        leaky = " (leaky)" if row.leaky else ""
        print(f"true return as deployed by rule {row.deployment}{leaky}: {deployed_return(row)}")
    print(f"MLflow run {record.run_id}, files in {record.folder}")


def certify_world(
    env: str, arguments: tuple[str, ...], as_json: bool, html: str | None, reveal: bool, max_regret: float | None
) -> None:
    """`keyhole certify`: prints what an overseer can enforce in a world; exits with 1 if its regret is too large."""
    from flows.cli.settings import parse_arguments
    from flows.sweep.checks import check_environment
    from flows.tracking.certificates import certificate_of, check_regret

    if html is not None and not Path(html).resolve().parent.is_dir():
        raise UserError(f"cannot write {html}: no folder {Path(html).parent}")
    parsed = parse_arguments(arguments)
    check_environment(with_module(env), parsed)
    certificate = certificate_of(with_module(env), parsed, reveal)
    from envs.certificate.report import certificate_page as page
    from envs.certificate.report import certificate_text as text

    check = None if max_regret is None else check_regret(certificate, max_regret)
    if as_json:
        found = certificate.to_dict() | ({"max_regret": check._asdict() | {"within": check.within}} if check else {})
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        print(text(certificate))
    if html is not None:
        Path(html).write_text(page(certificate), encoding="utf-8")
        print(f"keyhole: wrote {printable(html)}", file=sys.stderr)
    if check:
        print(f"keyhole: {check}", file=sys.stderr)
        if not check.within:
            sys.exit(SOME_FAILED)


def print_findings(env: str, arguments: tuple[str, ...], learner: Learner, method: str | None) -> None:
    """`keyhole check`: prints what the check of an environment, and of a method in it, finds."""
    from flows.cli.settings import configuration, parse_arguments
    from flows.sweep.checks import check_for_training

    name = configuration(TrainConfig, {"method": method}).method
    print(check_for_training(with_module(env), parse_arguments(arguments), learner, name))


def make_report(sweep: str | None) -> None:
    """`keyhole report`: writes the report of a sweep again."""
    from flows.sweep.finalize import finalize
    from flows.tracking import results
    from flows.tracking.missing import Missing

    store = existing_store()
    run_id = results.find_sweep(store, sweep)
    finalize(store, run_id, Missing())
    _show(store, run_id)


def list_runs(sweep: str | None, filters: dict[str, Any], limit: int, archived: bool, as_json: bool) -> None:
    """`keyhole runs`: lists sweeps and runs."""
    from flows.cli import listing
    from flows.tracking import results

    store = existing_store(writes=False)
    run_id = None if sweep is None else results.find_sweep(store, sweep, archived)
    entries = listing.list_entries(store, run_id, listing.Filters(**filters), archived)
    listing.print_entries(entries[:limit] if run_id is None else entries, as_json)
    if run_id is None and len(entries) > limit:
        print(f"keyhole: {len(entries) - limit} more; show them with --limit {len(entries)}", file=sys.stderr)


def show_run(run: str | None, as_json: bool) -> None:
    """`keyhole show`: prints one run or sweep."""
    from flows.cli import show

    show.print_run(existing_store(writes=False), run, as_json)


def convert_agent(old: str, new: str | None) -> None:
    """`keyhole convert`: converts an agent file of an earlier version."""
    from agents import BadAgentError
    from agents.saving import convert

    try:
        path = convert.convert_file(Path(old), None if new is None else Path(new))
    except (BadAgentError, OSError) as error:
        raise UserError(str(error)) from None
    kept = f"; the old file is {old}{convert.KEPT}" if new is None else ""
    print(printable(f"converted {old}: {path} has the current format{kept}"))


def open_page(host: str, port: int) -> None:
    """`keyhole ui`: serves the MLflow UI."""
    from flows.cli import mlflow_ui

    mlflow_ui.serve_page(existing_store(), host, port)


def list_worlds() -> None:
    """`keyhole envs`: lists the worlds by origin."""
    import gymnasium

    import envs  # noqa: F401  (registers)
    from flows.cli import origins
    from flows.plugins import defining_module, load_worlds

    theirs = set(gymnasium.registry)
    failed = load_worlds()
    theirs = set(gymnasium.registry) - theirs
    entries = origins.local_worlds()
    for name, spec in gymnasium.registry.items():
        if name.startswith("keyhole/") or name in theirs:
            entries.append(origins.Entry(name, world_statement(spec), origins.origin(defining_module(spec))))
    origins.print_by_origin(entries)
    origins.print_failures(failed)


def writable_project() -> Project:
    project = current_project()
    check_writable(project)
    return project


def existing_store(writes: bool = True) -> "Store":
    """Returns the project's store; raises UserError if it does not exist yet, or cannot be written and must be."""
    from flows.tracking.store import Store

    project = require_runs(current_project())
    (check_writable if writes else check_answers)(project)
    return Store(project, creates=writes)


def _show(store: "Store", run_id: str) -> None:
    """Prints the table of a sweep, where its report is, and one line that lists what is missing."""
    from flows.reporting import report
    from flows.reporting.aggregate import compare_rows
    from flows.tracking.results import read_results

    comparison = compare_rows(read_results(store, run_id))
    found = comparison.results
    print(f"\n{report.summary(comparison)}\n")
    if found.reused:
        print(f"{found.reused} runs reused from earlier sweeps ({AGAIN})")
    print(f"report: {found.folder / report.PAGE}\nruns: {shell_command('ui', project=store.project)}", flush=True)
    if found.missing:
        again = f"{shell_command('report', run_id[:8], project=store.project)} writes the report again"
        print(f"keyhole: the numbers are complete, but missing: {'; '.join(found.missing)}; {again}", file=sys.stderr)


def world_statement(spec: Any) -> str:
    """The first paragraph of the docstring of the world's module."""
    from gymnasium.envs.registration import load_env_creator

    entry = spec.vector_entry_point or spec.entry_point
    world = load_env_creator(entry) if isinstance(entry, str) else entry
    text = sys.modules[world.__module__].__doc__ or world.__doc__ or ""
    return one_line(text.strip().partition("\n\n")[0])
