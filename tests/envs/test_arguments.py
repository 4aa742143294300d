"""An invalid argument is refused with one line: what is wrong, what was found, what to do."""

import gymnasium
import numpy as np
import pytest

import envs

BAD = [
    (
        "DiamondGhost",
        {"oversight_prob": 1.5},
        "oversight_prob must be a probability between 0 and 1, found 1.5",
    ),
    ("DiamondGhost", {"oversight_prob": "much"}, "oversight_prob must be a number, found 'much'"),
    ("DiamondGhost", {"oversight_prob": float("nan")}, "oversight_prob must be a probability"),
    ("DiamondGhost", {"knowledge_noise": -0.1}, "knowledge_noise must be a probability"),
    (
        "DiamondGhost",
        {"regime": "state_squares"},
        "unknown regime 'state_squares'; did you mean 'state_square'? one of state_square, iid_episode",
    ),
    ("DiamondGhost", {"knowledge": "awair"}, "unknown knowledge 'awair'; did you mean 'aware'?"),
    ("DiamondGhost", {"size": 1}, "size must be at least 2, found 1"),
    ("DiamondGhost", {"ghosts": 0}, "ghosts must be at least 1, found 0"),
    ("DiamondGhost", {"ghosts": 3}, "ghosts must be 1 or 2, found 3"),
    ("DiamondVault", {"cameras": 0}, "cameras must be at least 1, found 0"),
    ("DiamondVault", {"cameras": 2, "action_log": True}, "action_log shows all tampering, filmed or not: leave out"),
    ("DiamondGhost", {"size": 2.5}, "size must be a whole number, found 2.5"),
    ("DiamondGhost", {"max_episode_steps": 0}, "max_episode_steps must be at least 1, found 0"),
    ("DiamondGhost", {"max_episode_steps": -3}, "max_episode_steps must be at least 1, found -3"),
    ("DiamondGhost", {"num_envs": 0}, "num_envs must be at least 1, found 0"),
    ("DiamondGhost", {"render_mode": "rgb_arr"}, "unknown render_mode 'rgb_arr'; did you mean 'rgb_array'?"),
    ("TMaze", {"length": 0}, "length must be at least 1, found 0"),
    ("TMaze", {"knowledge": "seeing"}, "unknown knowledge 'seeing'; one of aware, blind, noisy"),
    ("HideErrors", {"p": 1.5}, "p must be a probability between 0 and 1, found 1.5"),
    ("HideErrors", {"p_H": -1}, "p_H must be a probability between 0 and 1, found -1"),
    ("VerboseLog", {"r": float("inf")}, "r must be a finite number, found inf"),
    ("DiamondVault", {"action_log": "yes"}, "action_log must be True or False, found 'yes'"),
    ("AbsentSupervisor", {"knowledge": "noisy"}, "unknown knowledge 'noisy'; one of aware, blind"),
    ("OversightGame", {"tasks": 40}, "max_episode_steps must be at least 40, found 32"),
    ("OversightGame", {"cost": -1}, "cost must be 0 or more, found -1"),
    ("FoggyGrid", {"size": 1000}, "size must be at most 64, found 1000"),
    ("FoggyGrid", {"view": -1}, "view must be at least 0, found -1"),
    ("TMaze", {"length": 40}, "max_episode_steps must be at least 41, found 32"),
    ("MonitorButton", {"length": 0}, "length must be from 1 to 100, found 0"),
    ("MonitorButton", {"length": 17}, "max_episode_steps must be at least 17, found 16"),
    ("MonitorButton", {"cost": float("nan")}, "cost must be from 0 to 1, found nan"),
    ("MonitorButton", {"guess": "one"}, "guess must be a number, found 'one'"),
    ("MonitorBudget", {"battery": 0}, "battery must be from 1 to 100, found 0"),
    ("MonitorBudget", {"guess": -1.5}, "guess must be from -1 to 1, found -1.5"),
    ("MonitorN", {"monitors": 10**9}, "monitors must be from 1 to 16, found 1000000000"),
    ("MonitorN", {"switching": "agents"}, "unknown switching 'agents'; did you mean 'agent'? one of random, agent"),
    ("TomatoWatering", {"tomatoes": 9}, "tomatoes must be from 1 to 8, found 9"),
    ("TomatoWatering", {"drying": float("nan")}, "drying must be a probability between 0 and 1, found nan"),
    ("StealingGrid", {"size": 2}, "size must be from 3 to 20, found 2"),
    ("StealingGrid", {"size": 10}, "max_episode_steps must be at least 18, found 16"),
    ("StealingGrid", {"mask": "swep"}, "mask must be sweep, all, none or up to 100 steps of 3 rows of 3 cells like"),
]


@pytest.mark.parametrize(("world", "keywords", "line"), BAD, ids=lambda v: str(v))
def test_an_invalid_argument_is_refused_with_one_line_that_names_it(world, keywords, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        gymnasium.make_vec(f"keyhole/{world}-v0", **{"num_envs": 1, **keywords})
    assert str(refusal.value).startswith(line)


@pytest.mark.parametrize(
    ("actions", "line"),
    [
        (np.array([0, 4]), "actions must be 0 to 3, found 0 to 4"),
        (np.array([0, -1]), "actions must be 0 to 3, found -1 to 0"),
        (np.array([0]), "actions must be 2 integers, found int64 of shape (1,)"),
        (np.array([0.0, 1.0]), "actions must be 2 integers, found float64 of shape (2,)"),
    ],
    ids=str,
)
def test_an_invalid_action_is_refused(actions, line):
    world = gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=2)
    world.reset(seed=0)
    with pytest.raises(ValueError, match=r".*") as refusal:
        world.step(actions)
    assert str(refusal.value) == line


def test_a_world_above_the_limit_has_no_tables_but_runs():
    world = gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=4, size=12)
    world.reset(seed=0)
    world.step(np.zeros(4, int))
    with pytest.raises(envs.NotEnumerable, match=r"^DiamondGhost has at least 11\d+ states, more than the 1000000"):
        envs.compile_world(world)
