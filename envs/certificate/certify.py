"""The certificate of a world: what an overseer can enforce in it, computed before any training.

If two steps have different true rewards and the same overseer observation, no reward on overseer observations
prefers the better one. A certificate states how much return that costs under the best reward on overseer
observations, and how much under the reward that a naive overseer gives: its verdict, or the proxy where it has none.

Every figure is one of a class of agents (`envs.certificate.agents`); `agents` states which, and `bounds` whether the
figure is exact for that class or a bound. The figures of plans are those of an agent that remembers its observations,
where its beliefs can be enumerated. Elsewhere they are those of an agent that sees the state, and `agent` says so.
`by_class` has the figures of every class that is small enough.

Every return is an expectation per episode, discounted, within the time limit: occupancies are those of the finite
horizon, and plans see the clock. Regrets break ties among optimal plans to the worst true return.
"""

import json
import math
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from envs import drawing
from envs.certificate import aliasing, ambiguity, misestimation, reveal
from envs.certificate.agents import (
    DETERMINISTIC,
    HISTORY,
    STATE,
    STOCHASTIC,
    AgentFigures,
    memoryless_figures,
    planning_figures,
)
from envs.certificate.aliasing import AliasedPair
from envs.certificate.checks import check_before_certifying
from envs.certificate.enforceable import true_weights
from envs.certificate.planning import (
    BELIEVED,
    PlanningModel,
    believed_reward,
    best_plan,
    history_model,
    reward_components,
    state_model,
)
from envs.certificate.reveal import Revealed
from envs.enumeration import compile_world
from envs.exact import evaluation
from envs.exact.belief_mdp import MAX_BELIEFS, MAX_STATES
from envs.exact.memoryless import memoryless_optimal
from envs.exact.optimum import TIE, optimal
from envs.tables import Tables, distinct_rows

MAX_WORK = 1_000_000  # S_A * A * C * H: above, a state-seeing agent is planned for only if no other can be
UNLABELLED = "audited steps share one label: a reward that depends on the true rewards of audits may enforce more"


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
class Regret:
    """The regret of naive oversight, in parts; ties among optimal plans are broken to the worst true return."""

    tie_rule: str
    unenforceable: float
    """optimum minus enforceable return: no reward on overseer observations avoids it"""
    unobservable: float | None
    """the part of it that is due to what the agent does not observe: optimum minus that of a history agent"""
    misspecified: float
    """enforceable return minus naive optimum; negative if the proxy distinguishes more than overseer observations"""


@dataclass(frozen=True)
class Certificate:
    """What an overseer of one world can enforce.

    A field that was not computed is None; `notes` states the reason.
    """

    world: str
    parameters: dict[str, Any]
    agent: str
    """what the agent that the plans are computed for sees"""
    agent_class: str
    """the class of that agent: history or state-seeing"""
    agents: dict[str, str]
    """figure -> the class of agents that it is about"""
    bounds: dict[str, str]
    """figure -> exact, lower bound or upper bound, for that class"""
    states: int
    """the number of non-terminal states"""
    horizon: int
    gamma: float
    optimal_return: float
    """of an agent that sees the state; an upper bound for every other"""
    naive_optimum_return: float
    """under uniform ties"""
    naive_optimum_return_worst_ties: float
    naive_optimum_believed_return: float
    optimum_believed_return: float
    """under uniform ties"""
    naive_optimum_outcomes: dict[str, float]
    """outcome -> probability that an episode of the naive optimum ends with it, under uniform ties"""
    optimum_outcomes: dict[str, float]
    """the same for the true optimum"""
    enforceable_return: float
    """the supremum, over rewards on overseer observations, of the true return of the worst optimal plan"""
    enforceable_return_uniform_ties: float
    enforceable_is_exact: bool
    enforceable_reward: dict[str, float]
    """overseer observation -> reward; attains `enforceable_return`"""
    regret: Regret
    by_class: dict[str, AgentFigures | None]
    """class of agents -> its figures"""
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
    revealed: list[Revealed] | None
    """the state variables, by the enforceable return if the overseer also observed one; None unless asked for"""
    notes: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The certificate as JSON-serialisable data; a picture is its text, a number that is not finite is None."""
        return plain(self)

    def to_json(self, indent: int | None = 2) -> str:
        """The certificate as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


def certify(world: Any, policy: np.ndarray | None = None, *, reveals: bool = False) -> Certificate:
    """Computes the certificate of a world, or of a view of one.

    Args:
        world: A world with tables, or a view of one.
        policy: (O, A) over the observations of the tables, the policy whose return `manski_interval` bounds; the
            naive optimum by default.
        reveals: Whether to compute which state variable, shown to the overseer, would raise the enforceable return.

    Returns:
        The certificate.

    Raises:
        ValueError: A check of the world or of its tables fails; the message names the function and the state.
        NotEnumerable: The world has no tables.
    """
    tables = compile_world(world)
    check_before_certifying(world, tables)
    believed = believed_reward(world, tables)
    rewards = reward_components(tables, believed, len(world.overseer_labels))
    history = history_model(tables, rewards)
    model, name = (history, HISTORY) if history else (state_model(tables, rewards, world.audits_hidden), STATE)
    by_class = _by_class(world, tables, rewards, model, name)
    figures = by_class[name]
    assert figures is not None  # the model's own class is always computed
    optimum = optimal(tables).value
    naive = best_plan(model.problem, np.eye(rewards.shape[2])[BELIEVED])
    memoryless = memoryless_optimal(tables)
    values: dict[str, Any] = {
        "world": type(world.unwrapped).__name__,
        "parameters": _parameters(world),
        "agent": _agent(tables, model, name),
        "agent_class": name,
        "states": len(tables.successor),
        "horizon": tables.horizon,
        "gamma": tables.gamma,
        "optimal_return": optimum,
        "naive_optimum_return": figures.naive_optimum_return,
        "naive_optimum_return_worst_ties": figures.naive_optimum_return_worst_ties,
        "naive_optimum_believed_return": figures.naive_optimum_believed_return,
        "enforceable_return": figures.enforceable_return,
        "enforceable_return_uniform_ties": figures.enforceable_return_uniform_ties,
        "enforceable_is_exact": figures.enforceable_is_exact,
        "enforceable_reward": dict(zip(world.overseer_labels, figures.enforceable_reward, strict=True)),
        "regret": _regret(optimum, figures, name),
        "by_class": by_class,
        "alias_gap": figures.alias_gap,
        "alias_gap_is_exact": figures.alias_gap_is_exact,
        "memoryless_return": MemorylessReturn(*memoryless[:4]),
        "remembering_return": figures.optimal_return if history else None,
        **_aliasing(world, tables),
        "revealed": reveal.reveal_each(world, tables, believed, name, figures) if reveals else None,
        **_optima(world, model, naive, figures),
        **_manski(tables, model, naive, policy),
    }
    agents, bounds = _agents_and_bounds(values, figures)
    notes = _notes(values, figures, tables) | _left_out(world)
    return Certificate(**values, agents=agents, bounds=bounds, notes=notes)


def _left_out(world: Any) -> dict[str, str]:
    """The limits of the overseer that the certificate cannot include, since they have a history."""
    names = "|".join(bound.name for bound in getattr(world, "history_limits", ()))
    return {"overseer": f"without {names}: a limit with a history has no tables"} if names else {}


def _parameters(world: Any) -> dict[str, Any]:
    """The parameters of the world, and the name of its outermost view if there is one."""
    view = {} if world is world.unwrapped else {"view": type(world).__name__}
    wrappers = getattr(world, "described", {})  # of an overseer's limits and audits, forwarded by a view of the agent
    return {**world.unwrapped.parameters, **wrappers, **view}


def _by_class(
    world: Any, tables: Tables, rewards: np.ndarray, model: PlanningModel, name: str
) -> dict[str, AgentFigures | None]:
    """The figures of every class of agents that is small enough; the naive reward and its neighbours are guesses."""
    unjudged = np.isnan(world.judgement)
    guesses = np.array([np.where(unjudged, guess, world.judgement) for guess in (-1e-3, 0, 1e-3)])
    figures = planning_figures(model.problem, guesses)
    found: dict[str, AgentFigures | None] = {HISTORY: None, STATE: None, name: figures}
    if model.sees_all:
        found[STATE] = figures
    elif rewards.size * tables.horizon <= MAX_WORK:
        found[STATE] = planning_figures(state_model(tables, rewards, world.audits_hidden).problem, guesses)
    found = {**found, DETERMINISTIC: memoryless_figures(tables, rewards, guesses)}
    if world.audit_label is None or not unjudged[world.audit_label :].any():
        return found
    inexact: dict[str, Any] = {
        "enforceable_is_exact": False,
        "enforceable_method": UNLABELLED,
        "alias_gap_is_exact": False,
    }
    return {kind: figures and replace(figures, **inexact) for kind, figures in found.items()}


def _agent(tables: Tables, model: PlanningModel, name: str) -> str:
    """What the agent sees, as the end of a sentence."""
    if name == STATE:
        return "is taken to see the state: its observation is not a sufficient statistic, and its beliefs are too many"
    if model.tables is not tables:
        n = len(model.problem.rewards)
        return f"remembers its observations and actions, which lead to {n} belief{'s' if n > 1 else ''}"
    return f"sees {'the state' if model.sees_all else 'its observation, which is a sufficient statistic'}"


def _regret(optimum: float, figures: AgentFigures, name: str) -> Regret:
    worst = figures.enforceable_return
    return Regret(
        tie_rule="worst ties",
        unenforceable=optimum - worst,
        unobservable=optimum - figures.optimal_return if name == HISTORY else None,
        misspecified=worst - figures.naive_optimum_return_worst_ties,
    )


def _aliasing(world: Any, tables: Tables) -> dict[str, Any]:
    """The steps and states that the overseer cannot distinguish, and the probability that a step is judged."""
    visits = aliasing.random_visits(tables)
    one_block, one_label = np.zeros(len(tables.successor), np.int64), np.zeros_like(tables.overseer_obs)
    of_overseer = aliasing.permanently_aliased(tables, tables.overseer_obs, one_block)
    of_agent = aliasing.permanently_aliased(tables, one_label, tables.observation)
    if world.audits_hidden:  # each state is two, which no agent distinguishes
        of_agent = np.unique(
            np.column_stack((of_agent, distinct_rows(tables.states[: len(of_agent), :-1])[1])), axis=0
        )[:, 0]
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
    return ambiguity.ambiguity(tables, beliefs, world.audit_label)


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


def _optima(world: Any, model: PlanningModel, naive: np.ndarray, figures: AgentFigures) -> dict[str, Any]:
    """What is believed of the naive and of the true optimum, and how their episodes end, under uniform ties."""
    tables = model.tables
    best = best_plan(model.problem, true_weights(model.problem))
    best_believed = misestimation.expected_return(tables, best, believed_reward(world, tables))
    return {
        "optimum_believed_return": best_believed,
        "naive_optimum_outcomes": misestimation.outcome_distribution(tables, naive),
        "optimum_outcomes": misestimation.outcome_distribution(tables, best),
        **_misestimation(world, model, naive, best, best_believed, figures),
    }


def _misestimation(
    world: Any, model: PlanningModel, naive: np.ndarray, best: np.ndarray, best_believed: float, figures: AgentFigures
) -> dict[str, Any]:
    """The estimation errors of the naive optimum, compared with those of the true optimum."""
    tables = model.tables
    believed = believed_reward(world, tables)
    returns = [
        figures.naive_optimum_believed_return,
        figures.naive_optimum_return,
        best_believed,
        figures.optimal_return,
    ]
    of_naive, of_best = (misestimation.misestimation_of(tables, believed, plan) for plan in (naive, best))
    if of_naive is None or of_best is None:
        return dict.fromkeys(ERRORS)
    over, under = (a - b for a, b in zip(of_naive, of_best, strict=True))
    comparison = misestimation.compare_with_optimum(of_naive, of_best, returns)
    return dict(zip(ERRORS, (*of_naive, *of_best, over, under, *comparison), strict=True))


def _manski(tables: Tables, model: PlanningModel, naive: np.ndarray, policy: np.ndarray | None) -> dict[str, Any]:
    """Bounds on the true return of a policy (O, A), or of the naive optimum, given the overseer observations."""
    if policy is None:
        bounds = aliasing.reward_bounds(model.tables)
        low, high = (misestimation.expected_return(model.tables, naive, bound) for bound in bounds)
    else:
        bounds = aliasing.reward_bounds(tables)
        low, high = (evaluation.evaluate(tables._replace(true_reward=b), policy).true_return for b in bounds)
    of = "the naive optimum" if policy is None else "the given policy"
    return {"manski_interval": (low, high), "manski_interval_of": of}


OF_PLANS = (
    "naive_optimum_return",
    "naive_optimum_return_worst_ties",
    "naive_optimum_believed_return",
    "optimum_believed_return",
    "enforceable_return",
    "enforceable_return_uniform_ties",
    "regret.unenforceable",
    "regret.misspecified",
    "alias_gap",
    *ERRORS,
)
EXACT, LOWER, UPPER = "exact", "lower bound", "upper bound"


def _agents_and_bounds(values: dict[str, Any], figures: AgentFigures) -> tuple[dict[str, str], dict[str, str]]:
    """Figure -> class of agents, and figure -> exact, lower bound or upper bound for that class."""
    memoryless = values["memoryless_return"]
    agents = {
        "optimal_return": STATE,
        **dict.fromkeys(OF_PLANS, values["agent_class"]),
        "memoryless_return.deterministic": DETERMINISTIC,
        "memoryless_return.stochastic": STOCHASTIC,
        "remembering_return": HISTORY,
        "regret.unobservable": HISTORY,
        "manski_interval": values["agent_class"] if values["manski_interval_of"] == "the naive optimum" else STOCHASTIC,
    }
    bounds = dict.fromkeys(agents, EXACT)
    for name, exact, bound in (
        ("enforceable_return", figures.enforceable_is_exact, LOWER),
        ("enforceable_return_uniform_ties", figures.enforceable_uniform_is_exact, LOWER),
        ("regret.unenforceable", figures.enforceable_is_exact, UPPER),
        ("regret.misspecified", figures.enforceable_is_exact, LOWER),
        ("alias_gap", figures.alias_gap_is_exact, LOWER),
        ("memoryless_return.deterministic", memoryless.deterministic_is_exact, LOWER),
        ("memoryless_return.stochastic", memoryless.stochastic_is_exact, LOWER),
    ):
        bounds[name] = EXACT if exact else bound
    missing = {name for name in bounds if values.get(name, 0) is None}
    if values["regret"].unobservable is None:
        missing.add("regret.unobservable")
    return agents, {name: bound for name, bound in bounds.items() if name not in missing}


def _notes(values: dict[str, Any], figures: AgentFigures, tables: Tables) -> dict[str, str]:
    """Field -> how it was computed, which bound it is, or why it was not computed."""
    memoryless = values["memoryless_return"]
    kind = EXACT if figures.enforceable_is_exact else LOWER
    beliefs = f"not computed: more than {MAX_BELIEFS} beliefs or {MAX_STATES} non-terminal states"
    notes = {"enforceable_return": f"{kind}: {figures.enforceable_method}"}
    notable = {
        "optimal_return": (values["agent_class"] == STATE, "exact; an upper bound for the other classes"),
        "enforceable_return_uniform_ties": (
            figures.enforceable_uniform_is_exact,
            "lower bound: the best of the rewards that were tried",
        ),
        "regret.misspecified": (
            not figures.enforceable_is_exact or values["regret"].misspecified >= -TIE,
            "exact; negative: the proxy distinguishes steps that share an overseer observation",
        ),
        "alias_gap": (figures.alias_gap_is_exact, "lower bound: column generation did not converge"),
        "memoryless_return.deterministic": (memoryless.deterministic_is_exact, "lower bound: found by search"),
        "memoryless_return.stochastic": (memoryless.stochastic_is_exact, "lower bound: found by search"),
        "ambiguity_dimension": (values["ambiguity_dimension"] is not None, "not computed: too many states"),
        **{name: (values[name] is not None, "not computed: too many episodes") for name in ERRORS},
        "remembering_return": (values["remembering_return"] is not None, beliefs),
        "regret.unobservable": (values["regret"].unobservable is not None, beliefs),
        f"by_class.{HISTORY}": (values["by_class"][HISTORY] is not None, beliefs),
        f"by_class.{STATE}": (
            values["by_class"][STATE] is not None,
            f"not computed: {len(tables.successor)} non-terminal states",
        ),
        f"by_class.{DETERMINISTIC}": (
            values["by_class"][DETERMINISTIC] is not None,
            f"not computed: {tables.n_actions}^{len(tables.observations)} policies",
        ),
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
