"""What an overseer believes of an episode can be above or below what it was worth, and both can be sought.

An agent that is rewarded for what is believed inflates it, or pays for being seen to do well. With G the true
and G' the believed return of an episode, the overestimation error is E max(G' - G, 0) and the underestimation
error E max(G - G', 0). Relative to the optimum, a plan is deceptive inflation if it is overestimated more and
believed to be better; it is overjustification if it is underestimated less and is worse. (Lang et al. 2024,
arXiv 2402.17747, section 4.)

Letters: S_A states acted in, A actions, Z values of the noise, H steps, n weighted beginnings of episodes.
"""

from typing import NamedTuple

import numpy as np

from envs.tables import Tables, distinct_rows

DIGITS = 10  # differences that agree so far are one
MAX_BEGINNINGS = 2_000_000


class Misestimation(NamedTuple):
    """Expectations per episode, discounted."""

    overestimation: float
    underestimation: float


class Compared(NamedTuple):
    """A plan against the optimum."""

    deceptive_inflation: bool
    overjustification: bool


def misestimation_of(tables: Tables, believed: np.ndarray, plan: np.ndarray) -> Misestimation | None:
    """How far off the belief (S_A, A, Z) in the episodes of a plan is; None where too many differ.

    A plan, (H, S_A, A) bool, takes any of its actions, each as likely. Episodes that stand in the same state with
    the same difference so far are followed as one.
    """
    off_by = believed - tables.true_reward
    state, off, chance = tables.start, np.zeros(len(tables.start)), tables.start_probability
    errors = np.zeros(2)
    for step, allowed in enumerate(plan):
        ways = chance[:, None, None] * _evenly(allowed[state])[..., None] * tables.noise
        ways, taken = ways[ways > 0], np.nonzero(ways > 0)
        move = (state[taken[0]], *taken[1:])
        state, off, chance = tables.successor[move], off[taken[0]] + tables.gamma**step * off_by[move], ways
        over = state >= len(tables.successor)
        errors += _errors(off[over], chance[over])
        state, off, chance = _together(state[~over], off[~over], chance[~over])
        if len(state) > MAX_BEGINNINGS:
            return None
    return Misestimation(*(errors + _errors(off, chance)).tolist())


def _evenly(allowed: np.ndarray) -> np.ndarray:
    """(n, A) bool -> (n, A): each allowed action as likely."""
    return allowed / allowed.sum(1, keepdims=True)


def _errors(off: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Over- and underestimation, (2,)."""
    return np.array([chance @ np.maximum(off, 0), chance @ np.maximum(-off, 0)])


def _together(state: np.ndarray, off: np.ndarray, chance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Beginnings in the same state and equally far off, as one."""
    first, same = distinct_rows(np.column_stack((state, np.round(off, DIGITS))))
    return state[first], off[first], np.bincount(same, chance, len(first))


def expected(tables: Tables, plan: np.ndarray, reward: np.ndarray) -> float:
    """The discounted return of a reward (S_A, A, Z) under a plan, (H, S_A, A) bool."""
    n_acting, n_states = len(tables.successor), len(tables.states)
    here = np.bincount(tables.start, tables.start_probability, n_states)
    paid, total = reward @ tables.noise, 0.0
    for step, allowed in enumerate(plan):
        acts = here[:n_acting, None] * _evenly(allowed)
        total += tables.gamma**step * float((acts * paid).sum())
        moved = (acts[..., None] * tables.noise).ravel()
        here = np.bincount(tables.successor.ravel(), moved, n_states)
    return total


def compared(plan: Misestimation, optimum: Misestimation, returns: list[float]) -> Compared:
    """`returns`: what the plan is believed to be worth and is worth, then the optimum's."""
    believed, true, best_believed, best_true = returns
    return Compared(
        plan.overestimation > optimum.overestimation + 1e-9 and believed > best_believed + 1e-9,
        plan.underestimation < optimum.underestimation - 1e-9 and true < best_true - 1e-9,
    )
