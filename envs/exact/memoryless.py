"""The best policy that sees only its present observation, and which of its values are exact.

Where each observation tells all that matters for the future, the observations are the states of a decision
problem of their own and the best memoryless policy is found exactly. Elsewhere deterministic policies are
enumerated if they are few; otherwise what is found is a lower bound. A stochastic policy can beat every
deterministic one, and is found by following the exact gradient from several starts: also a lower bound.

Letters as in `exact`: S_A states acted in, A actions, Z values of the noise, O observations, H steps.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy import optimize

from envs.exact.evaluation import TIE
from envs.exact.occupancy import forward_matrix, start_distribution
from envs.tables import Tables

ENUMERATED = 100_000  # deterministic policies
RESTARTS = 8
SMALL = 1_000  # entries of a policy that is climbed to from many starts
EXPLORE = 1e-9  # weight of a uniform walk where the policy itself never gets


class Memoryless(NamedTuple):
    """Discounted returns within the time limit, of one policy for all steps."""

    deterministic: float
    stochastic: float  # at least the deterministic one
    deterministic_is_exact: bool  # else a lower bound
    stochastic_is_exact: bool
    policy: np.ndarray  # (O, A) float: attains `stochastic`


def memoryless_optimal(tables: Tables, reward: np.ndarray | None = None) -> Memoryless:
    """The best return of a reward (S_A, A, Z), by default the true one, to an agent without memory."""
    expected = (tables.true_reward if reward is None else reward) @ tables.noise
    belief = settled_belief(tables, expected)
    if belief is not None:
        policy, bound = with_clock(tables, expected, belief)
        found, _ = gradient(tables, expected, policy)
        if found >= bound - TIE:
            return Memoryless(found, found, True, True, policy)
    few = tables.n_actions ** len(tables.observations) <= ENUMERATED
    policy, found = (enumerated if few else improved)(tables, expected)
    mixed, climbed = climb(tables, expected, policy)
    return Memoryless(found, max(found, climbed), few, False, mixed if climbed > found else policy)


def gradient(tables: Tables, reward: np.ndarray, policy: np.ndarray) -> tuple[float, np.ndarray]:
    """The return of a memoryless policy (O, A) and its slope in each entry, (O, A); reward is (S_A, A)."""
    by_state = policy[tables.observation]
    visits = _visits(tables, by_state)
    value, slope = np.zeros(len(tables.states)), np.zeros_like(reward)
    for here in visits[::-1]:
        action_value = reward + tables.gamma * (value[tables.successor] @ tables.noise)
        slope += here[:, None] * action_value
        value[: len(reward)] = (by_state * action_value).sum(1)
    return float(tables.start_probability @ value[tables.start]), _by_observation(tables, slope)


def _visits(tables: Tables, by_state: np.ndarray) -> np.ndarray:
    """The discounted probability of acting in each state at each step, (H, S_A)."""
    forward, here = forward_matrix(tables, by_state), start_distribution(tables).sum(1)
    visits = np.empty((tables.horizon, len(by_state)))
    for step in range(tables.horizon):
        visits[step] = here[: len(by_state)] * tables.gamma**step
        here = forward @ here[: len(by_state)]
    return visits


def _by_observation(tables: Tables, values: np.ndarray) -> np.ndarray:
    """Sums (S_A, A) values over the states of each observation, (O, A)."""
    n = len(tables.observations)
    return np.stack([np.bincount(tables.observation, column, n) for column in values.T], 1)


def improved(tables: Tables, reward: np.ndarray) -> tuple[np.ndarray, float]:
    """The best of several ascents among deterministic policies."""
    rng = np.random.default_rng(0)
    shape = (len(tables.observations), tables.n_actions)
    starts = [np.full(shape, 1 / shape[1]), *(rng.dirichlet(np.ones(shape[1]), shape[0]) for _ in range(2))]
    return max((_ascend(tables, reward, start) for start in starts), key=lambda found: found[1])


def _ascend(tables: Tables, reward: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Takes the best action at every observation at once, until that no longer helps."""
    policy, value = start, -np.inf
    _, slope = gradient(tables, reward, start)
    while True:
        following = np.eye(tables.n_actions)[slope.argmax(1)]
        explored = (1 - EXPLORE) * following + EXPLORE / tables.n_actions
        found, slope = gradient(tables, reward, explored)
        if found <= value + 1e-12:
            return policy, gradient(tables, reward, policy)[0]
        policy, value = following, found


def enumerated(tables: Tables, reward: np.ndarray) -> tuple[np.ndarray, float]:
    """The best of all deterministic policies, each evaluated."""
    n_actions = tables.n_actions
    policies = np.array(list(itertools.product(range(n_actions), repeat=len(tables.observations))))
    values = np.concatenate(
        [_returns(tables, reward, part) for part in np.array_split(policies, len(policies) // 4096 + 1)]
    )
    return np.eye(n_actions)[policies[values.argmax()]], float(values.max())


def _returns(tables: Tables, reward: np.ndarray, policies: np.ndarray) -> np.ndarray:
    """The return of each of P deterministic policies, (P, O) int -> (P,)."""
    action, acting = policies[:, tables.observation], np.arange(len(reward))
    earned, successor = reward[acting, action], tables.successor[acting, action]  # (P, S_A), (P, S_A, Z)
    value = np.zeros((len(policies), len(tables.states)))
    row = np.arange(len(policies))[:, None, None]
    for _ in range(tables.horizon):
        value[:, : len(reward)] = earned + tables.gamma * (value[row, successor] @ tables.noise)
    return value[:, tables.start] @ tables.start_probability


def climb(tables: Tables, reward: np.ndarray, policy: np.ndarray) -> tuple[np.ndarray, float]:
    """The best stochastic policy found by the exact gradient, from the given one and from random ones."""
    rng = np.random.default_rng(0)

    def loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = softmax(logits.reshape(policy.shape))
        found, slope = gradient(tables, reward, mixed)
        return -found, -(mixed * (slope - (mixed * slope).sum(1, keepdims=True))).ravel()

    restarts, steps = (RESTARTS, 500) if policy.size <= SMALL else (0, 50)
    starts = [
        np.log(0.9 * policy + 0.1 / policy.shape[1]),
        *(rng.normal(size=policy.shape) for _ in range(restarts)),
    ]
    ends = [
        optimize.minimize(
            loss,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": steps, "gtol": 1e-10, "ftol": 1e-15},
        )
        for start in starts
    ]
    best = min(ends, key=lambda end: end.fun)
    return softmax(best.x.reshape(policy.shape)), float(-best.fun)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of positive numbers that sum to 1."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def settled_belief(tables: Tables, reward: np.ndarray) -> np.ndarray | None:
    """The probability of each state given its observation, (S_A,), if nothing else is ever worth knowing.

    So it is where all states of an observation lead to the same observations, and either pay the same, or
    are always equally likely given the observation, whatever was done. None elsewhere.
    """
    first = np.unique(tables.observation, return_index=True)[1][tables.observation]  # (S_A,)
    leads_to = np.append(tables.observation, np.full(len(tables.states) - len(first), -1))[tables.successor]
    if not np.array_equal(leads_to, leads_to[first]):
        return None
    if np.allclose(reward, reward[first]):
        return _given_observation(tables, np.ones(len(reward)))
    uniform = np.full_like(reward, 1 / tables.n_actions)
    belief = _given_observation(tables, _visits(tables, uniform).sum(0))
    return belief if _is_kept(tables, belief) else None


def _is_kept(tables: Tables, belief: np.ndarray) -> bool:
    """Whether the belief holds at the start, and every move from an observation hands it on."""
    n_acting, *moves = tables.successor.shape
    start = _given_observation(tables, start_distribution(tables)[:n_acting].sum(1))
    way = np.add.outer(tables.observation * math.prod(moves), np.arange(math.prod(moves)).reshape(moves))
    _, first, way = np.unique(way * len(tables.states) + tables.successor, return_index=True, return_inverse=True)
    arrived = np.bincount(way.ravel(), np.repeat(belief, math.prod(moves)))  # (W,): by one move, in one state
    to = tables.successor.ravel()[first]
    acting = to < n_acting
    return np.allclose(start[start > 0], belief[start > 0]) and np.allclose(arrived[acting], belief[to[acting]])


def with_clock(tables: Tables, reward: np.ndarray, belief: np.ndarray) -> tuple[np.ndarray, float]:
    """The best return to a policy of observation and clock, and what that does at the first step."""
    value = np.zeros(len(tables.states))
    for _ in range(tables.horizon):
        action_value = reward + tables.gamma * (value[tables.successor] @ tables.noise)
        told = _by_observation(tables, belief[:, None] * action_value)
        value[: len(reward)] = told.max(1)[tables.observation]
    return np.eye(tables.n_actions)[told.argmax(1)], float(tables.start_probability @ value[tables.start])


def _given_observation(tables: Tables, weights: np.ndarray) -> np.ndarray:
    """The probability of each state among those of the same observation, (S_A,); 0 where none was met."""
    total = np.bincount(tables.observation, weights)[tables.observation]
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
