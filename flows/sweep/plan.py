"""What a sweep still has to do: a finished run is left alone, an unfinished one goes on where it was."""

from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from flows.config import CompareConfig, Settings, TrainConfig
from flows.errors import UserError
from flows.tracking import cache_key, results
from flows.tracking.process_owner import is_abandoned
from flows.tracking.provenance import run_tags
from flows.tracking.store import CONFIG, Store

RUN_IDENTITY = ("arm", "oversight", "seed")  # tags that tell the runs of a sweep apart

REUSE_TAG = "reuses"  # tag of a sweep: whether it takes the results of equal runs


class RunOptions(Settings):
    """What is asked for besides a configuration."""

    resume: str = Field(default="", description="MLflow run id of the sweep to go on with; unset: a new one")
    force: bool = Field(default=False, description="run all anew, whatever is there")
    reuse: bool = Field(default=True, description="take the results of equal runs of other sweeps")
    only_failed: bool = Field(default=False, description="of the sweep to go on with, only the runs that failed")


class PlannedRun(NamedTuple):
    """A run to be done."""

    config: TrainConfig
    key: str  # cache key
    attempt: int = 1
    resume_id: str = ""  # id of the MLflow run that goes on; "": a new one
    reuse: bool = True  # the results of a finished twin will do


class Plan(NamedTuple):
    """The runs of a sweep, by what is to become of them."""

    todo: list[PlannedRun]
    finished: list[TrainConfig]
    left: list[TrainConfig]  # unfinished, and not asked for

    def __str__(self) -> str:
        continued = sum(bool(todo.resume_id) for todo in self.todo)
        counts = {"finished before": len(self.finished), "to go on with": continued}
        counts |= {"to begin": len(self.todo) - continued, "left as they are": len(self.left)}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def make_plan(store: Store, config: CompareConfig, wish: RunOptions, around: str) -> Plan:
    """What is to be done for the sweep; `around` as `cache.surroundings` tells it."""
    past = results.last_attempts(results.child_runs(store, wish.resume)) if wish.resume else []
    before = {tuple(run.data.tags.get(name) for name in RUN_IDENTITY): run for run in past}
    made = Plan([], [], [])
    for run in config.runs():
        tags = run_tags(run)
        _place(made, run, cache_key.run_key(run, around), before.get(tuple(tags[name] for name in RUN_IDENTITY)), wish)
    return made


def _place(made: Plan, run: TrainConfig, key: str, before: Any, wish: RunOptions) -> None:
    """Puts the run where it belongs, by the MLflow run there is of it, if there is one."""
    status = before.info.status if before else ""
    same = before is not None and before.data.tags.get(cache_key.CACHE_KEY) == key and not wish.force
    if status == "FINISHED" and (same or wish.only_failed):
        made.finished.append(run)
    elif wish.only_failed and status != "FAILED":
        made.left.append(run)
    else:
        attempt = int(before.data.tags.get("attempt", 1)) + 1 if before else 1
        made.todo.append(PlannedRun(run, key, attempt, before.info.run_id if same else "", wish.reuse))


def find_unfinished(store: Store, wanted: str) -> Any:
    """The MLflow run of the sweep to go on with: the one named, or the newest that is not finished; else a UserError.

    One that runs on another machine as far as is known is taken only by its name.
    """
    if wanted:
        found = store.client.get_run(results.find_sweep(store, wanted))
        if found.info.status == "FINISHED":
            raise UserError(f"sweep {found.info.run_name} is finished: nothing to resume")
        return found
    for sweep in results.search_runs(store, "tags.kind = 'sweep' and attributes.status != 'FINISHED'"):
        if sweep.info.status != "RUNNING" or is_abandoned(sweep.data.tags):
            return sweep
        host = sweep.data.tags.get("host")
        raise UserError(
            f"sweep {sweep.info.run_name} runs on {host} as far as is known; "
            f"if it does not, name it: --resume {sweep.info.run_id[:8]}"
        )
    raise UserError(f"nothing to resume: every sweep in {store.project.mlruns} is finished")


def stored_config(sweep: Any) -> CompareConfig:
    """The settings that a sweep has kept of itself; a UserError if this version cannot read them."""
    try:
        return CompareConfig.model_validate_json(sweep.data.tags[CONFIG])
    except (KeyError, ValidationError):
        raise UserError(
            f"sweep {sweep.info.run_name} was made by another version, whose settings this one cannot read; "
            "start it again with its own options"
        ) from None
