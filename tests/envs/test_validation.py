"""What would make tables meaningless is refused with one line that names the world and the state."""

import numpy as np
import pytest
from gymnasium.spaces import MultiBinary

import envs

FOR_EVER = 2**31 - 1


class Row(envs.POMDP):
    """Three cells in a row; the last one is the goal."""

    overseer_labels = ("nothing", "goal")
    judgement = np.array([0.0, 1.0])
    flags = np.zeros(3, bool)
    law = (0.5, 0.5)

    def __init__(self, num_envs=1, *, gamma=1.0, max_episode_steps=5, render_mode=None):
        self.gamma = gamma
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(3), 2)

    def starts(self):
        return np.array([[1], [0]]), np.array(self.law)

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


class Heavy(Row):
    """Its start probabilities sum to more than 1."""

    law = (0.5, 0.6)


class Negative(Row):
    """A start has a negative probability."""

    law = (1.5, -0.5)


class Leaking(Row):
    """Its noise loses probability."""

    noise = {"slip": (0.5, 0.4)}  # noqa: RUF012

    def transition(self, state, action, slip):
        return super().transition(state, action)


class Ended(Row):
    """Some episodes are over when they begin."""

    def starts(self):
        return np.array([[1], [2]]), np.array(self.law)


class Gambling(Row):
    """Its transition draws a chance that has no name."""

    def transition(self, state, action):
        return super().transition(state, np.where(self.np_random.random(len(state)) < 0.5, action, 1 - action))


class Misty(Row):
    """Its observation depends on a hidden coin."""

    def observation(self, state):
        return super().observation((state + self.np_random.integers(0, 2, state.shape)) % 3)


class Moody(Row):
    """Its true reward depends on a hidden coin."""

    def true_reward(self, state, action, next_state):
        return self.np_random.random(len(state))


class Down(Row):
    """Always moves on, so every episode ends."""

    def transition(self, state, action):
        return state + 1


UNLAWFUL = [
    (Heavy, "Heavy: the start probabilities sum to 1.1, not 1"),
    (Negative, "Negative: start state [0] has probability -0.5"),
    (Leaking, "Leaking: noise 'slip' is no probability law: (0.5, 0.4) sums to 0.9"),
    (Ended, "Ended: an episode would start at an end, in state [2]"),
    (Gambling, "Gambling: transition gives two answers for state ["),
    (Misty, "Misty: observation gives two answers for state ["),
    (Moody, "Moody: true_reward gives two answers for state ["),
]


@pytest.mark.parametrize("function", [envs.compile_world, envs.certify], ids=["tables", "certificate"])
@pytest.mark.parametrize(("world", "line"), UNLAWFUL, ids=lambda v: getattr(v, "__name__", ""))
def test_an_unlawful_world_is_refused_in_one_line(function, world, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        function(world())
    assert str(refusal.value).startswith(line)


def test_a_world_without_discount_and_time_limit_is_refused_where_it_need_not_end():
    with pytest.raises(
        ValueError, match=r"^Row: gamma is 1 without a time limit, and from state \[1\] an episode need"
    ):
        envs.certify(Row(max_episode_steps=FOR_EVER))


def test_a_world_without_time_limit_is_certified_if_it_ends_or_discounts():
    assert envs.certify(Down(max_episode_steps=FOR_EVER)).horizon == 2
    found = envs.certify(Row(gamma=0.9, max_episode_steps=FOR_EVER))
    assert 0.9**found.horizon < 1e-15
    assert found.optimal_return == pytest.approx(0.5 + 0.5 * 0.9)


def test_a_certificate_names_the_world_whose_promise_is_broken():
    class Nameless(Row):
        def overseer_observation(self, state, action, next_state):
            return 2 * self.terminal(next_state)

    with pytest.raises(ValueError, match=r"^Nameless: overseer_observation gives 0 to 2, but only 2 have a name"):
        envs.certify(Nameless())
