"""Writes a sweep's report from MLflow alone: results.csv, comparison.csv, figures and a page that needs no network.

The table and the page lead with the verdicts against the reference arm.
"""

import base64
import csv
import math
import re
import textwrap
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from flows.reporting import figures, statistics, verdicts
from flows.reporting.aggregate import MEASURED, Cell, Comparison, learning_curves, without_coinciding
from flows.reporting.dead_experts import dead_experts_note
from flows.reporting.factorial import two_by_two_tables
from flows.reporting.numbers import bracketed, count, number, p_value, plusminus
from flows.reporting.plane import plane_figure
from flows.reporting.predictions import predicted_worlds
from flows.reporting.relearning import NOT_REMOVED, relearned_arms, relearning_figure
from flows.reporting.scales import scales_figure
from flows.reporting.statistics import Interval
from flows.reporting.verdicts import Place
from flows.tracking.certificates import PREFIX
from flows.tracking.missing import Missing
from flows.tracking.results import ABSORPTION_METRICS, Results, Row
from flows.tracking.store import Store

STDERR = "true_return_stderr"  # the last column of results.csv
MAPPINGS = ("without", "evaluation", "absorption", "dead_units")  # fields of a row with columns of their own, or none
COLUMNS = tuple(name for name in Row._fields if name not in (*MAPPINGS, STDERR))
PAGE = "report.html"
PREDICTIONS = "predictions.png"
COMPARISON = "comparison.csv"
RELEARNED = "relearning.csv"
RELEARNED_COLUMNS = (
    "arm", "axis", "level", "deployed", "final", "reference", "reference_of", "updates", "updates_to_half", "censored",
    "nothing_removed",
)  # fmt: skip
READOUTS = {"plane.png": plane_figure, "scales.png": scales_figure, "relearning.png": relearning_figure}
WIDTH = 80  # characters of a line of the table
AUDITED_NOTE = (
    "Audits can reach every episode, so where oversight is above 0 every bad act with a negative true reward counts as "
    "monitored."
)
DESCRIPTION_LENGTH = 7900  # characters: MLflow truncates a longer tag at 8000
Line = tuple[str, list[str]]  # of the table: a name and its columns


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
    with missing.part(COMPARISON):
        write_comparison(comparison, results.folder / COMPARISON)
    if results.relearning:
        with missing.part(RELEARNED):
            write_relearning(comparison, results.folder / RELEARNED)
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
    """Return the summary for the MLflow UI, shortened by whole lines to `DESCRIPTION_LENGTH`."""
    text, rest = summary(comparison), f"\n... the rest is in {PAGE}"
    if len(text) <= DESCRIPTION_LENGTH:
        return text
    return text[: DESCRIPTION_LENGTH - len(rest)].rpartition("\n")[0] + rest


def write_csv(results: Results, path: Path) -> None:
    """Write one line for each run and deployment rule; nan becomes an empty cell."""
    names, lines = run_lines(results.rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows({name: _blank(value) for name, value in line.items()} for line in lines)


def run_lines(rows: Sequence[Row]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the columns and lines of results.csv.

    Behind the fields of a row follow the blocks (`without_BLOCK`), the read-outs of absorption (`absorption_NAME`) and
    the shares of dead units (`dead_units_BLOCK`) that a run has, and the standard error of a sampled true return.
    """
    blocks = sorted({block for row in rows for block in row.without})
    absorbed = [name for name in ABSORPTION_METRICS if any(name in row.absorption for row in rows)]
    counted = sorted({block for row in rows for block in row.dead_units})
    lines = [
        {
            **{name: getattr(row, name) for name in COLUMNS},
            **{f"without_{block}": row.without.get(block, math.nan) for block in blocks},
            **{f"absorption_{name}": row.absorption.get(name, math.nan) for name in absorbed},
            **{f"dead_units_{block}": row.dead_units.get(block, math.nan) for block in counted},
            STDERR: row.true_return_stderr,
        }
        for row in rows
    ]
    readouts = [f"without_{block}" for block in blocks] + [f"absorption_{name}" for name in absorbed]
    readouts += [f"dead_units_{block}" for block in counted]
    return [*COLUMNS, *readouts, STDERR], lines


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write one line for each row name and level; nan and what was not tested become empty cells."""
    lines = [comparison_line(comparison, cell) for cell in comparison.cells]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(comparison_line(comparison, None)))
        table.writeheader()
        table.writerows({name: _blank(value) for name, value in line.items()} for line in lines)


def write_relearning(comparison: Comparison, path: Path) -> None:
    """Write one line for each arm, level and fine-tuned run: what was removed, and when half of it was regained.

    `updates_to_half` is empty and `censored` true where half was not regained within the updates; it is empty and
    `nothing_removed` true where the deployed policy has removed nothing.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(RELEARNED_COLUMNS)
        for found in relearned_arms(comparison):
            for updates, curve in zip(found.updates, found.curves, strict=True):
                finite = math.isfinite(updates)
                table.writerow(
                    [
                        found.arm, found.level.axis, found.level.text, curve[0][1], curve[-1][1],
                        found.reference.rate, found.reference.source, found.last, updates if finite else "",
                        math.isinf(updates), math.isnan(updates),
                    ]
                )  # fmt: skip


def comparison_line(comparison: Comparison, cell: Cell | None) -> dict[str, Any]:
    """Return the line of comparison.csv for a cell; for None, a line with empty values.

    Intervals are 95 % intervals and are not corrected for the number of tests. `p` is that of the sign-flip test and
    `adjusted_p` is corrected over the family.
    """
    contrast = comparison.contrasts.get((cell.row, cell.level)) if cell else None
    difference, improvement = (contrast.difference, contrast.improvement) if contrast else (None, None)
    mean, middle = (cell.true_return, cell.interquartile_mean) if cell else (None, None)
    return {
        "row": cell and cell.row,
        "leaky": cell and cell.leaky,
        "oversight": cell and cell.oversight,
        "reference": comparison.results.reference_arm,
        "verdict": cell and verdict_word(comparison, cell),
        "p": contrast and contrast.p,
        "adjusted_p": contrast and contrast.adjusted,
        "difference": difference and difference.mean,
        "difference_low": difference and difference.mean - difference.half,
        "difference_high": difference and difference.mean + difference.half,
        "pairs": difference and difference.n,
        "improvement": improvement and improvement.value,
        "improvement_low": improvement and improvement.low,
        "improvement_high": improvement and improvement.high,
        "seeds_to_decide": contrast and contrast.needed,
        "mean": mean and mean.mean,
        "mean_low": mean and mean.mean - mean.half,
        "mean_high": mean and mean.mean + mean.half,
        "interquartile_mean": middle and middle.value,
        "interquartile_mean_low": middle and middle.low,
        "interquartile_mean_high": middle and middle.high,
        "seeds": mean and mean.n,
        "axis": cell and cell.level.axis,
        "level": cell and cell.level.text,
        **{
            f"{name}{suffix}": value
            for name in ("labels_used", *MEASURED)
            for suffix, value in _ends(getattr(cell, name) if cell else None)
        },
        "label_cost": cell and comparison.label_cost(cell),
    }


def _ends(value: Interval | None) -> list[tuple[str, float | None]]:
    """The suffixes of an interval's columns and their values: the mean and both ends."""
    if value is None:
        return [("", None), ("_low", None), ("_high", None)]
    return [("", value.mean), ("_low", value.mean - value.half), ("_high", value.mean + value.half)]


def verdict_word(comparison: Comparison, cell: Cell) -> str:
    """Return the verdict of a cell, "reference" for the reference arm, or an empty string without a reference."""
    if cell.row == comparison.results.reference_arm:
        return "reference"
    contrast = comparison.contrasts.get((cell.row, cell.level))
    return contrast.verdict if contrast else ""


def draw_figures(comparison: Comparison, missing: Missing) -> dict[str, bytes]:
    """Return file name -> PNG of the figures that can be drawn; empty if no run has a result."""
    results, images = comparison.results, {}
    if comparison.cells:
        with missing.part("true_return.png"):
            images["true_return.png"] = figures.oversight_figure(comparison.cells, results.references)
        with missing.part("learning_curves.png"):
            curves = learning_curves(results)
            images["learning_curves.png"] = figures.curves_figure(curves, results.references)
        with missing.part(PREDICTIONS):
            if settings := predicted_worlds(comparison):
                images[PREDICTIONS] = figures.predictions_figure(settings)
        for name, draw in READOUTS.items():
            with missing.part(name):
                if image := draw(comparison):
                    images[name] = image
    return images


def template_engine() -> Environment:
    """Return the engine for pages of this folder; it escapes text from users."""
    engine = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    engine.filters |= {
        "number": number, "plusminus": plusminus, "bracketed": bracketed, "p_value": p_value, "share": share,
        "breakable": breakable, "count": count,
    }  # fmt: skip
    return engine


def render(comparison: Comparison, images: dict[str, bytes]) -> str:
    """Render the page as HTML; the template engine escapes text from users."""
    engine = template_engine()
    results = comparison.results
    drawn = {cell.row for cell in without_coinciding(comparison.cells)}
    return engine.get_template(PAGE).render(
        results=results,
        axis=results.axis,
        comparison=comparison,
        headline=headline(comparison),
        method_note=method_note(comparison),
        leaky={cell.row for cell in comparison.cells if cell.leaky},
        levels=[(level, comparison.at_level(level)) for level in comparison.levels],
        hidden=sorted({cell.row for cell in comparison.cells} - drawn),
        pictures={name: data_uri(png) for name, png in images.items()},
        blocks=results.blocks,
        bad_acts=results.has_bad_acts,
        started=datetime.fromtimestamp(results.started),
        settings=sorted((k, v) for k, v in results.params.items() if not k.startswith(PREFIX)),
        tables=two_by_two_tables(comparison),
        relearned=relearned_arms(comparison),
        not_removed=NOT_REMOVED,
        absorbed=[cell for cell in comparison.cells if any(found.n for found in cell.absorption.values())],
        absorption_metrics=ABSORPTION_METRICS,
        costs={level: comparison.mean_cost(level) for level in comparison.levels},
        sampled=any(row.exactness == "sampled" for row in results.rows),
        stderr=any(cell.stderr.n for cell in comparison.cells),
        audited_note=AUDITED_NOTE if is_audited(results) else "",
        dead_experts=dead_experts_note(results),
        history=sampled_limits(results.params.get("overseer", "")),
    )


def is_audited(results: Results) -> bool:
    """Return whether episodes of the sweep's environment are audited."""
    return any(not math.isnan(row.audits) for row in results.rows)


def sampled_limits(overseer: str) -> str:
    """Return the limits with a history among those of an overseer; empty if they are not registered in this process."""
    from routing import parse_limits
    from routing.oversight.limits import HISTORY
    from routing.oversight.plugins import without_imports

    try:
        with without_imports():
            return "|".join(bound.name for bound in parse_limits(overseer) if bound.part.kind == HISTORY)
    except ValueError:
        return ""


def breakable(name: str) -> Markup:
    """Return the name of a row as HTML that may break after a bracket, comma, slash or @."""
    return Markup(re.sub(r"([(,/@])", r"\1<wbr>", str(escape(name))))


def headline(comparison: Comparison) -> str:
    """Return the first line of the report: what the verdicts amount to, or why nothing is decided."""
    rows = {cell.row for cell in comparison.cells}
    return verdicts.conclusion(comparison.contrasts, rows, comparison.results.reference_arm)


def method_note(comparison: Comparison) -> str:
    """State how verdicts are made and what the columns mean."""
    count = sum(contrast.tested and contrast.counted for contrast in comparison.contrasts.values())
    return (
        "Verdict: sign-flip test of the differences between paired seeds, with Holm's correction over a family of "
        f"{count} test{'' if count == 1 else 's'}: every row against the reference at every level, "
        "rows that are equal on every seed once. Family-wise error "
        f"rate: {statistics.ALPHA}. Leaky rows are shown but not tested. Difference: mean ± half of its 95 % interval, "
        "not corrected. Pairs: seeds that both have. Needed: of an undecided row, estimated pairs that would decide "
        f"with power {statistics.POWER:g} if the true mean and sd were the observed ones; – above "
        f"{statistics.MOST_PAIRS}."
    )


def summary(comparison: Comparison) -> str:
    """Format verdicts and results as text of at most 80 columns: a line for each row name at each level."""
    if not comparison.cells:
        return "no run has a result"
    parts = [headline(comparison)]
    if comparison.contrasts:
        title = f"true return against {comparison.results.reference_arm}"
        header = (title, ["verdict", "difference", "adj. p", "pairs", "needed"])
        parts.append(format_table(header, _by_level(comparison, verdict_columns, comparison.contrasts)))
        parts.append("\n".join(textwrap.wrap(method_note(comparison), WIDTH)))
    header = ("true return, with 95 % intervals", ["mean", "interquartile mean", "seeds"])
    columns = result_columns
    if any(cell.stderr.n for cell in comparison.cells):
        header = ("true return, 95 % intervals", [*header[1], "± s.e."])
        columns = sampled_columns
    parts.append(format_table(header, _by_level(comparison, columns)))
    if comparison.results.has_bad_acts:
        header = ("bad acts per episode", ["monitored", "unmonitored", "retained", labels_title(comparison)])
        distinct = {(cell.row, cell.level) for cell in without_coinciding(comparison.cells)}  # comparison.csv has all
        parts.append(format_table(header, _by_level(comparison, bad_act_columns, distinct)))
        if is_audited(comparison.results):
            parts.append("\n".join(textwrap.wrap(AUDITED_NOTE, WIDTH)))
    if relearned := relearned_arms(comparison):
        header = ("updates to regain half of the removed bad acts", ["median"])
        parts.append(format_table(header, [(f"{found.arm}, {found.level.title}", [found.text]) for found in relearned]))
    if note := dead_experts_note(comparison.results):
        parts.append("\n".join(textwrap.wrap(note, WIDTH)))
    return "\n\n".join(parts)


def _by_level(
    comparison: Comparison,
    columns: Callable[[Comparison, Cell], list[str]],
    places: Collection[Place] | None = None,
) -> list[Line]:
    """Return the lines of a table: at each level a title, then the cells, best first; those of `places` if given."""
    lines: list[Line] = []
    for level in comparison.levels:
        cells = [cell for cell in comparison.at_level(level) if places is None or (cell.row, cell.level) in places]
        lines.append((level.title, []))
        lines += [(f" {label(cell)}", columns(comparison, cell)) for cell in cells]
    return lines


def verdict_columns(comparison: Comparison, cell: Cell) -> list[str]:
    """Return verdict, difference, adjusted p, number of pairs and pairs needed of a cell that has a contrast."""
    contrast = comparison.contrasts[cell.row, cell.level]
    return [
        contrast.verdict,
        plusminus(contrast.difference),
        p_value(contrast.adjusted),
        str(contrast.difference.n),
        str(contrast.needed or "–"),
    ]


def result_columns(comparison: Comparison, cell: Cell) -> list[str]:
    """Return mean, interquartile mean and number of seeds of a cell."""
    return [plusminus(cell.true_return), bracketed(cell.interquartile_mean), str(cell.true_return.n)]


def sampled_columns(comparison: Comparison, cell: Cell) -> list[str]:
    """Return the columns of a result and the mean standard error of a run, which its sampled episodes cause."""
    return [*result_columns(comparison, cell), number(cell.stderr.mean) if cell.stderr.n else "–"]


def bad_act_columns(comparison: Comparison, cell: Cell) -> list[str]:
    """Return bad acts, monitored and unmonitored, retained return, and labels used or what they cost."""
    price = comparison.results.label_price
    labels = number(comparison.label_cost(cell)) if price else count(cell.labels_used.mean)
    return [plusminus(cell.bad_acts_monitored), plusminus(cell.bad_acts_unmonitored), plusminus(cell.retained), labels]


def labels_title(comparison: Comparison) -> str:
    """Return the title of the column of labels: their number, or their cost if they have a price."""
    return "label cost" if comparison.results.label_price else "labels"


def label(cell: Cell) -> str:
    """Return the row name, marked if the row is leaky."""
    return f"{cell.row} (leaky)" if cell.leaky else cell.row


def format_table(header: Line, lines: Sequence[Line]) -> str:
    """Align the columns to the right; a name that leaves them no room within `WIDTH` has a line of its own."""
    filled = [columns for _, columns in (header, *lines) if columns]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    room = WIDTH - sum(widths) - 2 * len(widths)
    longest = max((len(name) for name, columns in (header, *lines) if columns and len(name) <= room), default=0)
    text = []
    for name, columns in (header, *lines):
        numbers = "".join(f"  {column:>{width}}" for column, width in zip(columns, widths, strict=False))
        if len(name) > longest:
            text.append(name)
        text.append((f"{name if len(name) <= longest else '':<{longest}}" + numbers).rstrip())
    return "\n".join(line for line in text if line)


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
