"""Writes a study's report from MLflow alone: results.csv, claims.csv, study.png and a page that needs no network."""

import csv
import math
import textwrap
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from agents.studies import Study
from flows.errors import UserError
from flows.reporting.claims import Decision, decide, study_verdict
from flows.reporting.numbers import plusminus
from flows.reporting.report import PAGE, WIDTH, data_uri, format_table, template_engine
from flows.reporting.statistics import Interval, interval
from flows.reporting.study_figure import study_figure
from flows.tracking.missing import Missing
from flows.tracking.store import Store
from flows.tracking.study_results import StudyResults, StudyRow, read_study

TEMPLATE = "study.html"
PICTURE = "study.png"


class StudyReport(NamedTuple):
    """A study that was run, and what its claims came to."""

    study: Study
    results: StudyResults
    decisions: list[Decision]

    @property
    def verdict(self) -> str:
        """The verdict on the study."""
        return study_verdict(self.decisions)

    @property
    def conditions(self) -> list[tuple[str, str]]:
        """The (arm, level as text) pairs that have a run, in the order of the study."""
        found = {(row.arm, row.level) for row in self.results.rows}
        ordered = [
            (arm, "" if level is None else str(level)) for arm, level in self.study.conditions(self.results.preset)
        ]
        return [pair for pair in ordered if pair in found] + sorted(found - set(ordered))

    @property
    def axis(self) -> str:
        """The name of the axis in text."""
        return self.study.axis.replace("_", " ")

    @property
    def failed(self) -> list[StudyRow]:
        """The runs that did not finish."""
        return [row for row in self.results.rows if row.status != "FINISHED"]

    @property
    def title(self) -> str:
        """The name of the study in text."""
        return self.study.name.replace("_", " ")

    def readout(self, condition: tuple[str, str], name: str) -> Interval:
        """Mean and 95 % interval of a read-out over the seeds of an (arm, level)."""
        arm, level = condition
        rows = [row for row in self.results.rows if (row.arm, row.level, row.status) == (arm, level, "FINISHED")]
        return interval([row.readouts.get(name, math.nan) for row in rows])


def read_report(store: Store, run_id: str) -> StudyReport:
    """Reads a study and decides its claims.

    Raises:
        UserError: The study is not found, for example because its module is not in the current folder.
    """
    from agents import studies

    results = read_study(store, run_id)
    try:
        study = studies.find_study(results.study)
    except ValueError as error:
        raise UserError(f"study {results.name} cannot be shown: {error}") from None
    return StudyReport(study, results, decide(study, results))


def write_study_report(store: Store, report: StudyReport, missing: Missing) -> Path:
    """Writes the report's files to the folder of the study's run; returns the path of the page.

    Args:
        store: The store.
        report: The study.
        missing: Receives the files that cannot be written.
    """
    results = report.results
    folder, image = results.folder, b""
    with missing.part("results.csv"):
        folder.mkdir(parents=True, exist_ok=True)
        write_runs(report, folder / "results.csv")
    with missing.part("claims.csv"):
        write_claims(report.decisions, folder / "claims.csv")
    with missing.part(PICTURE):
        image = study_figure(report.study, results)
        (folder / PICTURE).write_bytes(image)
    with missing.part(PAGE):
        (folder / PAGE).write_text(render_study(report, image), encoding="utf-8")
    with missing.part("upload of the report"):
        store.artifacts.upload(results.run_id, folder)
    with missing.part("description in the MLflow UI"):
        store.describe(results.run_id, study_summary(report))
    return folder / PAGE


def write_runs(report: StudyReport, path: Path) -> None:
    """Writes one line for each run; an undefined read-out is an empty cell."""
    names = report.results.readouts
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(
            ["arm", *[report.study.axis] * bool(report.study.axis), "seed", "status", *names, "run_id", "error"]
        )
        for row in report.results.rows:
            values = [row.readouts.get(name, math.nan) for name in names]
            cells = ["" if math.isnan(value) else value for value in values]
            level = [row.level] * bool(report.study.axis)
            table.writerow([row.arm, *level, row.seed, row.status, *cells, row.run_id, row.error])


def write_claims(decisions: Sequence[Decision], path: Path) -> None:
    """Writes one line for each claim: its verdict, mean and interval, bounds, and the number of each seed."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["claim", "verdict", "mean", "low", "high", "at_least", "at_most", "seeds_within", "seeds"])
        for decision in decisions:
            claim, values = decision.claim, sorted(decision.values.items())
            bounds = ["" if math.isinf(bound) else bound for bound in (claim.at_least, claim.at_most)]
            seeds = " ".join(f"{seed}:{value:g}" for seed, value in values)
            ends = _ends(decision.interval)
            table.writerow([claim.text, decision.verdict, *ends, *bounds, decision.within, seeds])


def _ends(found: Interval) -> list[Any]:
    values = (found.mean, found.mean - found.half, found.mean + found.half)
    return ["" if math.isnan(value) else value for value in values]


def render_study(report: StudyReport, image: bytes) -> str:
    """Renders the page as HTML; the template engine escapes text from users."""
    return (
        template_engine()
        .get_template(TEMPLATE)
        .render(
            report=report,
            study=report.study,
            results=report.results,
            picture=data_uri(image) if image else "",
            started=datetime.fromtimestamp(report.results.started),
            settings=sorted(report.results.params.items()),
        )
    )


def study_summary(report: StudyReport) -> str:
    """Formats verdict, claims and read-outs as text of at most 80 columns."""
    results, study = report.results, report.study
    seeds = f"{len(results.seeds)} seed{'s' * (len(results.seeds) != 1)}"
    parts = [study.question, f"{report.verdict}: {results.study}, {results.preset}, {seeds}"]
    parts += [f"Published: {study.reference}"] * bool(study.reference)
    parts += [f"Stand-in: {study.stand_in}"] * bool(study.stand_in)
    parts += map(_claim, report.decisions)
    for name in results.readouts:
        rows = [(_condition(report, pair), [plusminus(report.readout(pair, name))]) for pair in report.conditions]
        parts.append(format_table((name.replace("_", " "), ["mean"]), rows))
    return "\n\n".join(part if "\n" in part else textwrap.fill(part, WIDTH) for part in parts)


def _claim(decision: Decision) -> str:
    """A claim as text: what it states, then its verdict and numbers."""
    counted = f"{decision.within} of {len(decision.values)} seeds within"
    numbers = f"{decision.verdict}: {plusminus(decision.interval)}, bound {decision.bounds}, {counted}"
    problem = [f"  {decision.problem}"] * bool(decision.problem)
    return "\n".join([textwrap.fill(decision.claim.text, WIDTH), f"  {numbers}", *problem])


def _condition(report: StudyReport, condition: tuple[str, str]) -> str:
    arm, level = condition
    return f" {arm}" + (f", {report.axis} {level}" if level else "")
