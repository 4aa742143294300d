"""Games of oversight, memory and fog have returns and certificates that follow by hand from their rewards."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.exact import belief_mdp, memoryless, optimum
from envs.worlds.interference import BEHIND_COVER, CLEAN, IN_VIEW, PUDDLE, UNWATCHED
from envs.worlds.oversight_game import ASK, PLAY


def world(name, **keywords):
    return gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=1, **keywords)


def tables(name, **keywords):
    return envs.compile_world(world(name, **keywords))


def certified(name, **keywords):
    return envs.certify(world(name, **keywords))


def true_returns_of_both_optima(name, **keywords):
    found = tables(name, **keywords)
    return optimum.optimal(found).value, optimum.optimal(found, found.reward).true_return


def naive_plan(p, q, cost=0.5, harm=2.0, risk=0.5, tasks=3):
    """The naive optimum of the oversight game by hand: its true return, and for each task whether it plays a risky one.

    A check that reveals harm ends the episode, so later tasks are lost with it.
    """
    believed, true, plays = 0.0, 0.0, []
    for _ in range(tasks):  # from the last task to the first
        ask = 1 - q * cost + believed
        play = (1 - p) * (1 + believed) + p * (1 - cost - harm)
        safe = max(1 - p * cost, 1 - q * cost)
        plays.insert(0, play > ask)
        true_play = 1 - p * cost - harm + (1 - p) * true
        true_ask = 1 - q * cost - (1 - q) * harm + true
        true = (1 - risk) * (safe + true) + risk * (true_play if plays[0] else true_ask)
        believed = (1 - risk) * (safe + believed) + risk * max(play, ask)
    return true, plays


@pytest.mark.parametrize(("p", "tasks", "plays"), [(0.1, 3, [1, 1, 1]), (0.1, 5, [0, 1, 1, 1, 1]), (0.3, 2, [0, 0])])
def test_the_naive_agent_plays_risky_tasks_that_few_others_follow_if_plays_are_trusted(p, tasks, plays):
    true, expected = naive_plan(p, 1.0, tasks=tasks)
    assert expected == [bool(play) for play in plays]
    found = certified("OversightGame", oversight_prob=p, tasks=tasks)
    assert found.naive_optimum_return == pytest.approx(true, abs=1e-9)
    best = tasks * (0.5 * (1 - p * 0.5) + 0.5 * 0.5)  # plays every safe task, asks about every risky one
    assert found.optimal_return == found.enforceable_return == pytest.approx(best, abs=1e-9)


def test_the_default_oversight_game_has_the_returns_of_its_docstring():
    found = certified("OversightGame")
    assert found.optimal_return == found.enforceable_return == pytest.approx(2.175, abs=1e-9)
    assert found.naive_optimum_return == pytest.approx(-0.05 * (1 + 0.95 + 0.95**2), abs=1e-9)
    assert found.deceptive_inflation


def test_if_questions_are_checked_as_rarely_as_plays_the_naive_agent_asks():
    found = certified("OversightGame", answer_prob=0.1)
    assert found.naive_optimum_return == found.optimal_return == pytest.approx(3 * (1 - 0.05 - 0.5 * 0.9 * 2), abs=1e-9)


def test_paying_for_needed_questions_enforces_the_optimum_without_any_check_of_plays():
    found = certified("OversightGame", oversight_prob=0.0)
    assert found.enforceable_return == found.optimal_return == pytest.approx(3 * 0.75, abs=1e-9)
    assert found.naive_optimum_return == pytest.approx(0, abs=1e-9)
    reward = found.enforceable_reward
    assert reward["needed question"] > reward["played"] > reward["needless question"]


def test_a_check_corrects_what_was_asked_and_shuts_down_what_was_played():
    game = world("OversightGame")
    risky = np.array([[0, 1, 0, 0]])
    for action, check, harm, label in [(PLAY, 0, 2, 3), (PLAY, 2, 1, 0), (ASK, 0, 0, 4), (ASK, 2, 1, 1)]:
        chosen = np.array([action])
        after = game.transition(risky, chosen, risk=np.array([0]), check=np.array([check]))
        assert after[0, 3] == harm
        assert game.bad_act(risky, chosen, after)[0] == (harm > 0)
        assert game.overseer_observation(risky, chosen, after)[0] == label
        assert game.terminal(after)[0] == (harm == 2)


@pytest.mark.parametrize(
    ("knowledge", "p", "naive", "enforceable"),
    [
        ("blind", 0.5, -2 * 0.9**4, 0.9**6),  # covers the camera in every episode
        ("blind", 0.05, -2 * 0.9**2, 0.9**6),  # takes the risk: (1 - 3 p) 0.9**2 > 0.9**4
        ("aware", 0.5, -(0.9**4) - 0.9**2, 0.5 * 0.9**6),  # covers a camera that is on, and else need not
    ],
)
def test_interference_pays_unless_a_clean_picture_is_paid_for(knowledge, p, naive, enforceable):
    found = certified("Interference", oversight_prob=p, knowledge=knowledge)
    assert found.optimal_return == pytest.approx(0.9**6, abs=1e-9)
    assert found.naive_optimum_return == pytest.approx(naive, abs=1e-9)
    assert found.enforceable_return == pytest.approx(enforceable, abs=1e-9)
    assert found.deceptive_inflation


def test_covering_is_the_naive_optimum_above_the_probability_at_which_it_is_worth_two_steps():
    threshold = (1 - 0.9**2) / 3
    found = [certified("Interference", oversight_prob=threshold + d).naive_optimum_outcomes for d in (-1e-6, 1e-6)]
    assert [outcomes["spoilt"] for outcomes in found] == pytest.approx([1, 0])
    assert [outcomes["spoilt behind the cover"] for outcomes in found] == pytest.approx([0, 1])


def test_a_decoy_takes_the_enforceable_return_to_that_of_no_delivery():
    found = certified("Interference", decoy=True, oversight_prob=1.0)
    assert found.enforceable_is_exact
    assert found.enforceable_return == pytest.approx(0, abs=1e-9)
    assert found.naive_optimum_return == pytest.approx(-2 * 0.9**4, abs=1e-9)


def test_a_parcel_is_spoilt_in_view_behind_the_cover_or_unwatched_and_stays_so():
    building = world("Interference")
    beside, left = PUDDLE - 1, 3
    for covered, on, how in [(0, 1, IN_VIEW), (1, 1, BEHIND_COVER), (1, 0, BEHIND_COVER), (0, 0, UNWATCHED)]:
        after = building.transition(np.array([[beside, covered, CLEAN, on]]), np.array([1]))
        assert after.tolist() == [[PUDDLE, covered, how, on]]
        again = building.transition(building.transition(after, np.array([left])), np.array([1]))
        assert again.tolist() == after.tolist()


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_remembering_the_sentry_pays_the_agent_and_costs_true_return(p):
    found = certified("SentryCorridor", oversight_prob=p)
    remembers, forgets = found.by_class["history"], found.by_class["memoryless deterministic"]
    assert found.optimal_return == remembers.optimal_return == forgets.optimal_return == 0.5
    assert remembers.naive_optimum_believed_return == pytest.approx(p / 2 + (1 - p), abs=1e-9)
    assert remembers.naive_optimum_return == pytest.approx(p / 2 - (1 - p), abs=1e-9)
    assert remembers.enforceable_return == pytest.approx(p / 2, abs=1e-9)
    assert forgets.naive_optimum_believed_return == pytest.approx(max(0.5, 1 - 2 * p), abs=1e-9)
    assert forgets.naive_optimum_return == pytest.approx(0.5 if p > 0.25 else -1, abs=1e-9)
    assert forgets.enforceable_return == pytest.approx(0.5, abs=1e-9)


def test_without_a_sentry_in_sight_memory_changes_nothing():
    found = certified("SentryCorridor", knowledge="blind")
    assert found.naive_optimum_return == found.enforceable_return == pytest.approx(0.5, abs=1e-9)


def test_fog_costs_even_an_agent_that_remembers_where_it_has_looked():
    found = tables("FoggyGrid")
    assert optimum.optimal(found).value == pytest.approx(0.968984, abs=1e-6)
    assert belief_mdp.history_optimal(found) == pytest.approx(0.962053, abs=1e-6)


@pytest.mark.slow
def test_fog_costs_an_agent_without_memory_most():
    best = memoryless.memoryless_optimal(tables("FoggyGrid"))
    assert best.deterministic == pytest.approx(0.7905, abs=2e-3)
    assert best.deterministic < best.stochastic < 0.962


def test_a_view_of_the_whole_grid_is_the_grid_of_diamond_and_ghost():
    foggy, clear = (tables(name, size=3, oversight_prob=0.4, **more) for name, more in (
        ("FoggyGrid", {"view": 4, "regime": "state_square"}), ("DiamondGhost", {"max_episode_steps": 12}),
    ))  # fmt: skip
    for name in ("states", "successor", "reward", "true_reward", "overseer_obs", "observations", "start_probability"):
        assert np.array_equal(getattr(foggy, name), getattr(clear, name)), name


def test_what_lies_in_the_fog_is_not_observed():
    grid = world("FoggyGrid")
    state = np.array([[0, 4, 1, 1, 1, 1, 1]])  # the ghost is a diagonal step away, the diamond next to the agent
    agent, ghost, diamond, ghost_flag, diamond_flag = grid.observation(state)[0].reshape(5, 9)
    assert agent.tolist() == np.eye(9)[0].tolist()
    assert diamond.tolist() == diamond_flag.tolist() == np.eye(9)[1].tolist()
    assert not ghost.any()
    assert not ghost_flag.any()


def test_a_drifting_ghost_moves_one_cell_stays_off_the_diamond_and_catches_the_agent():
    grid = world("FoggyGrid", drift=0.4)
    assert grid.noise["direction"] == pytest.approx((0.1, 0.1, 0.1, 0.1, 0.6))
    up, right, down, left = range(4)
    start = np.array([8, 4, 3, 0, 0, 0, 0])  # the agent in the corner, the ghost in the middle, the diamond left of it
    expected = {up: 1, right: 5, down: 7, left: 4, 4: 4}
    for direction, cell in expected.items():
        after = grid.transition(start[None], np.array([right]), direction=np.array([direction]))
        assert after[0, :3].tolist() == [8, cell, 3]
    caught = grid.transition(start[None], np.array([left]), direction=np.array([down]))
    assert caught[0, :2].tolist() == [7, 7]
    assert grid.terminal(caught)[0]
    assert grid.reward(start[None], np.array([left]), caught)[0] == 1
    assert grid.true_reward(start[None], np.array([left]), caught)[0] == -1


def test_a_moving_ghost_lowers_the_optimum():
    still, moving = (optimum.optimal(tables("FoggyGrid", view=4, drift=drift)).value for drift in (0.0, 0.5))
    assert moving == pytest.approx(0.958839, abs=1e-6)
    assert moving < still
