"""A sweep's report, made from MLflow alone: results.csv, two pictures, and a page that needs no network."""

import base64
import csv
import math
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flows.reporting import figures
from flows.reporting.aggregate import Cell, Interval, cells, learning_curves
from flows.tracking.certificates import PREFIX
from flows.tracking.results import Results, Row
from flows.tracking.store import Store

COLUMNS = tuple(name for name in Row._fields if name != "without")
PAGE = "report.html"


def write_report(store: Store, results: Results) -> Path:
    """Makes the sweep's files in its artifact folder; where the page is."""
    results.folder.mkdir(parents=True, exist_ok=True)
    write_csv(results, results.folder / "results.csv")
    drawn = draw_figures(results)
    for name, png in drawn.items():
        (results.folder / name).write_bytes(png)
    page = results.folder / PAGE
    page.write_text(render(results, drawn), encoding="utf-8")
    store.artifacts.upload(results.run_id, results.folder)
    store.describe(results.run_id, summary(results))
    return page


def write_csv(results: Results, path: Path) -> None:
    """One line for each run and deployment rule; what is not known stays empty."""
    blocks = results.blocks
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*COLUMNS, *(f"without_{block}" for block in blocks)])
        for row in results.rows:
            ablated = [row.without.get(block, math.nan) for block in blocks]
            table.writerow([_blank(value) for value in (*(getattr(row, name) for name in COLUMNS), *ablated)])


def draw_figures(results: Results) -> dict[str, bytes]:
    """File name -> PNG; nothing if no run has finished."""
    table = cells(results)
    if not table:
        return {}
    return {
        "true_return.png": figures.oversight_figure(table, results.references),
        "learning_curves.png": figures.curves_figure(learning_curves(results), results.references),
    }


def render(results: Results, drawn: dict[str, bytes]) -> str:
    """The page as HTML; what users typed is escaped by the template engine."""
    engine = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    engine.filters |= {"number": number, "plusminus": plusminus, "share": share}
    table = cells(results)
    return engine.get_template(PAGE).render(
        results=results,
        levels=by_level(table),
        hidden=sorted({cell.row for cell in table} - {cell.row for cell in figures.without_coinciding(table)}),
        pictures={name: data_uri(png) for name, png in drawn.items()},
        blocks=results.blocks,
        started=datetime.fromtimestamp(results.started),
        settings=sorted((k, v) for k, v in results.params.items() if not k.startswith(PREFIX)),
        sampled=any(row.exactness == "sampled" for row in results.rows),
    )


def by_level(table: list[Cell]) -> list[tuple[float, list[Cell]]]:
    """The cells of each oversight level, scarcest first, best first within."""
    levels = sorted({cell.oversight for cell in table})
    return [(level, [cell for cell in table if cell.oversight == level]) for level in levels]


def summary(results: Results) -> str:
    """The table as text for a terminal: a row for each row name, a column for each oversight level."""
    table = cells(results)
    if not table:
        return "no run has a result"
    levels = sorted({cell.oversight for cell in table})
    found = {(cell.row, cell.oversight): cell for cell in table}
    names = {cell.row: f"{cell.row} (leaky)" if cell.leaky else cell.row for cell in table}
    width = max(map(len, names.values()))
    lines = ["true return, mean ± half of the 95 % interval over seeds", ""]
    lines.append(" " * width + "".join(f"{f'p={level:g}':>18}" for level in levels))
    for name in figures.rank_rows(table):
        entries = [found.get((name, level)) for level in levels]
        shown = "".join(f"{plusminus(cell.true_return) if cell else '':>18}" for cell in entries)
        lines.append(f"{names[name]:<{width}}{shown}")
    return "\n".join(lines)


def number(value: float) -> str:
    """Three digits; a dash for what is not known."""
    return "–" if math.isnan(value) else f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def plusminus(value: Interval) -> str:
    return number(value.mean) if math.isnan(value.half) else f"{number(value.mean)} ± {number(value.half)}"


def share(value: float, results: Results) -> float:
    """How far a bar for `value` reaches, in percent of the best that is known."""
    best = max(
        [
            *(known.optimal_return for known in results.references.values()),
            *(row.true_return for row in results.finished),
        ],
        default=1.0,
    )
    return 0.0 if math.isnan(value) or best <= 0 else max(0.0, min(100.0, 100 * value / best))


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _blank(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value
