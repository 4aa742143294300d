"""Command line of the benchmark: progress on stderr, a table on stdout, JSON and a picture in docs/.

Runs limited by --only or --quick write files only to the folder given by --out, so docs/ always holds one full run.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.harness import machine, plot
from benchmarks.harness.figures import SUBJECTS, Figure, Subject, as_json, format_figure, load_subject
from benchmarks.harness.paired import Effort

QUICK, THOROUGH = Effort(2, 0.05, full=False), Effort(5, 0.3, full=True)
DOCS = Path(__file__).parent.parent / "docs"
Results = list[tuple[Subject, list[Figure]]]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--only", multiple=True, metavar="NAME", type=click.Choice(SUBJECTS), help="subject to run; repeatable")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="folder for benchmark.json and .png")
@click.option("--quick", is_flag=True, help="one-minute trial: few rounds, without the slowest measurements")
def main(only: tuple[str, ...], out: Path | None, quick: bool) -> None:
    """Measure the tool against references, as ratios of CPU time."""
    torch.set_num_threads(1)
    folder = out or (None if only or quick else DOCS)
    facts, start, results = machine.machine_facts(), time.time(), []
    names = [name for name in SUBJECTS if not only or name in only]
    for number, name in enumerate(names, 1):
        effort = QUICK if quick else THOROUGH
        results.append(measure_subject(f"[{number}/{len(names)}]", load_subject(name), effort))
        if folder:  # after each subject, so that a later failure loses nothing
            write_results(folder, {**facts, "quick": quick, "seconds": round(time.time() - start)}, results)
    print_results(results)


def measure_subject(position: str, subject: Subject, effort: Effort) -> tuple[Subject, list[Figure]]:
    """Measure all figures of a subject; print each on stderr when it is complete."""
    print(f"{position} {subject.name}: {subject.title}", file=sys.stderr, flush=True)
    figures = []
    for figure in subject.measure(effort):
        figures.append(figure)
        print(format_figure(figure), file=sys.stderr, flush=True)
    return subject, figures


def write_results(folder: Path, facts: dict[str, Any], results: Results) -> None:
    """Write benchmark.json and benchmark.png."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": facts, "subjects": [as_json(subject, figures) for subject, figures in results]}
    (folder / "benchmark.json").write_text(json.dumps(content, indent=1) + "\n")
    plot.draw(results, folder / "benchmark.png")


def print_results(results: Results) -> None:
    """Print the table: median, range, repetitions, and this machine's absolute value."""
    for subject, figures in results:
        print(f"\n{subject.title}\n  {subject.unit}", *map(format_figure, figures), sep="\n")
