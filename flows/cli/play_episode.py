"""One copy of an environment that is stepped by hand, with what its overseer makes of each step."""

from typing import Any, NamedTuple

import numpy as np

from agents.channel import Channel
from envs.enumeration import compile_world
from envs.overseer_view import last_info
from envs.tables import NotEnumerable, Tables
from flows.cli.observations import first
from flows.cli.play import PlayedStep
from routing import View


class Act(NamedTuple):
    """One step of the episode, with what its overseer makes of it."""

    step: PlayedStep
    verdict: float
    """after the limits with a history; nan for none"""
    bad_act: str
    """empty for none"""
    alike: int | None
    """number of states with the observation in which the action was taken; None without tables"""


class Episode:
    """The current episode of one copy of an environment.

    Attributes:
        env: The environment.
        tables: Those in which states that look alike are counted, or None.
        obs: The agent's observation, (1, *obs).
        acts: The steps so far.
    """

    def __init__(self, env: Any, seed: int, tables: Tables | None = None) -> None:
        self.env, self.tables = env, tables
        self._channel = Channel(env, seed)
        self._draws = hasattr(env.unwrapped, "picture")
        self.acts: list[Act] = []
        self.obs, _ = env.reset(seed=seed)

    def restart(self) -> None:
        """Starts another episode."""
        self.obs, _ = self.env.reset()
        self.acts = []

    @property
    def ended(self) -> bool:
        """Whether the last step ended the episode."""
        return bool(self.acts) and self.acts[-1].step.ended

    def alike(self) -> np.ndarray | None:
        """The states with the agent's observation, (n, K); None where they are not counted."""
        obs = first(self.obs)
        if self.tables is None or not isinstance(obs, np.ndarray):
            return None
        known = self.tables.observations
        same = (known == obs).reshape(len(known), -1).all(1)
        return self.tables.states[np.flatnonzero(self.tables.observation == same.argmax())] if same.any() else None

    def take(self, actions: np.ndarray) -> Act:
        """Takes an action, (1,) or (1, ...)."""
        frame = self.env.render()[0] if self._draws else ""
        alike = self.alike()
        self.obs, reward, terminated, truncated, info = self.env.step(actions)
        ended = bool(terminated[0] | truncated[0])
        seen, true_reward = last_info(info, "overseer_obs"), last_info(info, "true_reward")
        outcome, bad_act = last_info(info, "outcome"), last_info(info, "bad_act")
        reached = 0 if outcome is None else int(outcome[0])
        kind = 0 if bad_act is None else int(bad_act[0])
        act = Act(
            PlayedStep(frame, actions[0], float(reward[0]), float(true_reward[0]), seen[0], reached, ended),
            self._verdict(info, ended),
            self.env.bad_acts[kind - 1] if kind else "",
            None if alike is None else len(alike),
        )
        self.acts.append(act)
        return act

    def _verdict(self, info: dict[str, Any], ended: bool) -> float:
        """The verdict on the step with this info, after the limits with a history."""
        names = ("overseer_obs", "true_reward", "audited", "outcome", "features")
        seen, true_reward, *others = (last_info(info, name) for name in names)
        audited, outcome, features = (None if values is None else np.asarray(values)[None] for values in others)
        view = View(
            np.asarray(seen)[None],
            np.asarray(true_reward)[None],
            np.array([[ended]]),
            audited=audited,
            outcome=outcome,
            features=features,
        )
        return float(self._channel.view(view).verdict[0, 0])  # type: ignore[index]  # the channel sets it


def tables_if_any(env: Any) -> Tables | None:
    """The tables of an environment; None if it has none."""
    try:
        return compile_world(env)
    except NotEnumerable:
        return None
