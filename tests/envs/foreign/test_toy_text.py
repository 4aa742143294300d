"""Worlds made from Gymnasium's toy-text environments have exact tables."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.exact.optimum import optimal

WORLDS = [
    ("FrozenLake-v1", {}, 100),
    ("FrozenLake-v1", {"is_slippery": False}, 30),
    ("FrozenLake-v1", {"map_name": "8x8"}, 60),
    ("FrozenLake-v1", {"success_rate": 0.7}, 40),
    ("Taxi-v4", {}, 200),
    ("Taxi-v4", {"is_rainy": True}, 50),
    ("CliffWalking-v1", {}, 40),
    ("CliffWalking-v1", {"is_slippery": True}, 40),
]


def nothing(step):
    return np.zeros(len(step.reward), int)


@pytest.fixture
def register():
    made = []

    def register(env_id, **given):
        made.append(envs.overseen(f"test/Overseen{len(made)}-v0", env_id, **given))
        return made[-1]

    yield register
    for name in made:
        gymnasium.registry.pop(name)


def backward_induction(p, start, horizon, gamma=1.0):
    value = np.zeros(len(p))
    for _ in range(horizon):
        action_values = [
            [sum(q * (r + gamma * value[s2] * (not end)) for q, s2, r, end in p[s][a]) for a in sorted(p[s])]
            for s in sorted(p)
        ]
        value = np.max(action_values, 1)
    return start @ value


@pytest.mark.parametrize(("env_id", "given", "horizon"), WORLDS)
def test_the_optimum_equals_backward_induction_on_p(register, env_id, given, horizon):
    inner = gymnasium.make(env_id, **given).unwrapped
    world = register(env_id, overseer_view=nothing, judgement=[np.nan], max_episode_steps=horizon, **given)
    tables = envs.compile_world(gymnasium.make_vec(world, num_envs=1))
    expected = backward_induction(inner.P, inner.initial_state_distrib, horizon)
    assert optimal(tables).value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("env_id", "given", "horizon"), WORLDS)
def test_the_tables_have_the_probabilities_of_p(register, env_id, given, horizon):
    inner = gymnasium.make(env_id, **given).unwrapped
    world = register(env_id, overseer_view=nothing, judgement=[np.nan], max_episode_steps=horizon, **given)
    tables = envs.compile_world(gymnasium.make_vec(world, num_envs=1))
    place = tables.states[:, 0]
    for s in range(len(tables.successor)):
        for action in range(tables.n_actions):
            found, expected = {}, {}
            for z, weight in enumerate(tables.noise):
                key = (place[tables.successor[s, action, z]], tables.reward[s, action, z])
                found[key] = found.get(key, 0) + weight
            for probability, after, reward, _ in inner.P[place[s]][action]:
                if probability > 0:
                    expected[after, reward] = expected.get((after, reward), 0) + probability
            if tables.successor[s, action, 0] != s or len(found) > 1:  # else first reached at the time limit
                assert found == pytest.approx(expected, abs=1e-12)


def test_the_world_is_checked_like_one_of_ours(register):
    world = register("FrozenLake-v1", overseer_view=nothing, judgement=[np.nan])
    envs.check_vector_env(gymnasium.make_vec(world, num_envs=3))


def test_the_overseer_observes_a_function_of_the_step(register):
    def view(step):
        return np.where(step.terminated & (step.next_obs >= 12), 1 + (step.reward > 0), 0)

    world = register("FrozenLake-v1", overseer_view=view, judgement=[np.nan, -1, 1])
    tables = envs.compile_world(gymnasium.make_vec(world, num_envs=1))
    ended = tables.successor >= len(tables.successor)
    place = tables.states[:, 0][tables.successor]
    assert (tables.overseer_obs[ended & (place == 15)] == 2).all()
    assert (tables.overseer_obs[ended & (place == 12)] == 1).all()
    assert (tables.overseer_obs[ended & (place == 5)] == 0).all()


def test_the_spec_is_serialisable(register):
    world = register("Taxi-v4", overseer_view=nothing, judgement=[np.nan])
    spec = gymnasium.make_vec(world, num_envs=2).spec
    again = gymnasium.envs.registration.EnvSpec.from_json(spec.to_json())
    assert gymnasium.make_vec(again).num_envs == 2


def test_an_environment_without_time_limit_needs_one(register):
    with pytest.raises(ValueError, match="CliffWalking-v1 has no time limit: give max_episode_steps"):
        gymnasium.make_vec(register("CliffWalking-v1", overseer_view=nothing, judgement=[np.nan]), num_envs=1)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (lambda step: 0, "overseer_view returns int64 of shape"),
        (lambda step: np.full(len(step.reward), 3), "overseer_view returns 3 to 3: return integers from 0 to 0"),
        (lambda step: step.reward, "overseer_view returns float64"),
    ],
)
def test_a_wrong_function_is_refused_in_one_line(register, view, message):
    world = register("FrozenLake-v1", overseer_view=view, judgement=[np.nan])
    with pytest.raises(ValueError, match=message) as raised:
        envs.check_vector_env(gymnasium.make_vec(world, num_envs=2))
    assert "\n" not in str(raised.value)


def test_the_state_of_one_pair_of_states_with_two_rewards_keeps_them_apart(register):
    world = register(
        "CliffWalking-v1", overseer_view=nothing, judgement=[np.nan], max_episode_steps=5, is_slippery=True
    )
    tables = envs.compile_world(gymnasium.make_vec(world, num_envs=1))
    assert {-100.0, -1.0} <= set(np.unique(tables.reward))


def fell(step):
    return np.where(step.terminated & (step.reward == 0), 1, 2 * (step.reward > 0))


@pytest.mark.parametrize("by_step", [False, True])
def test_outcomes_and_bad_acts_are_those_of_the_functions_of_the_step(register, by_step):
    names = {"outcome": fell, "outcomes": ("nothing", "hole", "goal"), "bad_acts": ("hole",)}
    bad = {"bad_act": lambda step: (fell(step) == 1).astype(int)} if by_step else {}
    given = {"overseer_view": nothing, "judgement": [np.nan], "is_slippery": True, **names, **bad}
    world = gymnasium.make_vec(register("FrozenLake-v1", **given), num_envs=1)
    envs.check_vector_env(world)
    tables = envs.compile_world(world)
    place, reached = tables.states[:, 0], tables.successor
    hole = (reached >= len(tables.successor)) & (place[reached] != 15)
    assert hole.any()
    assert (tables.outcome[reached][hole] == 1).all()
    assert (tables.outcome[reached][place[reached] == 15] == 2).all()
    assert np.array_equal(tables.bad_act == 1, hole)
    assert (tables.bad_act[~hole] == 0).all()
