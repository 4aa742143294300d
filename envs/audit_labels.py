"""Overseer labels of audited steps: one for each distinct true reward, which the audit reveals.

The labels of audited steps follow those of the wrapped environment. Without tables, or with too many distinct true
rewards, all audited steps share one label without verdict; the true reward in `info` then takes its place.

Letters: L labels of the wrapped environment, R distinct true rewards, S states of which the first S_A are not terminal,
n values of the state column AUDITED.
"""

from typing import Any, NamedTuple

import numpy as np

from envs.enumeration import compile_world
from envs.tables import NotEnumerable, Tables, make_index

MAX_REWARDS = 256  # distinct true rewards; above, all audited steps share one label
DIGITS = 12  # significant digits to which equal true rewards agree
UNNAMED = ("not audited",)  # labels of an environment that declares none


class AuditLabels(NamedTuple):
    """The overseer labels of an environment whose episodes can be audited."""

    names: tuple[str, ...]  # (L + max(R, 1),)
    judgement: np.ndarray  # (L + max(R, 1),) float: the verdict on each
    first: int  # L, the first label of an audited step
    rewards: np.ndarray  # (R,) float, ascending; empty: audited steps share one label

    def of(self, true_reward: np.ndarray) -> np.ndarray:
        """The label of audited steps, by their true rewards, of any shape.

        Raises:
            ValueError: a true reward is not in the tables.
        """
        if not len(self.rewards):
            return np.full(true_reward.shape, self.first)
        number = np.searchsorted((self.rewards[1:] + self.rewards[:-1]) / 2, true_reward)
        known = np.isclose(self.rewards[number], true_reward, rtol=1e-9, atol=1e-9)
        if not known.all():
            found = true_reward[~known].flat[0]
            raise ValueError(f"true reward {found:g} is not in the tables: start in states that the tables have")
        return self.first + number


def make_audit_labels(env: Any, *more_rewards: float) -> AuditLabels:
    """The labels of an environment and of its audited steps.

    Args:
        env: the environment; it may declare `overseer_labels` and `judgement`.
        more_rewards: true rewards that occur beside those of its tables.
    """
    names = tuple(getattr(env, "overseer_labels", ())) or UNNAMED
    judgement = np.asarray(getattr(env, "judgement", ()), float)
    judgement = judgement if len(judgement) else np.full(len(names), np.nan)
    rewards = _distinct_rewards(env, more_rewards)
    audits = tuple(f"audit: {reward:.{DIGITS}g}" for reward in rewards) or ("audited",)
    verdicts = rewards if len(rewards) else np.full(1, np.nan)
    return AuditLabels((*names, *audits), np.concatenate([judgement, verdicts]), len(names), rewards)


def _distinct_rewards(env: Any, more_rewards: tuple[float, ...]) -> np.ndarray:
    """The distinct true rewards of the tables, ascending; empty if there are no tables or too many rewards."""
    try:
        tables = compile_world(env)
    except NotEnumerable:
        return np.zeros(0)
    exact = np.unique(np.append(tables.true_reward, more_rewards))
    rounded = {float(f"{reward:.{DIGITS}g}") + 0.0: reward + 0.0 for reward in exact[::-1].tolist()}
    return np.array(sorted(rounded.values())) if len(rounded) <= MAX_REWARDS else np.zeros(0)


def with_audit_column(tables: Tables, values: tuple[int, ...]) -> tuple[Tables, np.ndarray]:
    """Repeats the states of a world for each value of one more state variable, AUDITED, which does not change.

    Args:
        tables: the enumerated world.
        values: (n,), the values that AUDITED takes.

    Returns:
        The tables, with the start states of the first value; and the row of each state for each value, (n, S) int.
    """
    n, n_acting, n_states = len(values), len(tables.successor), len(tables.states)
    acting = np.arange(n * n_acting).reshape(n, n_acting)
    terminal = n * n_acting + np.arange(n * (n_states - n_acting)).reshape(n, n_states - n_acting)
    rows = np.hstack([acting, terminal])

    def repeated(column: np.ndarray) -> np.ndarray:
        return np.concatenate([column[:n_acting]] * n + [column[n_acting:]] * n)

    audited = np.empty(n * n_states, np.int64)
    audited[rows] = np.array(values)[:, None]
    states = np.column_stack((repeated(tables.states), audited))
    wider = tables._replace(
        states=states,
        successor=np.concatenate([row[tables.successor] for row in rows]),
        reward=np.concatenate([tables.reward] * n),
        true_reward=np.concatenate([tables.true_reward] * n),
        overseer_obs=np.concatenate([tables.overseer_obs] * n),
        bad_act=np.concatenate([tables.bad_act] * n),
        observation=np.concatenate([tables.observation] * n),
        view=repeated(tables.view),
        outcome=repeated(tables.outcome),
        watched=repeated(tables.watched),
        start=rows[0][tables.start],
        keys=make_index(states),
    )
    return wider, rows
