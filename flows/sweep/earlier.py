"""Finds an earlier sweep with the same settings: one that leaves nothing to train, or one to which seeds are added.

The settings are those that can change a number, and the name. An earlier sweep leaves nothing to train if it has
finished and, for every run of the new sweep, contains a finished, reusable run with the same cache key whose files
exist.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeVar

from flows.config import CompareConfig, RunOptions
from flows.errors import UserError
from flows.study_config import Experiment, StudyConfig
from flows.sweep.plan import identity, stored_config
from flows.text import printable
from flows.tracking import cache_key, results
from flows.tracking.store import Store

Config = TypeVar("Config", CompareConfig, StudyConfig)
ANYWHERE = {"workers": 1, "runner": "processes", "dask_address": "", "ray_address": ""}  # these change no number


def find_unchanged(store: Store, config: Experiment, options: RunOptions, digest: str) -> Any:
    """Returns the newest earlier sweep after which nothing is left to train, as an MLflow run, or None.

    Args:
        store: The store with the sweeps.
        config: The new sweep.
        options: How the sweep is run; None is returned if it resumes, extends or retrains.
        digest: Digest of the code, from `cache_key.code_digest`.
    """
    if options.resume or options.force or options.next_seeds or not options.reuse:
        return None
    keys = {cache_key.run_key(run, digest) for run in config.runs()}
    for sweep, earlier in _equal_sweeps(store, config):
        if sweep.info.status == "FINISHED" and earlier.seeds == config.seeds and keys <= _reusable_keys(store, sweep):
            return sweep
    return None


def nothing_new(sweep: Any) -> str:
    """The message that an earlier sweep leaves nothing to train."""
    ended = datetime.fromtimestamp(sweep.info.end_time / 1000)
    name = printable(sweep.info.run_name)
    found = f"{sweep.data.tags['kind']} {name} ({sweep.info.run_id[:8]})"
    return f"nothing new since {ended:%Y-%m-%d %H:%M}: {found} has all of these runs"


def with_next_seeds(store: Store, config: Config, options: RunOptions, digest: str) -> tuple[Config, RunOptions]:
    """Turns `next_seeds` into the resumption of the earlier sweep with more seeds; other options stay as they are.

    Args:
        store: The store with the sweeps.
        config: The settings; `seeds` is the number of seeds to add.
        options: The options.
        digest: Digest of the code, from `cache_key.code_digest`.

    Returns:
        The settings of the extended sweep, and the options with its id.

    Raises:
        UserError: There is no earlier sweep of these settings and this code, or it is still running.
    """
    if not options.next_seeds:
        return config, options
    sweep, seeds = _sweep_to_extend(store, config, digest)
    extended = config.model_copy(update={"seeds": seeds + config.seeds})
    return extended, options.model_copy(update={"resume": sweep.info.run_id})


def check_extensible(store: Store, config: Experiment) -> None:
    """Raises UserError if no earlier sweep has these settings, so that no seeds can be added."""
    if next(_equal_sweeps(store, config), None) is None:
        name = f" and the name {config.name!r}" if config.name else " without a name"
        raise UserError(
            f"--next-seeds: {store.name} has no earlier sweep with these settings{name}; start one without --next-seeds"
        )


def _sweep_to_extend(store: Store, config: Experiment, digest: str) -> tuple[Any, int]:
    """The earlier sweep to extend, and its number of seeds: finished ones first, then that with most seeds."""
    check_extensible(store, config)
    candidates = list(_equal_sweeps(store, config))
    current = [
        (sweep, seeds)
        for sweep, earlier in candidates
        if (seeds := _seeds_of_this_code(store, sweep, earlier, digest)) is not None
    ]
    if not current:
        name = candidates[0][0].info.run_name
        raise UserError(
            f"--next-seeds: the code or libraries have changed since sweep {name}, or nothing shows that they have "
            "not, so its seeds would not be comparable with new ones; start a new sweep without --next-seeds"
        )
    sweep, seeds = max(
        current, key=lambda found: (found[0].info.status == "FINISHED", found[1], found[0].info.start_time)
    )
    if sweep.info.status == "RUNNING" and store.is_alive(sweep) is not False:
        raise results.running_error(sweep, "wait until it ends before --next-seeds extends it")
    return sweep, seeds


def _equal_sweeps(store: Store, config: Experiment) -> Iterator[tuple[Any, Experiment]]:
    """Yields the sweeps with the settings and name of `config`, whatever their number of seeds, newest first."""
    ignored = {**ANYWHERE, "seeds": 1}
    wanted = config.model_copy(update=ignored).model_dump(mode="json")  # as stored: a tuple of a world becomes a list
    for sweep in results.search_runs(store, f"tags.kind = '{config.kind}'"):
        try:
            earlier = stored_config(sweep)
        except UserError:  # made by another version
            continue
        if earlier.model_copy(update=ignored).model_dump(mode="json") == wanted:
            yield sweep, earlier


def _reusable_keys(store: Store, sweep: Any) -> set[str]:
    """The cache keys of a sweep's finished runs that may be taken as equal runs."""
    finished = [
        run
        for run in results.last_attempts(results.child_runs(store, sweep.info.run_id))
        if run.info.status == "FINISHED" and cache_key.NOT_REUSABLE not in run.data.tags and store.has_files(run)
    ]
    return {run.data.tags.get(cache_key.CACHE_KEY, "") for run in finished}


def _seeds_of_this_code(store: Store, sweep: Any, earlier: Experiment, digest: str) -> int | None:
    """The number of seeds of a sweep; None unless it has finished runs, all of them trained by this code."""
    keys = {identity(run.tags): cache_key.run_key(run, digest) for run in earlier.runs()}
    runs = results.last_attempts(results.child_runs(store, sweep.info.run_id))
    finished = [run.data.tags for run in runs if run.info.status == "FINISHED"]
    for tags in finished:
        if tags.get(cache_key.CACHE_KEY) != keys.get(identity(tags)) or cache_key.NOT_REUSABLE in tags:
            return None
    if not finished:
        return None
    largest = max((int(results.tag_number(run.data.tags, "seed", -1)) for run in runs), default=-1)
    return max(earlier.seeds, largest + 1)
