"""Steps and states that an overseer cannot distinguish, and the bounds on a return that follow.

Letters: S_A non-terminal states, A actions, Z values of the noise, L overseer observations, H steps.
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
    """One step of the world."""

    state: list[int]
    action: str
    next_state: list[int]
    true_reward: float
    visits: float
    """expected number of times per episode under the uniformly random policy"""
    before: Picture
    after: Picture


@dataclass(frozen=True)
class AliasedPair:
    """Two steps with the same overseer observation and different true rewards."""

    label: str
    """the overseer observation"""
    difference: float
    """of the true rewards"""
    better: AliasedStep
    worse: AliasedStep


def random_visits(tables: Tables) -> np.ndarray:
    """The expected number of times per episode that each step is made under the uniformly random policy.

    Args:
        tables: The enumerated world.

    Returns:
        (S_A, A, Z).
    """
    n_acting, n_actions, _ = tables.successor.shape
    forward = forward_matrix(tables, np.full((n_acting, n_actions), 1 / n_actions))
    distribution, visits = start_distribution(tables).sum(1), np.zeros(n_acting)
    for _ in range(tables.horizon):
        visits += distribution[:n_acting]
        distribution = forward @ distribution[:n_acting]
    return visits[:, None, None] / n_actions * np.broadcast_to(tables.noise, tables.successor.shape)


def n_aliased_pairs(tables: Tables, visits: np.ndarray) -> int:
    """The number of pairs of possible steps with the same overseer observation and different true rewards."""
    possible = visits.ravel() > 0
    label, reward = tables.overseer_obs.ravel()[possible], np.round(tables.true_reward.ravel()[possible], DIGITS)
    kinds = np.unique(np.column_stack((label, reward)), axis=0, return_counts=True)
    same_label = np.bincount(label)
    return int(((same_label.astype(object) ** 2).sum() - (kinds[1].astype(object) ** 2).sum()) // 2)


def worst_pairs(world: Any, tables: Tables, visits: np.ndarray) -> list[AliasedPair]:
    """Finds for each overseer observation a pair of steps whose true rewards differ most.

    Args:
        world: Names the overseer observations and actions, and draws states.
        tables: The enumerated world.
        visits: (S_A, A, Z), as `random_visits` returns them; among equal pairs the most visited is returned.

    Returns:
        The pairs, the largest difference first.
    """
    pairs = []
    for label in np.unique(tables.overseer_obs[visits > 0]):
        candidates = (tables.overseer_obs == label) & (visits > 0)
        least, greatest = tables.true_reward[candidates].min(), tables.true_reward[candidates].max()
        if greatest - least > 10.0**-DIGITS:
            steps = (_most_visited(world, tables, visits, candidates, reward) for reward in (greatest, least))
            pairs.append(AliasedPair(world.overseer_labels[label], float(greatest - least), *steps))
    return sorted(pairs, key=lambda pair: (-pair.difference, -min(pair.better.visits, pair.worse.visits)))


def _most_visited(world: Any, tables: Tables, visits: np.ndarray, candidates: np.ndarray, reward: float) -> AliasedStep:
    """The most visited of the candidate steps (S_A, A, Z) bool with this true reward."""
    matching = candidates & (np.abs(tables.true_reward - reward) < 10.0**-DIGITS)
    index = np.unravel_index(np.argmax(np.where(matching, visits, -1)), visits.shape)
    before, after = tables.states[index[0]], tables.states[tables.successor[index]]
    action = world.action_names[index[1]] if world.action_names else str(index[1])
    return AliasedStep(
        state=before.tolist(),
        action=action,
        next_state=after.tolist(),
        true_reward=float(reward),
        visits=float(visits[index]),
        before=world.picture(before),
        after=world.picture(after),
    )


def permanently_aliased(tables: Tables, label: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """Computes the coarsest partition of the states that no sequence of labels refines.

    The states of a block have the same distribution of label and next block under every action. Terminal states
    form a block of their own.

    Args:
        tables: The enumerated world.
        label: (S_A, A, Z) int, the label of each step.
        initial: (S_A,) int, a partition that the result refines.

    Returns:
        (S_A,) int, the block of each state.
    """
    rng, block = np.random.default_rng(0), distinct_rows(initial[:, None])[1]
    terminal = np.full(len(tables.states) - len(block), -1)
    while True:
        code = rng.uniform(1, 2, (int(label.max()) + 1, len(block) + 1, 2))  # random: equal sums have equal terms
        following = (code[label, np.append(block, terminal)[tables.successor]] * tables.noise[:, None]).sum(2)
        row = np.column_stack((block, np.round(following, DIGITS).reshape(len(block), -1)))
        finer = distinct_rows(row)[1]
        if finer.max() == block.max():
            return block
        block = finer


def n_shared(block: np.ndarray) -> int:
    """The number of blocks with more than one state."""
    return int((np.bincount(block) > 1).sum())


def reward_bounds(tables: Tables) -> tuple[np.ndarray, np.ndarray]:
    """The least and greatest true reward of the steps with the overseer observation of each step, (S_A, A, Z) both."""
    n = int(tables.overseer_obs.max()) + 1
    possible = np.broadcast_to(tables.noise > 0, tables.successor.shape)
    least, greatest = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(least, tables.overseer_obs[possible], tables.true_reward[possible])
    np.maximum.at(greatest, tables.overseer_obs[possible], tables.true_reward[possible])
    low, high = (np.where(possible, bound[tables.overseer_obs], 0) for bound in (least, greatest))  # no inf * 0
    return low, high


def positivity(tables: Tables, visits: np.ndarray, judgement: np.ndarray, hidden: np.ndarray) -> float:
    """The least probability, over the agent's observations, that a step that leads to one is judged.

    If it is 0, some situations are never judged, and no reweighting of judged steps represents them.

    Args:
        tables: The enumerated world.
        visits: (S_A, A, Z), as `random_visits` returns them.
        judgement: (L,), the verdict on each overseer observation, nan for no verdict.
        hidden: (*obs,) bool, entries of an observation that are ignored.

    Returns:
        A probability.
    """
    shown = np.where(hidden, 0, tables.view)
    view = distinct_rows(shown)[1][tables.successor].ravel()
    judged = ~np.isnan(np.asarray(judgement, float))[tables.overseer_obs].ravel()
    visited = np.bincount(view, visits.ravel())
    visited_judged = np.bincount(view, visits.ravel() * judged)
    return float(np.min(visited_judged[visited > 0] / visited[visited > 0]))
