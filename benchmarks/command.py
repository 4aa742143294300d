"""The benchmark of the whole tool: progress goes to stderr, a table to stdout, JSON and a picture to docs/.

A trial, of some subjects or a quick one, writes only where --out says: what docs/ holds is one whole run.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.harness import machine, plot
from benchmarks.harness.figures import SUBJECTS, Figure, Subject, as_json, line, subject
from benchmarks.harness.paired import Effort

QUICK, THOROUGH = Effort(2, 0.05, whole=False), Effort(5, 0.3, whole=True)
DOCS = Path(__file__).parent.parent / "docs"
Measured = list[tuple[Subject, list[Figure]]]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--only", multiple=True, metavar="NAME", type=click.Choice(SUBJECTS), help="a subject; repeat it")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="folder of benchmark.json and .png")
@click.option("--quick", is_flag=True, help="a minute's trial: few rounds, the slowest things left out")
def main(only: tuple[str, ...], out: Path | None, quick: bool) -> None:
    """Measure the tool against its peers, in ratios of CPU time."""
    torch.set_num_threads(1)
    folder = out or (None if only or quick else DOCS)
    about, began, measured = machine.facts(), time.time(), []
    names = [name for name in SUBJECTS if not only or name in only]
    for number, name in enumerate(names, 1):
        measured.append(measure(f"[{number}/{len(names)}]", subject(name), QUICK if quick else THOROUGH))
        if folder:  # after each, so that what was measured is there if the next one fails
            write(folder, {**about, "quick": quick, "seconds": round(time.time() - began)}, measured)
    show(measured)


def measure(place: str, one: Subject, effort: Effort) -> tuple[Subject, list[Figure]]:
    """All figures of a subject; each is told as it comes."""
    print(f"{place} {one.name}: {one.title}", file=sys.stderr, flush=True)
    figures = []
    for figure in one.measure(effort):
        figures.append(figure)
        print(line(figure), file=sys.stderr, flush=True)
    return one, figures


def write(folder: Path, about: dict[str, Any], measured: Measured) -> None:
    """benchmark.json and benchmark.png."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"machine": about, "subjects": [as_json(one, figures) for one, figures in measured]}
    (folder / "benchmark.json").write_text(json.dumps(found, indent=1) + "\n")
    plot.draw(measured, folder / "benchmark.png")


def show(measured: Measured) -> None:
    """The table: median, least to most, repetitions, and the absolute number of this machine."""
    for one, figures in measured:
        print(f"\n{one.title}\n  {one.unit}", *map(line, figures), sep="\n")
