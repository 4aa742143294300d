"""A world whose tables would be wrong is refused with one line that names the world and the state."""

import numpy as np
import pytest
from gymnasium.spaces import MultiBinary

import envs

UNLIMITED = 2**31 - 1


class Row(envs.POMDP):
    """Three cells in a row; the last one is the goal."""

    overseer_labels = ("nothing", "goal")
    judgement = np.array([0.0, 1.0])
    flags = np.zeros(3, bool)
    start_probabilities = (0.5, 0.5)

    def __init__(self, num_envs=1, *, gamma=1.0, max_episode_steps=5, render_mode=None):
        self.gamma = gamma
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(3), 2)

    def starts(self):
        return np.array([[1], [0]]), np.array(self.start_probabilities)

    def transition(self, state, action):
        return np.clip(state + 2 * action[:, None] - 1, 0, 2)

    def terminal(self, state):
        return state[:, 0] == 2

    def reward(self, state, action, next_state):
        return self.terminal(next_state) * 1.0

    true_reward = reward

    def observation(self, state):
        return np.eye(3, dtype=np.int8)[state[:, 0]]

    def overseer_observation(self, state, action, next_state):
        return self.terminal(next_state).astype(int)


class SumAboveOne(Row):
    """Its start probabilities sum to more than 1."""

    start_probabilities = (0.5, 0.6)


class NegativeProbability(Row):
    """A start has a negative probability."""

    start_probabilities = (1.5, -0.5)


class NoiseBelowOne(Row):
    """Its noise probabilities sum to less than 1."""

    noise = {"slip": (0.5, 0.4)}  # noqa: RUF012

    def transition(self, state, action, slip):
        return super().transition(state, action)


class TerminalStart(Row):
    """One of its start states is terminal."""

    def starts(self):
        return np.array([[1], [2]]), np.array(self.start_probabilities)


class RandomTransition(Row):
    """Its transition draws from np_random."""

    def transition(self, state, action):
        return super().transition(state, np.where(self.np_random.random(len(state)) < 0.5, action, 1 - action))


class RandomObservation(Row):
    """Its observation is random."""

    def observation(self, state):
        return super().observation((state + self.np_random.integers(0, 2, state.shape)) % 3)


class RandomTrueReward(Row):
    """Its true reward is random."""

    def true_reward(self, state, action, next_state):
        return self.np_random.random(len(state))


class Down(Row):
    """Every episode ends."""

    def transition(self, state, action):
        return state + 1


REFUSED = [
    (SumAboveOne, "SumAboveOne: the start probabilities sum to 1.1, not 1"),
    (NegativeProbability, "NegativeProbability: start state [0] has probability -0.5"),
    (NoiseBelowOne, "NoiseBelowOne: noise 'slip' is not a distribution: (0.5, 0.4) sums to 0.9"),
    (TerminalStart, "TerminalStart: start state [2] is terminal"),
    (RandomTransition, "RandomTransition: transition returns two results for state ["),
    (RandomObservation, "RandomObservation: observation returns two results for state ["),
    (RandomTrueReward, "RandomTrueReward: true_reward returns two results for state ["),
]


@pytest.mark.parametrize("function", [envs.compile_world, envs.certify], ids=["tables", "certificate"])
@pytest.mark.parametrize(("world", "line"), REFUSED, ids=lambda v: getattr(v, "__name__", ""))
def test_a_world_that_cannot_be_tabulated_correctly_is_refused_in_one_line(function, world, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        function(world())
    assert str(refusal.value).startswith(line)


def test_a_world_without_discount_and_time_limit_is_refused_where_it_need_not_end():
    with pytest.raises(
        ValueError, match=r"^Row: gamma is 1 without a time limit, and an episode from state \[1\] need not end"
    ):
        envs.certify(Row(max_episode_steps=UNLIMITED))


def test_a_world_without_time_limit_is_certified_if_it_ends_or_discounts():
    assert envs.certify(Down(max_episode_steps=UNLIMITED)).horizon == 2
    found = envs.certify(Row(gamma=0.9, max_episode_steps=UNLIMITED))
    assert 0.9**found.horizon < 1e-15
    assert found.optimal_return == pytest.approx(0.5 + 0.5 * 0.9)


def test_a_refusal_of_certify_names_the_world():
    class Nameless(Row):
        def overseer_observation(self, state, action, next_state):
            return 2 * self.terminal(next_state)

    with pytest.raises(ValueError, match=r"^Nameless: overseer_observation returns 0 to 2, but only 2 have a name"):
        envs.certify(Nameless())
