"""The results of a sweep as a pandas DataFrame."""

from pathlib import Path
from typing import TYPE_CHECKING

from flows.project import project_with
from flows.reporting.report import run_lines
from flows.tracking.access import check_answers, require_runs
from flows.tracking.results import child_runs, find_sweep, last_attempts, run_rows
from flows.tracking.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame


def sweep_dataframe(
    sweep: str | None = None, mlruns: str | Path | None = None, store: str | None = None
) -> "DataFrame":
    """Read the results of a sweep from MLflow.

    What is computed from them over seeds, verdicts included, is in comparison.csv in the sweep's folder.

    Args:
        sweep: run id, start of a run id, or name of the sweep; None for the newest.
        mlruns: directory of the store; None for that of the project around the current directory.
        store: URI of the store's database; None for the file in `mlruns`, if that is given, else for the project's.

    Returns:
        One row for each run and deployment rule, with the columns of results.csv: names, oversight level, seed and
        status of the run; whether the rule is leaky; true return per episode, discounted, over all episodes and over
        those that start watched (seen) or unwatched (unseen); the checkpoint used; the true return of the final policy
        with each block ablated (without_BLOCK), the same in all rows of a run; proxy return, labels used, exactness,
        run id and error; the axis of the sweep (oversight, or the argument that it changes) and the run's level of it,
        as numbers if all levels are; bad acts per episode (all, monitored, unmonitored), bad verdicts per episode and
        retained return; the scale of the forget experts that a measured rule chose; the read-outs of absorption
        (absorption_NAME); the standard error of a sampled true return (true_return_stderr). A number that a run has not
        recorded is nan. `attrs` holds the sweep's name and run id.

    Raises:
        flows.errors.UserError: there is no such sweep or store.
    """
    import pandas

    project = require_runs(project_with(mlruns, store))
    check_answers(project)
    opened = Store(project, creates=False)
    found = opened.client.get_run(find_sweep(opened, sweep))
    # without the sweep's folder, which may have to be downloaded, and without the curves
    rows = [row for run in last_attempts(child_runs(opened, found.info.run_id)) for row in run_rows(run)]
    names, lines = run_lines(rows)
    frame = pandas.DataFrame(lines, columns=names)
    numbers = pandas.to_numeric(frame["level"], errors="coerce")
    if numbers.notna().all():
        frame["level"] = numbers
    frame.attrs.update(sweep=found.info.run_name, run_id=found.info.run_id)
    return frame
