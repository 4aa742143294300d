"""A little experience of a world, and what its functions say of it: on these its promises are checked.

Letters: n steps, K state variables.
"""

from typing import NamedTuple

import numpy as np

from envs.pomdp import POMDP
from envs.world import sample


class Transitions(NamedTuple):
    """Steps that the world can make, from states that are not terminal."""

    state: np.ndarray  # (n, K)
    action: np.ndarray  # (n,)
    next_state: np.ndarray  # (n, K)
    noise: dict[str, np.ndarray]  # name -> (n,)

    def rows(self, at: slice) -> "Transitions":
        """Some of the steps."""
        noise = {name: value[at] for name, value in self.noise.items()}
        return Transitions(self.state[at], self.action[at], self.next_state[at], noise)


def evaluate_functions(world: POMDP, steps: Transitions) -> dict[str, np.ndarray]:
    """What every function that must be pure says of these steps."""
    told = steps[:3]
    return {
        "transition": world.transition(steps.state, steps.action, **steps.noise),
        "terminal": world.terminal(steps.next_state),
        "reward": world.reward(*told),
        "true_reward": world.true_reward(*told),
        "observation": world.observation(steps.next_state),
        "overseer_observation": world.overseer_observation(*told),
        "watched": world.watched(steps.next_state),
        "outcome": world.outcome(steps.next_state),
    }


def fresh_copy(world: POMDP, num_envs: int) -> POMDP:
    """Fresh copies of the same world, seeded."""
    fresh = type(world)(num_envs, **world.parameters)
    fresh.reset(seed=0)
    return fresh


def sample_transitions(world: POMDP, copies: int = 256, length: int = 16) -> Transitions:
    """A random walk of many copies."""
    rng, met = np.random.default_rng(0), []
    state = fresh_copy(world, copies).initial(copies)
    for _ in range(length):
        state = state[~np.asarray(world.terminal(state), bool)]
        action = rng.integers(world.single_action_space.n, size=len(state))  # type: ignore[attr-defined]
        noise = {name: sample(rng, p, len(state)) for name, p in world.noise.items()}
        met.append((state, action, world.transition(state, action, **noise), noise))
        state = met[-1][2]
    state, action, after = (np.concatenate([step[i] for step in met]) for i in range(3))
    return Transitions(state, action, after, {n: np.concatenate([step[3][n] for step in met]) for n in world.noise})
