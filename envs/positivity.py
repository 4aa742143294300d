"""Which rewarded endings can be judged at all, given what the agent observes of them.

Weights of one over the probability of a verdict represent the endings that are not judged by those that are. Where some
ending is never judged, no weights do. Two endings are of one class if the agent's observation of them is the same,
without the entries that show what the overseer will see. The policy is uniformly random.

Letters: S_A non-terminal states, A actions, Z values of the noise, L overseer observations, n classes.
"""

from typing import Any

import numpy as np

from envs.certificate.aliasing import random_visits
from envs.enumeration import compile_world
from envs.tables import Tables, distinct_rows


def judged_probability(tables: Tables, judgement: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """The probability that an ending of each class is judged good or bad.

    An ending is a step that leads to a terminal state; it is rewarded if its proxy reward is not 0.

    Args:
        tables: The world with the limits and audits of its overseer.
        judgement: (L,), the verdict on each overseer observation, nan for none.
        flags: (*obs,) bool, the entries of an observation that are ignored.

    Returns:
        (n,), one probability for each class of rewarded endings that occurs; empty if no terminal state is rewarded.
    """
    number, judged = _visits_by_class(tables, judgement, flags)
    return judged / number


def unjudgeable_share(env: Any) -> float:
    """The share of the rewarded endings whose class is never judged.

    Args:
        env: A world, with the limits and audits of its overseer as wrappers.

    Returns:
        A share of the expected number of rewarded endings; 0 if there are none.

    Raises:
        NotEnumerable: The world has no tables.
    """
    judgement = np.array(env.judgement, float)
    if env.audit_label is not None:  # without a label for each reward, an audit reveals the reward all the same
        audits = judgement[env.audit_label :]
        audits[np.isnan(audits)] = 1
    number, judged = _visits_by_class(compile_world(env), judgement, env.flags)
    return float(number[judged == 0].sum() / number.sum()) if len(number) else 0.0


def _visits_by_class(tables: Tables, judgement: np.ndarray, flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The expected number of rewarded endings of each class, and of those that are judged, (n,) each."""
    n_acting = len(tables.successor)
    visits = np.where(tables.reward != 0, random_visits(tables), 0.0)[tables.successor >= n_acting]
    reached = tables.successor[tables.successor >= n_acting] - n_acting
    verdict = np.asarray(judgement, float)[tables.overseer_obs[tables.successor >= n_acting]]
    is_judged = ~np.isnan(verdict) & (verdict != 0)
    if not len(reached):
        return np.zeros(0), np.zeros(0)
    kind = distinct_rows(np.where(flags, 0, tables.view[n_acting:]))[1][reached]
    number, judged = np.bincount(kind, visits), np.bincount(kind, visits * is_judged)
    return number[number > 0], judged[number > 0]
