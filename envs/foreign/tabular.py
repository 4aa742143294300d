"""A world with tables, made from an environment with a transition dictionary; see `envs.overseen`.

| state variable | values | meaning                                                              |
|----------------|--------|----------------------------------------------------------------------|
| PLACE          | 0 ..   | the state of the environment, which is its observation               |
| RECEIVED       | 0 ..   | which reward was received, where one pair of states can give several; else 0 |
| ENDED          | 0, 1   | the step that reached it terminated the episode                      |
| OUTCOME        | 0 ..   | how it did so, an index of `outcomes`                                |

Letters: N copies, S states of the environment, A actions, Z values of the noise.
"""

import functools
import json
from typing import Any, ClassVar

import numpy as np
from gymnasium import Space
from gymnasium.spaces import MultiBinary

from envs import drawing, enumeration
from envs.foreign.declaration import Overseen, OverseenStep
from envs.foreign.spaces import agent_space
from envs.foreign.toy_text import Outcomes, read_transitions
from envs.pomdp import POMDP
from envs.tables import Tables

PLACE, RECEIVED, ENDED, OUTCOME = range(4)


class TabularEnv(POMDP):
    """N copies of an environment with a transition dictionary, with an overseer."""

    _made: ClassVar[dict[str, Tables]] = {}  # arguments -> tables
    declared: Overseen  # of a subclass that `tabular_class` makes
    variables = ("state", "received", "ended", "outcome")

    def __init__(
        self,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        **env_arguments: Any,
    ) -> None:
        """Makes N copies.

        Args:
            num_envs: N.
            max_episode_steps: the time limit.
            render_mode: see `metadata`.
            **env_arguments: of the environment.

        Raises:
            ValueError: the environment has no time limit, or agent_view needs a space.
        """
        declared = self.declared
        inner = declared.make_single(**env_arguments)
        limit = max_episode_steps or declared.max_episode_steps or getattr(inner.spec, "max_episode_steps", None)
        if limit is None:
            raise ValueError(f"{declared.env_id} has no time limit: give max_episode_steps")
        self.env_arguments = dict(env_arguments)
        self.transitions: Outcomes = read_transitions(inner)
        self.desc = np.asarray(getattr(inner.unwrapped, "desc", np.zeros((0, 0))))
        inner.close()
        self.gamma, self.outcomes, self.bad_acts = declared.gamma, declared.outcomes, declared.bad_acts
        self.overseer_labels, self.judgement = declared.overseer_labels, declared.judgement
        n_states, n_actions = self.transitions.successor.shape[:2]
        self.action_names = declared.action_names or tuple(map(str, range(n_actions)))
        self.noise = {"outcome": tuple(self.transitions.noise.tolist())}
        self._received = _received(self.transitions)
        self._one_hot = np.eye(n_states, dtype=np.int8)
        space: Space = MultiBinary(n_states)
        if declared.agent_view is not None:
            space = agent_space(declared, declared.view_of(np.arange(n_states), n_states))
        self.flags = np.zeros(space.shape or (), bool) if declared.flags is None else np.asarray(declared.flags, bool)
        super().__init__(num_envs, limit, render_mode, space, n_actions)

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments that determine the dynamics."""
        return {"max_episode_steps": self.max_episode_steps, **self.env_arguments}

    def tabulate(self) -> Tables:
        """The tables of this world, kept in memory for worlds with equal arguments."""
        shown = json.dumps(self.env_arguments, sort_keys=True, default=repr)
        key = f"{self.max_episode_steps} {shown}"
        if key not in self._made:
            self._made[key] = enumeration.make_tables(type(self)(1, **self.parameters))
        return self._made[key]

    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """The environment's start states."""
        place = np.flatnonzero(self.transitions.start)
        states = np.zeros((len(place), 4), np.int64)
        states[:, PLACE] = place
        return states, self.transitions.start[place]

    def transition(self, state: np.ndarray, action: np.ndarray, outcome: np.ndarray) -> np.ndarray:
        """The outcome of the transition dictionary."""
        at = (state[:, PLACE], action, outcome)
        after, ended = self.transitions.successor[at], self.transitions.terminated[at]
        step = OverseenStep(state[:, PLACE], action, after, self.transitions.reward[at], ended, {})
        return np.column_stack([after, self._received[at], ended, self.declared.outcome_of(step)])

    def terminal(self, state: np.ndarray) -> np.ndarray:
        """The step that reached the state ended the episode."""
        return state[:, ENDED] == 1

    def reward(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """The proxy reward."""
        return self.declared.reward_of(self._step(state, action, next_state))

    def true_reward(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """The true reward."""
        return self.declared.true_reward_of(self._step(state, action, next_state))

    def observation(self, state: np.ndarray) -> np.ndarray:
        """The state of the environment as a one-hot vector, or what `agent_view` makes of it."""
        if self.declared.agent_view is None:
            return self._one_hot[state[:, PLACE]]
        space = self.single_observation_space
        viewed = np.asarray(self.declared.view_of(state[:, PLACE], len(state))).astype(space.dtype, copy=False)
        return self.declared.checked_view(viewed, space)

    def overseer_observation(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """What `overseer_view` makes of the step."""
        return self.declared.overseer_obs_of(self._step(state, action, next_state))

    def bad_act(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> np.ndarray:
        """The kind of bad act of the step, (N,) int."""
        return self.declared.bad_act_of(self._step(state, action, next_state))

    def outcome(self, state: np.ndarray) -> np.ndarray:
        """An index of `outcomes`."""
        return state[:, OUTCOME]

    def watched(self, state: np.ndarray) -> np.ndarray:
        """What `watched` makes of the state."""
        return self.declared.watched_at(state[:, PLACE], len(state))

    def picture(self, state: np.ndarray) -> drawing.Picture:
        """The map with the agent, if the environment has one; else the number of the state."""
        if self.desc.size != len(self._one_hot):
            return drawing.Picture.of_text(f"state {state[PLACE]}")
        glyphs = np.char.decode(self.desc) if self.desc.dtype.kind == "S" else self.desc.astype(str)
        glyphs = np.where(np.isin(glyphs, list(drawing.COLOURS)), glyphs, np.char.lower(glyphs))
        glyphs.flat[state[PLACE]] = drawing.AGENT
        return drawing.Picture(glyphs, np.zeros(glyphs.shape, bool))

    def _step(self, state: np.ndarray, action: np.ndarray, next_state: np.ndarray) -> OverseenStep:
        """The step as the environment returns it."""
        place, after = state[:, PLACE], next_state[:, PLACE]
        table = self.transitions
        same = (table.successor[place, action] == after[:, None]) & (
            self._received[place, action] == next_state[:, [RECEIVED]]
        )
        same &= table.terminated[place, action] == next_state[:, [ENDED]]
        reward = table.reward[place, action, same.argmax(1)]
        return OverseenStep(place, action, after, reward, next_state[:, ENDED] == 1, {})


@functools.cache
def tabular_class(declared: Overseen) -> type[TabularEnv]:
    """The class of a declared environment."""
    name = declared.id.rpartition("/")[2].rpartition("-v")[0] or declared.id
    return type(name, (TabularEnv,), {"declared": declared, "_made": {}, "__doc__": TabularEnv.__doc__})


def _received(table: Outcomes) -> np.ndarray:
    """(S, A, Z) int: which of the rewards that one pair of state and successor can give; 0 where there is only one."""
    n, actions, _ = table.successor.shape
    received = np.zeros(table.successor.shape, np.int64)
    rewards = np.unique(table.reward)
    code = np.searchsorted(rewards, table.reward)
    for s in range(n):
        for a in range(actions):
            keys = list(zip(table.successor[s, a].tolist(), table.terminated[s, a].tolist(), strict=True))
            for key in set(keys):
                at = [z for z, found in enumerate(keys) if found == key]
                if len(set(code[s, a, at].tolist())) > 1:
                    received[s, a, at] = code[s, a, at]
    return received
