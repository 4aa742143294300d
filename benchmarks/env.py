"""Environment steps per CPU-second: the diamond grid, one thread, 512 copies.

Actions are drawn in advance, except by TableRollout, which draws its own from a table of probabilities as it does in
training. Observations are arrays unless labelled as indices. AsyncVectorEnv runs one process per copy, so it gets two
copies instead of 512: the figure counts steps per CPU-second over all its processes.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

import envs
from agents.tabular.rollout import TableRollout
from benchmarks.harness.figures import Figure
from benchmarks.harness.paired import Effort, Workload, measure_ratio
from benchmarks.torch_grid import TorchGrid
from envs.dynamics import TableDynamics
from envs.pomdp import POMDP
from envs.tables import distinct_rows

UNIT = "times the steps per CPU-second of Gymnasium's SyncVectorEnv"
WORLD, COPIES, STEPS_PER_CALL = "keyhole/DiamondGhost-v0", 512, 16


class IndexDynamics(TableDynamics):
    """Dynamics by tables that return the index of each observation instead of its array."""

    def __init__(self, world: POMDP) -> None:
        super().__init__(world, world.tabulate())
        _, self._index = distinct_rows(self.tables.view)

    def observe(self, state: np.ndarray) -> np.ndarray:
        """Return the observation indices, (N,) int."""
        return self._index.take(state)


def measure(effort: Effort) -> Iterator[Figure]:
    """Compare each implementation with a list of single environments stepped one after the other."""
    with ExitStack() as stack:
        base, workloads = _workloads(stack)
        for name, workload in workloads.items():
            ratio = measure_ratio(workload, base, effort.rounds, effort.seconds)
            yield Figure.of(name, ratio, "M steps/CPU-s", 1e6)


def _workloads(stack: ExitStack) -> tuple[Workload, dict[str, Workload]]:
    single = partial(gymnasium.make, WORLD)

    def stepping(env: VectorEnv) -> Workload:
        return _stepping(stack.enter_context(closing(env)))

    by_functions, by_tables, by_index = (_world_by_functions() for _ in range(3))
    by_tables.use_tables()
    by_index.use_tables()
    by_index.dynamics = IndexDynamics(by_index)
    base = SyncVectorEnv([single] * COPIES)
    return stepping(base), {
        "make_vec by tables, observation arrays": stepping(by_tables),
        "make_vec by tables, observation indices": stepping(by_index),
        "make_vec by functions, observation arrays": stepping(by_functions),
        "TableRollout, observation indices": _table_rollout(),
        "plain torch, observation arrays": _torch_grid(),
        "AsyncVectorEnv, 2 processes": stepping(AsyncVectorEnv([single] * 2)),
        "CartPoleVectorEnv (another world)": stepping(gymnasium.make_vec("CartPole-v1", num_envs=COPIES)),
    }


def _world_by_functions() -> POMDP:
    """The world stepped by its functions, with the automatic switch to tables disabled."""
    world = gymnasium.make_vec(WORLD, num_envs=COPIES)
    assert isinstance(world, POMDP)  # make_vec's declared type is wider
    world._until_lookup = math.inf  # type: ignore[assignment]  # otherwise it switches to tables by itself
    return world


def _stepping(env: VectorEnv) -> Workload:
    env.reset(seed=0)
    rng, count = np.random.default_rng(0), env.single_action_space.n  # type: ignore[attr-defined]
    n_steps = max(STEPS_PER_CALL * COPIES // env.num_envs // 16, STEPS_PER_CALL)
    actions = rng.integers(count, size=(n_steps, env.num_envs))

    def run() -> float:
        for action in actions:
            env.step(action)
        return actions.size

    return run


def _table_rollout() -> Workload:
    tables = envs.compile_world(gymnasium.make_vec(WORLD, num_envs=1))
    rollout = TableRollout(tables, COPIES, np.random.default_rng(0))
    uniform = np.cumsum(np.full(tables.n_actions, 1 / tables.n_actions))
    cumulative = np.tile(uniform[:, None], len(tables.observations))
    return lambda: rollout.steps(STEPS_PER_CALL, lambda observation: cumulative.take(observation, 1)).reward.size


def _torch_grid() -> Workload:
    grid = TorchGrid(COPIES, seed=0)
    actions = torch.randint(4, (STEPS_PER_CALL, COPIES), generator=torch.Generator().manual_seed(0))

    def run() -> float:
        for action in actions:
            grid.step(action)
        return actions.numel()

    return run
