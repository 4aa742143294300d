"""The checker passes valid environments and reports the first fault of invalid ones."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary
from gymnasium.vector import AutoresetMode, VectorWrapper

import envs
from envs import checks
from envs.checks.vector_env import time_limit_notes
from envs.wrappers import AgentView, AliasObservation


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


class IntegerObservation(Row):
    """Its observations have another type than their space."""

    def observation(self, state):
        return super().observation(state).astype(np.int64)


class WideObservation(Row):
    """Its observations have another shape than their space."""

    def observation(self, state):
        return np.eye(4, dtype=np.int8)[state[:, 0]]


class HiddenStateObservation(Row):
    """Its observation depends on an attribute that it changes."""

    phase = 0

    def observation(self, state):
        self.phase = 1 - self.phase
        return super().observation((state + self.phase) % 3)


class InPlaceReward(Row):
    """Its reward writes into the next state."""

    def reward(self, state, action, next_state):
        next_state -= 1
        return next_state[:, 0] * 1.0


class InPlaceTerminal(Row):
    """terminal() sorts its argument."""

    def terminal(self, state):
        state.sort(0)
        return state[:, 0] == 2


class InPlaceTrueReward(Row):
    """Its true reward writes into the action."""

    def true_reward(self, state, action, next_state):
        action[:] = 0
        return action * 1.0


class InPlaceObservation(Row):
    """Its observation writes into the state."""

    def observation(self, state):
        state[:, 0] = np.minimum(state[:, 0], 1)
        return super().observation(state)


class InPlaceOverseer(Row):
    """Its overseer observation writes into the state."""

    def overseer_observation(self, state, action, next_state):
        state += 1
        return self.terminal(next_state).astype(int)


class InPlaceWatched(Row):
    """watched() writes into the state."""

    def watched(self, state):
        state *= 0
        return state[:, 0] == 1


class InPlaceOutcome(Row):
    """outcome() writes into the state."""

    def outcome(self, state):
        state //= 2
        return state[:, 0]


class ColumnRewardFunction(Row):
    """Its reward is a column."""

    def reward(self, state, action, next_state):
        return self.terminal(next_state)[:, None] * 1.0


class ScalarReward(Row):
    """Its reward is one number for all copies."""

    def reward(self, state, action, next_state):
        return -1.0


class HighOutcome(Row):
    """Its outcomes include an index without a name."""

    def outcome(self, state):
        return 5 * self.terminal(state).astype(int)


class FloatOverseer(Row):
    """Its overseer observations are floats."""

    def overseer_observation(self, state, action, next_state):
        return self.terminal(next_state) * 1.0


class NoStarts(Row):
    """It has neither starts() nor initial()."""

    starts = envs.POMDP.starts


class AlteredKeyword(Row):
    """Sets a keyword on self as another value."""

    def __init__(self, num_envs=1, *, width=3, max_episode_steps=5, render_mode=None):
        self.width = width + 1
        super().__init__(num_envs, max_episode_steps=max_episode_steps)


class SharedBuffer(Row):
    """Its observation fills and returns one array."""

    buffer = np.zeros((4096, 3), np.int8)

    def observation(self, state):
        self.buffer[: len(state)] = super().observation(state)
        return self.buffer[: len(state)]


class FlatTransition(Row):
    """Its transition drops the axis of state variables."""

    def transition(self, state, action):
        return super().transition(state, action)[:, 0]


class FloatTransition(Row):
    """Its transition turns integer states into floats."""

    def transition(self, state, action):
        return super().transition(state, action) / 1


class IntegerTerminal(Row):
    """terminal() returns integers."""

    def terminal(self, state):
        return (state[:, 0] == 2).astype(int)


class RaisingReward(Row):
    """Its reward raises an exception in some states."""

    def reward(self, state, action, next_state):
        return np.array([0.0, 1.0])[next_state[:, 0]]


class OtherStarts(Row):
    """initial() draws a state that starts() does not list."""

    def initial(self, n):
        return np.ones((n, 1), int)

    def starts(self):
        return np.array([[0]]), np.ones(1)


class TerminalInitial(Row):
    """initial() draws terminal states."""

    starts = envs.POMDP.starts

    def initial(self, n):
        return self.np_random.integers(0, 3, (n, 1))


class ListJudgement(Row):
    """Its judgement is a list."""

    judgement = [0.0, 1.0]  # noqa: RUF012


class RepeatedLabel(Row):
    """Two overseer observations have one label."""

    overseer_labels = ("nothing", "nothing")


class FewNames(Row):
    """It has names for some of its actions."""

    action_names = ("left",)


class UnknownNoise(Row):
    """Its transition does not accept the noise that it declares."""

    noise = {"slip": (0.5, 0.5)}  # noqa: RUF012


class BadDiscount(Row):
    """Its discount is above 1."""

    gamma = 1.5


class NegativeOverseer(Row):
    """Its overseer observations include -1."""

    def overseer_observation(self, state, action, next_state):
        return self.terminal(next_state).astype(int) - 1


class HalfBelief(Row):
    """The beliefs of an overseer observation do not sum to 1."""

    beliefs = {0: (np.array([[1]]), np.array([0.5]))}  # noqa: RUF012


class RewardInStep(Row):
    """Its step() returns another reward than reward()."""

    def step(self, actions):
        obs, reward, *rest = super().step(actions)
        return obs, reward - 0.1, *rest


class NoTrueReward(Row):
    """The info of its steps lacks the true reward."""

    def step(self, actions):
        *rest, info = super().step(actions)
        return *rest, {name: info[name] for name in info if name != "true_reward"}


class LateTruncation(Row):
    """Its episodes exceed the time limit."""

    def step(self, actions):
        *rest, truncated, info = super().step(actions)
        return *rest, truncated & False, {name: info[name] for name in info if "final" not in name}

    def terminal(self, state):
        return state[:, 0] > 2


FAULTY = [
    (MissingAttribute, "a keyword of __init__ is not an attribute: 'MissingAttribute' object has no attribute 'width'"),
    (CountingObservation, "observation returns two results for state ["),
    (RandomTransition, "a function other than initial() draws from np_random"),
    (InPlaceTransition, "transition writes into its arguments"),
    (CopyDependentReward, "reward of state [1] depends on other copies"),
    (NearlyAliased, "differs from an alias's by less than 1e-06"),
    (UnlabelledObservation, "overseer_observation returns 0 to 2, but only 2 have a name"),
    (BooleanOutcome, "outcome returns bool of shape"),
    (ShortJudgement, "judgement has 1 verdicts for 2 overseer_labels"),
    (TerminalStart, "start state [2] is terminal"),
    (SumAboveOne, "the start probabilities sum to 1.1, not 1"),
    (NoiseBelowOne, "noise 'slip' is not a distribution"),
    (InfiniteReward, "true_reward returns a number that is not finite"),
    (NextStepAutoreset, "metadata['autoreset_mode'] is AutoresetMode.NEXT_STEP"),
    (StaleRestart, "step() and observation() differ in state [["),
    (NoFinalObs, "an episode ended without info['final_obs']"),
    (WrongFinalMask, "info['_final_obs'] does not mark the copies that ended"),
    (ReusedObservation, "step() writes into an observation it returned before"),
    (UnseededStarts, "initial() returns two results with one state of the generator"),
    (ColumnReward, "step() returns reward as float64 of shape (16, 1)"),
    (UnbatchedActionSpace, "action_space is Discrete(2), not 16 times single_action_space"),
    (ObservationOutsideSpace, "an observation is outside MultiBinary(3)"),
    (IntegerObservation, "observation returns int64 of shape (3,) for each state: return int8 of shape (3,)"),
    (WideObservation, "observation returns int8 of shape (4,) for each state: return int8 of shape (3,)"),
    (HiddenStateObservation, "observation returns two results for state ["),
    (InPlaceReward, "reward writes into its arguments: copy them first"),
    (InPlaceTerminal, "terminal writes into its arguments"),
    (InPlaceTrueReward, "true_reward writes into its arguments"),
    (InPlaceObservation, "observation writes into its arguments"),
    (InPlaceOverseer, "overseer_observation writes into its arguments"),
    (InPlaceWatched, "watched writes into its arguments"),
    (InPlaceOutcome, "outcome writes into its arguments"),
    (ColumnRewardFunction, "reward returns float64 of shape ("),
    (ScalarReward, "reward returns float of shape () for"),
    (HighOutcome, "outcome returns 0 to 5, but only 2 have a name"),
    (FloatOverseer, "overseer_observation returns float64 of shape"),
    (NoStarts, "there is neither starts() nor initial(): implement starts()"),
    (AlteredKeyword, "keyword 'width' is 4 on self, and 5 in a world made with it"),
    (SharedBuffer, "observation returns an array that it overwrites in the next call"),
    (FlatTransition, "transition returns int64 of shape ("),
    (FloatTransition, "transition returns float64 of shape ("),
    (IntegerTerminal, "terminal returns int64 of shape (2,): return an array of bool"),
    (RaisingReward, "reward raises IndexError: index 2 is out of bounds"),
    (OtherStarts, "initial() draws state [1], which starts() does not list"),
    (TerminalInitial, "initial() draws the terminal state [2]"),
    (ListJudgement, "judgement is list of shape (2,): make it an array"),
    (RepeatedLabel, "overseer_labels has 'nothing' twice"),
    (FewNames, "action_names has 1 entries for 2 actions"),
    (UnknownNoise, "transition raises TypeError: "),
    (BadDiscount, "gamma is 1.5: make it a discount between 0 and 1"),
    (NegativeOverseer, "overseer_observation returns -1 to 0, but only 2 have a name"),
    (HalfBelief, "beliefs of overseer observation 0 are not a distribution"),
    (RewardInStep, "step() and reward() differ in state [["),
    (NoTrueReward, "the info of step() lacks 'true_reward', which training reads"),
    (LateTruncation, "step() truncates an episode after [5] steps with max_episode_steps 5"),
]


@pytest.mark.parametrize(("world", "line"), FAULTY, ids=lambda v: getattr(v, "__name__", ""))
def test_a_fault_is_reported_in_one_line(world, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as found:
        envs.check_vector_env(world(16))
    assert str(found.value).startswith(f"{world.__name__}: ")
    assert line in str(found.value)


class LateNan(Row):
    """Its true reward is nan in a state that few episodes reach, and it has no tables."""

    starts = envs.POMDP.starts

    def initial(self, n):
        return np.zeros((n, 1), int)

    def true_reward(self, state, action, next_state):
        return np.where(self.terminal(next_state), np.nan, 0.0)


class Unfinished(envs.POMDP):
    """It implements nothing yet."""

    def __init__(self, num_envs=1, *, max_episode_steps=5, render_mode=None):
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(3), 2)


class ListStarts(Row):
    """Its start distribution is made of lists."""

    def starts(self):
        return [[1], [0]], [0.5, 0.5]


class RaisingStarts(Row):
    """Its start distribution cannot be computed."""

    def starts(self):
        return {}["rows"]


class ColumnTerminal(Row):
    """Its ends are floats, and a column."""

    def terminal(self, state):
        return (state == 2) * 1.0


@pytest.mark.parametrize(
    ("world", "line"),
    [
        (Unfinished, r"has no transition\(state, action\) and no terminal\(state\) and no .*: implement it"),
        (ListStarts, r"starts\(\) returns list and list: return arrays"),
        (RaisingStarts, "starts raises KeyError: 'rows'"),
        (ColumnTerminal, r"terminal returns float64 of shape \(2, 1\) for 2 states: return shape \(2,\)"),
    ],
)
def test_a_fault_of_a_world_is_reported_with_the_function_where_it_is_stepped(world, line):
    with pytest.raises(checks.CheckFailed, match=f"^{world.__name__}:? {line}"):  # noqa: PT012  (any may show it)
        env = world(2)
        env.reset(seed=0)
        env.step(np.array([0, 1]))


def test_a_world_that_is_stepped_by_its_functions_refuses_a_reward_that_is_not_finite():
    world = LateNan(2)
    world.reset(seed=0)
    world.step(np.array([1, 1]))
    with pytest.raises(
        checks.CheckFailed, match=r"^LateNan: true_reward returns a number that is not finite .nan in 1"
    ):
        world.step(np.array([1, 0]))


def test_a_valid_world_passes():
    envs.check_vector_env(Row(16))


class Drawn(Row):
    """It draws its starts and does not list them."""

    starts = envs.POMDP.starts

    def initial(self, n):
        return self.np_random.integers(0, 2, (n, 1))


class FloatState(Row):
    """Its states are floats."""

    def starts(self):
        return np.array([[1.0], [0.5]]), np.array([0.5, 0.5])

    def observation(self, state):
        return (state >= [0, 1, 2]).astype(np.int8)

    def terminal(self, state):
        return state[:, 0] >= 2


@pytest.mark.parametrize(
    ("world", "line", "reason"),
    [
        (Drawn, "Drawn has no start distribution: give it starts()", "Drawn has no start distribution"),
        (
            FloatState,
            "the states of FloatState are float64, so it has no tables",
            "FloatState has states of type float64",
        ),
    ],
)
def test_a_world_that_cannot_have_tables_passes_with_a_note_and_is_sampled(world, line, reason):
    notes = checks.findings(world(16))
    assert [note.startswith(line) for note in notes] == [True]
    with pytest.raises(envs.NotEnumerable, match=f"^{reason}"):
        envs.compile_world(world(16))


def test_a_world_that_is_too_large_for_tables_passes_with_a_note():
    notes = checks.findings(gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=4, size=12))
    assert [note.partition(" states")[0].partition(" least")[0] for note in notes] == ["DiamondGhost has at"]


def test_a_valid_world_has_no_notes():
    assert checks.findings(Row(16)) == []


class NoVerdicts(Row):
    """Its overseer judges nothing, and an episode that the time limit ends counts as one that reached the goal."""

    judgement = np.full(2, np.nan)

    def outcome(self, state):
        return np.ones(len(state), int)


def test_outcomes_that_time_outs_share_and_missing_verdicts_have_notes():
    assert checks.findings(NoVerdicts(4)) == [
        "no overseer observation has a verdict: its overseer judges by audits alone"
    ]
    (note,) = time_limit_notes(envs.compile_world(NoVerdicts()), NoVerdicts())
    assert note.startswith("the time limit can end an episode as 'goal'")
    assert time_limit_notes(envs.compile_world(Row()), Row()) == []


class Plain(VectorWrapper):
    """A wrapper of Gymnasium's kind, which forwards no attributes."""


class ShiftedReward(AgentView):
    """Returns other rewards than the world in its tables."""

    def view(self, obs):
        return obs

    def step(self, actions):
        obs, reward, *rest = super().step(actions)
        return obs, reward + 1, *rest


class ShorterJudgement(ShiftedReward):
    """Forwards all attributes but judgement, which it shortens."""

    step = AgentView.step
    judgement = np.array([0.0])


class MemoryObservation(ShiftedReward):
    """Its observations depend on the number of steps, not on the state alone."""

    step = AgentView.step
    calls = 0

    def reset(self, **keywords):
        self.calls = 0
        return super().reset(**keywords)

    def view(self, obs):
        self.calls += 1
        return obs if self.calls % 2 else 1 - obs


class NoOverseer(ShiftedReward):
    """Removes the overseer observation from the info."""

    def step(self, actions):
        *rest, info = AgentView.step(self, actions)
        return *rest, {name: info[name] for name in info if name != "overseer_obs"}


@pytest.mark.parametrize(
    ("wrapper", "line"),
    [
        (Plain, "Plain hides gamma, judgement, overseer_labels, flags, watched, outcomes, observation of Row: derive"),
        (ShiftedReward, "step() and reward() differ in state"),
        (ShorterJudgement, "judgement has 1 verdicts for 2 overseer_labels"),
        (MemoryObservation, "step() and observation() differ in state"),
        (NoOverseer, "the info of step() lacks 'overseer_obs'"),
        (
            lambda env: AliasObservation(env, lambda obs: obs[:, :2]),
            "flags have shape (2,), an observation (3,)",
        ),
        (lambda env: AliasObservation(env, lambda obs: obs * 0.5), "reset() returns an observation (float64 of shape"),
        (lambda env: ShiftedReward(Plain(env)), "ShiftedReward hides gamma, judgement"),
    ],
)
def test_the_checker_checks_the_wrapper_that_training_uses(wrapper, line):
    with pytest.raises(checks.CheckFailed, match=r"^[^\n]*$") as found:
        envs.check_vector_env(wrapper(Row(16)))
    assert str(found.value).startswith(f"Row: {line}")


def test_a_valid_wrapper_passes_without_notes():
    assert checks.findings(AliasObservation(Row(16), lambda obs: obs // 2)) == []


def cart_pole():
    modes = {"autoreset_mode": AutoresetMode.SAME_STEP}
    return gymnasium.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync", vector_kwargs=modes)


class StaleCartPole(VectorWrapper):
    """Returns the final observation of an episode as the first one of the next."""

    def step(self, actions):
        obs, *rest, info = super().step(actions)
        for i in np.flatnonzero(info.get("_final_obs", ())):
            obs[i] = info["final_obs"][i]
        return obs, *rest, info


def test_stale_observations_of_an_environment_that_is_not_a_world_are_found():
    with pytest.raises(checks.CheckFailed, match="a copy that restarts returns its final observation again"):
        envs.check_vector_env(StaleCartPole(cart_pole()))


def test_an_environment_without_tables_has_a_note():
    assert checks.findings(cart_pole()) == ["evaluated by sampling (--eval-episodes)"]


def test_every_registered_world_passes(make):
    envs.check_vector_env(make(16))


def test_a_vector_environment_of_gymnasium_passes():
    envs.check_vector_env(cart_pole())


def test_an_environment_that_is_not_a_world_has_no_tables():
    with pytest.raises(envs.NotEnumerable, match="SyncVectorEnv has no tables"):
        envs.compile_world(gymnasium.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync"))
