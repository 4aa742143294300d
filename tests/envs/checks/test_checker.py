"""The checker passes what keeps its promises, and names the first promise that is broken."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary
from gymnasium.vector import AutoresetMode

import envs


class Row(envs.POMDP):
    """Three cells in a row; the last one is the goal."""

    overseer_labels = ("nothing", "goal")
    judgement = np.array([0.0, 1.0])
    outcomes = ("nothing", "goal")
    flags = np.zeros(3, bool)

    def __init__(self, num_envs=1, *, max_episode_steps=5, render_mode=None):
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(3), 2)

    def starts(self):
        return np.array([[1], [0]]), np.array([0.5, 0.5])

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

    def outcome(self, state):
        return self.terminal(state).astype(int)


class Forgetful(Row):
    """Does not keep its keyword."""

    def __init__(self, num_envs=1, *, width=3, max_episode_steps=5, render_mode=None):
        super().__init__(num_envs, max_episode_steps=max_episode_steps)


class Flickering(Row):
    """Its observation depends on how often it was asked since the reset."""

    def reset(self, **keywords):
        self.asked = 0
        return super().reset(**keywords)

    def observation(self, state):
        self.asked += 1
        return np.eye(3, dtype=np.int8)[(state[:, 0] + self.asked % 2) % 3]


class Gambling(Row):
    """Its transition draws a chance that has no name."""

    def transition(self, state, action):
        action = np.where(self.np_random.random(len(state)) < 0.5, action, 1 - action)
        return super().transition(state, action)


class Scribbling(Row):
    """Its transition writes into the state it is given."""

    def transition(self, state, action):
        state += 2 * action[:, None] - 1
        return np.clip(state, 0, 2)


class Crowded(Row):
    """Its reward depends on the other copies."""

    def reward(self, state, action, next_state):
        return next_state[:, 0] - next_state[:, 0].mean()


class Whispering(Row):
    """Its observation hides the cell below rounding."""

    def __init__(self, num_envs=1, *, max_episode_steps=5, render_mode=None):
        super().__init__(num_envs, max_episode_steps=max_episode_steps)
        self.single_observation_space = Box(0, 1, (3,), np.float64)
        self.observation_space = Box(0, 1, (num_envs, 3), np.float64)

    def observation(self, state):
        return 0.5 + 1e-9 * np.eye(3)[state[:, 0]]


class Nameless(Row):
    """Its overseer says what has no name."""

    def overseer_observation(self, state, action, next_state):
        return 2 * self.terminal(next_state)


class Numeric(Row):
    """Its ends are numbers."""

    def outcome(self, state):
        return state[:, 0] == 2


class Speechless(Row):
    """Its verdicts are not as many as its labels."""

    judgement = np.array([0.0])


class Ended(Row):
    """Some episodes are over when they begin."""

    def starts(self):
        return np.array([[1], [2]]), np.array([0.5, 0.5])


class Unlawful(Row):
    """Its start probabilities sum to more than 1."""

    def starts(self):
        return np.array([[1], [0]]), np.array([0.5, 0.6])


class Weighted(Row):
    """Its chance is no law."""

    noise = {"slip": (0.5, 0.4)}  # noqa: RUF012

    def transition(self, state, action, slip):
        return super().transition(state, action)


class Endless(Row):
    """Its rewards are not finite."""

    def true_reward(self, state, action, next_state):
        return np.where(self.terminal(next_state), np.inf, 0.0)


class Waiting(Row):
    """Says that it restarts one step later."""

    metadata = {**Row.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012


class Stale(Row):
    """Shows the last observation of the old episode as the first one of the new."""

    def step(self, actions):
        obs, *rest, info = super().step(actions)
        for i in np.flatnonzero(info.get("_final_obs", ())):
            obs[i] = info["final_obs"][i]
        return obs, *rest, info


class Secretive(Row):
    """Does not show its final observation."""

    def step(self, actions):
        *rest, info = super().step(actions)
        return *rest, {name: info[name] for name in info if name != "final_obs"}


class Mismarked(Row):
    """Marks other copies than those that ended."""

    def step(self, actions):
        *rest, info = super().step(actions)
        if "_final_obs" in info:
            info["_final_obs"] = ~info["_final_obs"]
        return *rest, info


class Grasping(Row):
    """Writes into the observation that it gave before."""

    given = None

    def step(self, actions):
        obs, *rest = super().step(actions)
        self.given = obs.copy() if self.given is None else self.given
        self.given[:] = obs
        return self.given, *rest


class Careless(Row):
    """Draws its starts from a generator that no seed reaches."""

    def initial(self, n):
        return np.random.default_rng().integers(0, 2, (n, 1))


class Misshapen(Row):
    """Gives its rewards as a column."""

    def step(self, actions):
        obs, reward, *rest = super().step(actions)
        return obs, reward[:, None], *rest


class Misfit(Row):
    """Its space for all copies is that of one."""

    def __init__(self, num_envs=1, *, max_episode_steps=5, render_mode=None):
        super().__init__(num_envs, max_episode_steps=max_episode_steps)
        self.action_space = Discrete(2)


class Outside(Row):
    """Its observations are outside their space."""

    def observation(self, state):
        return 2 * super().observation(state)


BROKEN = [
    (Forgetful, "a keyword of __init__ is not kept: 'Forgetful' object has no attribute 'width'"),
    (Flickering, "observation gives two answers for state [1]"),
    (Gambling, "a function other than initial() draws from np_random"),
    (Scribbling, "a function writes into the states it is given"),
    (Crowded, "reward of state [1] depends on other copies"),
    (Whispering, "differs from an alias's by less than 1e-06"),
    (Nameless, "overseer_observation gives 0 to 2, but only 2 have a name"),
    (Numeric, "outcome gives bool: give whole numbers"),
    (Speechless, "judgement has 1 verdicts for 2 overseer_labels"),
    (Ended, "an episode would start at an end, in state [2]"),
    (Unlawful, "the start probabilities sum to 1.1, not 1"),
    (Weighted, "noise 'slip' is no probability law"),
    (Endless, "true_reward gives a number that is not finite"),
    (Waiting, "metadata['autoreset_mode'] is AutoresetMode.NEXT_STEP"),
    (Stale, "a copy that restarts shows its last observation again"),
    (Secretive, "an episode ended without info['final_obs']"),
    (Mismarked, "info['_final_obs'] does not mark the copies that ended"),
    (Grasping, "step() writes into observations it gave before"),
    (Careless, "reset() differs between two runs of one seed"),
    (Misshapen, "step() gives reward as float64 of shape (16, 1)"),
    (Misfit, "action_space is Discrete(2), not 16 times single_action_space"),
    (Outside, "reset() gives an observation (int8 of shape (16, 3)) outside"),
]


@pytest.mark.parametrize(("world", "line"), BROKEN, ids=lambda v: getattr(v, "__name__", ""))
def test_a_broken_promise_is_named_in_one_line(world, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as found:
        envs.check_vector_env(world(16))
    assert str(found.value).startswith(f"{world.__name__}: ")
    assert line in str(found.value)


def test_a_world_that_keeps_its_promises_passes():
    envs.check_vector_env(Row(16))


def test_a_world_that_only_draws_its_starts_passes_and_has_no_tables():
    class Drawn(Row):
        def initial(self, n):
            return self.np_random.integers(0, 2, (n, 1))

        starts = envs.POMDP.starts

    envs.check_vector_env(Drawn(16))
    with pytest.raises(envs.NotEnumerable, match=r"^Drawn does not write out its start distribution"):
        envs.compile_world(Drawn(16))


def test_every_registered_world_passes(make):
    envs.check_vector_env(make(16))


def test_a_third_partys_environment_passes():
    modes = {"autoreset_mode": AutoresetMode.SAME_STEP}
    env = gymnasium.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync", vector_kwargs=modes)
    envs.check_vector_env(env)


def test_checking_an_environment_that_is_not_a_world_leaves_no_tables_to_it():
    with pytest.raises(envs.NotEnumerable, match="SyncVectorEnv has no tables"):
        envs.compile_world(gymnasium.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync"))
