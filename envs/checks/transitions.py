"""Sampled transitions of a world, and the values of its functions on them.

Letters: n steps, K state variables.
"""

from typing import NamedTuple

import numpy as np

from envs.pomdp import POMDP
from envs.validation import evaluate_function
from envs.world import sample

OF_STATES = ("terminal", "observation", "watched", "outcome", "state_features")  # functions of the state reached


class Transitions(NamedTuple):
    """Transitions of a world from states that are not terminal."""

    state: np.ndarray  # (n, K)
    action: np.ndarray  # (n,)
    next_state: np.ndarray  # (n, K)
    noise: dict[str, np.ndarray]  # name -> (n,)

    def rows(self, at: slice) -> "Transitions":
        """A slice of the transitions."""
        noise = {name: value[at] for name, value in self.noise.items()}
        return Transitions(self.state[at], self.action[at], self.next_state[at], noise)


def evaluate_functions(world: POMDP, steps: Transitions) -> dict[str, np.ndarray]:
    """The value of every function that must be pure, by its name."""
    values = {"transition": evaluate_function(world, "transition", steps.state, steps.action, **steps.noise)}
    for name in ("reward", "true_reward", "overseer_observation", *(("bad_act",) if world.bad_acts else ())):
        values[name] = evaluate_function(world, name, *steps[:3])
    for name in OF_STATES if world.feature_names else OF_STATES[:-1]:
        values[name] = evaluate_function(world, name, steps.next_state)
    return values


def fresh_copy(world: POMDP, num_envs: int) -> POMDP:
    """A new instance of the world with num_envs copies, seeded with 0."""
    duplicate = type(world)(num_envs, **world.parameters)
    duplicate.reset(seed=0)
    return duplicate


def sample_transitions(world: POMDP, copies: int = 256, length: int = 16) -> Transitions:
    """Transitions of a uniformly random policy."""
    rng, steps = np.random.default_rng(0), []
    state = fresh_copy(world, copies).initial(copies)
    for _ in range(length):
        state = state[~evaluate_function(world, "terminal", state)]
        action = rng.integers(world.single_action_space.n, size=len(state))  # type: ignore[attr-defined]
        noise = {name: sample(rng, p, len(state)) for name, p in world.noise.items()}
        steps.append((state, action, evaluate_function(world, "transition", state, action, **noise), noise))
        state = steps[-1][2]
    state, action, after = (np.concatenate([step[i] for step in steps]) for i in range(3))
    return Transitions(state, action, after, {n: np.concatenate([step[3][n] for step in steps]) for n in world.noise})
