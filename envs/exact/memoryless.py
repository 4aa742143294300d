"""Optimal memoryless policies, with a flag for each value that states whether it is exact or a lower bound.

If the observation is a sufficient statistic of the history, the observations are the states of a Markov decision
process and the optimal memoryless policy is exact. Otherwise the deterministic policies are enumerated if they are
few; if not, a local search gives a lower bound. A stochastic policy can beat every deterministic one. It is found
by gradient ascent on the exact return from several starts, which also gives a lower bound.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, O observations, H steps
of the time limit, P policies.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy import optimize

from envs.exact.occupancy import forward_matrix, start_distribution
from envs.exact.optimum import TIE
from envs.tables import Tables

ENUMERATED = 100_000  # deterministic policies
RESTARTS = 8
SMALL = 1_000  # entries of a policy up to which gradient ascent has many starts
EQUAL = 1e-10  # probabilities, and rewards relative to the largest, that differ by less are equal
EXPLORE = 1e-9  # weight of the uniform policy, for a gradient at observations that the policy never reaches


class Memoryless(NamedTuple):
    """Discounted returns within the time limit, of one stationary policy."""

    deterministic: float
    stochastic: float  # at least the deterministic one
    deterministic_is_exact: bool  # else a lower bound
    stochastic_is_exact: bool  # else a lower bound
    policy: np.ndarray  # (O, A) float: attains `stochastic`


def memoryless_optimal(tables: Tables, reward: np.ndarray | None = None) -> Memoryless:
    """Computes the optimal return of an agent without memory and without a clock.

    Args:
        tables: The enumerated world.
        reward: (S_A, A, Z), the reward to optimise; the true reward by default.

    Returns:
        The best deterministic and the best stochastic return found, and which of them are exact.
    """
    expected = (tables.true_reward if reward is None else reward) @ tables.noise
    belief = sufficient_belief(tables, expected)
    if belief is not None:
        policy, bound = optimal_with_clock(tables, expected, belief)
        value, _ = return_and_gradient(tables, expected, policy)
        if value >= bound - TIE:
            return Memoryless(value, value, True, True, policy)
    few = tables.n_actions ** len(tables.observations) <= ENUMERATED
    policy, value = (enumerate_deterministic if few else search_deterministic)(tables, expected)
    stochastic, ascended = gradient_ascent(tables, expected, policy)
    return Memoryless(value, max(value, ascended), few, False, stochastic if ascended > value else policy)


def return_and_gradient(tables: Tables, reward: np.ndarray, policy: np.ndarray) -> tuple[float, np.ndarray]:
    """Computes the return of a memoryless policy and its partial derivatives.

    Args:
        tables: The enumerated world.
        reward: (S_A, A), the expected reward of a step.
        policy: (O, A), the probability of each action given each observation.

    Returns:
        The expected discounted return, and its derivative in each entry of the policy, (O, A).
    """
    by_state = policy[tables.observation]
    visits = _visits(tables, by_state)
    value, slope = np.zeros(len(tables.states)), np.zeros_like(reward)
    for distribution in visits[::-1]:
        action_value = reward + tables.gamma * (value[tables.successor] @ tables.noise)
        slope += distribution[:, None] * action_value
        value[: len(reward)] = (by_state * action_value).sum(1)
    return float(tables.start_probability @ value[tables.start]), _sum_by_observation(tables, slope)


def _visits(tables: Tables, by_state: np.ndarray) -> np.ndarray:
    """The discounted probability of each state at each step, (H, S_A)."""
    forward, distribution = forward_matrix(tables, by_state), start_distribution(tables).sum(1)
    visits = np.empty((tables.horizon, len(by_state)))
    for step in range(tables.horizon):
        visits[step] = distribution[: len(by_state)] * tables.gamma**step
        distribution = forward @ distribution[: len(by_state)]
    return visits


def _sum_by_observation(tables: Tables, values: np.ndarray) -> np.ndarray:
    """Sums (S_A, A) values over the states of each observation, (O, A)."""
    n = len(tables.observations)
    return np.stack([np.bincount(tables.observation, column, n) for column in values.T], 1)


def search_deterministic(tables: Tables, reward: np.ndarray) -> tuple[np.ndarray, float]:
    """Finds a good deterministic policy (O, A) by local search from several starts; its return is a lower bound."""
    rng = np.random.default_rng(0)
    shape = (len(tables.observations), tables.n_actions)
    starts = [np.full(shape, 1 / shape[1]), *(rng.dirichlet(np.ones(shape[1]), shape[0]) for _ in range(2))]
    return max((_local_search(tables, reward, start) for start in starts), key=lambda result: result[1])


def _local_search(tables: Tables, reward: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Switches to the greedy action at every observation simultaneously until the return stops improving."""
    policy, best = start, -np.inf
    _, slope = return_and_gradient(tables, reward, start)
    while True:
        greedy = np.eye(tables.n_actions)[slope.argmax(1)]
        explored = (1 - EXPLORE) * greedy + EXPLORE / tables.n_actions
        value, slope = return_and_gradient(tables, reward, explored)
        if value <= best + 1e-12:
            return policy, return_and_gradient(tables, reward, policy)[0]
        policy, best = greedy, value


def enumerate_deterministic(tables: Tables, reward: np.ndarray) -> tuple[np.ndarray, float]:
    """Evaluates every deterministic policy; the best one (O, A) and its return."""
    values = deterministic_components(tables, reward[..., None])[:, 0]
    actions = np.unravel_index(values.argmax(), (tables.n_actions,) * len(tables.observations))
    return np.eye(tables.n_actions)[np.array(actions)], float(values.max())


def deterministic_components(tables: Tables, rewards: np.ndarray) -> np.ndarray:
    """Evaluates every deterministic policy for several rewards.

    Args:
        tables: The enumerated world.
        rewards: (S_A, A, C), the expected rewards of a step.

    Returns:
        (P, C), the expected discounted returns; policies in lexicographic order of their actions.
    """
    policies = np.array(list(itertools.product(range(tables.n_actions), repeat=len(tables.observations))))
    parts = np.array_split(policies, len(policies) // 4096 + 1)
    return np.concatenate(
        [np.stack([_returns(tables, r, part) for r in np.moveaxis(rewards, 2, 0)], 1) for part in parts]
    )


def _returns(tables: Tables, reward: np.ndarray, policies: np.ndarray) -> np.ndarray:
    """The return of each of P deterministic policies, (P, O) int -> (P,)."""
    action, acting = policies[:, tables.observation], np.arange(len(reward))
    received, successor = reward[acting, action], tables.successor[acting, action]  # (P, S_A), (P, S_A, Z)
    value = np.zeros((len(policies), len(tables.states)))
    row = np.arange(len(policies))[:, None, None]
    for _ in range(tables.horizon):
        value[:, : len(reward)] = received + tables.gamma * (value[row, successor] @ tables.noise)
    return value[:, tables.start] @ tables.start_probability


def gradient_ascent(tables: Tables, reward: np.ndarray, policy: np.ndarray) -> tuple[np.ndarray, float]:
    """Finds a good stochastic policy by L-BFGS on the exact return of a softmax policy.

    Args:
        tables: The enumerated world.
        reward: (S_A, A), the expected reward of a step.
        policy: (O, A), the first start; small policies have `RESTARTS` random ones in addition.

    Returns:
        The best policy found, (O, A), and its return, a lower bound.
    """
    rng = np.random.default_rng(0)

    def loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
        probabilities = softmax(logits.reshape(policy.shape))
        value, slope = return_and_gradient(tables, reward, probabilities)
        return -value, -(probabilities * (slope - (probabilities * slope).sum(1, keepdims=True))).ravel()

    restarts, steps = (RESTARTS, 500) if policy.size <= SMALL else (0, 50)
    starts = [
        np.log(0.9 * policy + 0.1 / policy.shape[1]),
        *(rng.normal(size=policy.shape) for _ in range(restarts)),
    ]
    results = [
        optimize.minimize(
            loss,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": steps, "gtol": 1e-10, "ftol": 1e-15},
        )
        for start in starts
    ]
    best = min(results, key=lambda result: result.fun)
    return softmax(best.x.reshape(policy.shape)), float(-best.fun)


def softmax(logits: np.ndarray) -> np.ndarray:
    """The softmax of each row."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def sufficient_belief(tables: Tables, reward: np.ndarray) -> np.ndarray | None:
    """Computes the distribution of the state given the observation, if the observation is a sufficient statistic.

    It is sufficient if all states of an observation lead to the same observations under every action and noise, and
    either have the same rewards or are distributed alike given the observation whatever the agent did before.

    Args:
        tables: The enumerated world.
        reward: (S_A, A), the expected reward of a step.

    Returns:
        (S_A,), the probability of each state given its observation; None if the observation is not sufficient.
    """
    first = np.unique(tables.observation, return_index=True)[1][tables.observation]  # (S_A,)
    next_observation = np.append(tables.observation, np.full(len(tables.states) - len(first), -1))[tables.successor]
    if not np.array_equal(next_observation, next_observation[first]):
        return None
    if np.allclose(reward, reward[first], rtol=0, atol=EQUAL * max(1, np.abs(reward).max())):
        return _given_observation(tables, np.ones(len(reward)))
    uniform = np.full_like(reward, 1 / tables.n_actions)
    belief = _given_observation(tables, _visits(tables, uniform).sum(0))
    return belief if _is_preserved(tables, belief) else None


def _is_preserved(tables: Tables, belief: np.ndarray) -> bool:
    """Whether the belief holds at the start and is preserved by every action and noise at every observation."""
    n_acting, *moves = tables.successor.shape
    start = _given_observation(tables, start_distribution(tables)[:n_acting].sum(1))
    move = np.add.outer(tables.observation * math.prod(moves), np.arange(math.prod(moves)).reshape(moves))
    _, first, move = np.unique(move * len(tables.states) + tables.successor, return_index=True, return_inverse=True)
    arrived = np.bincount(move.ravel(), np.repeat(belief, math.prod(moves)))  # for each pair of move and next state
    to = tables.successor.ravel()[first]
    acting = to < n_acting
    return bool(
        (np.abs(start - belief)[start > 0] <= EQUAL).all()
        and (np.abs(arrived[acting] - belief[to[acting]]) <= EQUAL).all()
    )


def optimal_with_clock(tables: Tables, reward: np.ndarray, belief: np.ndarray) -> tuple[np.ndarray, float]:
    """Computes the optimal return of policies of observation and clock, where the observation is sufficient.

    Args:
        tables: The enumerated world.
        reward: (S_A, A), the expected reward of a step.
        belief: (S_A,), as `sufficient_belief` returns it.

    Returns:
        The optimal deterministic policy of the first step, (O, A), and the optimal return.
    """
    value = np.zeros(len(tables.states))
    for _ in range(tables.horizon):
        action_value = reward + tables.gamma * (value[tables.successor] @ tables.noise)
        by_observation = _sum_by_observation(tables, belief[:, None] * action_value)
        value[: len(reward)] = by_observation.max(1)[tables.observation]
    policy = np.eye(tables.n_actions)[by_observation.argmax(1)]
    return policy, float(tables.start_probability @ value[tables.start])


def _given_observation(tables: Tables, weights: np.ndarray) -> np.ndarray:
    """Normalises weights (S_A,) within each observation; 0 for observations of weight 0."""
    total = np.bincount(tables.observation, weights)[tables.observation]
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
