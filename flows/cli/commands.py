"""What the commands do. All is checked before anything starts; slow imports overlap the server's start."""

import errno
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import click

from flows import process_env
from flows.config import CompareConfig, TrainConfig, run_title, with_module
from flows.errors import UserError
from flows.project import Project, current_project
from flows.sweep.lock import only_sweep
from flows.sweep.progress import open_display
from flows.tracking.access import check_writable, require_runs

if TYPE_CHECKING:
    from flows.tracking.results import Results
    from flows.tracking.store import Store

SOME_FAILED = 1


def run_sweep(config: CompareConfig, force: bool = False) -> None:
    """`keyhole compare`: the flow, on the project's Prefect server."""
    from flows.sweep.checks import check_sweep
    from flows.sweep.plan import RunOptions

    project = _ready()
    with only_sweep(project):
        check_sweep(config)
        runs = len(config.runs())
        print(
            f"{runs} runs of {config.steps:,} steps each, {min(runs, config.workers)} side by side",
            flush=True,
        )
        _sweep(project, config, RunOptions(force=force, reuse=not force))


def resume_sweep(wanted: str, workers: str | None, force: bool, only_failed: bool) -> None:
    """`keyhole compare --resume`: the same, for a sweep that did not come to its end."""
    from flows.cli.settings import with_changes
    from flows.running import worker
    from flows.sweep import plan
    from flows.sweep.checks import check_sweep
    from flows.tracking.cache_key import code_digest

    store = existing_store()
    with only_sweep(store.project):
        sweep = plan.find_unfinished(store, wanted)
        config = with_changes(plan.stored_config(sweep), {"workers": workers})
        check_sweep(config)
        reuse = sweep.data.tags.get(plan.REUSE_TAG) != "False" and not force
        wish = plan.RunOptions(resume=sweep.info.run_id, force=force, reuse=reuse, only_failed=only_failed)
        print(f"sweep {sweep.info.run_name}, {len(config.runs())} runs of {config.steps:,} steps each: ", end="")
        print(plan.make_plan(store, config, wish, code_digest(config.env, worker.TRAIN)), flush=True)
        _sweep(store.project, config, wish)


def _sweep(project: Project, config: CompareConfig, wish: Any) -> None:
    advice = f"what was finished is kept; go on with `keyhole compare --resume{_elsewhere(project)}`"
    try:
        with _server(project, config):
            failure = _swept(config, wish)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; {advice}") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        failure = f"the sweep ended for want of room ({error}); make some; {advice}"
    if failure:
        print(f"keyhole: {failure}", file=sys.stderr)
        sys.exit(SOME_FAILED)


def _swept(config: CompareConfig, wish: Any) -> str:
    """Runs the flow and shows what came out; what failed, in one line."""
    from flows.compare import FailedRunsError, compare
    from flows.prefect_server.history import record_history
    from flows.tracking.results import read_results
    from flows.tracking.store import Store

    with record_history():
        try:
            run_id, failure = compare(config, wish), ""
        except FailedRunsError as error:
            run_id, failure = error.sweep, str(error)
    project = current_project()
    _show(project, read_results(Store(project), run_id))
    return failure


@contextmanager
def _server(project: Project, config: CompareConfig) -> Iterator[None]:
    """The server answers, and the sweep's processes import what they need."""
    from rich.console import Console

    from flows.prefect_server.server import Server
    from flows.running.runners import open_pool

    server = Server(project.prefect_home)
    try:
        with ExitStack() as staff:
            with Console().status("Prefect's server starts"):
                server.start()
                staff.enter_context(open_pool(config))
                _open_store(project)  # MLflow and Prefect load while the server starts

                server.wait()
            yield
    finally:
        server.leave()


def _open_store(project: Project) -> str:
    from flows.tracking.store import Store

    return Store(project).experiment


def run_one(config: TrainConfig) -> None:
    """`keyhole train`: one run in this process."""
    from flows.sweep.checks import check_run

    project = _ready()
    process_env.use_one_thread()
    check_run(config)
    from flows.running.worker import TRAIN
    from flows.tracking import cache_key
    from flows.tracking.provenance import run_params, run_tags
    from flows.tracking.store import Store

    store = Store(project)
    tags = {
        **run_tags(config),
        cache_key.CACHE_KEY: cache_key.run_key(config, cache_key.code_digest(config.env, TRAIN)),
    }
    with open_display([config]) as display:
        display.began(config)
        watch = partial(display.moved, config)
        with store.run(run_title(config), run_params(config), tags, watch=watch) as record:
            resolve_name(TRAIN)(config, record)
        display.ended(config, "finished")
    print(f"MLflow run {record.run_id}, files in {record.folder}")


def certify_world(env: str, said: tuple[str, ...], as_json: bool, html: str | None) -> None:
    """`keyhole certify`."""
    from flows.cli.settings import parse_arguments
    from flows.tracking.certificates import certificate_of

    if html is not None and not Path(html).resolve().parent.is_dir():
        raise UserError(f"cannot write {html}: no folder {Path(html).parent}")
    certificate = certificate_of(with_module(env), parse_arguments(said))
    from envs.certificate.report import certificate_page as page
    from envs.certificate.report import certificate_text as text

    print(certificate.to_json() if as_json else text(certificate))
    if html is not None:
        Path(html).write_text(page(certificate), encoding="utf-8")


def make_report(sweep: str | None) -> None:
    """`keyhole report`: the files of a sweep, once more."""
    from flows.reporting import report
    from flows.tracking import results

    store = existing_store()
    found = results.read_results(store, results.find_sweep(store, sweep))
    report.write_report(store, found)
    _show(store.project, found)


def list_runs(sweep: str | None, said: dict[str, Any], limit: int, as_json: bool) -> None:
    """`keyhole runs`."""
    from flows.cli import listing
    from flows.tracking import results

    store = existing_store()
    run_id = None if sweep is None else results.find_sweep(store, sweep)
    found = listing.list_entries(store, run_id, listing.Filters(**said))
    listing.print_entries(found[:limit] if run_id is None else found, as_json)
    if run_id is None and len(found) > limit:
        print(f"keyhole: {len(found) - limit} more; --limit shows them", file=sys.stderr)


def show_run(run: str | None, as_json: bool) -> None:
    """`keyhole show`."""
    from flows.cli import show

    show.print_run(existing_store(), run, as_json)


def open_page(host: str, port: int) -> None:
    """`keyhole ui`."""
    from flows.cli import ui

    ui.serve_page(existing_store(), host, port)


def list_worlds() -> None:
    """`keyhole envs`."""
    import gymnasium

    import envs  # noqa: F401  (registers)

    worlds = {name: spec for name, spec in gymnasium.registry.items() if name.startswith("keyhole/")}
    _print_list({name: _statement(spec.vector_entry_point) for name, spec in sorted(worlds.items())})


def list_methods() -> None:
    """`keyhole methods`."""
    import routing

    entries = {}
    for name, spec in sorted(routing.METHODS.items()):
        rules = [f"{rule.name} (reads {rule.reads}{', leaky' if rule.leaky else ''})" for rule in spec.deployments]
        entries[name] = f"{spec.summary} Deployed: {', '.join(rules)}."
    _print_list(entries)


def _ready() -> Project:
    project = current_project()
    check_writable(project)
    return project


def existing_store() -> "Store":
    """The project's store; a UserError if there is none yet."""
    from flows.tracking.store import Store

    project = require_runs(current_project())
    check_writable(project)
    return Store(project)


def _show(project: Project, found: "Results") -> None:
    from flows.reporting import report

    print(f"\n{report.summary(found)}\n")
    if found.reused:
        print(f"{found.reused} runs had been done before and were not done again (--force does them anew)")
    print(f"report: {found.folder / report.PAGE}\nruns: `keyhole ui{_elsewhere(project)}`")


def _elsewhere(project: Project) -> str:
    return "" if project.mlruns == project.root / "mlruns" else f" --mlruns {project.mlruns}"


def _statement(world: Any) -> str:
    """The first sentence of the file that defines the world."""
    from gymnasium.envs.registration import load_env_creator

    world = load_env_creator(world) if isinstance(world, str) else world
    text = sys.modules[world.__module__].__doc__ or world.__doc__ or ""
    return " ".join(text.strip().partition("\n\n")[0].split())


def _print_list(entries: dict[str, str]) -> None:
    width = max(map(len, entries)) + 2
    for name, text in entries.items():
        print(textwrap.fill(name.ljust(width) + text, 110, subsequent_indent=" " * width))
    click.echo(nl=False)
