"""Which steps an overseer sees alike although they differ in truth, and how much of a return it must guess.

Letters: S_A states acted in, A actions, Z values of the noise, L overseer observations, H steps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.drawing import Picture
from envs.exact.occupancy import forward_matrix, start_distribution
from envs.tables import Tables, distinct_rows

DIGITS = 10


@dataclass(frozen=True)
class AliasedStep:
    """One step that the world can make."""

    state: list[int]
    action: str
    next_state: list[int]
    true_reward: float
    visits: float
    """how often it is made in an episode of an agent that acts at random"""
    before: Picture
    after: Picture


@dataclass(frozen=True)
class AliasedPair:
    """Two steps with one overseer observation, between which no reward on it can choose."""

    label: str
    """the overseer observation"""
    difference: float
    """in true reward"""
    better: AliasedStep
    worse: AliasedStep


def random_visits(tables: Tables) -> np.ndarray:
    """(S_A, A, Z): how often each step is made in an episode of an agent that acts at random."""
    n_acting, n_actions, _ = tables.successor.shape
    forward = forward_matrix(tables, np.full((n_acting, n_actions), 1 / n_actions))
    here, met = start_distribution(tables).sum(1), np.zeros(n_acting)
    for _ in range(tables.horizon):
        met += here[:n_acting]
        here = forward @ here[:n_acting]
    return met[:, None, None] / n_actions * np.broadcast_to(tables.noise, tables.successor.shape)


def n_aliased_pairs(tables: Tables, visits: np.ndarray) -> int:
    """How many pairs of steps that can be made look alike to the overseer and differ in true reward."""
    made = visits.ravel() > 0
    label, reward = tables.overseer_obs.ravel()[made], np.round(tables.true_reward.ravel()[made], DIGITS)
    kinds = np.unique(np.column_stack((label, reward)), axis=0, return_counts=True)
    alike = np.bincount(label)
    return int(((alike.astype(object) ** 2).sum() - (kinds[1].astype(object) ** 2).sum()) // 2)


def worst_pairs(world: Any, tables: Tables, visits: np.ndarray) -> list[AliasedPair]:
    """For each overseer observation the pair furthest apart in true reward, and of those the most visited.

    The furthest apart come first.
    """
    pairs = []
    for label in np.unique(tables.overseer_obs[visits > 0]):
        among = (tables.overseer_obs == label) & (visits > 0)
        least, greatest = tables.true_reward[among].min(), tables.true_reward[among].max()
        if greatest - least > 10.0**-DIGITS:
            steps = (_most_visited(world, tables, visits, among, end) for end in (greatest, least))
            pairs.append(AliasedPair(world.overseer_labels[label], float(greatest - least), *steps))
    return sorted(pairs, key=lambda pair: (-pair.difference, -min(pair.better.visits, pair.worse.visits)))


def _most_visited(world: Any, tables: Tables, visits: np.ndarray, among: np.ndarray, reward: float) -> AliasedStep:
    """Of these steps, (S_A, A, Z) bool, with this true reward."""
    paid = among & (np.abs(tables.true_reward - reward) < 10.0**-DIGITS)
    at = np.unravel_index(np.argmax(np.where(paid, visits, -1)), visits.shape)
    before, after = tables.states[at[0]], tables.states[tables.successor[at]]
    action = world.action_names[at[1]] if world.action_names else str(at[1])
    return AliasedStep(
        state=before.tolist(),
        action=action,
        next_state=after.tolist(),
        true_reward=float(reward),
        visits=float(visits[at]),
        before=world.picture(before),
        after=world.picture(after),
    )


def permanently_aliased(tables: Tables, told: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(S_A,) int: the block of each state in the coarsest partition that nothing told ever splits.

    It refines `first`, (S_A,) int; states of a block are told alike, (S_A, A, Z) int, whatever is done, and
    lead to the same blocks with the same probabilities. (An end is a block of its own.)
    """
    rng, block = np.random.default_rng(0), distinct_rows(first[:, None])[1]
    ended = np.full(len(tables.states) - len(block), -1)
    while True:
        code = rng.uniform(1, 2, (int(told.max()) + 1, len(block) + 1, 2))  # sums that agree have equal parts
        leads = (code[told, np.append(block, ended)[tables.successor]] * tables.noise[:, None]).sum(2)
        row = np.column_stack((block, np.round(leads, DIGITS).reshape(len(block), -1)))
        finer = distinct_rows(row)[1]
        if finer.max() == block.max():
            return block
        block = finer


def n_shared(block: np.ndarray) -> int:
    """How many blocks hold more than one state."""
    return int((np.bincount(block) > 1).sum())


def reward_bounds(tables: Tables) -> tuple[np.ndarray, np.ndarray]:
    """The least and greatest true reward of the steps that look like each step, (S_A, A, Z) both."""
    n = int(tables.overseer_obs.max()) + 1
    possible = np.broadcast_to(tables.noise > 0, tables.successor.shape)
    least, greatest = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(least, tables.overseer_obs[possible], tables.true_reward[possible])
    np.maximum.at(greatest, tables.overseer_obs[possible], tables.true_reward[possible])
    return least[tables.overseer_obs], greatest[tables.overseer_obs]


def positivity(tables: Tables, visits: np.ndarray, judgement: np.ndarray, hidden: np.ndarray) -> float:
    """The least probability, over what an agent can reach and see, that the overseer judges the step there.

    `hidden`, (*obs,) bool, are entries of an observation that are left out of account. Where it is 0, some
    situations are never judged, and no weighting of those that are can stand for them.
    """
    seen = np.where(hidden, 0, tables.view)
    view = distinct_rows(seen)[1][tables.successor].ravel()
    judged = ~np.isnan(np.asarray(judgement, float))[tables.overseer_obs].ravel()
    met = np.bincount(view, visits.ravel())
    of_them = np.bincount(view, visits.ravel() * judged)
    return float(np.min(of_them[met > 0] / met[met > 0]))
