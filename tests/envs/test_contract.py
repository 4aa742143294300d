"""Reset options, seeds, registration and render modes follow Gymnasium's contract."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import MultiBinary
from gymnasium.vector import AutoresetMode

import envs
from envs import dynamics
from envs.world import sample
from envs.wrappers import AgentKnowledge


def grid(num_envs=8, **keywords):
    return gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=num_envs, size=3, oversight_prob=0.5, **keywords)


def noisy_grid(num_envs=8):
    return AgentKnowledge(grid(num_envs), "noisy", noise=0.5)


MASK = np.arange(8) % 3 == 0


@pytest.mark.parametrize("by_tables", [False, True])
def test_a_reset_mask_restarts_the_marked_copies_alone(make, by_tables):
    env = make(8, max_episode_steps=7)
    if by_tables:
        env.use_tables()
    env.reset(seed=0)
    for _ in range(3):
        obs = env.step(env.action_space.sample())[0]
    before, elapsed = env.snapshot()["state"], env.snapshot()["elapsed"]
    again, info = env.reset(options={"reset_mask": MASK})
    after = env.snapshot()
    assert np.array_equal(after["state"][~MASK], before[~MASK])
    assert np.array_equal(again[~MASK], obs[~MASK])
    assert np.array_equal(after["elapsed"], np.where(MASK, 0, elapsed))
    assert np.array_equal(info["_watched"], MASK)
    assert np.array_equal(info["watched"], env.watched(after["state"]) & MASK)
    starts = {tuple(state) for state in env.starts()[0].tolist()}
    assert {tuple(state) for state in after["state"][MASK].tolist()} <= starts


def test_a_reset_mask_gives_the_info_of_gymnasiums_sync_vector_env():
    modes = {"autoreset_mode": AutoresetMode.SAME_STEP}
    own = gymnasium.make_vec("keyhole/TMaze-v0", num_envs=8, vectorization_mode="sync", vector_kwargs=modes)
    infos = []
    for env in (own, gymnasium.make_vec("keyhole/TMaze-v0", num_envs=8)):
        env.reset(seed=0)
        infos.append(env.reset(options={"reset_mask": MASK.copy()})[1])
    assert infos[0].keys() == infos[1].keys()
    assert np.array_equal(infos[0]["_watched"], infos[1]["_watched"])
    assert not infos[1]["watched"][~MASK].any()


def test_a_reset_mask_redraws_the_flips_of_the_marked_copies_alone():
    env = noisy_grid()
    before, _ = env.reset(seed=0)
    flips = env.snapshot()["flipped"]
    after, _ = env.reset(options={"reset_mask": MASK})
    assert np.array_equal(env.snapshot()["flipped"][~MASK], flips[~MASK])
    assert np.array_equal(after[~MASK], before[~MASK])


def test_a_reset_mask_with_states_starts_the_marked_copies_in_their_rows():
    env = gymnasium.make_vec("keyhole/AliasedCorridor-v0", num_envs=4)
    env.reset(seed=0, options={"state": np.array([[0], [0], [0], [0]])})
    mask = np.array([False, True, False, True])
    env.reset(options={"state": np.array([[2], [2], [2], [2]]), "reset_mask": mask})
    assert env.snapshot()["state"][:, 0].tolist() == [0, 2, 0, 2]


def test_options_are_left_unchanged():
    env, options = grid(), {"reset_mask": MASK.copy()}
    env.reset(seed=0)
    env.reset(options=options)
    assert np.array_equal(options["reset_mask"], MASK)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"reset_mask": np.ones(7, bool)},
            "reset_mask must be 8 booleans, at least one of them True, found bool of shape",
        ),
        ({"reset_mask": np.ones(8, int)}, "reset_mask must be 8 booleans, at least one of them True, found int64"),
        ({"reset_mask": np.zeros(8, bool)}, "reset_mask must be 8 booleans, at least one of them True, found bool of"),
        (
            {"reset_maks": MASK},
            "unknown reset option 'reset_maks'; did you mean 'reset_mask'? one of state, reset_mask",
        ),
        ({"states": 1}, "unknown reset option 'states'; did you mean 'state'? one of state, reset_mask"),
        ({"state": np.zeros((8, 3), int)}, "option state must have shape (8, 7), found (8, 3)"),
        ({"state": np.zeros(7, int)}, "option state must have shape (8, 7), found (7,)"),
        ({"state": np.tile([0.0, 1, 2, 0, 0, 0, 0], (8, 1))}, "option state must be integers, found float64"),
        ({"state": np.zeros((8, 7), int)}, "option state has the terminal state [0, 0, 0, 0, 0, 0, 0]"),
    ],
    ids=str,
)
@pytest.mark.parametrize("started", [False, True])
def test_an_invalid_reset_option_is_refused_and_changes_nothing(options, line, started):
    env = grid()
    if started:
        env.reset(seed=0)
        before = env.snapshot()
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        env.reset(options=options)
    assert str(refusal.value).startswith(line)
    if started:
        after = env.snapshot()
        assert np.array_equal(before["state"], after["state"])
        assert before["generator"] == after["generator"]


def test_a_reset_mask_needs_an_earlier_reset():
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset\\(\\) without reset_mask first"):
        grid().reset(options={"reset_mask": MASK})


def test_the_single_environment_refuses_an_unknown_option():
    env = gymnasium.make("keyhole/TMaze-v0").unwrapped
    with pytest.raises(ValueError, match=r"^unknown reset option 'stat'; did you mean 'state'\? one of state$"):
        env.reset(options={"stat": 1})
    with pytest.raises(ValueError, match=r"^option state must have shape"):
        env.reset(options={"state": np.zeros(3, int)})


@pytest.mark.parametrize("make_env", [grid, noisy_grid])
@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), list(range(8)), tuple(range(8)), np.arange(8)], ids=repr)
def test_a_seed_of_any_form_determines_the_trajectory(make_env, seed):
    def trajectory(seed):
        env = make_env()
        steps = [env.reset(seed=seed)[0], *(env.step(np.full(8, i % 4))[0] for i in range(40))]
        return np.concatenate(steps)

    other = [9, *range(7)] if np.ndim(seed) else 4
    assert np.array_equal(trajectory(seed), trajectory(seed))
    assert not np.array_equal(trajectory(seed), trajectory(other))


def test_a_numpy_integer_is_the_seed_that_a_python_integer_is():
    assert np.array_equal(grid().reset(seed=np.int64(5))[0], grid().reset(seed=5)[0])
    single = gymnasium.make("keyhole/DiamondGhost-v0").unwrapped
    assert np.array_equal(single.reset(seed=np.int64(5))[0], single.reset(seed=5)[0])


@pytest.mark.parametrize(
    ("seed", "line"),
    [
        ([1, 2], "seed must be an integer or a list of 8 integers, found 2 values"),
        ([1.5] * 8, "seed must be a whole number, found 1.5"),
        (-1, "seed must be at least 0, found -1"),
        ("3", "seed must be a whole number, found '3'"),
        ([None, *range(7)], "seed must be a whole number, found None"),
    ],
    ids=str,
)
@pytest.mark.parametrize("make_env", [grid, noisy_grid])
def test_an_invalid_seed_is_refused_in_one_line(make_env, seed, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        make_env().reset(seed=seed)
    assert str(refusal.value) == line


def test_a_list_without_seeds_is_no_seed():
    env = grid()
    env.reset(seed=0)
    generator = env.snapshot()["generator"]
    env.reset(seed=[None] * 8)
    assert env.snapshot()["generator"] != generator


def test_a_spec_survives_json(variant):
    name, keywords = variant
    spec = gymnasium.make(name, **keywords).spec
    restored = gymnasium.envs.registration.EnvSpec.from_json(spec.to_json())
    env, single = gymnasium.make_vec(restored, num_envs=2), gymnasium.make(restored)
    assert {key: getattr(env, key) for key in keywords} == keywords
    assert json.loads(env.spec.to_json())["vector_entry_point"].startswith("envs.worlds.")
    single.reset(seed=0)


def test_every_render_mode_of_the_single_environment_works_without_a_display(variant, capsys):
    name, keywords = variant
    frames = {}
    for mode in ("human", "ansi", "rgb_array", "rgb_array_list"):
        env = gymnasium.make(name, render_mode=mode, **keywords)
        env.reset(seed=0)
        env.step(0)
        frames[mode] = env.render()
        env.close()
    assert frames["human"] is None
    assert capsys.readouterr().out.rstrip().endswith(frames["ansi"].rstrip())
    assert len(frames["rgb_array_list"]) == 2
    assert np.array_equal(frames["rgb_array_list"][-1], frames["rgb_array"])


def test_an_unknown_render_mode_is_refused_by_the_single_environment():
    from envs.registration import Single
    from envs.worlds.t_maze import TMaze

    with pytest.raises(
        ValueError, match=r"^unknown render_mode 'humen'; did you mean 'human'\? one of ansi, rgb_array, h"
    ):
        Single(TMaze, render_mode="humen")


def test_a_world_defined_in_a_function_is_registered_by_class():
    class Local(envs.POMDP):
        overseer_labels = ("any",)
        judgement = np.zeros(1)

        def __init__(self, num_envs=1, *, max_episode_steps=3, render_mode=None):
            super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(1), 2)

        def starts(self):
            return np.array([[0]]), np.ones(1)

        def transition(self, state, action):
            return state + 1

        def terminal(self, state):
            return state[:, 0] > 5

        def reward(self, state, action, next_state):
            return state[:, 0] * 1.0

        true_reward = reward

        def overseer_observation(self, state, action, next_state):
            return 0 * action

        def observation(self, state):
            return (state % 2).astype(np.int8)

    envs.register(Local, namespace="local")
    for register, name in (
        (envs.register("spaced", version=2), "spaced/Local-v2"),
        (envs.register(namespace="spaced"), "spaced/Local-v0"),
    ):
        assert register(Local) is Local
        assert gymnasium.make_vec(name, num_envs=2).num_envs == 2
        gymnasium.registry.pop(name)
    assert gymnasium.make("local/Local-v0", render_mode="rgb_array_list").reset(seed=0)[0].tolist() == [0]
    assert gymnasium.make_vec("local/Local-v0", num_envs=3).reset(seed=0)[0].shape == (3, 1)


def test_a_world_without_a_time_limit_argument_is_not_registered():
    class Endless(envs.POMDP):
        def __init__(self, num_envs=1, *, render_mode=None):
            super().__init__(num_envs, 5, render_mode, MultiBinary(1), 2)

    with pytest.raises(ValueError, match="is not a class derived from"):
        envs.register("mine")(MultiBinary)
    with pytest.raises(ValueError, match="namespace 'a/b' is not a word"):
        envs.register("a/b")(Endless)
    with pytest.raises(ValueError, match=r"^Endless has no max_episode_steps: give its __init__ that keyword"):
        envs.register(Endless)


class SharedNoise:
    """Gives a single environment the noise that its copy in the vector environment has drawn."""

    def __init__(self) -> None:
        self.draws: list[np.ndarray] = []
        self.copy: int | None = None  # None records the draws of the vector environment
        self._replayed = 0

    def __call__(self, generator, p, n):
        if self.copy is None:
            self.draws.append(sample(generator, p, n))
            return self.draws[-1]
        self._replayed += 1
        return self.draws[self._replayed - 1][[self.copy]]

    def replay(self, copy: int) -> None:
        self.copy, self._replayed = copy, 0

    def record(self) -> None:
        self.copy, self.draws = None, []


def test_the_single_environment_has_the_trajectory_of_the_vector_environment(make, variant, monkeypatch):
    name, keywords = variant
    noise = SharedNoise()
    monkeypatch.setattr(dynamics, "sample", noise)
    many = make(8)
    many.reset(seed=0)
    states = many.initial(8)
    many.reset(options={"state": states})
    singles = [gymnasium.make(name, **keywords).unwrapped for _ in states]
    for state, env in zip(states, singles, strict=True):
        env.reset(options={"state": state})
    alive = np.ones(8, bool)
    for step in range(min(16, many.max_episode_steps)):
        actions = (np.arange(8) + step) % many.single_action_space.n
        noise.record()
        obs, reward, terminated, truncated, info = many.step(actions)
        for i in np.flatnonzero(alive):
            reached = info["final_obs"][i] if terminated[i] or truncated[i] else obs[i]
            noise.replay(i)
            single_obs, single_reward, single_end, _, _ = singles[i].step(actions[i])
            assert np.array_equal(single_obs, reached)
            assert (single_reward, single_end) == (reward[i], terminated[i])
        alive &= ~terminated
