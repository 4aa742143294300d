"""The results of a study, read from MLflow alone."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flows.errors import UserError
from flows.study_config import StudyConfig
from flows.tracking.metric_names import CURVE, READOUT
from flows.tracking.missing import MISSING
from flows.tracking.results import Points, child_runs, last_attempts, search_runs, tag_number
from flows.tracking.store import CONFIG, Store


class StudyRow(NamedTuple):
    """One run of a study."""

    arm: str
    level: str
    """value of the axis as text; empty without one"""
    seed: int
    status: str
    readouts: Mapping[str, float]
    curves: Mapping[str, Points]
    """name -> (step, value) pairs"""
    run_id: str
    error: str


class StudyResults(NamedTuple):
    """A study that was run: its settings and its runs."""

    run_id: str
    name: str
    status: str
    started: float
    """seconds since 1970"""
    folder: Path
    study: str
    preset: str
    params: Mapping[str, str]
    rows: tuple[StudyRow, ...]
    reused: int
    """number of runs that are copies of earlier ones"""
    missing: str
    """what could not be made, and why"""

    @property
    def seeds(self) -> list[int]:
        """The seeds that have a finished run."""
        return sorted({row.seed for row in self.rows if row.status == "FINISHED"})

    @property
    def readouts(self) -> list[str]:
        """The names of the read-outs, in alphabetical order."""
        return sorted({name for row in self.rows for name in row.readouts})

    def of_seed(self, seed: int) -> Iterator[StudyRow]:
        """The finished runs of a seed."""
        return (row for row in self.rows if row.seed == seed and row.status == "FINISHED")


def read_study(store: Store, run_id: str) -> StudyResults:
    """Reads the study with this run id.

    Raises:
        UserError: Its settings were recorded by another version, or edited.
    """
    parent = store.client.get_run(run_id)
    tags, children = parent.data.tags, last_attempts(child_runs(store, run_id))
    try:
        settings = json.loads(tags[CONFIG])
        study, preset = str(settings["study"]), str(settings["preset"])
    except (KeyError, ValueError, TypeError):
        raise UserError(f"the settings of study {parent.info.run_name} cannot be read; run it again") from None
    return StudyResults(
        run_id=run_id,
        name=parent.info.run_name,
        status=parent.info.status,
        started=parent.info.start_time / 1000,
        folder=store.folder(parent),
        study=study,
        preset=preset,
        params=parent.data.params,
        rows=tuple(_row(store, child) for child in children),
        reused=sum("reused_from" in child.data.tags for child in children),
        missing=tags.get(MISSING, ""),
    )


def _row(store: Store, run: Any) -> StudyRow:
    tags, metrics = run.data.tags, run.data.metrics
    return StudyRow(
        arm=tags.get("arm", ""),
        level=tags.get("level", ""),
        seed=int(tag_number(tags, "seed", -1)),
        status=run.info.status,
        readouts={name.removeprefix(READOUT): value for name, value in metrics.items() if name.startswith(READOUT)},
        curves={name.removeprefix(CURVE): _curve(store, run, name) for name in metrics if name.startswith(CURVE)},
        run_id=run.info.run_id,
        error=tags.get("error", ""),
    )


def _curve(store: Store, run: Any, metric: str) -> Points:
    history = store.client.get_metric_history(run.info.run_id, metric)
    return tuple(sorted((point.step, point.value) for point in history))


def latest_studies(store: Store) -> dict[str, Any]:
    """The newest MLflow run of each study that was run to its end, by the study's name."""
    latest: dict[str, Any] = {}
    for run in search_runs(store, f"tags.kind = '{StudyConfig.kind}' and attributes.status = 'FINISHED'"):
        latest.setdefault(run.data.params.get("study", ""), run)
    return latest
