"""The commands `keyhole archive` and `keyhole delete`."""

import sys

import click

from flows.cli.commands import existing_store
from flows.errors import UserError
from flows.shell import shell_command
from flows.study_config import CONFIGS
from flows.sweep.lock import sweep_lock
from flows.text import printable
from flows.tracking import archive, results
from flows.tracking.store import Store


def archive_sweep(name: str, undo: bool) -> None:
    """`keyhole archive`: hides a sweep, or shows an archived one again."""
    store = existing_store()
    sweep = results.find_sweep(store, name, undo, tuple(CONFIGS))
    runs = (archive.restore_runs if undo else archive.archive_runs)(store, sweep)
    found = store.client.get_run(sweep)
    shown = f"{found.data.tags.get('kind', 'sweep')} {printable(found.info.run_name)}"
    if undo:
        print(f"{shown} and its {runs} runs are shown again")
        return
    back = shell_command("archive", "--undo", sweep[:8], project=store.project)
    print(f"{shown} and its {runs} runs are archived; {back} shows them again")


def delete_sweep(name: str, yes: bool) -> None:
    """`keyhole delete`: deletes a sweep with its files after a question.

    Raises:
        UserError: There is no such sweep, it is running, or the question cannot be asked.
    """
    store = existing_store()
    sweep = _find(store, name)
    archive.refuse_running(store, sweep)
    with sweep_lock(store.project):  # a running sweep may be copying from this one
        question = _question(store, sweep)
        if not yes and not sys.stdin.isatty():
            raise UserError(f"{question} There is no terminal to answer on; pass --yes")
        if not yes and not click.confirm(question):
            print("nothing was deleted")
            return
        found = store.client.get_run(sweep)
        shown, kind = printable(found.info.run_name), found.data.tags.get("kind", "sweep")
        try:
            runs = archive.delete_runs(store, sweep)
        except KeyboardInterrupt:
            again = shell_command("delete", sweep[:8], project=store.project)
            raise KeyboardInterrupt(f"stopped; {again} deletes what is left of {kind} {shown}") from None
    print(f"deleted {kind} {shown} and its {runs} runs")


def _find(store: Store, name: str) -> str:
    """The run id of a sweep, visible or archived."""
    try:
        return results.find_sweep(store, name, kinds=tuple(CONFIGS))
    except UserError:
        try:
            return results.find_sweep(store, name, True, tuple(CONFIGS))
        except UserError:
            pass
        raise


def _question(store: Store, sweep: str) -> str:
    """Describes what would be deleted."""
    members = list(archive.members_of(store, sweep))
    versions = archive.model_versions(store, [run.info.run_id for run in members])
    parts = [
        f"{members[-1].data.tags.get('kind', 'sweep')} {printable(members[-1].info.run_name)} ({sweep[:8]})",
        f"its {len(members) - 1} runs",
        "their files",
    ]
    if versions:
        names = ", ".join(sorted(f"{version.name}/{version.version}" for version in versions))
        parts.append(f"{len(versions)} registered model version{'s' * (len(versions) > 1)} made of them ({names})")
    return f"Delete {', '.join(parts[:-1])} and {parts[-1]}?"
