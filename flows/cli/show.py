"""Prints one run or sweep: settings, results, curves as lines of block characters, files.

Characters that control a terminal are removed from user input.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.cli.listing import started
from flows.errors import UserError, unknown_name
from flows.output import can_print
from flows.reporting import report
from flows.reporting.aggregate import compare_rows
from flows.reporting.factorial import markdown, two_by_two_tables
from flows.reporting.predictions import predicted_worlds, predictions_table
from flows.reporting.report import sampled_limits
from flows.sweep.plan import missing_runs
from flows.text import format_duration, nan_to_none, printable
from flows.tracking import results
from flows.tracking.certificates import PREFIX
from flows.tracking.store import PARENT, Store

BLOCKS, DIGITS = "▁▂▃▄▅▆▇█", "01234567"
WIDTH = 40  # characters in a curve
PROVENANCE = ("git_commit", "version.")  # prefixes of params that are printed in JSON only


def print_run(store: Store, name: str | None, as_json: bool) -> None:
    """Prints the run or sweep `name`; None selects the newest sweep. Raises UserError if there is none."""
    run = results.find_run(store, name)
    if as_json:
        print(json.dumps(run_facts(store, run), indent=2))
        return
    is_sweep = run.data.tags.get("kind") == "sweep"
    body = _sweep(store, run) if is_sweep else [*_results(run), *_curves(store, run)]
    for line in [*head(store, run), "", *body, *_settings_and_files(store, run)]:
        print(printable(line))


def run_facts(store: Store, run: Any) -> dict[str, Any]:
    """Returns the whole MLflow record of a run as plain data."""
    info = {"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status, "started": started(run)}
    metrics = {name: nan_to_none(value) for name, value in sorted(run.data.metrics.items())}
    tags = {name: value for name, value in sorted(run.data.tags.items()) if name != "mlflow.note.content"}
    files = [str(path) for path in files_of(store, run)]
    return {**info, "params": dict(sorted(run.data.params.items())), "metrics": metrics, "tags": tags, "files": files}


def head(store: Store, run: Any) -> list[str]:
    """The lines with name, id, status, sweep, times and error."""
    tags, ended = run.data.tags, run.info.end_time
    lines = [f"{run.info.run_name}   {run.info.status.lower()}"]
    took = f", took {format_duration((ended - run.info.start_time) / 1000)}" if ended else ""
    lines.append(f"{run.info.run_id}, started {started(run)}{took}")
    if PARENT in tags:
        sweep = store.client.get_run(tags[PARENT])
        lines.append(f"in the sweep {sweep.info.run_name} ({sweep.info.run_id[:8]})")
    names = ("overseer", "audits", "knowledge", "exactness", "deployments", "leaky", "best")
    shown = {name: tags[name] for name in names if tags.get(name)}
    lines += [f"{name}: {value}" for name, value in shown.items()]
    lines += [f"{name}: sha256 {value}" for name, value in sorted(tags.items()) if name.startswith("certificate")]
    return lines + ([f"error: {tags['error']}"] if "error" in tags else [])


def _sweep(store: Store, run: Any) -> list[str]:
    found = results.read_results(store, run.info.run_id)
    runs = {row.run_id for row in found.rows}
    missing = missing_runs(run, results.child_runs(store, run.info.run_id))
    lines = [
        f"{len(runs) - len(found.unfinished)} of {len(runs) + len(missing)} runs with a result",
        "",
        *report.summary(compare_rows(found)).splitlines(),
    ]
    for row in found.unfinished:
        reason = f"{row.status.lower()}{': ' * bool(row.error)}{row.error}"
        lines.append(f"{row.method} {found.level_of(row)} seed={row.seed}   {reason}")
    return lines + [f"{config.title}   missing" for config in missing]


def _results(run: Any) -> list[str]:
    shown = {name: value for name, value in sorted(run.data.metrics.items()) if not name.startswith("train/")}
    return ["results", *columns({name: f"{value:.4g}" for name, value in shown.items()})] if shown else []


def _curves(store: Store, run: Any) -> list[str]:
    lines = []
    for name in sorted(run.data.metrics):
        points = sorted((point.step, point.value) for point in store.client.get_metric_history(run.info.run_id, name))
        if len(points) > 1:
            values = [value for _, value in points]
            lines.append(f"  {name:<32} {sparkline(values):<{WIDTH}} {values[0]:.4g} to {values[-1]:.4g}")
    return ["", f"curves, thinned to {WIDTH} points", *lines] if lines else []


def _settings_and_files(store: Store, run: Any) -> list[str]:
    """The lines with settings and files."""
    settings = {name: value for name, value in run.data.params.items() if not name.startswith((*PROVENANCE, PREFIX))}
    folder = store.folder(run)
    files = {str(path.relative_to(folder)): f"{path.stat().st_size:,} bytes" for path in files_of(store, run)}
    return ["", "settings", *columns(settings), "", f"files in {folder}", *columns(files)]


def files_of(store: Store, run: Any) -> list[Path]:
    """The files in the run's folder, sorted."""
    return sorted(path for path in store.folder(run).rglob("*") if path.is_file())


def columns(entries: Mapping[str, str]) -> list[str]:
    """Formats names and values in two aligned columns."""
    width = max(map(len, entries), default=0)
    return [f"  {name:<{width}}   {value}".rstrip() for name, value in sorted(entries.items())]


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Draws one character for each value, from ▁ for the lowest to █ for the highest; nan and inf become spaces.

    Digits from 0 to 7 take their place where the terminal's encoding lacks them. More than `width` values are thinned
    evenly; the first and the last are kept.
    """
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    numbers = [value for value in values if math.isfinite(value)]
    low, high = min(numbers, default=0.0), max(numbers, default=0.0)
    blocks = BLOCKS if can_print(BLOCKS) else DIGITS
    return "".join(_block(value, low, high, blocks) for value in values)


def _block(value: float, low: float, high: float, blocks: str) -> str:
    if not math.isfinite(value):
        return " "
    return blocks[round((value - low) / (high - low) * (len(blocks) - 1))] if high > low else blocks[0]


def two_kinds(text: str | None) -> set[str]:
    """Parses `masks,baseline`; empty for None. Raises UserError if it does not name two kinds of parts."""
    if text is None:
        return set()
    import routing

    kinds = [kind.strip() for kind in text.split(",")]
    for kind in kinds:
        if kind not in routing.KINDS:
            raise unknown_name("kind of part", kind, routing.KINDS)
    if len(kinds) != 2 or kinds[0] == kinds[1]:
        raise UserError(f"--parts: found {text!r}; name two kinds of parts, for example masks,baseline")
    return set(kinds)


def print_predictions(store: Store, sweep: str | None) -> None:
    """Prints the predictions of a sweep's certificates beside its results; raises UserError without one."""
    found = results.read_results(store, results.find_sweep(store, sweep))
    settings = predicted_worlds(compare_rows(found))
    if not settings:
        raise UserError(
            "the sweep has no certificate with predictions: its world has no tables, or no run has a result"
        )
    print("\n\n".join(map(predictions_table, settings)))
    if limits := sampled_limits(found.params.get("overseer", "")):
        print(f"\nPredictions are of the overseer without {limits}, which has a history.")


def print_effects(store: Store, sweep: str | None, kinds: set[str]) -> None:
    """Prints the two-by-two tables of a sweep, of all kinds of parts or of two. Raises UserError if there are none."""
    tables = two_by_two_tables(compare_rows(results.read_results(store, results.find_sweep(store, sweep))))
    shown = [table for table in tables if not kinds or set(table.kinds) == kinds]
    if not shown:
        raise UserError(
            "no two parts of which the sweep has all four combinations at one level; "
            "`keyhole compare --controls` trains them"
        )
    print("\n\n".join(map(markdown, shown)))
