"""Worlds written out by Gymnasium's toy-text environments: exact tables from their transition dictionary `P`.

`P[state][action]` lists (probability, next state, reward, terminated). The outcomes of all pairs of state and action
are driven by one noise: its values are the common refinement of their cumulative probabilities, so the world is a
function of the noise and every number computed from its tables is exact.

Letters: N copies, S states of P, A actions, Z values of the noise.
"""

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

DIGITS = 12  # cumulative probabilities that agree to this many decimals are equal

Outcome = tuple[float, int, float, bool]  # probability, next state, reward, terminated


class Outcomes(NamedTuple):
    """The transition dictionary of a toy-text environment as arrays."""

    start: np.ndarray  # (S,) float: the start distribution
    noise: np.ndarray  # (Z,) float
    successor: np.ndarray  # (S, A, Z) int
    reward: np.ndarray  # (S, A, Z) float
    terminated: np.ndarray  # (S, A, Z) bool


def has_transitions(env: gymnasium.Env) -> bool:
    """Whether an environment has a transition dictionary over its observations, and a start distribution."""
    inner: Any = env.unwrapped
    spaces = isinstance(env.observation_space, Discrete) and isinstance(env.action_space, Discrete)
    if not spaces or not isinstance(getattr(inner, "P", None), dict):
        return False
    start = np.asarray(getattr(inner, "initial_state_distrib", ()), float)
    return len(inner.P) == env.observation_space.n == len(start)  # type: ignore[attr-defined]


def read_transitions(env: gymnasium.Env) -> Outcomes:
    """Reads the transition dictionary of an environment for which `has_transitions` holds.

    Raises:
        ValueError: the probabilities of a state and action do not sum to 1.
    """
    inner: Any = env.unwrapped
    outcomes = [[_merged(inner.P[s][a]) for a in sorted(inner.P[s])] for s in sorted(inner.P)]
    ends = np.concatenate([np.cumsum([p for p, *_ in found]) for row in outcomes for found in row])
    _, first = np.unique(np.round(ends, DIGITS), return_index=True)
    cuts = ends[first]  # (Z,): the upper ends of the values of the noise
    if abs(cuts[-1] - 1) > 10**-DIGITS:
        raise ValueError(f"the probabilities of a state and action sum to {cuts[-1]:g}: make each sum to 1")
    shape = (len(outcomes), len(outcomes[0]), len(cuts))
    successor, reward, terminated = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape, bool)
    middles = cuts - np.diff(cuts, prepend=0.0) / 2
    for s, row in enumerate(outcomes):
        for a, found in enumerate(row):
            chosen = np.searchsorted(np.cumsum([p for p, *_ in found]), middles).clip(max=len(found) - 1)
            _, after, received, ended = (np.array(column) for column in zip(*found, strict=True))
            successor[s, a], reward[s, a], terminated[s, a] = after[chosen], received[chosen], ended[chosen]
    start = np.asarray(inner.initial_state_distrib, float)
    return Outcomes(start / start.sum(), np.diff(cuts, prepend=0.0) / cuts[-1], successor, reward, terminated)


def _merged(outcomes: list[Outcome]) -> list[Outcome]:
    """The outcomes with equal ones added up; impossible ones are left out."""
    total: dict[tuple[int, float, bool], float] = {}
    for probability, after, reward, terminated in outcomes:
        key = (int(after), float(reward), bool(terminated))
        total[key] = total.get(key, 0.0) + float(probability)
    return [(probability, *key) for key, probability in total.items() if probability > 0]
