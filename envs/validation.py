"""What a world must keep for its tables to mean anything; each line says what was found, where, and what to do.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, K state variables.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from envs.world import World

NO_LIMIT = 1_000_000  # steps: a longer time limit is none
NEGLIGIBLE = 1e-16  # what is discounted to less weighs nothing
SAMPLE_SIZE = 64, 4096  # at least and about at most so many states are asked twice


def refuse(world: "World", line: str) -> None:
    """Raises ValueError with the world's name and the line."""
    raise ValueError(f"{type(world).__name__}: {line}")


def check_distributions(world: "World", starts: np.ndarray, probabilities: np.ndarray) -> None:
    """The noise and the start distribution are probability laws; raises ValueError."""
    for name, law in world.noise.items():
        if min(law) < 0 or not math.isclose(sum(law), 1, abs_tol=1e-9):
            refuse(
                world, f"noise {name!r} is no probability law: {tuple(law)} sums to {sum(law):.6g}; make it sum to 1"
            )
    negative = np.flatnonzero(probabilities < 0)
    if len(negative):
        at = negative[0]
        refuse(world, f"start state {starts[at].tolist()} has probability {probabilities[at]:.6g}: give none below 0")
    if not math.isclose(probabilities.sum(), 1, abs_tol=1e-9):
        refuse(world, f"the start probabilities sum to {probabilities.sum():.6g}, not 1: scale them")
    ended = np.flatnonzero(world.terminal(starts))
    if len(ended):
        refuse(
            world, f"an episode would start at an end, in state {starts[ended[0]].tolist()}: leave it out of starts()"
        )


def check_repeatable(world: "World", name: str, states: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """A function gave one answer for each state (n, K), both times; raises ValueError."""
    n = len(states)
    unequal = (np.asarray(first) != np.asarray(second)).reshape(n, -1).any(1)
    if unequal.any():
        state = states[np.argmax(unequal)].tolist()
        refuse(world, f"{name} gives two answers for state {state}: let it depend on its arguments alone")


def sample_states(states: np.ndarray) -> np.ndarray:
    """Some of the states, evenly spread; few ones again and again, so that no chance difference stays unseen."""
    fewest, most = SAMPLE_SIZE
    return np.resize(states[:: max(1, len(states) // most)], (max(fewest, min(len(states), most)), states.shape[1]))


def horizon(world: "World", states: np.ndarray, successor: np.ndarray) -> int:
    """The time limit, or where there is none the steps after which nothing weighs; raises ValueError.

    `successor` is (S_A, A, Z). Without a limit, either every episode ends or the discount must be below 1.
    """
    if world.max_episode_steps <= NO_LIMIT:
        return world.max_episode_steps
    n_acting, length = len(successor), 0
    going = np.ones(n_acting, bool)  # an episode can still go on after `length` steps from here
    while going.any():
        length += 1
        longer = np.append(going, np.zeros(len(states) - n_acting, bool))[successor].any((1, 2))
        if np.array_equal(longer, going):
            return _discounted(world, states[np.argmax(going)])
        going = longer
    return length


def _discounted(world: "World", state: np.ndarray) -> int:
    if world.gamma == 1:
        refuse(
            world,
            f"gamma is 1 without a time limit, and from state {state.tolist()} an episode need never end: "
            "give a gamma below 1 or max_episode_steps",
        )
    return math.ceil(math.log(NEGLIGIBLE) / math.log(world.gamma))
