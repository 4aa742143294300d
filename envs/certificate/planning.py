"""What an agent can plan with: the situations that it tells apart, and what a step in each pays on average.

Where each observation tells all that matters for the future, the situations are the observations; elsewhere
the agent is taken to see the state. It always sees the clock: returns are discounted sums within the time
limit, and the occupancies that they are linear in form the polytope of that finite horizon.

Several payments are carried at once: the true reward, the believed one, and for each overseer observation the
number of times that it is made. A plan is judged by any weighting of them.

Letters: X situations, A actions, C payments, L overseer observations, H steps, S_A states acted in.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.exact.evaluation import TIE
from envs.exact.memoryless import settled_belief
from envs.tables import Tables, distinct_rows

TRUE, BELIEVED, LABELS = 0, 1, slice(2, None)  # the payments
DIGITS = 10  # numbers that agree so far were meant to be equal


class Decisions(NamedTuple):
    """A finite-horizon decision problem with several payments."""

    onward: sparse.csr_array  # (X * A, X): the probability of acting next in each situation
    paid: np.ndarray  # (X, A, C): the expected payments of a step
    start: np.ndarray  # (X,): the probability of acting first in each situation
    gamma: float
    horizon: int
    situation: np.ndarray  # (S_A,) int: the situation of each state


class Worth(NamedTuple):
    """What the plans are worth that are best for a weighting of the payments."""

    value: float  # of the weighted payments
    uniform: float  # the true return, ties among best actions broken uniformly
    worst: float  # the true return, ties broken for the worst


def naive_reward(tables: Tables, judgement: np.ndarray) -> np.ndarray:
    """What a naive overseer believes of every step, (S_A, A, Z): its verdict, else the proxy."""
    verdict = np.asarray(judgement, float)[tables.overseer_obs]
    return np.where(np.isnan(verdict), tables.reward, verdict)


def payments(tables: Tables, believed: np.ndarray, n_labels: int) -> np.ndarray:
    """The expected payments of a step in every state, (S_A, A, 2 + L)."""
    labels = [(tables.overseer_obs == label) @ tables.noise for label in range(n_labels)]
    return np.stack([tables.true_reward @ tables.noise, believed @ tables.noise, *labels], -1)


def decisions(tables: Tables, paid: np.ndarray) -> tuple[Decisions, bool]:
    """The agent's own decision problem if its observation settles all that matters, else that of the states.

    `paid` is (S_A, A, C); the second value says whether the situations are the agent's observations.
    """
    mixed = paid @ np.random.default_rng(0).uniform(1, 2, paid.shape[2])  # equal only if all payments are
    belief = settled_belief(tables, mixed)
    if belief is None:
        n_acting = len(tables.successor)
        return _grouped(tables, paid, np.arange(n_acting), np.ones(n_acting)), False
    return _grouped(tables, paid, tables.observation, belief), True


def _grouped(tables: Tables, paid: np.ndarray, situation: np.ndarray, belief: np.ndarray) -> Decisions:
    """States (S_A,) of one situation, each believed with a probability, are acted in as one."""
    n_acting, n_actions, _ = tables.successor.shape
    n, acting = int(situation.max()) + 1, tables.successor < n_acting
    row = np.broadcast_to((situation[:, None] * n_actions + np.arange(n_actions))[..., None], acting.shape)
    chance = np.broadcast_to(belief[:, None, None] * tables.noise, acting.shape)
    place = row[acting], situation[tables.successor[acting]]
    onward = sparse.csr_array((chance[acting], place), (n * n_actions, n))
    onward.sum_duplicates()
    gather = sparse.csr_array((belief, (situation, np.arange(n_acting))), (n, n_acting))
    start = np.bincount(situation[tables.start], tables.start_probability, n)
    together = (gather @ paid.reshape(n_acting, -1)).reshape(n, n_actions, -1)
    return Decisions(onward, together, start, tables.gamma, tables.horizon, situation)


def best_payments(problem: Decisions, weights: np.ndarray) -> np.ndarray:
    """The payments (C,) of a plan that is best for the weights (C,)."""
    value = np.zeros((problem.paid.shape[0], problem.paid.shape[2]))
    rows = np.arange(len(value))
    for _ in range(problem.horizon):
        following = problem.paid + problem.gamma * (problem.onward @ value).reshape(problem.paid.shape)
        value = following[rows, (following @ weights).argmax(1)]
    return problem.start @ value


def tied(problem: Decisions, weights: np.ndarray) -> Worth:
    """What the plans are worth that are best for the weights (C,)."""
    paid = np.stack([problem.paid @ weights, problem.paid[..., TRUE], problem.paid[..., TRUE]], -1)
    tie = TIE * max(1, np.abs(paid[..., 0]).max())
    value = np.zeros((len(paid), 3))
    for _ in range(problem.horizon):
        following = paid + problem.gamma * (problem.onward @ value).reshape(paid.shape)
        best = following[..., 0] >= following[..., 0].max(1, keepdims=True) - tie
        value[:, 0] = following[..., 0].max(1)
        value[:, 1] = (following[..., 1] * best).sum(1) / best.sum(1)
        value[:, 2] = np.where(best, following[..., 2], np.inf).min(1)
    return Worth(*(problem.start @ value).tolist())


def best_plan(problem: Decisions, weights: np.ndarray) -> np.ndarray:
    """(H, S_A, A) bool: at each step of the clock, the best actions in each state for the weights (C,)."""
    paid = problem.paid @ weights
    tie, value = TIE * max(1, np.abs(paid).max()), np.zeros(len(paid))
    plan = np.empty((problem.horizon, len(problem.situation), paid.shape[1]), bool)
    for step in reversed(range(problem.horizon)):
        following = paid + problem.gamma * (problem.onward @ value).reshape(paid.shape)
        value = following.max(1)
        plan[step] = (following >= value[:, None] - tie)[problem.situation]
    return plan


def lumped(problem: Decisions) -> Decisions:
    """The same problem with situations merged whose futures differ in names alone, of actions and states."""
    block = futures(problem.onward, problem.paid)
    first = distinct_rows(block)[0]
    n, n_actions, _ = problem.paid.shape
    merge = sparse.csr_array((np.ones(n), (np.arange(n), block)), (n, len(first)))
    rows = (first[:, None] * n_actions + np.arange(n_actions)).ravel()
    return problem._replace(
        onward=sparse.csr_array(problem.onward[rows] @ merge),
        paid=problem.paid[first],
        start=np.bincount(block, problem.start, len(first)),
        situation=block[problem.situation],
    )


def futures(onward: sparse.csr_array, paid: np.ndarray) -> np.ndarray:
    """The block (X,) of each situation in the coarsest partition whose blocks pay and lead on alike.

    Alike up to the names of actions: a block's situations have the same actions, counted, in some order.
    """
    rng, block = np.random.default_rng(0), np.zeros(len(paid), np.int64)
    while True:
        code = rng.uniform(1, 2, (len(paid), 2))  # two numbers a block: sums that agree have equal parts
        leads = (onward @ code[block]).reshape(*paid.shape[:2], 2)
        told = np.round(np.concatenate([paid, leads], 2), DIGITS)
        action = distinct_rows(told.reshape(-1, told.shape[2]))[1].reshape(paid.shape[:2])
        finer = distinct_rows(np.column_stack((block, np.sort(action, 1))))[1]
        if finer.max() == block.max():
            return finer
        block = finer
