"""The figures of a certificate for each class of agents.

`history`: remembers its observations and actions, and sees the clock. `state-seeing`: sees the state and the clock.
`memoryless deterministic`: maps its present observation to an action, without a clock. The optimal return of a
state-seeing agent bounds that of the others from above. Its enforceable return bounds nothing: an agent that sees
less can be easier to control, because it cannot act on what the overseer does not see, or harder.

Letters: P policies, C = 2 + L reward components, L overseer observations, O observations, A actions, S_A non-terminal
states, Z values of the noise, H steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from envs.certificate import polytope
from envs.certificate.enforceable import (
    MAX_SUPPORT_CALLS,
    N_RANDOM,
    REACHED,
    AliasGap,
    Enforceable,
    alias_gap,
    candidate_rewards,
    enforceable,
    label_weights,
    vertex_method,
)
from envs.certificate.planning import (
    BELIEVED,
    DIGITS,
    LABELS,
    TRUE,
    PlanningProblem,
    PlanReturns,
    merge_equivalent,
    plan_returns,
)
from envs.exact.memoryless import deterministic_components
from envs.exact.optimum import TIE
from envs.tables import Tables, distinct_rows

HISTORY, STATE, DETERMINISTIC = "history", "state-seeing", "memoryless deterministic"
STOCHASTIC = "memoryless stochastic"
MAX_WORK = 50_000_000  # P * S_A * A * Z * C * H: above, memoryless policies are not enumerated
MAX_COUNT_WORK = 200_000_000  # numbers read in the search for vertices of the counts of memoryless policies


@dataclass(frozen=True)
class AgentFigures:
    """What an overseer can enforce on one class of agents.

    Ties among optimal plans are broken to the worst true return where a name contains "worst_ties", and in
    `enforceable_return`. Under uniform ties, every optimal action is equally likely at each step; for memoryless
    deterministic agents, every optimal policy is equally likely.
    """

    optimal_return: float
    enforceable_return: float
    """the supremum, over rewards on overseer observations, of the true return of the worst optimal plan"""
    enforceable_is_exact: bool
    """else a lower bound"""
    enforceable_method: str
    enforceable_reward: list[float]
    """attains `enforceable_return`"""
    enforceable_return_uniform_ties: float
    enforceable_uniform_is_exact: bool
    """else a lower bound, the best of the rewards that were tried"""
    naive_optimum_return: float
    """under uniform ties"""
    naive_optimum_return_worst_ties: float
    naive_optimum_believed_return: float
    alias_gap: float
    """the largest difference in true return of two plans with the same counts of overseer observations"""
    alias_gap_is_exact: bool
    """else a lower bound"""


def planning_figures(problem: PlanningProblem, guesses: np.ndarray) -> AgentFigures:
    """Computes the figures of a class of agents from its planning problem.

    Args:
        problem: The planning problem; planning states that are bisimilar are merged first.
        guesses: (n, L), rewards to try before any search.

    Returns:
        The figures.
    """
    problem = merge_equivalent(problem)
    unit = np.eye(problem.rewards.shape[2])
    optimum, naive = (plan_returns(problem, unit[component]) for component in (TRUE, BELIEVED))
    return _figures(optimum, naive, enforceable(problem, guesses), alias_gap(problem))


def memoryless_figures(tables: Tables, rewards: np.ndarray, guesses: np.ndarray) -> AgentFigures | None:
    """Computes the figures of memoryless deterministic agents by enumerating their policies.

    Args:
        tables: The enumerated world.
        rewards: (S_A, A, C), the expected reward components.
        guesses: (n, L), rewards to try before any search.

    Returns:
        The figures; None if enumeration exceeds `MAX_WORK`.
    """
    work = n_policies(tables) * tables.successor.size * rewards.shape[2] * tables.horizon
    if work > MAX_WORK:
        return None
    policies = PolicySet(deterministic_components(tables, rewards))
    unit = np.eye(rewards.shape[2])
    optimum, naive = (policies.returns(unit[component]) for component in (TRUE, BELIEVED))
    best = policies.enforceable(np.vstack([guesses, candidate_rewards(rewards)]), optimum.value)
    return _figures(optimum, naive, best, policies.alias_gap())


def n_policies(tables: Tables) -> int:
    """P, the number of memoryless deterministic policies."""
    return int(tables.n_actions ** len(tables.observations))


def _figures(optimum: PlanReturns, naive: PlanReturns, best: Enforceable, gap: AliasGap) -> AgentFigures:
    return AgentFigures(
        optimal_return=optimum.value,
        enforceable_return=best.worst,
        enforceable_is_exact=best.is_exact,
        enforceable_method=best.method,
        enforceable_reward=best.reward.tolist(),
        enforceable_return_uniform_ties=best.uniform,
        enforceable_uniform_is_exact=best.uniform >= optimum.value - TIE,
        naive_optimum_return=naive.uniform,
        naive_optimum_return_worst_ties=naive.worst,
        naive_optimum_believed_return=naive.value,
        alias_gap=gap.value,
        alias_gap_is_exact=gap.is_exact,
    )


class PolicySet(NamedTuple):
    """Finitely many policies, each given by the expected discounted sums of the reward components."""

    components: np.ndarray  # (P, C)

    def returns(self, weights: np.ndarray) -> PlanReturns:
        """The returns of the policies that are optimal for the weights (C,), under both tie rules."""
        value, true = self.components @ weights, self.components[:, TRUE]
        best = value >= value.max() - TIE * max(1, np.abs(value).max())
        return PlanReturns(float(value.max()), float(true[best].mean()), float(true[best].min()))

    def enforceable(self, guesses: np.ndarray, optimum: float) -> Enforceable:
        """The best reward on overseer observations; `guesses`, (n, L), are tried in addition to the search."""
        counts = self.components[:, LABELS]
        n_labels = counts.shape[1]
        if n_labels > polytope.MAX_DIMENSIONS:
            rewards = np.random.default_rng(0).normal(size=(N_RANDOM, n_labels))
            complete, method = False, f"{n_labels} observations: rewards were searched"
        else:
            budget = min(MAX_SUPPORT_CALLS, MAX_COUNT_WORK // counts.size)
            found = polytope.vertices(lambda reward: counts[(counts @ reward).argmax()], n_labels, budget)
            rewards, complete = found.directions, found.complete
            method = vertex_method(len(rewards), complete)
        rewards = np.vstack([guesses, rewards])
        returns = [self.returns(label_weights(reward)) for reward in rewards]
        i, j = np.argmax([r.worst for r in returns]), np.argmax([r.uniform for r in returns])
        reached = returns[i].worst >= optimum - TIE
        return Enforceable(
            returns[i].worst,
            returns[j].uniform,
            rewards[i],
            rewards[j],
            bool(complete or reached),
            REACHED if reached else method,
        )

    def alias_gap(self) -> AliasGap:
        """The largest difference in true return of two policies with equal counts."""
        first, group = distinct_rows(np.round(self.components[:, LABELS], DIGITS) + 0.0)
        least, greatest = np.full(len(first), np.inf), np.full(len(first), -np.inf)
        np.minimum.at(least, group, self.components[:, TRUE])
        np.maximum.at(greatest, group, self.components[:, TRUE])
        return AliasGap(float((greatest - least).max()), True)
