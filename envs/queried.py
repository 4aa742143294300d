"""Queries: at a cost, the agent can ask the overseer, which observes every true reward of the rest of the episode.

Asking is one more action, the last. The world does not move in the step that asks, but the discount and the time limit
go on. The agent observes whether it has asked.

| state variable | values | meaning                             |
|----------------|--------|-------------------------------------|
| AUDITED (last) | 0, 1   | the agent has asked in this episode |

Letters: N copies, obs the shape of one observation of the wrapped world, S_A its non-terminal states, A its actions.
"""

import math
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from envs import arguments, validation
from envs.audit_labels import with_audit_column
from envs.audited_view import AuditedView
from envs.overseer_view import last_info, put_info
from envs.pomdp import POMDP
from envs.tables import NotEnumerable, Tables, distinct_rows

ASK = "ask"


class Queried(AuditedView):
    """Adds the action "ask"; the step that asks and all later steps of its episode are audited.

    The overseer observation of an audited step is a label that names its true reward, as in `envs.audits`. The
    observation gains one entry, or one plane if it has several axes: 1 after the agent has asked. It is one of `flags`.
    """

    oversight_prob = math.nan  # what is seen depends on the agent

    def __init__(self, env: VectorEnv, cost: float) -> None:
        """Wraps a world.

        Args:
            env: a world, or a wrapped one, whose observations are MultiBinary or Box.
            cost: the cost of asking, subtracted from the proxy and the true reward of the step.

        Raises:
            ValueError: the environment is no world, is audited already, or has other observations.
        """
        super().__init__(env)
        if not isinstance(env.unwrapped, POMDP):
            raise ValueError(f"{env} cannot wait while the agent asks: derive it from envs.POMDP")
        self.cost = arguments.finite("cost", cost)
        self._more_rewards = (-self.cost,)
        self._ask = int(env.single_action_space.n)  # type: ignore[attr-defined]
        self.single_action_space = Discrete(self._ask + 1)
        self.action_space = batch_space(self.single_action_space, env.num_envs)
        self.single_observation_space = _extended_space(env.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    @property
    def described(self) -> dict[str, Any]:
        """The arguments of the wrappers by their names in reports."""
        return super().described | {"cost_of_asking": self.cost}

    @property
    def action_names(self) -> tuple[str, ...]:
        """The names of the world's actions, and "ask"."""
        names = self.env.action_names or tuple(map(str, range(self._ask)))  # type: ignore[attr-defined]
        return (*names, ASK)

    @property
    def action_arrows(self) -> tuple[tuple[int, int], ...] | None:
        """The arrows of the world's actions; asking moves nothing."""
        arrows = self.env.action_arrows  # type: ignore[attr-defined]
        return None if arrows is None else (*arrows, (0, 0))

    @property
    def flags(self) -> np.ndarray:
        """The flags of the world, and the entry that shows whether the agent has asked."""
        flags = self.env.flags  # type: ignore[attr-defined]
        return np.concatenate([flags, np.ones((1, *flags.shape[1:]), bool)])

    def begin(self, started: np.ndarray) -> None:
        """The agent has not asked in the episodes that start."""
        self._audited = self._audited & ~started

    def view(self, obs: np.ndarray) -> np.ndarray:
        """(N, *obs) with one more entry: whether the agent has asked."""
        return _extended(obs, self._audited)

    def observation(self, state: np.ndarray) -> np.ndarray:
        """What an agent observes in states of the world, where it has not asked, or of the tables."""
        base = self.base_states(state)
        asked = state[:, -1] if state.shape[1] > base.shape[1] else np.zeros(len(state))
        return _extended(self.env.observation(base), asked)  # type: ignore[attr-defined]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps every copy; one that asks stays in its state and pays the cost."""
        asks = self._asks(np.asarray(actions))
        audited = self._audited | asks
        obs, reward, terminated, truncated, info = self._step_or_hold(actions, asks)
        true_reward = last_info(info, "true_reward") - self.cost * asks
        put_info(info, "true_reward", true_reward)
        self._put_overseer_obs(info, true_reward, audited)
        self._audited = audited
        if "final_obs" in info:
            info["final_obs"] = self._final(obs, info["final_obs"], info["_final_obs"])
            self.begin(info["_final_obs"])
        return self.view(obs), reward - self.cost * asks, terminated, truncated, info

    def _asks(self, actions: np.ndarray) -> np.ndarray:
        """(N,) bool: the copies that ask; raises ValueError if an action is none of the actions."""
        if actions.size and actions.dtype.kind in "iu" and actions.max() > self._ask:
            raise ValueError(f"actions must be 0 to {self._ask}, found {actions.min()} to {actions.max()}")
        return actions == self._ask

    def _step_or_hold(self, actions: np.ndarray, asks: np.ndarray) -> Any:
        """Steps the wrapped world, in which the copies that ask stay in their state."""
        if not asks.any():
            return self.env.step(actions)
        world: POMDP = self.env.unwrapped  # type: ignore[assignment]
        world.held = asks
        try:
            return self.env.step(np.where(asks, 0, actions))
        finally:
            world.held = None  # if the step was refused

    def _tabulated(self, base: Tables) -> Tables:
        tables, rows = with_audit_column(base, (0, 1))
        n_acting, n_noise = len(base.successor), len(base.noise)
        audited = np.repeat([False, True], n_acting)[:, None, None]
        asked = np.broadcast_to(np.tile(rows[1, :n_acting], 2)[:, None, None], (2 * n_acting, 1, n_noise))
        price = np.full(asked.shape, -self.cost)
        true_reward = np.concatenate([tables.true_reward, price], 1)
        own = np.concatenate([tables.overseer_obs, np.zeros(asked.shape, np.int64)], 1)
        asks = np.arange(self._ask + 1)[:, None] == self._ask
        view = _extended(tables.view, tables.states[:, -1])
        first, observation = distinct_rows(view[: 2 * n_acting])
        return tables._replace(
            successor=np.concatenate([tables.successor, asked], 1),
            reward=np.concatenate([tables.reward, price], 1),
            true_reward=true_reward,
            bad_act=_without_asking(tables.bad_act),
            overseer_obs=np.where(audited | asks, self._labels.of(true_reward), own),
            view=view,
            observations=view[first],
            observation=observation,
            horizon=self._horizon(base),
        )

    def _horizon(self, base: Tables) -> int:
        """The time limit; without one, the steps until the discount is negligible."""
        if self.env.unwrapped.max_episode_steps <= validation.NO_LIMIT:  # type: ignore[attr-defined]
            return base.horizon
        if base.gamma == 1:
            raise NotEnumerable(f"asking need not end an episode of {self.env.unwrapped}: give it max_episode_steps")
        return validation.negligible_after(base.gamma)


def _without_asking(bad_act: np.ndarray) -> np.ndarray:
    """(S_A, A, Z) -> (S_A, A + 1, Z): asking is no bad act; empty stays empty."""
    return np.pad(bad_act, ((0, 0), (0, 1), (0, 0))) if bad_act.size else bad_act


def _extended(obs: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(N, *obs) with one more entry along the first axis of an observation: whether the agent has asked, (N,)."""
    shape = (len(obs), 1, *obs.shape[2:])
    entry = np.broadcast_to(asked.reshape(-1, *[1] * (obs.ndim - 1)), shape)
    return np.concatenate([obs, entry.astype(obs.dtype)], 1)


def _extended_space(space: Space) -> Space:
    """A space of observations with one more entry, 0 or 1, along the first axis."""
    if isinstance(space, MultiBinary):
        return MultiBinary(space.n + 1 if isinstance(space.n, int) else (space.shape[0] + 1, *space.shape[1:]))
    if isinstance(space, Box) and space.shape:
        plane = np.zeros((1, *space.shape[1:]), space.dtype)
        return Box(np.concatenate([space.low, plane]), np.concatenate([space.high, plane + 1]), dtype=space.dtype)
    raise ValueError(f"observations in {space} cannot show whether the agent has asked: use MultiBinary or Box")
