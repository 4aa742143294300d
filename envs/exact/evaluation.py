"""Exact expected returns of policies.

All numbers are expectations over episodes from the start distribution, within the time limit; nothing is sampled.
The state distribution is propagated step by step, separately for watched and unwatched episodes. Every reported
number is linear in it.

Letters: S states of which the first S_A are not terminal, A actions, O observations, H steps of the time limit.
"""

import math
from typing import NamedTuple

import numpy as np

from envs.exact.bad_acts import BadActs, BadActTable
from envs.exact.occupancy import NO_ENTRIES, Occupancy, propagate
from envs.tables import Tables


class ExactEvaluation(NamedTuple):
    """Expectations per episode; discounted unless stated otherwise."""

    true_return: float
    proxy_return: float
    undiscounted_return: float  # of the true reward
    stepwise_return: float  # the true return-to-go, averaged over all steps (Cloud et al. 2024, section 4.3)
    length: float  # steps
    outcomes: dict[str, float]  # outcome -> probability
    true_return_seen: float  # of episodes whose start is watched; nan if there are none
    true_return_unseen: float  # of the other episodes; nan if there are none
    seen_fraction: float  # probability that a start is watched
    believed_return: float  # of the occupancy's believed reward
    bad_acts: BadActs | None = None  # None without a table of them


def evaluate(tables: Tables, probabilities: np.ndarray) -> ExactEvaluation:
    """Evaluates a memoryless policy.

    Args:
        tables: The enumerated world.
        probabilities: (O, A), the probability of each action given each observation.

    Returns:
        The exact expectations per episode.

    Raises:
        ValueError: The shape is wrong, or the probabilities of a row do not sum to 1.
    """
    return evaluate_along(
        Occupancy.of(tables), check_policy(probabilities, (len(tables.observations), tables.n_actions))
    )


def evaluate_by_state(tables: Tables, policy: np.ndarray) -> ExactEvaluation:
    """Evaluates a policy that sees the state, (S_A, A)."""
    return evaluate_along(Occupancy.of(tables._replace(observation=np.arange(len(policy)))), policy)


def evaluate_along(occupancy: Occupancy, policy: np.ndarray, bad_acts: BadActTable | None = None) -> ExactEvaluation:
    """Evaluates a memoryless policy without validating it; cheaper than `evaluate` for many policies of one world.

    Args:
        occupancy: `Occupancy.of(tables)`.
        policy: (O, A) float64, rows sum to 1.
        bad_acts: Of the occupancy, to count bad acts.

    Returns:
        The exact expectations per episode.
    """
    tables = occupancy.tables
    rewards, final, visits = propagate(occupancy, policy, NO_ENTRIES if bad_acts is None else bad_acts.entries)
    true, proxy, believed, alive = rewards.sum(2).T
    discount = tables.gamma ** np.arange(tables.horizon)
    outcomes = np.bincount(occupancy.outcome, final, len(tables.outcomes)).tolist()
    seen_fraction = float(tables.start_probability @ tables.watched[tables.start])
    unseen, seen = discount @ rewards[:, 0]
    true_return = float(discount @ true)
    counted = None
    if bad_acts is not None:
        counted = bad_acts.evaluate(visits, policy[occupancy.observation[bad_acts.entries]], true_return)
    return ExactEvaluation(
        true_return=true_return,
        proxy_return=float(discount @ proxy),
        undiscounted_return=float(true.sum()),
        stepwise_return=float(np.cumsum(discount) @ true / alive.sum()),
        length=float(alive.sum()),
        outcomes=dict(zip(tables.outcomes, outcomes, strict=True)),
        true_return_seen=float(seen / seen_fraction) if seen_fraction > 0 else math.nan,
        true_return_unseen=float(unseen / (1 - seen_fraction)) if seen_fraction < 1 else math.nan,
        seen_fraction=seen_fraction,
        believed_return=float(discount @ believed),
        bad_acts=counted,
    )


def check_policy(probabilities: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Validates a policy.

    Args:
        probabilities: The policy, one row of action probabilities for each observation.
        shape: The expected shape, (O, A).

    Returns:
        The policy as float64.

    Raises:
        ValueError: The shape is wrong, or a row has a negative entry or does not sum to 1 within 1e-5.
    """
    if np.shape(probabilities) != shape:
        raise ValueError(f"a policy has one row per observation, shape {shape}, found {np.shape(probabilities)}")
    wrong = ~(np.isclose(probabilities.sum(1), 1, atol=1e-5) & (probabilities >= 0).all(1))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(f"row {first} of the policy is not a distribution over actions: {probabilities[first]}")
    return np.asarray(probabilities, np.float64)
