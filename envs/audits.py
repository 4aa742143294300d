"""Audits of random episodes: in an audited episode the overseer observes every true reward.

Each episode is audited with a fixed probability, independently of everything else. The agent cannot observe whether it
is. The tables have one more state variable, so exact numbers of audited worlds are exact.

| state variable | values | meaning                          |
|----------------|--------|----------------------------------|
| AUDITED (last) | 0, 1   | the episode is audited, constant |

Letters: N copies.
"""

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from envs import arguments
from envs.audit_labels import with_audit_column
from envs.audited_view import AuditedView
from envs.overseer_view import last_info, put_info
from envs.tables import Tables
from envs.wrappers import Seed


class Audits(AuditedView):
    """Audits each episode with a fixed probability.

    The overseer observation of an audited step is a label that names its true reward; its verdict is that reward. An
    environment without tables has a single such label, without verdict. `info["audited"]`, (N,) bool, marks the steps
    of audited episodes.
    """

    audits_hidden = True

    def __init__(self, env: VectorEnv, probability: float) -> None:
        """Wraps an environment.

        Args:
            env: the environment; the `info` of a step has `true_reward`, (N,) float.
            probability: the probability that an episode is audited.

        Raises:
            ValueError: the probability is invalid, or the environment has audits already.
        """
        super().__init__(env)
        self.oversight_prob = arguments.probability("probability", probability)

    @property
    def described(self) -> dict[str, Any]:
        """The arguments of the wrappers by their names in reports."""
        return super().described | {"audits": self.oversight_prob}

    @property
    def flags(self) -> np.ndarray:
        """(*obs,) bool: those of the environment, if it declares any; the agent cannot observe an audit."""
        return getattr(self.env, "flags", np.zeros(self.single_observation_space.shape or (), bool))

    def begin(self, started: np.ndarray) -> None:
        """Draws which of the episodes that start are audited."""
        audited = self._audited.copy()
        audited[started] = self._generator.random(int(started.sum())) < self.oversight_prob
        self._audited = audited

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Restarts copies; `watched` in the info also marks audited episodes."""
        obs, info = super().reset(seed=seed, options=options)
        watched = info.get("watched", np.zeros(self.num_envs, bool))
        started = info.get("_watched", np.ones(self.num_envs, bool))
        return obs, info | {"watched": watched | (self._audited & started)}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps every copy; in audited ones the overseer observes the true reward.

        Raises:
            ValueError: the info of the environment has no true reward.
        """
        audited = self._audited
        obs, reward, terminated, truncated, info = self.env.step(actions)
        true_reward = last_info(info, "true_reward")
        if true_reward is None:
            raise ValueError(f"{self.env} has no 'true_reward' in the info of a step, which audits reveal: add it")
        put_info(info, "true_reward", true_reward)
        self._put_overseer_obs(info, true_reward, audited)
        if "final_obs" in info:
            self.begin(info["_final_obs"])
        return obs, reward, terminated, truncated, info

    def _tabulated(self, base: Tables) -> Tables:
        p = self.oversight_prob
        probability = {value: q for value, q in enumerate((1 - p, p)) if q > 0}
        tables, rows = with_audit_column(base, tuple(probability))
        audited = tables.states[:, -1] == 1
        acting = audited[: len(tables.successor), None, None]
        return tables._replace(
            overseer_obs=np.where(acting, self._labels.of(tables.true_reward), tables.overseer_obs),
            watched=tables.watched | audited,
            start=rows[:, base.start].ravel(),
            start_probability=np.outer(list(probability.values()), base.start_probability).ravel(),
        )
