"""What an overseer can enforce in a world is a property of the world: it is computed before anything is trained.

Two steps with different utility and the same overseer observation: no reward on observations prefers the better
one. The numbers of a certificate say how much that costs at best, and how much under the reward that a naive
overseer would give: its verdict, and where it has none the proxy.

Every return is an expectation per episode, discounted, within the time limit: occupancies are those of the finite
horizon, and plans see the clock. `optimal_return` is that of an agent that sees the state. All other plans are of
an agent that sees its own observation, where that tells all that matters for the future, and elsewhere the state;
`agent` says which. Ties among best actions are broken uniformly unless a name says worst.
"""

import json
import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from envs import drawing
from envs.certificate import aliasing, ambiguity, misestimation
from envs.certificate.aliasing import AliasedPair
from envs.certificate.enforceable import EXACT, alias_gap, enforceable, on_truth
from envs.certificate.planning import BELIEVED, Decisions, best_plan, decisions, lumped, naive_reward, payments
from envs.checks.world import CheckFailed, check_world
from envs.enumeration import compile_world
from envs.exact import evaluation
from envs.exact.belief_mdp import history_optimal
from envs.exact.memoryless import Memoryless, memoryless_optimal
from envs.pomdp import POMDP
from envs.tables import Tables

SEES_ENOUGH = "sees its observation, which tells all that matters"
SEES_STATE = "is taken to see the state: its observation alone tells too little to plan with"
REMEMBERING_STATES = 5_000  # above, beliefs are not enumerated


@dataclass(frozen=True)
class AliasedPairs:
    """The pairs of steps that the overseer sees alike and that differ in true reward."""

    count: int
    worst: list[AliasedPair]
    """for each overseer observation the pair furthest apart, and of those the most visited"""


@dataclass(frozen=True)
class MemorylessReturn:
    """The best true return of an agent without memory and clock."""

    deterministic: float
    stochastic: float
    deterministic_is_exact: bool
    """else a lower bound"""
    stochastic_is_exact: bool


@dataclass(frozen=True)
class Certificate:
    """What an overseer of one world can enforce. None: not computed; `notes` says why, and what is a bound."""

    world: str
    parameters: dict[str, Any]
    agent: str
    """what the agent of the plans sees"""
    states: int
    """that are acted in"""
    horizon: int
    gamma: float
    optimal_return: float
    naive_optimum_return: float
    naive_optimum_believed_return: float
    enforceable_return: float
    """sup over rewards on overseer observations of the worst best plan"""
    enforceable_return_uniform_ties: float
    enforceable_is_exact: bool
    enforceable_reward: dict[str, float]
    """attains `enforceable_return`"""
    alias_gap: float
    """how far apart in truth two plans can be whose overseer observations are equally frequent"""
    alias_gap_is_exact: bool
    aliased_pairs: AliasedPairs
    permanently_aliased_blocks: int
    """blocks of states that the overseer can never tell apart, whatever is done"""
    permanently_aliased_blocks_of_agent: int
    ambiguity_dimension: int | None
    """of rewards of the states reached"""
    overestimation_error: float | None
    """of the naive optimum, as those below"""
    underestimation_error: float | None
    overestimation_error_of_optimum: float | None
    underestimation_error_of_optimum: float | None
    overestimation_difference: float | None
    """the naive optimum's less the true optimum's"""
    underestimation_difference: float | None
    deceptive_inflation: bool | None
    overjustification: bool | None
    memoryless_return: MemorylessReturn
    remembering_return: float | None
    """the best true return of an agent that remembers everything"""
    manski_interval: tuple[float, float]
    """what the true return can be for all that the overseer sees"""
    manski_interval_of: str
    positivity: float
    """the least probability that the overseer judges a step, given what the agent sees without flags"""
    positivity_with_flags: float
    """the same, given also the flags"""
    notes: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, texts, lists and dictionaries; a picture is its text, and what is not a number None."""
        return plain(self)

    def to_json(self, indent: int | None = 2) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


def certify(world: Any, policy: np.ndarray | None = None) -> Certificate:
    """The certificate of a world, or of a view of one.

    Args:
        policy: (O, A) over the tables' observations, whose return `manski_interval` bounds; by default it bounds
            that of the naive optimum.

    Raises:
        ValueError: the world breaks a promise; the line names the function and the state.
        NotEnumerable: the world has no tables.
    """
    tables = compile_world(world)
    _check(world.unwrapped)
    believed = naive_reward(tables, world.judgement)
    paid = payments(tables, believed, len(world.overseer_labels))
    problem, settled = decisions(tables, paid)
    naive = best_plan(problem, np.eye(paid.shape[2])[BELIEVED])
    found: dict[str, Any] = {
        "world": type(world.unwrapped).__name__,
        "parameters": _parameters(world),
        "agent": SEES_ENOUGH if settled else SEES_STATE,
        "states": len(tables.successor),
        "horizon": tables.horizon,
        "gamma": tables.gamma,
        "optimal_return": evaluation.optimal(tables).value,
        **_enforced(world, lumped(problem)),
        **_aliased(world, tables),
        **_misjudged(tables, believed, naive, best_plan(problem, on_truth(problem))),
        **_of_agent(tables, settled),
        **_manski(tables, policy, naive),
    }
    notes = _notes(found.pop("enforceable_how"), found)
    return Certificate(**found, notes=notes)


def _parameters(world: Any) -> dict[str, Any]:
    """The world's own, and the outermost view of it if there is one."""
    viewed = {} if world is world.unwrapped else {"view": type(world).__name__}
    return {**world.unwrapped.parameters, **viewed}


def _check(world: Any) -> None:
    """Raises CheckFailed, a ValueError, where a world breaks a promise; a third party's tables are its own."""
    try:
        if isinstance(world, POMDP):
            check_world(world)
    except CheckFailed as broken:
        raise CheckFailed(f"{type(world).__name__}: {broken}") from None


def _enforced(world: Any, problem: Decisions) -> dict[str, Any]:
    """By the best reward on overseer observations; the naive one and its neighbours are tried first."""
    unsure = np.isnan(world.judgement)
    guesses = np.array([np.where(unsure, guess, world.judgement) for guess in (-1e-3, 0, 1e-3)])
    best, gap = enforceable(problem, guesses), alias_gap(problem)
    return {
        "enforceable_return": best.worst,
        "enforceable_return_uniform_ties": best.uniform,
        "enforceable_is_exact": best.is_exact,
        "enforceable_reward": dict(zip(world.overseer_labels, best.reward.tolist(), strict=True)),
        "enforceable_how": best.why,
        "alias_gap": gap.value,
        "alias_gap_is_exact": gap.is_exact,
    }


def _aliased(world: Any, tables: Tables) -> dict[str, Any]:
    """What the overseer cannot tell apart, and what of it is a matter of chance."""
    visits = aliasing.random_visits(tables)
    alike, silent = np.zeros(len(tables.successor), np.int64), np.zeros_like(tables.overseer_obs)
    of_overseer = aliasing.permanently_aliased(tables, tables.overseer_obs, alike)
    of_agent = aliasing.permanently_aliased(tables, silent, tables.observation)
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
    """By the world's own beliefs; where it states none, by those in an agent that acts at random."""
    if len(tables.states) > ambiguity.MAX_STATES:
        return None
    beliefs = ambiguity.posterior(tables, visits, len(world.overseer_labels))
    for label, (states, law) in world.beliefs.items():
        beliefs[label] = np.bincount(tables.row(states), law, len(tables.states))
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


def _misjudged(tables: Tables, believed: np.ndarray, naive: np.ndarray, best: np.ndarray) -> dict[str, Any]:
    """The naive optimum against the true one."""
    plans, rewards = (naive, best), (believed, tables.true_reward)
    returns = [misestimation.expected(tables, plan, reward) for plan in plans for reward in rewards]
    found = {"naive_optimum_believed_return": returns[0], "naive_optimum_return": returns[1]}
    of_naive, of_best = (misestimation.misestimation_of(tables, believed, plan) for plan in plans)
    if of_naive is None or of_best is None:
        return {**found, **dict.fromkeys(ERRORS)}
    over, under = (a - b for a, b in zip(of_naive, of_best, strict=True))
    verdict = misestimation.compared(of_naive, of_best, returns)
    return {**found, **dict(zip(ERRORS, (*of_naive, *of_best, over, under, *verdict), strict=True))}


def _of_agent(tables: Tables, settled: bool) -> dict[str, Any]:
    """The best true returns without memory and with all of it."""
    memoryless = memoryless_optimal(tables)
    return {
        "memoryless_return": MemorylessReturn(*memoryless[:4]),
        "remembering_return": _remembering(tables, settled, memoryless),
    }


def _remembering(tables: Tables, settled: bool, memoryless: Memoryless) -> float | None:
    """Where the observation tells all that matters, memory is worth nothing."""
    if settled and memoryless.stochastic_is_exact:
        return memoryless.stochastic
    return None if len(tables.successor) > REMEMBERING_STATES else history_optimal(tables)


def _manski(tables: Tables, policy: np.ndarray | None, naive: np.ndarray) -> dict[str, Any]:
    """What the true return of a policy (O, A), or of the naive plan, can be for all that the overseer sees."""
    bounds = aliasing.reward_bounds(tables)
    if policy is None:
        low, high = (misestimation.expected(tables, naive, bound) for bound in bounds)
    else:
        low, high = (evaluation.evaluate(tables._replace(true_reward=bound), policy).true_return for bound in bounds)
    of = "the naive optimum" if policy is None else "the given policy"
    return {"manski_interval": (low, high), "manski_interval_of": of}


def _notes(how: str, found: dict[str, Any]) -> dict[str, str]:
    """What is a bound, and why something was not computed."""
    memoryless = found["memoryless_return"]
    exactly = "exact" if found["enforceable_is_exact"] else "lower bound"
    notes = {"enforceable_return": f"{exactly}: {how}"}
    reached = found["enforceable_return_uniform_ties"] >= found["optimal_return"] - EXACT
    bounds = {
        "enforceable_return_uniform_ties": (reached, "lower bound: the best over the rewards that were tried"),
        "alias_gap": (found["alias_gap_is_exact"], "lower bound: prices did not settle"),
        "memoryless_return.deterministic": (memoryless.deterministic_is_exact, "lower bound: found by search"),
        "memoryless_return.stochastic": (memoryless.stochastic_is_exact, "lower bound: found by search"),
        "ambiguity_dimension": (found["ambiguity_dimension"] is not None, "not computed: too many states"),
        "overestimation_error": (found["overestimation_error"] is not None, "not computed: too many episodes"),
        "remembering_return": (found["remembering_return"] is not None, "not computed: too many beliefs"),
    }
    return notes | {name: line for name, (fine, line) in bounds.items() if not fine}


def plain(value: Any) -> Any:
    """Data as JSON knows it."""
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
