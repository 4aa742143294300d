"""Writes a sweep's report from MLflow alone: results.csv, two figures and a page that needs no network."""

import base64
import csv
import math
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flows.reporting import figures
from flows.reporting.aggregate import Comparison, Interval, learning_curves, without_coinciding
from flows.tracking.certificates import PREFIX
from flows.tracking.missing import Missing
from flows.tracking.results import Results, Row
from flows.tracking.store import Store

COLUMNS = tuple(name for name in Row._fields if name != "without")
PAGE = "report.html"


def write_report(store: Store, comparison: Comparison, missing: Missing) -> Path:
    """Write the report's files to the sweep's artifact folder.

    Args:
        store: the store of the sweep.
        comparison: the sweep's results.
        missing: receives the files that cannot be written.

    Returns:
        The path of the page.
    """
    results = comparison.results
    page = results.folder / PAGE
    with missing.part("results.csv"):
        results.folder.mkdir(parents=True, exist_ok=True)
        write_csv(results, results.folder / "results.csv")
    images = draw_figures(comparison, missing)
    for name, png in images.items():
        with missing.part(name):
            (results.folder / name).write_bytes(png)
    with missing.part(PAGE):
        page.write_text(render(comparison, images), encoding="utf-8")
    with missing.part("upload of the report"):
        store.artifacts.upload(results.run_id, results.folder)
    with missing.part("description in the MLflow UI"):
        store.describe(results.run_id, description(comparison))
    return page


def description(comparison: Comparison) -> str:
    """Format the table for the MLflow UI, which shows the first lines: the caption comes last."""
    caption, _, table = summary(comparison).partition("\n\n")
    return f"{table}\n\n{caption}" if table else caption


def write_csv(results: Results, path: Path) -> None:
    """Write one line for each run and deployment rule; nan becomes an empty cell."""
    blocks = results.blocks
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*COLUMNS, *(f"without_{block}" for block in blocks)])
        for row in results.rows:
            ablated = [row.without.get(block, math.nan) for block in blocks]
            table.writerow([_blank(value) for value in (*(getattr(row, name) for name in COLUMNS), *ablated)])


def draw_figures(comparison: Comparison, missing: Missing) -> dict[str, bytes]:
    """Return file name -> PNG of the figures that can be drawn; empty if no run has a result."""
    results, images = comparison.results, {}
    if comparison.cells:
        with missing.part("true_return.png"):
            images["true_return.png"] = figures.oversight_figure(comparison.cells, results.references)
        with missing.part("learning_curves.png"):
            curves = learning_curves(results)
            images["learning_curves.png"] = figures.curves_figure(curves, results.references)
    return images


def render(comparison: Comparison, images: dict[str, bytes]) -> str:
    """Render the page as HTML; the template engine escapes text from users."""
    engine = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    engine.filters |= {"number": number, "plusminus": plusminus, "share": share}
    results = comparison.results
    drawn = {cell.row for cell in without_coinciding(comparison.cells)}
    return engine.get_template(PAGE).render(
        results=results,
        levels=[(level, comparison.at_level(level)) for level in comparison.levels],
        hidden=sorted({cell.row for cell in comparison.cells} - drawn),
        pictures={name: data_uri(png) for name, png in images.items()},
        blocks=results.blocks,
        started=datetime.fromtimestamp(results.started),
        settings=sorted((k, v) for k, v in results.params.items() if not k.startswith(PREFIX)),
        sampled=any(row.exactness == "sampled" for row in results.rows),
    )


def summary(comparison: Comparison) -> str:
    """Format the table as text for a terminal: a line for each row name, a column for each oversight level."""
    if not comparison.cells:
        return "no run has a result"
    levels = comparison.levels
    labels = {cell.row: f"{cell.row} (leaky)" if cell.leaky else cell.row for cell in comparison.cells}
    width = max(map(len, labels.values()))
    lines = ["true return: mean ± half of the 95 % interval over seeds", ""]
    lines.append(" " * width + "".join(f"{f'p={level:g}':>18}" for level in levels))
    for name in comparison.rows:
        entries = [comparison.cell(name, level) for level in levels]
        columns = "".join(f"{plusminus(cell.true_return) if cell else '':>18}" for cell in entries)
        lines.append(f"{labels[name]:<{width}}{columns}")
    return "\n".join(lines)


def number(value: float) -> str:
    """Format with three decimals; nan is a dash."""
    return "–" if math.isnan(value) else f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def plusminus(value: Interval) -> str:
    """Format as "mean ± half", or as the mean alone if there is no interval."""
    return number(value.mean) if math.isnan(value.half) else f"{number(value.mean)} ± {number(value.half)}"


def share(value: float, results: Results) -> float:
    """Return the length of a bar for `value`, in percent of the best known or achieved true return."""
    best = max(
        [
            *(known.optimal_return for known in results.references.values()),
            *(row.true_return for row in results.finished),
        ],
        default=1.0,
    )
    return 0.0 if math.isnan(value) or best <= 0 else max(0.0, min(100.0, 100 * value / best))


def data_uri(png: bytes) -> str:
    """Encode an image as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _blank(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value
