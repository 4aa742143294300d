"""Writes the page of all studies: one table, then for each study its claims, read-outs and picture."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.errors import UserError
from flows.reporting.numbers import plusminus
from flows.reporting.study_figure import study_figure
from flows.reporting.study_report import StudyReport

PAGE, FOLDER = "studies.md", "studies"
HEAD = """# Studies

Small supervised experiments, each with claims that its own numbers decide. This page is written by
`keyhole study run all --preset {preset}` and `keyhole study page`.

A claim is a number of each seed with bounds. It *holds* if the whole 95 % interval of its mean over seeds (Student) is
within the bounds, *fails* if the whole interval is outside, and is *undecided* otherwise. Bounds are those of the
publications or of prototypes unless the set-up says otherwise; a claim that fails is left as it is.
[extending.md](extending.md) describes how to add a study.
"""


def studies_page(reports: Sequence[StudyReport], out: Path) -> Iterator[Path]:
    """Writes the page and the pictures; yields the paths of the files.

    Args:
        reports: The studies, in the order of the page.
        out: The folder.

    Raises:
        UserError: The folder cannot be written.
    """
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {out} ({error.strerror})") from None
    for report in reports:
        path = out / FOLDER / f"{report.study.name}.png"
        path.write_bytes(study_figure(report.study, report.results))
        yield path
    presets = sorted({report.results.preset for report in reports})
    text = HEAD.format(preset="|".join(presets)) + "\n" + table(reports) + "".join(map(section, reports))
    (out / PAGE).write_text(text, encoding="utf-8")
    yield out / PAGE


def table(reports: Sequence[StudyReport]) -> str:
    """The table of all claims: question, claim, published number, ours with interval, verdict, command."""
    lines = [
        "| question | claim | published | ours, 95 % interval | verdict | command |",
        "|---|---|---|---|---|---|",
    ]
    for report in reports:
        command = f"`keyhole study run {report.study.name} --preset {report.results.preset}`"
        for index, decision in enumerate(report.decisions):
            first = [report.study.question, report.study.reference or "–", command] if index == 0 else ["", "", ""]
            ours = f"{plusminus(decision.interval)} ({decision.bounds})"
            cells = [first[0], decision.claim.text, first[1], ours, f"**{decision.verdict}**", first[2]]
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def section(report: StudyReport) -> str:
    """The part of the page on one study: stand-in, set-up, picture and read-outs."""
    title = report.title[0].upper() + report.title[1:]
    parts = [f"\n## {title}\n", report.study.question]
    setup = inspect.getdoc(sys.modules[report.study.measure.__module__])
    parts += [f"\nStand-in: {report.study.stand_in}"] * bool(report.study.stand_in)
    parts += [f"\n<details><summary>Set-up and read-outs</summary>\n\n{setup}\n\n</details>"] * bool(setup)
    parts.append(f"\n![{report.title}]({FOLDER}/{report.study.name}.png)\n")
    names = report.results.readouts
    axis = [report.axis] * bool(report.study.axis)
    parts.append("| " + " | ".join(["arm", *axis, *names]) + " |")
    parts.append("|---" * (1 + len(axis) + len(names)) + "|")
    for arm, level in report.conditions:
        values = [plusminus(report.readout((arm, level), name)) for name in names]
        parts.append("| " + " | ".join(map(_cell, [arm, *[level] * len(axis), *values])) + " |")
    seeds = len(report.results.seeds)
    parts.append(f"\n{seeds} seeds, preset {report.results.preset}; mean ± half of the 95 % interval.\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
