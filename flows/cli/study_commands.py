"""Implements the commands of `keyhole study`."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows import search_path
from flows.cli.commands import existing_store, run_flow, writable_project
from flows.cli.settings import validated, with_changes
from flows.config import RunOptions
from flows.errors import UserError
from flows.project import current_project
from flows.reporting.report import PAGE
from flows.reporting.study_page import studies_page
from flows.reporting.study_report import StudyReport, read_report, study_summary
from flows.shell import shell_command
from flows.study_config import StudyConfig
from flows.sweep.lock import sweep_lock
from flows.text import one_line, printable
from flows.tracking import results
from flows.tracking.store import Store
from flows.tracking.study_results import latest_studies

SOME_FAILED = 1
FLOW = "flows.study:study_here"


def list_studies() -> None:
    """`keyhole study list`: prints every study with its question and the newest verdict in the store.

    Studies of other modules are listed if they are in the store and can be imported.
    """
    from agents import studies

    search_path.append_folder(str(Path.cwd()))
    project = current_project()
    found = {}
    if project.store or project.database.exists():
        found = latest_studies(Store(project, creates=False))
    elsewhere = {name: study for name in found if ":" in name and (study := _found(name))}
    for name, study in {**studies.load_studies(), **elsewhere}.items():
        run = found.get(name)
        state = f"{run.data.tags.get('verdict', 'no verdict')} ({run.data.params.get('preset')})" if run else "not run"
        print(printable(f"{name:<24} {state:<20} {study.question}"))


def run_study(config: StudyConfig, options: RunOptions, dry_run: bool = False) -> None:
    """`keyhole study run NAME`: runs one study; exits with 1 if runs failed."""
    from flows.sweep import earlier, plan

    search_path.append_folder(str(Path.cwd()))
    check_study_settings(config)
    project = current_project() if dry_run else writable_project()
    count = len(config.runs())
    print(f"{config.study}, {config.preset}: {count} runs, {min(count, config.workers)} side by side", flush=True)
    if dry_run:
        return
    with sweep_lock(project):
        continued = ""
        if options.next_seeds:
            digest = plan.experiment_digest(config)
            continued = earlier.with_next_seeds(existing_store(), config, options, digest)[1].resume
        run_flow(project, config, options, FLOW, print_study, _resume_command(continued))


def _resume_command(run_id: str = "") -> str:
    return shell_command("study", "run", "--resume", *filter(None, [run_id[:8]]), project=current_project())


def resume_study(name: str, workers: str | None) -> None:
    """`keyhole study run --resume`: continues an unfinished study with its own settings."""
    from flows.sweep import plan

    search_path.append_folder(str(Path.cwd()))
    store = existing_store()
    with sweep_lock(store.project):
        parent = plan.find_unfinished(store, name, StudyConfig.kind)
        config = with_changes(plan.stored_config(parent), {"workers": workers})
        check_study_settings(config)
        reuse = parent.data.tags.get(plan.REUSE_TAG) != "False"
        options = RunOptions(resume=parent.info.run_id, reuse=reuse)
        planned = plan.make_plan(store, config, options, plan.experiment_digest(config))
        print(f"study {printable(parent.info.run_name)}, {len(config.runs())} runs: {planned}", flush=True)
        run_flow(store.project, config, options, FLOW, print_study, _resume_command(parent.info.run_id))


def run_all(values: Mapping[str, Any], options: RunOptions, dry_run: bool) -> None:
    """`keyhole study run all`: runs every study after the other; exits with 1 if a run of one failed."""
    from agents import studies

    configs = [validated(StudyConfig, {**values, "study": name}) for name in studies.load_studies()]
    failed = []
    for number, config in enumerate(configs, 1):
        print(f"\n[{number}/{len(configs)}] ", end="")
        try:
            run_study(config, options, dry_run)
        except SystemExit as error:
            if error.code != SOME_FAILED:
                raise
            failed.append(config.study)
    if failed:
        print(f"keyhole: runs of {len(failed)} of {len(configs)} studies failed: {', '.join(failed)}", file=sys.stderr)
        sys.exit(SOME_FAILED)


def check_study_settings(config: StudyConfig) -> None:
    """Raises UserError if the study cannot run."""
    from flows.running.runners import check_runner

    require_study(config.study)
    check_runner(config)


def require_study(name: str) -> Any:
    """Returns the study of this name; raises UserError if there is none."""
    from agents import studies

    try:
        return studies.find_study(name)
    except ValueError as error:
        raise UserError(one_line(error)) from None


def show_study(name: str | None, as_json: bool) -> None:
    """`keyhole study show`: prints a study."""
    search_path.append_folder(str(Path.cwd()))
    store = existing_store(writes=False)
    run_id = _find_run(store, name)
    if as_json:
        print(json.dumps(facts(read_report(store, run_id)), indent=2))
    else:
        print_study(store, run_id)


def _find_run(store: Store, name: str | None) -> str:
    """The newest run of the study `name`, or the run of this id or name."""
    latest = latest_studies(store)
    if name in latest:
        return latest[name].info.run_id
    if name is not None and _found(name):
        run = shell_command("study", "run", name, project=store.project)
        raise UserError(f"study {name} was not run to its end in {store.name}; {run} runs it")
    return results.find_sweep(store, name, kinds=[StudyConfig.kind])


def _found(name: str) -> Any:
    """The study of this name, or None."""
    try:
        return require_study(name)
    except UserError:
        return None


def print_study(store: Store, run_id: str) -> None:
    """Prints claims and read-outs of a study, where its report is, and one line that lists what is missing."""
    report = read_report(store, run_id)
    print("\n" + "\n".join(printable(line) for line in study_summary(report).splitlines()) + "\n")
    if report.results.reused:
        print(f"{report.results.reused} runs reused from earlier ones (--force makes them again)")
    print(f"report: {report.results.folder / PAGE}\nruns: {shell_command('ui', project=store.project)}", flush=True)
    if report.results.missing:
        print(f"keyhole: the numbers are complete, but missing: {report.results.missing}", file=sys.stderr)


def facts(report: StudyReport) -> dict[str, Any]:
    """Returns a study as plain data: settings, claims and read-outs."""
    return {
        "run_id": report.results.run_id,
        "study": report.results.study,
        "preset": report.results.preset,
        "question": report.study.question,
        "verdict": report.verdict,
        "claims": [
            {
                "claim": decision.claim.text,
                "verdict": decision.verdict,
                "mean": _finite(decision.interval.mean),
                "half": _finite(decision.interval.half),
                "at_least": _finite(decision.claim.at_least),
                "at_most": _finite(decision.claim.at_most),
                "seeds": dict(decision.values),
            }
            for decision in report.decisions
        ],
        "runs": [
            {"arm": row.arm, "level": row.level, "seed": row.seed, "status": row.status, "run_id": row.run_id}
            | {"readouts": {name: _finite(value) for name, value in row.readouts.items()}}
            for row in report.results.rows
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_page(out: str) -> None:
    """`keyhole study page`: writes studies.md and the pictures of the newest run of every study."""
    search_path.append_folder(str(Path.cwd()))
    store = existing_store(writes=False)
    known = [run.info.run_id for name, run in sorted(latest_studies(store).items()) if _found(name)]
    if not known:
        raise UserError(f"no study was run to its end in {store.name}; {shell_command('study', 'run', 'all')} runs all")
    for path in studies_page([read_report(store, run_id) for run_id in known], Path(out)):
        print(path)
