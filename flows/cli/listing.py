"""Lists sweeps and single runs, newest first, or the runs of one sweep, optionally filtered.

Output is a table on a terminal, one line of tab-separated columns for each run in a pipe, or JSON. Characters that
control a terminal are removed from user input.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from rich.cells import cell_len

from flows.axis import Axis, Level
from flows.study_config import CONFIGS
from flows.sweep.plan import missing_runs
from flows.text import cell_text, nan_to_none
from flows.tracking.results import NAN, Row, child_runs, last_attempts, run_rows, search_runs, tag_number
from flows.tracking.store import PARENT, Store

SHORT = 8  # characters of a run id in a table
NUMBERS = ("runs", "best", "oversight", "seed", "true return", "seen", "unseen")
WRAPPED = ("name", "method", "of", "env")  # columns that may take two lines
FACTORED = (
    "axis",
    "level",
    "status",
    "env",
    "knowledge",
    "exactness",
)  # printed once below if equal in every row
IMPORTANT = (  # most important first; where the terminal is too narrow for all columns, the last of these are left out
    "id", "best", "true return", "name", "method", "level", "oversight", "seed", "runs", "status", "of", "seen",
    "unseen", "started", "axis", "env", "exactness", "knowledge",
)  # fmt: skip
MIN_WRAPPED, GAP, EDGES = 12, 3, 2  # characters: of a wrapped column, between two columns, of both edges


class Filters(NamedTuple):
    """Conditions on a run; None accepts anything. `env` matches a part of the environment's id."""

    method: str | None = None
    env: str | None = None
    status: str | None = None
    oversight: float | None = None
    seed: int | None = None
    level: str | None = None  # of another axis, VALUE or NAME=VALUE

    @property
    def of_runs(self) -> bool:
        """Whether a condition is set that only applies to runs, not to sweeps."""
        return (self.method, self.oversight, self.seed, self.level) != (None, None, None, None)

    def admit(self, run: Any) -> bool:
        """Returns whether the MLflow run meets every condition."""
        tags = run.data.tags
        return all(
            (
                self.method in (None, tags.get("method"), tags.get("arm")),
                self.env is None or self.env.lower() in environment(run).lower(),
                self.status in (None, run.info.status),
                self.oversight is None or self.oversight == tag_number(tags, "oversight", NAN),
                self.seed is None or str(self.seed) == tags.get("seed"),
                self.level in (None, tags.get("level"), f"{tags.get('axis')}={tags.get('level')}"),
            )
        )


def list_entries(store: Store, sweep: str | None, filters: Filters, archived: bool = False) -> list[dict[str, Any]]:
    """Returns the runs of a sweep in order of start; without a sweep, sweeps, studies and single runs, newest first.

    Args:
        sweep: Run id of a sweep, or None.
        filters: Conditions. One that only runs can meet selects runs of all sweeps.
        archived: Whether to list archived runs instead of the visible ones.
    """
    if sweep is not None:
        members = last_attempts(child_runs(store, sweep, archived))
        return [of_run(run) for run in members if filters.admit(run)]
    runs = search_runs(store, "tags.kind = 'run'", archived)
    if filters.of_runs:
        return [of_run(run) for run in runs if filters.admit(run)]
    children: dict[str, list[Any]] = {}
    for run in runs:
        children.setdefault(run.data.tags.get(PARENT, ""), []).append(run)
    for run in search_runs(store, "tags.kind = 'study run'", archived):
        children.setdefault(run.data.tags.get(PARENT, ""), []).append(run)
    studies = search_runs(store, "tags.kind = 'study'", archived)
    top = [*search_runs(store, "tags.kind = 'sweep'", archived), *studies, *children.pop("", [])]
    top.sort(key=lambda run: -run.info.start_time)
    return [of_top(run, children.get(run.info.run_id, [])) for run in top if filters.admit(run)]


def of_top(run: Any, children: Sequence[Any]) -> dict[str, Any]:
    """The entry of a sweep or a single run: finished runs, and the best of them."""
    members = last_attempts(children) if children else []
    finished = [row for member in members or [run] for row in first_rows(member) if row.true_return == row.true_return]
    best = max(finished, key=lambda row: row.true_return, default=None)
    done = sum(member.info.status == "FINISHED" for member in members)
    total = len(members) + len(missing_runs(run, members))
    return {
        "id": run.info.run_id,
        "name": run.info.run_name,
        "started": started(run),
        "status": run.info.status,
        "runs": f"{done}/{total}" if run.data.tags.get("kind") in CONFIGS else "",
        "best": best and best.true_return,
        "of": f"{best.method} {run_level(best)} seed={best.seed}" if best else run.data.tags.get("verdict", ""),
        "env": environment(run),
    }


def of_run(run: Any) -> dict[str, Any]:
    """The entry of a run, with the returns of its method's first deployment rule."""
    row = next(iter(first_rows(run)), None)
    return {
        "id": run.info.run_id,
        "method": run.data.tags.get("arm") or run.data.tags.get("method", ""),
        "oversight": tag_number(run.data.tags, "oversight", NAN),
        "seed": int(tag_number(run.data.tags, "seed", -1)),
        "status": run.info.status,
        "true return": row and row.true_return,
        "seen": row and row.seen,
        "unseen": row and row.unseen,
        "knowledge": run.data.tags.get("knowledge", ""),
        "exactness": run.data.tags.get("exactness", ""),
        "started": started(run),
        "env": environment(run),
        "axis": run.data.tags.get("axis", ""),
        "level": run.data.tags.get("level", ""),
    }


def run_level(row: Row) -> Level:
    """The level of a row, without the other levels of its sweep."""
    return Axis(row.axis, (row.level,)).level(row.level)


def first_rows(run: Any) -> list[Row]:
    """The row of the method's first deployment rule; empty for a sweep."""
    return run_rows(run)[:1] if run.data.tags.get("kind") == "run" else []


def environment(run: Any) -> str:
    """The environment id, without the prefix of our own worlds."""
    return run.data.params.get("env", "").removeprefix("envs:")


def started(run: Any) -> str:
    """The local time at which the run started."""
    return datetime.fromtimestamp(run.info.start_time / 1000).strftime("%Y-%m-%d %H:%M")


def print_entries(entries: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Prints entries as JSON, as a table on a terminal, or else as tab-separated lines."""
    if as_json:
        print(json.dumps([{name: nan_to_none(value) for name, value in entry.items()} for entry in entries], indent=2))
    elif sys.stdout.isatty():
        _table(entries)
    else:
        for line in [*map(list, entries[:1]), *([cell_text(value) for value in entry.values()] for entry in entries)]:
            print("\t".join(line))


def _table(entries: Sequence[dict[str, Any]]) -> None:
    """Prints a narrow table. Ids and times are shortened; values equal in every row are printed once below."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    lines = [{name: cell_text(value) for name, value in entry.items()} for entry in entries]
    if not lines:
        console.print("nothing to show")
        return
    shared = {name: value for name, value in lines[0].items() if name in FACTORED and _all_equal(lines, name)}
    short = [{**line, "id": line["id"][:SHORT], "started": line["started"].partition("-")[2]} for line in lines]
    names = [name for name in lines[0] if name not in shared]
    if "level" in names:  # last in a pipe, where scripts select columns by number
        names.insert(names.index("oversight") + 1, names.pop(names.index("level")))
    fitting = fitting_columns({name: [name, *(line[name] for line in short)] for name in names}, console.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in fitting:
        table.add_column(name, justify="right" if name in NUMBERS else "left", overflow="fold")
        table.columns[-1].no_wrap = name not in WRAPPED
    for line in short:
        table.add_row(*(Text(line[name]) for name in fitting))
    console.print(table)
    console.print(Text("; ".join(f"{name} {value}" for name, value in shared.items() if value)))
    if hidden := [name for name in names if name not in fitting]:
        console.print(Text(f"not shown at this width: {', '.join(hidden)} (--json prints everything)"))


def fitting_columns(cells: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """Choose the most important columns that fit into a terminal uncut.

    Args:
        cells: texts of each column, its header included, in the order of the table.
        width: characters of the terminal.

    Returns:
        The names of the chosen columns, in the order of the table; at least one.
    """
    chosen: set[str] = set()
    left = width + GAP - EDGES
    for name in sorted(cells, key=IMPORTANT.index):
        needed = max(map(cell_len, cells[name]))
        needed = (min(needed, MIN_WRAPPED) if name in WRAPPED else needed) + GAP
        if chosen and needed > left:
            continue
        chosen.add(name)
        left -= needed
    return [name for name in cells if name in chosen]


def _all_equal(lines: Sequence[dict[str, str]], name: str) -> bool:
    return len({line[name] for line in lines}) == 1
