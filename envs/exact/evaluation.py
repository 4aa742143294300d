"""What a policy earns in a world of tables is a sum over where it stands at each step: nothing is sampled.

All numbers are expectations over episodes from the start distribution, with the time limit. Where the agent
stands is pushed forward step by step, apart for episodes whose start is under the overseer's eye and for the
others; every reported number is linear in it.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, O observations,
H steps of the time limit.
"""

import math
from typing import NamedTuple

import numpy as np

from envs.exact.occupancy import Occupancy, propagate
from envs.tables import Tables

TIE = 1e-9  # actions whose values differ by less are equally good


class ExactEvaluation(NamedTuple):
    """Expectations per episode; discounted unless said otherwise."""

    true_return: float
    proxy_return: float
    undiscounted_return: float  # of the true reward
    stepwise_return: float  # the true return-to-go, averaged over all steps (Cloud et al. 2024, section 4.3)
    length: float  # steps
    outcomes: dict[str, float]  # the probability of each
    true_return_seen: float  # of episodes whose start is watched; nan where there are none
    true_return_unseen: float
    seen_fraction: float  # the probability that a start is watched


class Optimum(NamedTuple):
    """The best that an agent can do for a reward who sees state and clock, and what it is truly worth."""

    value: float  # of the reward that was optimised
    true_return: float  # discounted, ties among best actions broken uniformly
    worst_true_return: float  # ties broken for the worst
    best: np.ndarray  # (S_A, A) bool: the best actions of an episode's first step


def evaluate(tables: Tables, probabilities: np.ndarray) -> ExactEvaluation:
    """What the memoryless policy earns that takes action a on observation o with probabilities[o, a]."""
    return evaluate_along(
        Occupancy.of(tables), check_policy(probabilities, (len(tables.observations), tables.n_actions))
    )


def evaluate_by_state(tables: Tables, policy: np.ndarray) -> ExactEvaluation:
    """What a policy earns that sees the state, (S_A, A)."""
    return evaluate_along(Occupancy.of(tables._replace(observation=np.arange(len(policy)))), policy)


def evaluate_along(course: Occupancy, policy: np.ndarray) -> ExactEvaluation:
    """The same of a policy (O, A) float64 that is known to be one, for who evaluates many in one world."""
    tables = course.tables
    earned, ended = propagate(course, policy)
    true, proxy, alive = earned.sum(2).T
    discount = tables.gamma ** np.arange(tables.horizon)
    outcomes = np.bincount(course.outcome, ended, len(tables.outcomes)).tolist()
    seen_fraction = float(tables.start_probability @ tables.watched[tables.start])
    unseen, seen = discount @ earned[:, 0]
    return ExactEvaluation(
        true_return=float(discount @ true),
        proxy_return=float(discount @ proxy),
        undiscounted_return=float(true.sum()),
        stepwise_return=float(np.cumsum(discount) @ true / alive.sum()),
        length=float(alive.sum()),
        outcomes=dict(zip(tables.outcomes, outcomes, strict=True)),
        true_return_seen=float(seen / seen_fraction) if seen_fraction > 0 else math.nan,
        true_return_unseen=float(unseen / (1 - seen_fraction)) if seen_fraction < 1 else math.nan,
        seen_fraction=seen_fraction,
    )


def check_policy(probabilities: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the policy as floats; raises ValueError where a row is no distribution over actions."""
    if np.shape(probabilities) != shape:
        raise ValueError(f"a policy has one row an observation here, {shape}, found {np.shape(probabilities)}")
    wrong = ~(np.isclose(probabilities.sum(1), 1, atol=1e-5) & (probabilities >= 0).all(1))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(f"row {first} of the policy is no distribution over actions: {probabilities[first]}")
    return np.asarray(probabilities, np.float64)


def optimal(tables: Tables, reward: np.ndarray | None = None) -> Optimum:
    """The best discounted return, within the time limit, of a reward (S_A, A, Z), by default the true one."""
    wanted = tables.true_reward @ tables.noise
    paid = wanted if reward is None else reward @ tables.noise
    value, uniform, worst = np.zeros((3, len(tables.states)))
    for _ in range(tables.horizon):
        paid_value, *true_values = (
            now + tables.gamma * (later[tables.successor] @ tables.noise)
            for now, later in ((paid, value), (wanted, uniform), (wanted, worst))
        )
        best = paid_value >= paid_value.max(1, keepdims=True) - TIE
        value[: len(paid)] = paid_value.max(1)
        uniform[: len(paid)] = (true_values[0] * best).sum(1) / best.sum(1)
        worst[: len(paid)] = np.where(best, true_values[1], np.inf).min(1)
    returns = [float(tables.start_probability @ v[tables.start]) for v in (value, uniform, worst)]
    return Optimum(returns[0], returns[1], returns[2], best)
