"""Checks that a world must pass before it is tabulated; each refusal names what was found, where, and what to do.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, K state variables.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from envs.world import World

NO_LIMIT = 1_000_000  # steps: a longer time limit counts as none
NEGLIGIBLE = 1e-16  # discount below which rewards are ignored
SAMPLE_SIZE = 64, 4096  # fewest and approximately most states on which functions are evaluated twice


def refuse(world: "World", line: str) -> None:
    """Raises ValueError with the world's name and the line."""
    raise ValueError(f"{type(world).__name__}: {line}")


def check_distributions(world: "World", starts: np.ndarray, probabilities: np.ndarray) -> None:
    """Checks that noise and start probabilities are distributions and that no start is terminal; raises ValueError."""
    for name, distribution in world.noise.items():
        if min(distribution) < 0 or not math.isclose(sum(distribution), 1, abs_tol=1e-9):
            refuse(
                world,
                f"noise {name!r} is not a distribution: {tuple(distribution)} sums to {sum(distribution):.6g}; "
                "give probabilities that sum to 1",
            )
    negative = np.flatnonzero(probabilities < 0)
    if len(negative):
        first = negative[0]
        refuse(
            world, f"start state {starts[first].tolist()} has probability {probabilities[first]:.6g}: give 0 or more"
        )
    if not math.isclose(probabilities.sum(), 1, abs_tol=1e-9):
        refuse(world, f"the start probabilities sum to {probabilities.sum():.6g}, not 1: scale them")
    ended = np.flatnonzero(world.terminal(starts))
    if len(ended):
        refuse(world, f"start state {starts[ended[0]].tolist()} is terminal: leave it out of starts()")


def check_repeatable(world: "World", name: str, states: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Checks that two evaluations of a function on states, (n, K), are equal; raises ValueError."""
    n = len(states)
    unequal = (np.asarray(first) != np.asarray(second)).reshape(n, -1).any(1)
    if unequal.any():
        state = states[np.argmax(unequal)].tolist()
        refuse(world, f"{name} returns two results for state {state}: let it depend on its arguments alone")


def sample_states(states: np.ndarray) -> np.ndarray:
    """An evenly spaced sample of states, (n, K); few states are repeated, so that random results differ visibly."""
    fewest, most = SAMPLE_SIZE
    return np.resize(states[:: max(1, len(states) // most)], (max(fewest, min(len(states), most)), states.shape[1]))


def horizon(world: "World", states: np.ndarray, successor: np.ndarray) -> int:
    """The number of steps that exact evaluation must cover.

    Args:
        world: the world.
        states: (S, K).
        successor: (S_A, A, Z) int.

    Returns:
        The time limit; without one, the longest episode or the steps after which the discount is negligible.

    Raises:
        ValueError: there is no time limit, an episode need not end, and the discount is 1.
    """
    if world.max_episode_steps <= NO_LIMIT:
        return world.max_episode_steps
    n_acting, length = len(successor), 0
    running = np.ones(n_acting, bool)  # an episode from here can last longer than `length` steps
    while running.any():
        length += 1
        longer = np.append(running, np.zeros(len(states) - n_acting, bool))[successor].any((1, 2))
        if np.array_equal(longer, running):
            return _discounted(world, states[np.argmax(running)])
        running = longer
    return length


def _discounted(world: "World", state: np.ndarray) -> int:
    if world.gamma == 1:
        refuse(
            world,
            f"gamma is 1 without a time limit, and an episode from state {state.tolist()} need not end: "
            "give a gamma below 1 or max_episode_steps",
        )
    return math.ceil(math.log(NEGLIGIBLE) / math.log(world.gamma))
