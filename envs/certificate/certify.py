"""The certificate of a world: what an overseer can enforce in it, computed before any training.

If two steps have different true rewards and the same overseer observation, no reward on overseer observations
prefers the better one. A certificate states how much return that costs under the best reward on overseer
observations, and how much under the reward that a naive overseer gives: its verdict, or the proxy where it has none.

Every return is an expectation per episode, discounted, within the time limit: occupancies are those of the finite
horizon, and plans see the clock. `optimal_return` is that of an agent that sees the state. All other plans are of an
agent that sees its own observation if that is a sufficient statistic, and of one that sees the state otherwise;
`agent` states which. Ties among optimal actions are broken uniformly unless a name contains "worst".
"""

import json
import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from envs import drawing
from envs.certificate import aliasing, ambiguity, misestimation
from envs.certificate.aliasing import AliasedPair
from envs.certificate.enforceable import EXACT, alias_gap, enforceable, true_weights
from envs.certificate.planning import (
    BELIEVED,
    PlanningProblem,
    best_plan,
    merge_equivalent,
    naive_reward,
    planning_problem,
    reward_components,
)
from envs.checks.world import CheckFailed, check_world
from envs.enumeration import compile_world
from envs.exact import evaluation
from envs.exact.belief_mdp import history_optimal
from envs.exact.memoryless import Memoryless, memoryless_optimal
from envs.pomdp import POMDP
from envs.tables import Tables

SUFFICIENT = "sees its observation, which is a sufficient statistic"
SEES_STATE = "is taken to see the state, because its observation is not a sufficient statistic"
MAX_HISTORY_STATES = 5_000  # above, beliefs are not enumerated


@dataclass(frozen=True)
class AliasedPairs:
    """The pairs of steps with the same overseer observation and different true rewards."""

    count: int
    worst: list[AliasedPair]
    """for each overseer observation the pair with the largest difference, the most visited one among equals"""


@dataclass(frozen=True)
class MemorylessReturn:
    """The optimal true return of an agent without memory and without a clock."""

    deterministic: float
    stochastic: float
    deterministic_is_exact: bool
    """else a lower bound"""
    stochastic_is_exact: bool
    """else a lower bound"""


@dataclass(frozen=True)
class Certificate:
    """What an overseer of one world can enforce.

    A field that was not computed is None; `notes` states the reason, and which fields are bounds.
    """

    world: str
    parameters: dict[str, Any]
    agent: str
    """what the agent that the plans are computed for sees"""
    states: int
    """the number of non-terminal states"""
    horizon: int
    gamma: float
    optimal_return: float
    naive_optimum_return: float
    naive_optimum_believed_return: float
    enforceable_return: float
    """the supremum, over rewards on overseer observations, of the true return of the worst optimal plan"""
    enforceable_return_uniform_ties: float
    enforceable_is_exact: bool
    enforceable_reward: dict[str, float]
    """overseer observation -> reward; attains `enforceable_return`"""
    alias_gap: float
    """the largest difference in true return of two plans with the same counts of overseer observations"""
    alias_gap_is_exact: bool
    aliased_pairs: AliasedPairs
    permanently_aliased_blocks: int
    """blocks of several states that the overseer cannot distinguish under any policy"""
    permanently_aliased_blocks_of_agent: int
    ambiguity_dimension: int | None
    """dimension of the rewards of states that no feedback determines (arXiv 2402.17747, theorem 5.2)"""
    overestimation_error: float | None
    """of the naive optimum"""
    underestimation_error: float | None
    """of the naive optimum"""
    overestimation_error_of_optimum: float | None
    underestimation_error_of_optimum: float | None
    overestimation_difference: float | None
    """that of the naive optimum minus that of the true optimum"""
    underestimation_difference: float | None
    deceptive_inflation: bool | None
    overjustification: bool | None
    memoryless_return: MemorylessReturn
    remembering_return: float | None
    """the optimal true return of an agent that remembers its observations and actions"""
    manski_interval: tuple[float, float]
    """bounds on the true return, given the overseer observations"""
    manski_interval_of: str
    positivity: float
    """the least probability that a step is judged, given the agent's observation without its flags"""
    positivity_with_flags: float
    """the least probability that a step is judged, given the agent's observation"""
    notes: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The certificate as JSON-serialisable data; a picture is its text, a number that is not finite is None."""
        return plain(self)

    def to_json(self, indent: int | None = 2) -> str:
        """The certificate as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


def certify(world: Any, policy: np.ndarray | None = None) -> Certificate:
    """Computes the certificate of a world, or of a view of one.

    Args:
        world: A world with tables, or a view of one.
        policy: (O, A) over the observations of the tables, the policy whose return `manski_interval` bounds; the
            naive optimum by default.

    Returns:
        The certificate.

    Raises:
        ValueError: A check of the world fails; the message names the function and the state.
        NotEnumerable: The world has no tables.
    """
    tables = compile_world(world)
    _check(world.unwrapped)
    believed = naive_reward(tables, world.judgement)
    rewards = reward_components(tables, believed, len(world.overseer_labels))
    problem, sufficient = planning_problem(tables, rewards)
    naive = best_plan(problem, np.eye(rewards.shape[2])[BELIEVED])
    values: dict[str, Any] = {
        "world": type(world.unwrapped).__name__,
        "parameters": _parameters(world),
        "agent": SUFFICIENT if sufficient else SEES_STATE,
        "states": len(tables.successor),
        "horizon": tables.horizon,
        "gamma": tables.gamma,
        "optimal_return": evaluation.optimal(tables).value,
        **_enforceable(world, merge_equivalent(problem)),
        **_aliasing(world, tables),
        **_misestimation(tables, believed, naive, best_plan(problem, true_weights(problem))),
        **_agent_returns(tables, sufficient),
        **_manski(tables, policy, naive),
    }
    notes = _notes(values.pop("enforceable_method"), values)
    return Certificate(**values, notes=notes)


def _parameters(world: Any) -> dict[str, Any]:
    """The parameters of the world, and the name of its outermost view if there is one."""
    view = {} if world is world.unwrapped else {"view": type(world).__name__}
    return {**world.unwrapped.parameters, **view}


def _check(world: Any) -> None:
    """Raises CheckFailed, a ValueError, if a check of a POMDP fails; other worlds answer for their own tables."""
    try:
        if isinstance(world, POMDP):
            check_world(world)
    except CheckFailed as failure:
        raise CheckFailed(f"{type(world).__name__}: {failure}") from None


def _enforceable(world: Any, problem: PlanningProblem) -> dict[str, Any]:
    """The enforceable return and the alias gap; the naive reward and its neighbours are tried first."""
    unjudged = np.isnan(world.judgement)
    guesses = np.array([np.where(unjudged, guess, world.judgement) for guess in (-1e-3, 0, 1e-3)])
    best, gap = enforceable(problem, guesses), alias_gap(problem)
    return {
        "enforceable_return": best.worst,
        "enforceable_return_uniform_ties": best.uniform,
        "enforceable_is_exact": best.is_exact,
        "enforceable_reward": dict(zip(world.overseer_labels, best.reward.tolist(), strict=True)),
        "enforceable_method": best.method,
        "alias_gap": gap.value,
        "alias_gap_is_exact": gap.is_exact,
    }


def _aliasing(world: Any, tables: Tables) -> dict[str, Any]:
    """The steps and states that the overseer cannot distinguish, and the probability that a step is judged."""
    visits = aliasing.random_visits(tables)
    one_block, one_label = np.zeros(len(tables.successor), np.int64), np.zeros_like(tables.overseer_obs)
    of_overseer = aliasing.permanently_aliased(tables, tables.overseer_obs, one_block)
    of_agent = aliasing.permanently_aliased(tables, one_label, tables.observation)
    pairs = AliasedPairs(aliasing.n_aliased_pairs(tables, visits), aliasing.worst_pairs(world, tables, visits))
    return {
        "aliased_pairs": pairs,
        "permanently_aliased_blocks": aliasing.n_shared(of_overseer),
        "permanently_aliased_blocks_of_agent": aliasing.n_shared(of_agent),
        "ambiguity_dimension": _ambiguity(world, tables, visits),
        "positivity": aliasing.positivity(tables, visits, world.judgement, world.flags),
        "positivity_with_flags": aliasing.positivity(tables, visits, world.judgement, world.flags & False),
    }


def _ambiguity(world: Any, tables: Tables, visits: np.ndarray) -> int | None:
    """The ambiguity under the beliefs that the world declares; under those of a random policy for other labels."""
    if len(tables.states) > ambiguity.MAX_STATES:
        return None
    beliefs = ambiguity.posterior(tables, visits, len(world.overseer_labels))
    for label, (states, probabilities) in world.beliefs.items():
        beliefs[label] = np.bincount(tables.row(states), probabilities, len(tables.states))
    return ambiguity.ambiguity(tables, beliefs)


ERRORS = (
    "overestimation_error",
    "underestimation_error",
    "overestimation_error_of_optimum",
    "underestimation_error_of_optimum",
    "overestimation_difference",
    "underestimation_difference",
    "deceptive_inflation",
    "overjustification",
)


def _misestimation(tables: Tables, believed: np.ndarray, naive: np.ndarray, best: np.ndarray) -> dict[str, Any]:
    """The estimation errors of the naive optimum, compared with those of the true optimum."""
    plans, rewards = (naive, best), (believed, tables.true_reward)
    returns = [misestimation.expected_return(tables, plan, reward) for plan in plans for reward in rewards]
    naive_returns = {"naive_optimum_believed_return": returns[0], "naive_optimum_return": returns[1]}
    of_naive, of_best = (misestimation.misestimation_of(tables, believed, plan) for plan in plans)
    if of_naive is None or of_best is None:
        return {**naive_returns, **dict.fromkeys(ERRORS)}
    over, under = (a - b for a, b in zip(of_naive, of_best, strict=True))
    comparison = misestimation.compare_with_optimum(of_naive, of_best, returns)
    return {**naive_returns, **dict(zip(ERRORS, (*of_naive, *of_best, over, under, *comparison), strict=True))}


def _agent_returns(tables: Tables, sufficient: bool) -> dict[str, Any]:
    """The optimal true returns without memory and with full memory."""
    memoryless = memoryless_optimal(tables)
    return {
        "memoryless_return": MemorylessReturn(*memoryless[:4]),
        "remembering_return": _history_return(tables, sufficient, memoryless),
    }


def _history_return(tables: Tables, sufficient: bool, memoryless: Memoryless) -> float | None:
    """The optimal return with memory; if the observation is a sufficient statistic, memory adds nothing."""
    if sufficient and memoryless.stochastic_is_exact:
        return memoryless.stochastic
    return None if len(tables.successor) > MAX_HISTORY_STATES else history_optimal(tables)


def _manski(tables: Tables, policy: np.ndarray | None, naive: np.ndarray) -> dict[str, Any]:
    """Bounds on the true return of a policy (O, A), or of the naive plan, given the overseer observations."""
    bounds = aliasing.reward_bounds(tables)
    if policy is None:
        low, high = (misestimation.expected_return(tables, naive, bound) for bound in bounds)
    else:
        low, high = (evaluation.evaluate(tables._replace(true_reward=bound), policy).true_return for bound in bounds)
    of = "the naive optimum" if policy is None else "the given policy"
    return {"manski_interval": (low, high), "manski_interval_of": of}


def _notes(method: str, values: dict[str, Any]) -> dict[str, str]:
    """Field -> which bound it is, or why it was not computed."""
    memoryless = values["memoryless_return"]
    kind = "exact" if values["enforceable_is_exact"] else "lower bound"
    notes = {"enforceable_return": f"{kind}: {method}"}
    reached = values["enforceable_return_uniform_ties"] >= values["optimal_return"] - EXACT
    notable = {
        "enforceable_return_uniform_ties": (reached, "lower bound: the best of the rewards that were tried"),
        "alias_gap": (values["alias_gap_is_exact"], "lower bound: column generation did not converge"),
        "memoryless_return.deterministic": (memoryless.deterministic_is_exact, "lower bound: found by search"),
        "memoryless_return.stochastic": (memoryless.stochastic_is_exact, "lower bound: found by search"),
        "ambiguity_dimension": (values["ambiguity_dimension"] is not None, "not computed: too many states"),
        "overestimation_error": (values["overestimation_error"] is not None, "not computed: too many episodes"),
        "remembering_return": (values["remembering_return"] is not None, "not computed: too many beliefs"),
    }
    return notes | {name: line for name, (exact, line) in notable.items() if not exact}


def plain(value: Any) -> Any:
    """Converts dataclasses, arrays' scalars, tuples and pictures to JSON-serialisable data."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, drawing.Picture):
        return drawing.ansi(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
