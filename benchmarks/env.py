"""Steps of the diamond grid on one thread, 512 copies

Actions are drawn beforehand, except for the walk by indices, which draws its own from a table of probabilities as it
does in training. Observations are written out except where they are said to be indices. A vector environment of
Gymnasium's that keeps one process a copy is given two copies, not 512: what counts is steps in a CPU-second of all its
processes.
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
from benchmarks.harness.paired import Effort, Way, paired
from benchmarks.torch_grid import TorchGrid
from envs.dynamics import TableDynamics
from envs.pomdp import POMDP
from envs.tables import distinct_rows

UNIT = "times the steps in a CPU-second of Gymnasium's SyncVectorEnv"
WORLD, COPIES, AT_ONCE = "keyhole/DiamondGhost-v0", 512, 16


class Unwritten(TableDynamics):
    """A world moved by its tables that shows the index of an observation."""

    def __init__(self, world: POMDP) -> None:
        super().__init__(world, world.tabulate())
        _, self._index = distinct_rows(self.tables.view)

    def observe(self, state: np.ndarray) -> np.ndarray:
        """(N,) int."""
        return self._index.take(state)


def measure(effort: Effort) -> Iterator[Figure]:
    """Each way of stepping, against a list of single environments stepped one after the other."""
    with ExitStack() as stack:
        base, ways = _ways(stack)
        for name, way in ways.items():
            ratio = paired(way, base, effort.rounds, effort.seconds)
            yield Figure.of(name, ratio, "M steps/CPU-s", 1e6)


def _ways(stack: ExitStack) -> tuple[Way, dict[str, Way]]:
    single = partial(gymnasium.make, WORLD)

    def stepped(env: VectorEnv) -> Way:
        return _stepped(stack.enter_context(closing(env)))

    by_functions, by_tables, by_index = (_world() for _ in range(3))
    by_tables.use_tables()
    by_index.use_tables()
    by_index.dynamics = Unwritten(by_index)
    base = SyncVectorEnv([single] * COPIES)
    return stepped(base), {
        "make_vec, observations written, by tables": stepped(by_tables),
        "make_vec, observations as indices, by tables": stepped(by_index),
        "make_vec, observations written, by functions": stepped(by_functions),
        "walk by tables, observations as indices": _walked(),
        "plain torch, observations written": _torch(),
        "AsyncVectorEnv, 2 processes": stepped(AsyncVectorEnv([single] * 2)),
        "CartPoleVectorEnv (another world)": stepped(gymnasium.make_vec("CartPole-v1", num_envs=COPIES)),
    }


def _world() -> POMDP:
    """Moved by its functions, and staying so."""
    world = gymnasium.make_vec(WORLD, num_envs=COPIES)
    assert isinstance(world, POMDP)  # make_vec's own type is wider
    world._until_lookup = math.inf  # type: ignore[assignment]  # it would change over by itself
    return world


def _stepped(env: VectorEnv) -> Way:
    env.reset(seed=0)
    rng, count = np.random.default_rng(0), env.single_action_space.n  # type: ignore[attr-defined]
    actions = rng.integers(count, size=(max(AT_ONCE * COPIES // env.num_envs // 16, AT_ONCE), env.num_envs))

    def way() -> float:
        for action in actions:
            env.step(action)
        return actions.size

    return way


def _walked() -> Way:
    tables = envs.compile_world(gymnasium.make_vec(WORLD, num_envs=1))
    walk = TableRollout(tables, COPIES, np.random.default_rng(0))
    even = np.cumsum(np.full(tables.n_actions, 1 / tables.n_actions))
    law = np.tile(even[:, None], len(tables.observations))
    return lambda: walk.steps(AT_ONCE, lambda observation: law.take(observation, 1)).reward.size


def _torch() -> Way:
    grid = TorchGrid(COPIES, seed=0)
    actions = torch.randint(4, (AT_ONCE, COPIES), generator=torch.Generator().manual_seed(0))

    def way() -> float:
        for action in actions:
            grid.step(action)
        return actions.numel()

    return way
