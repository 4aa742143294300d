"""The checker passes valid environments and reports the first fault of invalid ones."""

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


class MissingAttribute(Row):
    """Does not set its keyword as an attribute."""

    def __init__(self, num_envs=1, *, width=3, max_episode_steps=5, render_mode=None):
        super().__init__(num_envs, max_episode_steps=max_episode_steps)


class CountingObservation(Row):
    """Its observation depends on the number of calls since the reset."""

    def reset(self, **keywords):
        self.calls = 0
        return super().reset(**keywords)

    def observation(self, state):
        self.calls += 1
        return np.eye(3, dtype=np.int8)[(state[:, 0] + self.calls % 2) % 3]


class RandomTransition(Row):
    """Its transition draws from np_random."""

    def transition(self, state, action):
        action = np.where(self.np_random.random(len(state)) < 0.5, action, 1 - action)
        return super().transition(state, action)


class InPlaceTransition(Row):
    """Its transition writes into its argument."""

    def transition(self, state, action):
        state += 2 * action[:, None] - 1
        return np.clip(state, 0, 2)


class CopyDependentReward(Row):
    """Its reward depends on the other copies."""

    def reward(self, state, action, next_state):
        return next_state[:, 0] - next_state[:, 0].mean()


class NearlyAliased(Row):
    """Its observations differ by less than rounding."""

    def __init__(self, num_envs=1, *, max_episode_steps=5, render_mode=None):
        super().__init__(num_envs, max_episode_steps=max_episode_steps)
        self.single_observation_space = Box(0, 1, (3,), np.float64)
        self.observation_space = Box(0, 1, (num_envs, 3), np.float64)

    def observation(self, state):
        return 0.5 + 1e-9 * np.eye(3)[state[:, 0]]


class UnlabelledObservation(Row):
    """Its overseer observations include an index without a label."""

    def overseer_observation(self, state, action, next_state):
        return 2 * self.terminal(next_state)


class BooleanOutcome(Row):
    """Its outcomes are booleans."""

    def outcome(self, state):
        return state[:, 0] == 2


class ShortJudgement(Row):
    """It has fewer verdicts than labels."""

    judgement = np.array([0.0])


class TerminalStart(Row):
    """One of its start states is terminal."""

    def starts(self):
        return np.array([[1], [2]]), np.array([0.5, 0.5])


class SumAboveOne(Row):
    """Its start probabilities sum to more than 1."""

    def starts(self):
        return np.array([[1], [0]]), np.array([0.5, 0.6])


class NoiseBelowOne(Row):
    """Its noise probabilities sum to less than 1."""

    noise = {"slip": (0.5, 0.4)}  # noqa: RUF012

    def transition(self, state, action, slip):
        return super().transition(state, action)


class InfiniteReward(Row):
    """Its rewards are not finite."""

    def true_reward(self, state, action, next_state):
        return np.where(self.terminal(next_state), np.inf, 0.0)


class NextStepAutoreset(Row):
    """Declares that it restarts one step later."""

    metadata = {**Row.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012


class StaleRestart(Row):
    """Returns the final observation of an episode as the first one of the next."""

    def step(self, actions):
        obs, *rest, info = super().step(actions)
        for i in np.flatnonzero(info.get("_final_obs", ())):
            obs[i] = info["final_obs"][i]
        return obs, *rest, info


class NoFinalObs(Row):
    """Does not report final observations."""

    def step(self, actions):
        *rest, info = super().step(actions)
        return *rest, {name: info[name] for name in info if name != "final_obs"}


class WrongFinalMask(Row):
    """Marks the copies that did not end."""

    def step(self, actions):
        *rest, info = super().step(actions)
        if "_final_obs" in info:
            info["_final_obs"] = ~info["_final_obs"]
        return *rest, info


class ReusedObservation(Row):
    """Writes into the observation that it returned before."""

    buffer = None

    def step(self, actions):
        obs, *rest = super().step(actions)
        self.buffer = obs.copy() if self.buffer is None else self.buffer
        self.buffer[:] = obs
        return self.buffer, *rest


class UnseededStarts(Row):
    """Draws its starts from an unseeded generator."""

    def initial(self, n):
        return np.random.default_rng().integers(0, 2, (n, 1))


class ColumnReward(Row):
    """Returns its rewards as a column."""

    def step(self, actions):
        obs, reward, *rest = super().step(actions)
        return obs, reward[:, None], *rest


class UnbatchedActionSpace(Row):
    """Its action space is that of one copy."""

    def __init__(self, num_envs=1, *, max_episode_steps=5, render_mode=None):
        super().__init__(num_envs, max_episode_steps=max_episode_steps)
        self.action_space = Discrete(2)


class ObservationOutsideSpace(Row):
    """Its observations are outside their space."""

    def observation(self, state):
        return 2 * super().observation(state)


FAULTY = [
    (MissingAttribute, "a keyword of __init__ is not an attribute: 'MissingAttribute' object has no attribute 'width'"),
    (CountingObservation, "observation returns two results for state [1]"),
    (RandomTransition, "a function other than initial() draws from np_random"),
    (InPlaceTransition, "a function writes into its arguments"),
    (CopyDependentReward, "reward of state [1] depends on other copies"),
    (NearlyAliased, "differs from an alias's by less than 1e-06"),
    (UnlabelledObservation, "overseer_observation returns 0 to 2, but only 2 have a name"),
    (BooleanOutcome, "outcome returns bool: return whole numbers"),
    (ShortJudgement, "judgement has 1 verdicts for 2 overseer_labels"),
    (TerminalStart, "start state [2] is terminal"),
    (SumAboveOne, "the start probabilities sum to 1.1, not 1"),
    (NoiseBelowOne, "noise 'slip' is not a distribution"),
    (InfiniteReward, "true_reward returns a number that is not finite"),
    (NextStepAutoreset, "metadata['autoreset_mode'] is AutoresetMode.NEXT_STEP"),
    (StaleRestart, "a copy that restarts returns its final observation again"),
    (NoFinalObs, "an episode ended without info['final_obs']"),
    (WrongFinalMask, "info['_final_obs'] does not mark the copies that ended"),
    (ReusedObservation, "step() writes into an observation it returned before"),
    (UnseededStarts, "reset() differs between two runs with one seed"),
    (ColumnReward, "step() returns reward as float64 of shape (16, 1)"),
    (UnbatchedActionSpace, "action_space is Discrete(2), not 16 times single_action_space"),
    (ObservationOutsideSpace, "reset() returns an observation (int8 of shape (16, 3)) outside"),
]


@pytest.mark.parametrize(("world", "line"), FAULTY, ids=lambda v: getattr(v, "__name__", ""))
def test_a_fault_is_reported_in_one_line(world, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as found:
        envs.check_vector_env(world(16))
    assert str(found.value).startswith(f"{world.__name__}: ")
    assert line in str(found.value)


def test_a_valid_world_passes():
    envs.check_vector_env(Row(16))


def test_a_world_that_only_draws_its_starts_passes_and_has_no_tables():
    class Drawn(Row):
        def initial(self, n):
            return self.np_random.integers(0, 2, (n, 1))

        starts = envs.POMDP.starts

    envs.check_vector_env(Drawn(16))
    with pytest.raises(envs.NotEnumerable, match=r"^Drawn has no start distribution"):
        envs.compile_world(Drawn(16))


def test_every_registered_world_passes(make):
    envs.check_vector_env(make(16))


def test_a_vector_environment_of_gymnasium_passes():
    modes = {"autoreset_mode": AutoresetMode.SAME_STEP}
    env = gymnasium.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync", vector_kwargs=modes)
    envs.check_vector_env(env)


def test_an_environment_that_is_not_a_world_has_no_tables():
    with pytest.raises(envs.NotEnumerable, match="SyncVectorEnv has no tables"):
        envs.compile_world(gymnasium.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync"))
