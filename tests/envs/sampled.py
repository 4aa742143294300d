"""Sampled and exact counts of overseer observations per episode under the uniformly random policy."""

import numpy as np

import envs
from envs.certificate.aliasing import random_visits


def exact_counts(env):
    """(L,) the expected number of times per episode that each label is observed, from the tables."""
    tables = envs.compile_world(env)
    return np.bincount(tables.overseer_obs.ravel(), random_visits(tables).ravel(), len(env.overseer_labels))


def sampled_counts(env, seed=0):
    """(N, L) the number of times that each label is observed in the first episode of each copy."""
    counts, alive = np.zeros((env.num_envs, len(env.overseer_labels))), np.ones(env.num_envs, bool)
    env.action_space.seed(seed + 1000)  # another stream than that of the starts
    env.reset(seed=seed)
    for _ in range(env.max_episode_steps):
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        np.add.at(counts, (np.flatnonzero(alive), info["overseer_obs"][alive]), 1)
        alive &= ~(terminated | truncated)
    return counts


def assert_counts_agree(env, seed=0):
    """The sampled means lie within five standard errors of the exact expectations."""
    counts = sampled_counts(env, seed)
    error = counts.std(0) / np.sqrt(len(counts))
    assert (np.abs(counts.mean(0) - exact_counts(env)) <= 5 * error + 10 / len(counts)).all()


def trajectory(env, steps=60, seed=0):
    """Every array that a random policy receives from a fixed seed."""
    env.action_space.seed(seed + 1000)  # another stream than that of the starts
    arrays = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        *step, info = env.step(env.action_space.sample())
        arrays += [*step, info["overseer_obs"], info["true_reward"]]
    return arrays


def continuation(env, steps=40):
    """Every array of further steps with fixed actions."""
    arrays = []
    for step in range(steps):
        actions = (np.arange(env.num_envs) + step) % env.single_action_space.n
        obs, reward, terminated, truncated, info = env.step(actions)
        arrays += [obs, reward, terminated, truncated, *(info[name] for name in sorted(info) if name[0] != "f")]
    return [array for array in arrays if array.dtype != object]


def assert_equal_arrays(first, second):
    assert len(first) == len(second)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
