"""The enforceable return if the overseer also observed one of the state variables.

The overseer observation of a step is refined by the value of the variable in the state that the step reaches. A
refinement never lowers the enforceable return, because a reward on the coarser observations is also one on the finer
ones. The state that a step starts from and the action stay hidden, so full observation of the state reached need not
reach the optimum: costs of actions are an example.

Letters: S_A non-terminal states, A actions, C = 2 + L reward components, L overseer observations, H steps.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs import enumeration
from envs.certificate.agents import HISTORY, AgentFigures
from envs.certificate.enforceable import N_RANDOM, Enforceable, enforceable
from envs.certificate.planning import history_model, merge_equivalent, reward_components, state_model
from envs.tables import Tables

MAX_SIZE = 50_000_000  # S_A * A * C: above, the enforceable return is not computed
MAX_SEARCH = 150_000_000  # S_A * A * (C + H) * rewards that are tried if vertices are not enumerated


@dataclass(frozen=True)
class Revealed:
    """The enforceable return of an overseer that also observes one state variable."""

    variable: str
    observations: int
    """the number of overseer observations of the refined world"""
    enforceable_return: float | None
    """None if it was not computed; `method` states the reason"""
    enforceable_is_exact: bool
    """else a lower bound"""
    method: str


def reveal_each(world: Any, tables: Tables, believed: np.ndarray, name: str, base: AgentFigures) -> list[Revealed]:
    """Computes the enforceable return for each state variable that the overseer could observe in addition.

    Progress is reported through `envs.enumeration.on_progress`.

    Args:
        world: The world, which may name its `variables`.
        tables: Its tables.
        believed: (S_A, A, Z), the reward that the overseer believes.
        name: The class of agents, history or state-seeing; the same for every variable.
        base: The figures of that class in the world as it is.

    Returns:
        The state variables, highest enforceable return first; those that were not computed come last.
    """
    hidden = bool(world.audits_hidden)
    n = tables.states.shape[1] - (world.audit_label is not None)  # the overseer knows what it audits
    names, due = variable_names(world, tables)[:n], time.monotonic()
    found = []
    for column, variable in enumerate(names):
        if time.monotonic() >= due + enumeration.PROGRESS_SECONDS:
            enumeration.on_progress(f"{type(world.unwrapped).__name__}: revealing {variable}, {column + 1} of {n}")
        refined, origin = refine(tables, [column])
        found.append(_revealed(variable, refined, origin, believed, name, base, hidden))
    return sorted(found, key=_rank)


def _rank(row: Revealed) -> float:
    """Ascending: the highest enforceable return first, rounded so that equal ones keep their order."""
    return np.inf if row.enforceable_return is None else -round(row.enforceable_return, 9)


def variable_names(world: Any, tables: Tables) -> list[str]:
    """The name of each column of the states; a column without a name is "variable" and its number."""
    names = tuple(getattr(world, "variables", ()))
    return [*names, *(f"variable {column}" for column in range(len(names), tables.states.shape[1]))]


def refine(tables: Tables, columns: Sequence[int]) -> tuple[Tables, np.ndarray]:
    """Refines the overseer observations by the values of state variables in the state that a step reaches.

    Args:
        tables: The enumerated world.
        columns: The state variables.

    Returns:
        The tables with the refined overseer observations, and for each refined observation the original one, (L,) int.
    """
    value = np.unique(tables.states[:, list(columns)], axis=0, return_inverse=True)[1].ravel()  # (S,)
    n_values = int(value.max()) + 1
    pairs, refined = np.unique(tables.overseer_obs * n_values + value[tables.successor], return_inverse=True)
    return tables._replace(overseer_obs=refined.reshape(tables.overseer_obs.shape)), pairs // n_values


def enforceable_when_revealed(
    tables: Tables, origin: np.ndarray, believed: np.ndarray, name: str, base: AgentFigures, hidden: bool = False
) -> Enforceable | str:
    """Computes the enforceable return of a refined world.

    The rewards to try first are the base world's best reward and its naive reward, on the refined observations. So the
    result is at least the enforceable return of the base world, also where both are lower bounds.

    Args:
        tables: The refined world.
        origin: (L,) int, the original observation of each refined one.
        believed: (S_A, A, Z), the reward that the overseer believes.
        name: The class of agents.
        base: The figures of that class in the base world.
        hidden: Whether the agent cannot observe which episodes are audited.

    Returns:
        The best rewards, or the reason why they were not computed.
    """
    acting, n_actions, _ = tables.successor.shape
    size = acting * n_actions * (2 + len(origin))
    if size > MAX_SIZE:
        return f"not computed: {acting} non-terminal states and {len(origin)} observations"
    rewards = reward_components(tables, believed, len(origin))
    model = history_model(tables, rewards) if name == HISTORY else state_model(tables, rewards, hidden)
    if model is None:
        return "not computed: too many beliefs"
    problem = merge_equivalent(model.problem)
    work = problem.rewards.size + problem.rewards[..., 0].size * problem.horizon
    guesses = np.array([np.array(base.enforceable_reward)[origin], np.zeros(len(origin))])
    return enforceable(problem, guesses, n_random=max(1, min(N_RANDOM, MAX_SEARCH // work)))


def _revealed(
    variable: str,
    tables: Tables,
    origin: np.ndarray,
    believed: np.ndarray,
    name: str,
    base: AgentFigures,
    hidden: bool,
) -> Revealed:
    found = enforceable_when_revealed(tables, origin, believed, name, base, hidden)
    if isinstance(found, str):
        return Revealed(variable, len(origin), None, False, found)
    return Revealed(variable, len(origin), found.worst, found.is_exact, found.method)
