"""Plans a sweep: finished runs are kept, unfinished ones resumed, missing ones started."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from flows.config import RunOptions
from flows.errors import UserError
from flows.running import worker
from flows.study_config import CONFIGS, AnyRun, Experiment
from flows.tracking import cache_key, results
from flows.tracking.store import CONFIG, PARENT, Store

REUSE_TAG = "reuses"  # tag of a sweep: whether it reuses the results of equal runs


class PlannedRun(NamedTuple):
    """A run to train."""

    config: AnyRun
    key: str  # cache key
    attempt: int = 1
    resume_id: str = ""  # id of the MLflow run to resume; "": a new one
    reuse: bool = True  # whether the results of an equal finished run may be copied


class Plan(NamedTuple):
    """The runs of a sweep: to train, finished, or skipped."""

    todo: list[PlannedRun]
    finished: list[AnyRun]
    left: list[AnyRun]  # unfinished, but excluded by only_failed

    def __str__(self) -> str:
        resumed = sum(bool(todo.resume_id) for todo in self.todo)
        counts = {"finished": len(self.finished), "to resume": resumed}
        counts |= {"to start": len(self.todo) - resumed, "skipped": len(self.left)}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def make_plan(store: Store, config: Experiment, options: RunOptions, digest: str) -> Plan:
    """Compares the sweep with the runs that exist.

    Args:
        store: The store with the runs.
        config: The sweep.
        options: What to resume, repeat or reuse.
        digest: Digest of the code, from `cache_key.code_digest`.
    """
    past = results.last_attempts(results.child_runs(store, options.resume)) if options.resume else []
    previous = {identity(run.data.tags): run for run in past}
    plan = Plan([], [], [])
    for run in config.runs():
        _add(plan, run, cache_key.run_key(run, digest), previous.get(identity(run.tags)), options)
    return plan


def experiment_digest(config: Experiment) -> str:
    """Returns the digest of the code and libraries that its runs depend on. The user's modules must be loaded."""
    return cache_key.code_digest(config.subject, worker.trainer(config.kind))


def identity(tags: Mapping[str, str]) -> tuple[str | None, ...]:
    """Returns what identifies a run within its sweep. `axis` and `level` are None in a sweep of oversight levels."""
    return tuple(tags.get(name) for name in results.RUN_IDENTITY)


def _add(plan: Plan, run: AnyRun, key: str, previous: Any, options: RunOptions) -> None:
    """Adds a run to the plan; `previous` is its MLflow run in the resumed sweep, or None."""
    status = previous.info.status if previous else ""
    unchanged = not options.force and _has_key(previous, key)
    if status == "FINISHED" and (unchanged or options.only_failed or options.next_seeds):
        plan.finished.append(run)
    elif options.only_failed and status != "FAILED":
        plan.left.append(run)
    else:
        attempt = int(results.tag_number(previous.data.tags, "attempt", 1)) + 1 if previous else 1
        reuse = options.reuse and not options.force
        plan.todo.append(PlannedRun(run, key, attempt, previous.info.run_id if unchanged else "", reuse))


def _has_key(previous: Any, key: str) -> bool:
    """Returns whether the MLflow run exists and has this key, and the key covers all its code."""
    tags = previous.data.tags if previous else {}
    return tags.get(cache_key.CACHE_KEY) == key and cache_key.NOT_REUSABLE not in tags


def find_unfinished(store: Store, name: str, kind: str = "sweep") -> Any:
    """Finds the sweep, or study, to resume: the one named, or the newest unfinished one. Returns its MLflow run.

    A sweep that is recorded as running on another machine, by a version without heartbeats, must be named explicitly.

    Raises:
        UserError: There is no such sweep, or it is finished or running.
    """
    if name:
        named = store.client.get_run(results.find_sweep(store, name, kinds=[kind]))
        if named.info.status == "FINISHED" and not missing_runs(named, results.child_runs(store, named.info.run_id)):
            raise UserError(f"{kind} {named.info.run_name} is finished: nothing to resume")
        if named.info.status == "RUNNING" and store.is_alive(named):
            raise _running(named)
        return named
    for sweep in results.search_runs(store, f"tags.kind = '{kind}' and attributes.status != 'FINISHED'"):
        alive = sweep.info.status == "RUNNING" and store.is_alive(sweep)
        if alive is False:
            return sweep
        if alive:
            raise _running(sweep)
        host = sweep.data.tags.get("host")
        raise UserError(
            f"{kind} {sweep.info.run_name} is recorded as running on {host}; "
            f"if it is not running, name it: --resume {sweep.info.run_id[:8]}"
        )
    if incomplete := _finished_but_incomplete(store, kind):
        return incomplete
    raise UserError(f"nothing to resume: every {kind} in {store.project.mlruns} is finished")


def missing_runs(sweep: Any, children: Iterable[Any]) -> list[AnyRun]:
    """Returns the runs of a sweep that have no MLflow run, for example because it was deleted in the MLflow UI.

    Args:
        sweep: MLflow run of the sweep.
        children: MLflow runs of its runs.
    """
    found = {identity(child.data.tags) for child in children}
    try:
        runs = stored_config(sweep).runs()
    except (UserError, ValueError):  # made by another version, or edited: an axis without its limit
        return []
    return [run for run in runs if identity(run.tags) not in found]


def _finished_but_incomplete(store: Store, kind: str) -> Any:
    """Finds the newest finished sweep, or study, that lacks a run, or None."""
    children: dict[str, list[Any]] = {}
    for run in results.search_runs(store, f"tags.`{PARENT}` != ''"):
        children.setdefault(run.data.tags.get(PARENT, ""), []).append(run)
    sweeps = results.search_runs(store, f"tags.kind = '{kind}' and attributes.status = 'FINISHED'")
    return next((sweep for sweep in sweeps if missing_runs(sweep, children.get(sweep.info.run_id, []))), None)


def _running(sweep: Any) -> UserError:
    return results.running_error(sweep, "wait for it or stop it, or name another sweep to resume")


def stored_config(sweep: Any) -> Any:
    """Reads the settings recorded with a sweep or study; raises UserError if this version cannot read them."""
    try:
        return CONFIGS[sweep.data.tags.get("kind", "sweep")].model_validate_json(sweep.data.tags[CONFIG])
    except (KeyError, ValidationError):
        raise UserError(
            f"sweep {sweep.info.run_name} was made by another version; its settings cannot be read; "
            "start a new sweep with the same options"
        ) from None
