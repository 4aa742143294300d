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
from flows.config import CompareConfig, TrainConfig, importable, title
from flows.errors import UserError
from flows.project import Project, here
from flows.sweep.lock import only_sweep
from flows.sweep.progress import progress
from flows.tracking.access import recorded, writable

if TYPE_CHECKING:
    from flows.tracking.results import Results
    from flows.tracking.store import Store

SOME_FAILED = 1


def run_sweep(config: CompareConfig, force: bool = False) -> None:
    """`keyhole compare`: the flow, on the project's Prefect server."""
    from flows.sweep.checks import check_sweep
    from flows.sweep.plan import Wish

    project = _ready()
    with only_sweep(project):
        check_sweep(config)
        runs = len(config.runs())
        print(
            f"{runs} runs of {config.steps:,} steps each, {min(runs, config.workers)} side by side",
            flush=True,
        )
        _sweep(project, config, Wish(force=force, reuse=not force))


def resume_sweep(wanted: str, workers: str | None, force: bool, only_failed: bool) -> None:
    """`keyhole compare --resume`: the same, for a sweep that did not come to its end."""
    from flows.cli.settings import changed
    from flows.running import worker
    from flows.sweep import plan
    from flows.sweep.checks import check_sweep
    from flows.tracking.cache_key import surroundings

    store = existing_store()
    with only_sweep(store.project):
        sweep = plan.unfinished(store, wanted)
        config = changed(plan.kept(sweep), {"workers": workers})
        check_sweep(config)
        reuse = sweep.data.tags.get(plan.REUSES) != "False" and not force
        wish = plan.Wish(resume=sweep.info.run_id, force=force, reuse=reuse, only_failed=only_failed)
        print(f"sweep {sweep.info.run_name}, {len(config.runs())} runs of {config.steps:,} steps each: ", end="")
        print(plan.plan(store, config, wish, surroundings(config.env, worker.TRAIN)), flush=True)
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
    from flows.prefect_server.history import kept
    from flows.tracking.results import read
    from flows.tracking.store import Store

    with kept():
        try:
            run_id, failure = compare(config, wish), ""
        except FailedRunsError as error:
            run_id, failure = error.sweep, str(error)
    project = here()
    _show(project, read(Store(project), run_id))
    return failure


@contextmanager
def _server(project: Project, config: CompareConfig) -> Iterator[None]:
    """The server answers, and the sweep's processes import what they need."""
    from rich.console import Console

    from flows.prefect_server.server import Server
    from flows.running.runners import staffed

    server = Server(project.prefect_home)
    try:
        with ExitStack() as staff:
            with Console().status("Prefect's server starts"):
                server.start()
                staff.enter_context(staffed(config))
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
    process_env.one_thread()
    check_run(config)
    from flows.running.worker import TRAIN
    from flows.tracking import cache_key
    from flows.tracking.provenance import facts, run_tags
    from flows.tracking.store import Store

    store = Store(project)
    tags = {**run_tags(config), cache_key.TAG: cache_key.key(config, cache_key.surroundings(config.env, TRAIN))}
    with progress([config]) as display:
        display.began(config)
        watch = partial(display.moved, config)
        with store.run(title(config), facts(config), tags, watch=watch) as record:
            resolve_name(TRAIN)(config, record)
        display.ended(config, "finished")
    print(f"MLflow run {record.run_id}, files in {record.folder}")


def certify_world(env: str, said: tuple[str, ...], as_json: bool, html: str | None) -> None:
    """`keyhole certify`."""
    from flows.cli.settings import arguments
    from flows.tracking.certificates import computed

    if html is not None and not Path(html).resolve().parent.is_dir():
        raise UserError(f"cannot write {html}: no folder {Path(html).parent}")
    certificate = computed(importable(env), arguments(said))
    from envs.certificate.report import html as page
    from envs.certificate.report import report as text

    print(certificate.to_json() if as_json else text(certificate))
    if html is not None:
        Path(html).write_text(page(certificate), encoding="utf-8")


def make_report(sweep: str | None) -> None:
    """`keyhole report`: the files of a sweep, once more."""
    from flows.reporting import report
    from flows.tracking import results

    store = existing_store()
    found = results.read(store, results.find(store, sweep))
    report.write(store, found)
    _show(store.project, found)


def list_runs(sweep: str | None, said: dict[str, Any], limit: int, as_json: bool) -> None:
    """`keyhole runs`."""
    from flows.cli import listing
    from flows.tracking import results

    store = existing_store()
    run_id = None if sweep is None else results.find(store, sweep)
    found = listing.listed(store, run_id, listing.Filters(**said))
    listing.show(found[:limit] if run_id is None else found, as_json)
    if run_id is None and len(found) > limit:
        print(f"keyhole: {len(found) - limit} more; --limit shows them", file=sys.stderr)


def show_run(run: str | None, as_json: bool) -> None:
    """`keyhole show`."""
    from flows.cli import show

    show.show(existing_store(), run, as_json)


def open_page(host: str, port: int) -> None:
    """`keyhole ui`."""
    from flows.cli import ui

    ui.open_page(existing_store(), host, port)


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
    project = here()
    writable(project)
    return project


def existing_store() -> "Store":
    """The project's store; a UserError if there is none yet."""
    from flows.tracking.store import Store

    project = recorded(here())
    writable(project)
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
    text = sys.modules[world.__module__].__doc__ or world.__doc__ or ""
    return " ".join(text.strip().partition("\n\n")[0].split())


def _print_list(entries: dict[str, str]) -> None:
    width = max(map(len, entries)) + 2
    for name, text in entries.items():
        print(textwrap.fill(name.ljust(width) + text, 110, subsequent_indent=" " * width))
    click.echo(nl=False)
