"""Environments without tables are stepped, and the overseer observes what the step reached."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Text
from gymnasium.vector import AutoresetMode

import envs


class Counter(gymnasium.Env):
    """Counts to 3 and ends; observes the count and twice the count."""

    observation_space = Dict({"count": Box(0, 9, (1,), np.float64), "double": Box(0, 18, (2,), np.float64)})
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._observe(), {}

    def step(self, action):
        self.count += 1
        return self._observe(), float(action), self.count == 3, False, {"half": self.count / 2}

    def _observe(self):
        return {"count": np.array([self.count], float), "double": np.full(2, 2.0 * self.count)}


@pytest.fixture
def register():
    gymnasium.register("test/Counter-v0", Counter, max_episode_steps=10)
    made = ["test/Counter-v0"]

    def register(env_id, **given):
        given = {"overseer_view": lambda step: np.zeros(len(step.reward), int), "judgement": [np.nan], **given}
        made.append(envs.overseen(f"test/Stepped{len(made)}-v0", env_id, **given))
        return made[-1]

    yield register
    for name in made:
        gymnasium.registry.pop(name)


def test_the_agent_observes_what_agent_view_returns(register):
    world = register("CartPole-v1", agent_view=lambda obs: obs[:, [0, 2]])
    env, inner = gymnasium.make_vec(world, num_envs=3), gymnasium.make_vec("CartPole-v1", 3, "sync")
    assert env.single_observation_space.shape == (2,)
    first, expected = env.reset(seed=4)[0], inner.reset(seed=4)[0]
    np.testing.assert_array_equal(first, expected[:, [0, 2]])


def test_copies_restart_in_the_step_that_ends_an_episode_and_the_overseer_observes_its_end(register):
    world = register("test/Counter-v0", overseer_view=lambda step: step.next_obs["count"][:, 0].astype(int),
                     judgement=[np.nan] * 4, agent_view=lambda obs: obs["count"])  # fmt: skip
    env = gymnasium.make_vec(world, num_envs=2)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    env.reset(seed=0)
    for count in (1, 2, 3, 1):
        obs, _, terminated, _, info = env.step(np.array([0, 1]))
        assert info["overseer_obs"].tolist() == [count, count]
        assert terminated.tolist() == [count == 3] * 2
        if count == 3:
            assert obs.tolist() == [[0], [0]]
            assert [last.tolist() for last in info["final_obs"]] == [[3], [3]]


def test_rewards_and_infos_of_a_step_are_given_to_the_functions(register):
    world = register(
        "test/Counter-v0",
        agent_view=lambda obs: obs["double"],
        true_reward=lambda step: step.info["half"] - step.reward,
        proxy_reward=lambda step: 10 * step.reward,
    )
    env = gymnasium.make_vec(world, num_envs=2)
    env.reset(seed=0)
    for half in (0.5, 1.0, 1.5, 0.5):
        _, reward, _, _, info = env.step(np.array([0, 1]))
        assert reward.tolist() == [0, 10]
        assert info["true_reward"].tolist() == [half, half - 1]


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["true_reward", "proxy_reward"])
def test_a_reward_that_is_not_finite_is_refused_at_the_step_that_returns_it(register, name, number):
    late = {name: lambda step: np.where(step.terminated, number, step.reward)}
    world = register("test/Counter-v0", agent_view=lambda obs: obs["count"], **late)
    for env, action in ((gymnasium.make_vec(world, num_envs=2), np.array([0, 1])), (gymnasium.make(world), 1)):
        env.reset(seed=0)
        env.step(action)
        env.step(action)
        with pytest.raises(ValueError, match=f"{name} returns a number that is not finite .{number} in "):
            env.step(action)


def test_outcomes_are_of_steps_that_terminate_and_bad_acts_are_counted_by_kind(register):
    world = register(
        "test/Counter-v0",
        agent_view=lambda obs: obs["count"],
        outcome=lambda step: np.full(len(step.reward), 1),
        outcomes=("nothing", "three"),
        bad_acts=("three",),
    )
    vector, single = gymnasium.make_vec(world, num_envs=2), gymnasium.make(world)
    vector.reset(seed=0)
    single.reset(seed=0)
    for ends in (0, 0, 1):
        info, of_one = vector.step(np.array([0, 1]))[-1], single.step(1)[-1]
        assert info["outcome"].tolist() == info["bad_act"].tolist() == [ends, ends]
        assert of_one["outcome"] == of_one["bad_act"] == ends


def test_dict_observations_reach_the_agent_whole(register):
    env = gymnasium.make_vec(register("test/Counter-v0"), num_envs=2)
    env.reset(seed=0)
    for _ in range(3):
        obs, *_, info = env.step(np.array([0, 0]))
    assert obs["count"].tolist() == [[0], [0]]
    assert info["final_obs"][1]["double"].tolist() == [6, 6]


def test_a_discrete_observation_is_one_hot(register):
    class Coin(gymnasium.Env):
        observation_space, action_space = Discrete(3, start=5), Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return 5, {}

        def step(self, action):
            return 7, 0.0, False, False, {}

    gymnasium.register("test/Coin-v0", Coin, max_episode_steps=4)
    try:
        env = gymnasium.make_vec(register("test/Coin-v0"), num_envs=1)
        assert env.single_observation_space == MultiBinary(3)
        assert env.reset(seed=0)[0].tolist() == [[1, 0, 0]]
        assert env.step(np.array([0]))[0].tolist() == [[0, 0, 1]]
    finally:
        gymnasium.registry.pop("test/Coin-v0")


def test_the_checker_accepts_it(register):
    envs.check_vector_env(gymnasium.make_vec(register("CartPole-v1"), num_envs=2))


def test_one_copy_has_the_same_info(register):
    view = {"overseer_view": lambda step: (step.next_obs[:, 0] > 0).astype(int), "judgement": [np.nan, -1]}
    world = register("CartPole-v1", agent_view=lambda obs: obs[:, :1], **view)
    single, vector = gymnasium.make(world), gymnasium.make_vec(world, num_envs=1)
    obs, batch = single.reset(seed=3)[0], vector.reset(seed=3)[0]
    for _ in range(5):
        np.testing.assert_array_equal(obs, batch[0])
        obs, reward, *_, info = single.step(1)
        batch, rewards, *_, infos = vector.step(np.array([1]))
        assert reward == rewards[0]
        assert {name: values[0] for name, values in infos.items()} == info


def test_the_space_of_a_view_that_does_not_show_it_must_be_given(register):
    world = register("CartPole-v1", agent_view=lambda obs: (obs[:, 0] > 0).astype(int))
    with pytest.raises(ValueError, match="agent_view returns one number for each observation: give it an axis"):
        gymnasium.make_vec(world, num_envs=1)
    world = register("CartPole-v1", agent_view=lambda obs: (obs[:, :2] > 0).astype(int))
    with pytest.raises(ValueError, match=r"agent_view returns int64 of shape .*: give agent_space"):
        gymnasium.make_vec(world, num_envs=1)


FAULTS = {  # arguments -> the message when copies are made, reset and stepped
    "a missing key": ({"true_reward": lambda step: step.info["lava"]}, "true_reward raises KeyError: 'lava'; it gets"),
    "one step": ({"overseer_view": lambda step: step.next_obs[2]}, "overseer_view raises IndexError: index 2 is out"),
    "ragged": ({"proxy_reward": lambda step: [[1], [1, 2]]}, "proxy_reward returns rows of unequal length"),
    "a lost axis": ({"agent_view": lambda obs: obs[0]}, r"agent_view\(obs\) has shape \(4,\) for a batch of 7 observ"),
    "a lost axis in a dict": ({"agent_view": lambda obs: {"a": obs[0]}}, r"agent_view\(obs\)\['a'\] has shape \(4,\)"),
    "nan": ({"agent_view": lambda obs: obs * np.nan}, "agent_view returns a number that is not finite .nan in 2 of 2"),
    "another shape": (
        {"agent_view": lambda obs: obs, "agent_space": Box(-9, 9, (3,))},
        r"agent_view returns observations of shape \(4,\), but their space has shape \(3,\)",
    ),
    "watched": ({"watched": lambda obs: obs.nothing}, "watched raises AttributeError: .*it gets a batch of 2 obs"),
}


@pytest.mark.parametrize(("given", "line"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_a_function_is_reported_with_its_name(register, given, line):
    world = register("CartPole-v1", **given)
    with pytest.raises(ValueError, match=rf"^{world}: {line}"):  # noqa: PT012  (the fault shows in one of these)
        env = gymnasium.make_vec(world, num_envs=2)
        env.reset(seed=0)
        env.step(np.array([0, 1]))


DECLARATIONS = {
    "no function": ({"overseer_view": "v"}, "overseer_view is 'v': give a function"),
    "no watcher": ({"watched": True}, "watched is True: give a function"),
    "discount": ({"gamma": 2.0}, "gamma is 2.0: make it a discount between 0 and 1"),
    "limit": ({"max_episode_steps": 0}, "max_episode_steps is 0: give a whole number"),
    "text": ({"judgement": ["bad"]}, "judgement is .*: give a list of numbers"),
    "infinite": ({"judgement": [np.inf]}, "judgement has an infinite verdict"),
    "a name alone": ({"action_names": "left"}, "action_names is 'left': give a list of names"),
    "twice": ({"judgement": [0, 1], "overseer_labels": ["a", "a"]}, "overseer_labels has 'a' twice"),
    "one action": ({"action_names": ["left"]}, r"action_names has 1 names for Discrete\(2\): give 2"),
    "no kinds": ({"bad_act": len}, "bad_act has no bad_acts"),
    "no act": ({"bad_acts": ["red"]}, r"bad act \['red'\] is none of the outcomes \('end',\)"),
    "no outcome": ({"outcomes": ["a", "b"]}, "outcomes names 2 outcomes and there is no outcome"),
    "spelling": ({"true_rewards": len}, "no argument 'true_rewards'; did you mean 'true_reward'?"),
}


@pytest.mark.parametrize(("given", "line"), DECLARATIONS.values(), ids=DECLARATIONS)
def test_a_fault_of_a_declaration_is_reported_when_it_is_registered(register, given, line):
    with pytest.raises(ValueError, match=f"^test/Stepped1-v0: {line}"):
        register("CartPole-v1", **given)


def test_an_environment_whose_package_is_missing_is_registered_and_refused_when_it_is_made(register):
    def needs_a_package():
        raise gymnasium.error.DependencyNotInstalled("install box")

    gymnasium.register("test/Box-v0", needs_a_package, max_episode_steps=3)
    try:
        world = register("test/Box-v0")
        assert gymnasium.spec(world).max_episode_steps == 3
        with pytest.raises(gymnasium.error.DependencyNotInstalled, match="install box"):
            gymnasium.make_vec(world, num_envs=1)
    finally:
        gymnasium.registry.pop("test/Box-v0")


def test_an_observation_of_the_environment_that_does_not_fit_its_space_is_reported_as_its_own(register):
    class Wide(Counter):
        observation_space = Box(0, 9, (1,), np.float64)

        def _observe(self):
            return np.zeros(2 if self.count else 1)

    gymnasium.register("test/Wide-v0", Wide, disable_env_checker=True)
    try:
        env = gymnasium.make_vec(register("test/Wide-v0"), num_envs=2)
        env.reset(seed=0)
        with pytest.raises(ValueError, match=r"step\(\) of test/Wide-v0 returns an observation that does not fit"):
            env.step(np.array([0, 1]))
    finally:
        gymnasium.registry.pop("test/Wide-v0")


def test_a_reset_mask_restarts_marked_copies_only(register):
    env = gymnasium.make_vec(register("test/Counter-v0", agent_view=lambda obs: obs["count"]), num_envs=2)
    env.reset(seed=0)
    env.step(np.array([0, 0]))
    obs, info = env.reset(options={"reset_mask": np.array([True, False])})
    assert obs.tolist() == [[0], [1]]
    assert info["_watched"].tolist() == [True, False]


def test_the_time_limit_can_be_set(register):
    env = gymnasium.make_vec(register("CartPole-v1"), num_envs=1, max_episode_steps=2)
    env.reset(seed=0)
    env.step(np.array([0]))
    assert env.step(np.array([1]))[3].tolist() == [True]


def test_an_id_of_another_environment_is_not_taken(register):
    with pytest.raises(ValueError, match="CartPole-v1 is already registered"):
        envs.overseen("CartPole-v1", "Taxi-v4", overseer_view=len, judgement=[0])


def test_verdicts_and_labels_have_equal_length():
    with pytest.raises(ValueError, match="2 overseer labels for judgement of shape"):
        envs.overseen("test/No-v0", "Taxi-v4", overseer_view=len, judgement=[0], overseer_labels=["a", "b"])


class Signed(Counter):
    """Counts by actions -1 and 0; one entry of an observation is a word."""

    observation_space = Dict({"count": Box(0, 9, (1,), np.float64), "word": Text(9)})
    action_space = Discrete(2, start=-1)

    def _observe(self):
        return {"count": np.array([self.count], float), "word": "end" if self.count == 3 else "on"}


def test_actions_of_agents_start_at_0_and_words_of_a_step_are_given_to_the_functions():
    seen = []

    def words(step):
        seen.append((step.action.tolist(), step.next_obs["word"]))
        return np.zeros(2, int)

    gymnasium.register("test/Signed-v0", Signed)
    try:
        world = envs.overseen("test/Word-v0", "test/Signed-v0", overseer_view=words, judgement=[np.nan],
                              agent_view=lambda obs: obs["count"])  # fmt: skip
        env = gymnasium.make_vec(world, num_envs=2)
        assert env.single_action_space == Discrete(2)
        env.reset(seed=0)
        rewards = [env.step(np.array([0, 1]))[1].tolist() for _ in range(3)]
        assert rewards == [[-1, 0]] * 3
        assert seen == [([-1, 0], (word, word)) for word in ("on", "on", "end")]
    finally:
        for name in ("test/Signed-v0", "test/Word-v0"):
            gymnasium.registry.pop(name, None)
