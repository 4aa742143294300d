"""Planning problems of classes of agents, with several reward components per step.

A `history` agent remembers its observations and actions. Its planning states are its observations if the observation
is a sufficient statistic, and its beliefs otherwise. A `state-seeing` agent sees the state. Both see the clock:
returns are discounted sums within the time limit, and the occupancies that they are linear in form the polytope of
that finite horizon.

The components of a step's reward are the true reward, the believed reward, and for each overseer observation the
number of times that it is emitted. A plan is optimised for a weighted sum of the components.

Letters: X planning states, A actions, C = 2 + L reward components, L overseer observations, H steps of the time
limit, S_A non-terminal states, Z values of the noise.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from envs.exact.belief_mdp import belief_world
from envs.exact.memoryless import sufficient_belief
from envs.exact.optimum import TIE
from envs.tables import Tables, distinct_rows

TRUE, BELIEVED, LABELS = 0, 1, slice(2, None)  # the components
DIGITS = 10  # numbers that agree to this many digits are equal


class PlanningProblem(NamedTuple):
    """A finite-horizon Markov decision process with several reward components."""

    transition: sparse.csr_array  # (X * A, X): the probability of each next planning state
    rewards: np.ndarray  # (X, A, C): the expected reward components of a step
    start: np.ndarray  # (X,): the start distribution
    gamma: float
    horizon: int
    planning_state: np.ndarray  # (S_A,) int: the planning state of each state


class PlanningModel(NamedTuple):
    """The planning problem of a class of agents, and the world that its plans act in."""

    tables: Tables  # the state includes the agent's belief if it plans over beliefs
    problem: PlanningProblem
    sees_all: bool  # whether every planning state is a single state, so that the agent sees the state


class PlanReturns(NamedTuple):
    """Returns of the plans that are optimal for a weighting of the components."""

    value: float  # of the weighted components
    uniform: float  # the true return, ties among optimal actions broken uniformly
    worst: float  # the true return, ties broken to the worst


def naive_reward(tables: Tables, judgement: np.ndarray) -> np.ndarray:
    """The reward that a naive overseer gives for every step: its verdict, or the proxy where it has none.

    Args:
        tables: The enumerated world.
        judgement: (L,), the verdict on each overseer observation, nan for no verdict.

    Returns:
        (S_A, A, Z).
    """
    verdict = np.asarray(judgement, float)[tables.overseer_obs]
    return np.where(np.isnan(verdict), tables.reward, verdict)


def believed_reward(world: Any, tables: Tables) -> np.ndarray:
    """The naive reward in a world that may have audits: audited steps without verdict have their true reward.

    Args:
        world: Declares `judgement` and `audit_label`.
        tables: Its tables, or tables with the same overseer observations.

    Returns:
        (S_A, A, Z).
    """
    naive = naive_reward(tables, world.judgement)
    if world.audit_label is None:
        return naive
    return np.where(tables.overseer_obs >= world.audit_label, tables.true_reward, naive)


def reward_components(tables: Tables, believed: np.ndarray, n_labels: int) -> np.ndarray:
    """The expected reward components of a step in every state.

    Args:
        tables: The enumerated world.
        believed: (S_A, A, Z), the reward that the overseer believes.
        n_labels: L.

    Returns:
        (S_A, A, C).
    """
    labels = [(tables.overseer_obs == label) @ tables.noise for label in range(n_labels)]
    return np.stack([tables.true_reward @ tables.noise, believed @ tables.noise, *labels], -1)


def history_model(tables: Tables, rewards: np.ndarray) -> PlanningModel | None:
    """Builds the planning problem of an agent that remembers its observations and actions.

    Args:
        tables: The enumerated world.
        rewards: (S_A, A, C), the expected reward components.

    Returns:
        The problem over observations if the observation is a sufficient statistic, else over beliefs; None if the
        beliefs are too many (`envs.exact.belief_mdp`).
    """
    mixed = rewards @ np.random.default_rng(0).uniform(1, 2, rewards.shape[2])  # equal only if all components are
    belief = sufficient_belief(tables, mixed)
    if belief is not None:
        sees_all = len(tables.observations) == len(tables.successor)
        return PlanningModel(tables, _aggregate(tables, rewards, tables.observation, belief), sees_all)
    world = belief_world(tables)
    if world is None:
        return None
    problem = _aggregate(world.tables, rewards[world.state], world.tables.observation, world.belief)
    return PlanningModel(world.tables, problem, bool(world.belief.min(initial=1) == 1))


def state_model(tables: Tables, rewards: np.ndarray, audits_hidden: bool = False) -> PlanningModel:
    """Builds the planning problem of an agent that sees the state.

    Args:
        tables: The enumerated world.
        rewards: (S_A, A, C), the expected reward components.
        audits_hidden: Whether the agent does not see the last state variable, AUDITED (`envs.audits`). It is
            independent of everything else, so the agent's belief about it is its distribution at the start.

    Returns:
        The problem over states, or over states without AUDITED.
    """
    n_acting = len(tables.successor)
    planning_state, belief = np.arange(n_acting), np.ones(n_acting)
    if audits_hidden:
        audited = tables.states[:, -1]
        planning_state = distinct_rows(tables.states[:n_acting, :-1])[1]
        belief = np.bincount(audited[tables.start], tables.start_probability, 2)[audited[:n_acting]]
    return PlanningModel(tables, _aggregate(tables, rewards, planning_state, belief), True)


def _aggregate(tables: Tables, rewards: np.ndarray, planning_state: np.ndarray, belief: np.ndarray) -> PlanningProblem:
    """Aggregates the states (S_A,) of each planning state, weighted by the belief (S_A,)."""
    n_acting, n_actions, _ = tables.successor.shape
    n, acting = int(planning_state.max()) + 1, tables.successor < n_acting
    row = np.broadcast_to((planning_state[:, None] * n_actions + np.arange(n_actions))[..., None], acting.shape)
    probability = np.broadcast_to(belief[:, None, None] * tables.noise, acting.shape)
    entries = row[acting], planning_state[tables.successor[acting]]
    transition = sparse.csr_array((probability[acting], entries), (n * n_actions, n))
    transition.sum_duplicates()
    gather = sparse.csr_array((belief, (planning_state, np.arange(n_acting))), (n, n_acting))
    start = np.bincount(planning_state[tables.start], tables.start_probability, n)
    aggregated = (gather @ rewards.reshape(n_acting, -1)).reshape(n, n_actions, -1)
    return PlanningProblem(transition, aggregated, start, tables.gamma, tables.horizon, planning_state)


def optimal_components(problem: PlanningProblem, weights: np.ndarray) -> np.ndarray:
    """The expected discounted sum of each component, (C,), of one plan that is optimal for the weights (C,)."""
    value = np.zeros((problem.rewards.shape[0], problem.rewards.shape[2]))
    rows = np.arange(len(value))
    for _ in range(problem.horizon):
        action_value = problem.rewards + problem.gamma * (problem.transition @ value).reshape(problem.rewards.shape)
        value = action_value[rows, (action_value @ weights).argmax(1)]
    return problem.start @ value


def plan_returns(problem: PlanningProblem, weights: np.ndarray) -> PlanReturns:
    """The returns of the plans that are optimal for the weights (C,), under both tie rules."""
    true = problem.rewards[..., TRUE]
    rewards = np.stack([problem.rewards @ weights, true, true], -1)
    tie = TIE * max(1, np.abs(rewards[..., 0]).max())
    value = np.zeros((len(rewards), 3))
    for _ in range(problem.horizon):
        action_value = rewards + problem.gamma * (problem.transition @ value).reshape(rewards.shape)
        best = action_value[..., 0] >= action_value[..., 0].max(1, keepdims=True) - tie
        value[:, 0] = action_value[..., 0].max(1)
        value[:, 1] = (action_value[..., 1] * best).sum(1) / best.sum(1)
        value[:, 2] = np.where(best, action_value[..., 2], np.inf).min(1)
    return PlanReturns(*(problem.start @ value).tolist())


def best_plan(problem: PlanningProblem, weights: np.ndarray) -> np.ndarray:
    """The optimal actions for the weights (C,) at each step of the clock in each state, (H, S_A, A) bool."""
    reward = problem.rewards @ weights
    tie, value = TIE * max(1, np.abs(reward).max()), np.zeros(len(reward))
    plan = np.empty((problem.horizon, len(problem.planning_state), reward.shape[1]), bool)
    for step in reversed(range(problem.horizon)):
        action_value = reward + problem.gamma * (problem.transition @ value).reshape(reward.shape)
        value = action_value.max(1)
        plan[step] = (action_value >= value[:, None] - tie)[problem.planning_state]
    return plan


def merge_equivalent(problem: PlanningProblem) -> PlanningProblem:
    """Merges planning states that are bisimilar up to the names of actions; no return changes."""
    block = bisimulation_blocks(problem.transition, problem.rewards)
    first = distinct_rows(block)[0]
    n, n_actions, _ = problem.rewards.shape
    merge = sparse.csr_array((np.ones(n), (np.arange(n), block)), (n, len(first)))
    rows = (first[:, None] * n_actions + np.arange(n_actions)).ravel()
    return problem._replace(
        transition=sparse.csr_array(problem.transition[rows] @ merge),
        rewards=problem.rewards[first],
        start=np.bincount(block, problem.start, len(first)),
        planning_state=block[problem.planning_state],
    )


def bisimulation_blocks(transition: sparse.csr_array, rewards: np.ndarray) -> np.ndarray:
    """The block of each planning state in the coarsest bisimulation up to the names of actions.

    The states of a block have the same multiset of actions: the same rewards, and the same probabilities of the
    blocks that follow.

    Args:
        transition: (X * A, X).
        rewards: (X, A, C).

    Returns:
        (X,) int.
    """
    rng, block = np.random.default_rng(0), np.zeros(len(rewards), np.int64)
    while True:
        code = rng.uniform(1, 2, (len(rewards), 2))  # random numbers of blocks: equal sums have equal terms
        following = (transition @ code[block]).reshape(*rewards.shape[:2], 2)
        features = np.round(np.concatenate([rewards, following], 2), DIGITS)
        action = distinct_rows(features.reshape(-1, features.shape[2]))[1].reshape(rewards.shape[:2])
        finer = distinct_rows(np.column_stack((block, np.sort(action, 1))))[1]
        if finer.max() == block.max():
            return finer
        block = finer
