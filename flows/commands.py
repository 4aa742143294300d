"""What the commands do. All is checked before anything starts; slow imports overlap the server's start."""

import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import click

from flows import quiet
from flows.config import CompareConfig, TrainConfig, importable
from flows.mistakes import UserError
from flows.progress import progress, title
from flows.project import Project, here, only_sweep, recorded, writable

SOME_FAILED = 1


def run_sweep(config: CompareConfig) -> None:
    """`keyhole compare`: the flow, on the project's Prefect server."""
    from flows.checks import check_sweep

    project = _ready()
    with only_sweep(project):
        check_sweep(config)
        runs = len(config.runs())
        print(
            f"{runs} runs of {config.steps:,} steps each, {min(runs, config.workers)} side by side",
            flush=True,
        )
        with _server(project):
            failure = _swept(config)
    if failure:
        print(f"keyhole: {failure}", file=sys.stderr)
        sys.exit(SOME_FAILED)


def _swept(config: CompareConfig) -> str:
    """Runs the flow and shows what came out; what failed, in one line."""
    from flows.compare import FailedRunsError, compare
    from flows.history import kept

    with kept():
        try:
            run_id, failure = compare(config), ""
        except FailedRunsError as error:
            run_id, failure = error.sweep, str(error)
    _show(run_id)
    return failure


@contextmanager
def _server(project: Project) -> Iterator[None]:
    from rich.console import Console

    from flows.server import Server

    server = Server(project.prefect_home)
    try:
        with Console().status("Prefect's server starts"):
            server.start()
            _open_store(project)  # MLflow and Prefect load while the server starts
            import flows.compare
            import flows.history  # noqa: F401

            server.wait()
        yield
    finally:
        server.leave()


def _open_store(project: Project) -> str:
    from flows.tracking import Store

    return Store(project).experiment


def run_one(config: TrainConfig) -> None:
    """`keyhole train`: one run in this process."""
    from flows.checks import check_run

    project = _ready()
    quiet.one_thread()
    check_run(config)
    from flows.job import TRAIN
    from flows.provenance import facts, run_tags
    from flows.tracking import Store

    store = Store(project)
    with progress([config]) as display:
        display.began(config)
        watch = partial(display.moved, config)
        with store.run(title(config), facts(config), run_tags(config), watch=watch) as record:
            resolve_name(TRAIN)(config, record)
        display.ended(config, "finished")
    print(f"MLflow run {record.run_id}, files in {record.folder}")


def certify_world(env: str, said: tuple[str, ...], as_json: bool, html: str | None) -> None:
    """`keyhole certify`."""
    from flows.certificates import computed
    from flows.settings import arguments

    if html is not None and not Path(html).resolve().parent.is_dir():
        raise UserError(f"cannot write {html}: no folder {Path(html).parent}")
    certificate = computed(importable(env), arguments(said))
    from envs.certificate_report import html as page
    from envs.certificate_report import report as text

    print(certificate.to_json() if as_json else text(certificate))
    if html is not None:
        Path(html).write_text(page(certificate), encoding="utf-8")


def make_report(sweep: str | None) -> None:
    """`keyhole report`: the files of a sweep, once more."""
    from flows import report, results

    store = _existing_store()
    run_id = results.find(store, sweep)
    report.write(store, run_id)
    _show(run_id)


def open_page(host: str, port: int) -> None:
    """`keyhole ui`: MLflow's server in this process's place, on the project's store."""
    store = _existing_store()
    experiment = store.experiment
    if not _free(host, port):
        raise UserError(f"port {port} of {host} is taken; pass --port")
    print(f"MLflow's page of {store.project.mlruns} (in some seconds; Ctrl-C ends it):", flush=True)
    print(f"http://{host}:{port}/#/experiments/{experiment}/runs?workflowType=machine_learning", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port)]
    artifacts = str(store.project.artifacts)
    os.execv(sys.executable, [*command, "--backend-store-uri", store.uri, "--default-artifact-root", artifacts])


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


def _existing_store():
    from flows.tracking import Store

    project = recorded(here())
    writable(project)
    return Store(project)


def _show(run_id: str) -> None:
    from flows import report, results
    from flows.tracking import Store

    project = here()
    found = results.read(Store(project), run_id)
    elsewhere = "" if project.mlruns == project.root / "mlruns" else f" --mlruns {project.mlruns}"
    print(f"\n{report.summary(found)}\n\nreport: {found.folder / report.PAGE}\nruns: `keyhole ui{elsewhere}`")


def _free(host: str, port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _statement(world: Any) -> str:
    """The first sentence of the file that defines the world."""
    text = sys.modules[world.__module__].__doc__ or world.__doc__ or ""
    return " ".join(text.strip().partition("\n\n")[0].split())


def _print_list(entries: dict[str, str]) -> None:
    width = max(map(len, entries)) + 2
    for name, text in entries.items():
        print(textwrap.fill(name.ljust(width) + text, 110, subsequent_indent=" " * width))
    click.echo(nl=False)
