"""Counts the rollouts and optimiser steps of a run, and estimates the time and disk space of a sweep."""

import math
from statistics import median
from typing import Any, NamedTuple

from flows.config import CompareConfig, SharedConfig
from flows.text import format_duration
from flows.tracking.results import search_runs
from flows.tracking.reuse import REUSED
from flows.tracking.store import Store

FEWEST_ROLLOUTS = 10  # below which a policy has hardly changed
SIMILAR = 4  # greatest ratio of steps for an earlier run to predict the duration
STATED_RATE = {"reinforce": 120_000, "ppo": 40_000}  # steps/s of a worker on the machine of docs/benchmark.json
OVERHEAD = 1.0  # seconds of a run besides training, which recorded durations include
START = 10.0  # seconds until the first run of a sweep starts, and for the report
STATED_SIZE = 250_000  # bytes of a run: agent, figures, settings
NEWEST = 200  # earlier runs that are read


class Budget(NamedTuple):
    """What one run consists of."""

    steps: int
    rollout: int
    """Steps of a rollout, over all copies; of whole episodes, the steps if each lasted one step."""
    rollouts: int
    updates: int
    """Optimiser steps."""
    n_envs: int
    whole_episodes: bool

    def __str__(self) -> str:
        if self.whole_episodes:
            return f"each run: at most {_rollouts(self.rollouts)} of {self.rollout:,} whole episodes"
        return f"each run: {_rollouts(self.rollouts)} of {self.rollout:,} steps, {self.updates:,} optimiser steps"

    @property
    def warning(self) -> str:
        """A warning on one line if the run has few rollouts, else an empty string."""
        if self.rollouts >= FEWEST_ROLLOUTS:
            return ""
        copies = self.steps * self.n_envs // (FEWEST_ROLLOUTS * self.rollout)
        example = f", for example to --n-envs {copies}" if copies else ""
        return (
            f"warning: {self.steps:,} steps are only {_rollouts(self.rollouts)} of {self.rollout:,} steps; "
            f"raise --steps, or lower --n-steps or --n-envs{example}"
        )


def run_budget(config: SharedConfig) -> Budget:
    """Counts the rollouts and optimiser steps of a run; rollouts are whole, so the last one may exceed `steps`."""
    training = config.training
    whole_episodes = training.whole_episodes and config.learner == "reinforce"
    rollout = training.n_envs * (1 if whole_episodes else training.n_steps)
    rollouts = math.ceil(config.steps / rollout)
    minibatches = math.ceil(rollout / training.batch_size) if config.learner == "ppo" else 1
    updates = rollouts * training.n_epochs * minibatches
    return Budget(config.steps, rollout, rollouts, updates, training.n_envs, whole_episodes)


def _rollouts(count: int) -> str:
    return f"{count:,} rollout{'s' * (count != 1)}"


class Estimate(NamedTuple):
    """Expected time and disk space of a sweep."""

    seconds: float
    bytes: float
    basis: str
    """What the estimate is based on."""

    def __str__(self) -> str:
        return f"expected: {format_duration(self.seconds)} and {self.bytes / 1e6:.1f} MB of disk ({self.basis})"


def estimate(config: CompareConfig, runs: int, store: Store | None) -> Estimate:
    """Estimates the training of `runs` runs from the durations of similar earlier runs, or else a stated rate.

    Args:
        config: The sweep.
        runs: Number of runs to train.
        store: The store with earlier runs; None if there is none.
    """
    earlier = similar_runs(config, store) if store else []
    sizes: list[float] = [size for run in earlier if store and (size := _size(store, run))]
    rate = median(map(_rate, earlier)) if earlier else float(STATED_RATE[config.learner])
    typical = median(sizes) if sizes else STATED_SIZE
    basis = f"{rate:,.0f} steps/s, "
    basis += f"median of {len(earlier)} earlier runs" if earlier else "a stated rate: the store has no similar run"
    duration = config.steps / rate + (0 if earlier else OVERHEAD)
    waves = math.ceil(runs / config.workers)
    return Estimate(START + waves * duration, runs * typical, basis)


def similar_runs(config: CompareConfig, store: Store) -> list[Any]:
    """Returns finished MLflow runs of the environment and learner with a similar number of steps, without copies."""
    condition = f"tags.kind = 'run' and attributes.status = 'FINISHED' and tags.env = '{config.env}'"
    return [run for run in search_runs(store, condition)[:NEWEST] if _is_similar(config, run)]


def _is_similar(config: CompareConfig, run: Any) -> bool:
    params, tags = run.data.params, run.data.tags
    steps = int(params.get("steps", 0))
    return (
        REUSED not in tags
        and "resumed" not in tags  # its duration is that of the last attempt
        and params.get("learner") == config.learner
        and params.get("training.device") == config.training.device
        and config.steps / SIMILAR <= steps <= config.steps * SIMILAR
        and run.info.end_time > run.info.start_time
    )


def _rate(run: Any) -> float:
    return int(run.data.params["steps"]) / ((run.info.end_time - run.info.start_time) / 1000)


def _size(store: Store, run: Any) -> int:
    return sum(file.stat().st_size for file in store.folder(run).rglob("*") if file.is_file())
