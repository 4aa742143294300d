"""An agent that observes its last K observations: what it sees, its tables, and what does not change."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

import envs
from envs.exact import evaluation
from envs.exact.memoryless import memoryless_optimal
from envs.exact.optimum import optimal
from envs.frames import Frames
from envs.tables import NotEnumerable

MAZE = {"length": 2, "oversight_prob": 0.3}
COPIES, STEPS = 6, 40


def maze(copies=COPIES, **changed):
    return envs.make_vec("keyhole/TMaze-v0", copies, **MAZE | changed)


def audited(copies=COPIES):
    return envs.make_vec("keyhole/AliasedCorridor-v0", copies, oversight_prob=0.3)


class Counting(VectorEnv):
    """Copies that observe their step in an episode of three steps, as the given space has it."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, space, observe):
        self.num_envs, self.single_observation_space, self.single_action_space = 2, space, Discrete(2)
        self.observation_space = batch_space(space, 2)
        self.observe, self.flags, self.time = observe, np.zeros(space.shape or (), bool), 0

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return self._obs(), {}

    def step(self, actions):
        self.time += 1
        last, done = self._obs(), np.full(2, self.time == 3)
        info = {"final_obs": np.array([*last, None], object)[:2], "_final_obs": done} if done.all() else {}
        self.time %= 3
        return self._obs(), np.zeros(2), done, np.zeros(2, bool), info

    def _obs(self):
        return np.stack([np.asarray(self.observe(self.time), self.single_observation_space.dtype)] * 2)


def run(world, seed=0):
    """The observations, rewards and infos of random actions."""
    draws = np.random.default_rng(seed)
    obs, _ = world.reset(seed=seed)
    steps = [(obs, None, None)]
    for _ in range(STEPS):
        obs, reward, *_, info = world.step(draws.integers(0, world.single_action_space.n, world.num_envs))
        steps.append((obs, reward, info))
    return steps


def test_the_oldest_frame_comes_first_and_zeros_come_before_the_episode():
    world = Frames(Counting(Box(0, 9, (1,)), lambda time: [time + 1]), 3)
    seen = [world.reset()[0][0]]
    for _ in range(2):
        seen.append(world.step(np.zeros(2, int))[0][0])
    obs, *_, info = world.step(np.zeros(2, int))
    np.testing.assert_array_equal(seen, [[0, 0, 1], [0, 1, 2], [1, 2, 3]])
    np.testing.assert_array_equal(info["final_obs"][0], [2, 3, 4])
    np.testing.assert_array_equal(obs[1], [0, 0, 1])


@pytest.mark.parametrize(
    ("space", "observe", "joined"),
    [
        (Discrete(3), lambda time: time, [0, 0, 0, 1, 0, 0, 0, 1, 0]),
        (MultiDiscrete([2, 3]), lambda time: [0, time], [0] * 5 + [1, 0, 1, 0, 0] + [1, 0, 0, 1, 0]),
        (MultiBinary(2), lambda time: [1, time], [0, 0, 1, 0, 1, 1]),
    ],
    ids=lambda value: str(value) if not callable(value) else "",
)
def test_zeros_differ_from_the_observation_0(space, observe, joined):
    world = Frames(Counting(space, observe), 3)
    world.reset()
    obs = world.step(np.zeros(2, int))[0]
    assert obs[0].tolist() == joined
    assert world.single_observation_space.contains(obs[0])


@pytest.mark.parametrize(("shape", "joined"), [((3, 5, 4), (6, 5, 4)), ((5, 4, 3), (5, 4, 6)), ((4, 4), (8, 4))])
def test_images_are_joined_along_their_channels(shape, joined):
    world = Frames(Counting(Box(0, 255, shape, np.uint8), lambda time: np.full(shape, time + 1)), 2)
    obs = world.reset()[0]
    assert obs.shape[1:] == joined == world.flags.shape
    assert world.single_observation_space.contains(obs[0])
    assert (obs == 0).sum() == (obs == 1).sum()


def test_a_space_that_frames_cannot_stack_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"frames\(K\) does not support the observation space Dict"):
        Frames(Counting(Dict({"a": Discrete(2)}), lambda time: time), 2)


@pytest.mark.parametrize("make", [maze, audited])
def test_frames_change_nothing_but_the_observation(make):
    plain, framed = run(make()), run(Frames(make(), 3))
    for (before, reward, info), (after, same_reward, same_info) in zip(plain, framed, strict=True):
        np.testing.assert_array_equal(after[:, -before.shape[1] :], before)
        np.testing.assert_array_equal(reward, same_reward)
        for name in ("overseer_obs", "true_reward", "audited", "bad_act") if info is not None else ():
            np.testing.assert_array_equal(info.get(name), same_info.get(name))


@pytest.mark.parametrize("make", [maze, audited])
def test_the_tables_hold_what_stepping_gives(make):
    framed, stepped = Frames(make(), 3), run(Frames(make(), 3))
    tables = envs.compile_world(framed)
    shown = {tuple(row) for row in tables.view.tolist()}
    assert {tuple(obs) for step in stepped for obs in step[0].tolist()} <= shown
    random = evaluation.evaluate(tables, np.full((len(tables.observations), tables.n_actions), 1 / tables.n_actions))
    base = envs.compile_world(make())
    expected = evaluation.evaluate(base, np.full((len(base.observations), base.n_actions), 1 / base.n_actions))
    for name in ("true_return", "proxy_return", "length", "true_return_seen", "true_return_unseen"):
        assert getattr(random, name) == pytest.approx(getattr(expected, name), abs=1e-12)
    assert optimal(tables).value == pytest.approx(optimal(base).value)


@pytest.mark.parametrize(("make", "frames", "without"), [(maze, 3, 0.5), (audited, 2, 10 / 11)])
def test_enough_frames_are_worth_as_much_as_the_memory_of_the_certificate(make, frames, without):
    certificate = envs.certify(make(1))
    assert certificate.memoryless_return.stochastic == pytest.approx(without, abs=1e-6)
    found = memoryless_optimal(envs.compile_world(Frames(make(1), frames)))
    assert found.stochastic == pytest.approx(certificate.remembering_return)


def test_a_time_limit_cuts_the_tables_off_and_keeps_them_exact():
    world = maze(1, length=4, max_episode_steps=5)
    tables, base = envs.compile_world(Frames(world, 4)), envs.compile_world(world)
    assert optimal(tables).value == pytest.approx(optimal(base).value)


def test_too_many_frames_for_tables_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr("envs.frames.MAX_STATES", 50)
    with pytest.raises(NotEnumerable, match=r"TMaze has at least .* states with its last 3 observations"):
        envs.compile_world(Frames(maze(), 3))


def test_a_restored_world_continues_with_its_frames():
    world, other = Frames(maze(), 3), Frames(maze(), 3)
    run(world)
    other.reset(seed=5)
    other.restore(world.snapshot())
    actions = np.ones(COPIES, int)
    np.testing.assert_array_equal(world.step(actions)[0], other.step(actions)[0])


def test_the_observation_of_a_state_is_that_at_the_start_of_an_episode():
    world = Frames(maze(), 3)
    obs = world.reset(seed=3)[0]
    np.testing.assert_array_equal(world.observation(world.unwrapped.snapshot()["state"]), obs)
    tables = envs.compile_world(world)
    assert world.base_states(tables.states).shape[1] == world.unwrapped.snapshot()["state"].shape[1]
