"""Certificates contain the published values of each world, or values that follow in closed form."""

import json

import gymnasium
import numpy as np
import pytest

import envs
from envs.certificate import enforceable, planning
from envs.wrappers import AgentKnowledge


def certified(name, policy=None, **keywords):
    return envs.certify(gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=1, **keywords), policy)


SHELLS = [
    ("HideErrors", {"p": 0.5, "p_H": 0.5}, 3.5, 3.0, 4.5, 1.5, 0, 2),
    ("HideErrors", {"p": 0.1, "p_H": 0.9}, 1.0, -2.5, -2.5, 0, -5.4, 2),
    ("VerboseLog", {"p": 0.5, "p_D": 0.9}, 12, 10, 14.5, 4.5, -0.25, 0),
    ("VerboseLog", {"p": 0.5, "p_D": 0.1}, 12, 11.5, 11.5, 0, -2.25, 0),
]


@pytest.mark.parametrize(("name", "keywords", "best", "naive", "believed", "over", "under", "ambiguity"), SHELLS)
def test_the_shells_have_the_published_misestimation(name, keywords, best, naive, believed, over, under, ambiguity):
    found = certified(name, **keywords)
    assert found.optimal_return == pytest.approx(best, abs=1e-9)
    assert found.naive_optimum_return == pytest.approx(naive, abs=1e-9)
    assert found.naive_optimum_believed_return == pytest.approx(believed, abs=1e-9)
    assert found.overestimation_difference == pytest.approx(over, abs=1e-9)
    assert found.underestimation_difference == pytest.approx(under, abs=1e-9)
    assert found.deceptive_inflation == (over > 0)
    assert found.overjustification == (under < 0)
    assert found.ambiguity_dimension == ambiguity
    assert found.enforceable_return == pytest.approx(best, abs=1e-9)  # by a reward other than the naive one
    assert found.enforceable_is_exact


def test_a_reward_on_screen_and_action_log_enforces_guarding_and_one_on_the_screen_does_not():
    guarded = 0.9 / (1 - 0.9 * 0.95)
    screen, log = certified("DiamondVault"), certified("DiamondVault", action_log=True)
    for found in (screen, log):
        assert found.enforceable_is_exact
        assert found.optimal_return == pytest.approx(guarded, abs=1e-9)
        assert found.naive_optimum_return == pytest.approx(0.98 + 0.63 / (1 - 0.63), abs=1e-9)
        assert found.deceptive_inflation
    assert log.enforceable_return == pytest.approx(guarded, abs=1e-9)
    # the best reward pays for a dark screen: the agent idles until the theft, then, in the worst tie, guards forever
    assert screen.enforceable_return == pytest.approx((1 - 0.27 * 0.1 / 0.1) / (1 - 0.63), abs=1e-9)


def test_two_cameras_enforce_almost_the_optimum_and_spoofing_them_out_of_view_is_the_naive_one():
    found = certified("DiamondVault", cameras=2)
    guarded = 0.9 / (1 - 0.9 * 0.95)
    assert found.optimal_return == pytest.approx(guarded, abs=1e-9)
    # the best reward pays for tampering that is filmed, which costs 0.02 in each step after the theft
    assert found.enforceable_return == pytest.approx(guarded - 0.02 * (10 - 1 / (1 - 0.855)), abs=1e-9)
    assert found.enforceable_is_exact
    assert found.naive_optimum_return == pytest.approx(1 / (1 - 0.63) - 0.02 - 0.02 * 0.9, abs=1e-9)
    assert found.deceptive_inflation


def test_a_spoofed_camera_makes_the_diamond_permanently_aliased():
    assert certified("DiamondVault").permanently_aliased_blocks == 1


def test_the_aliased_corridor_has_its_closed_form_returns():
    found = certified("AliasedCorridor")
    assert found.memoryless_return.deterministic == pytest.approx(0.5, abs=1e-9)
    assert found.memoryless_return.stochastic == pytest.approx(10 / 11, abs=1e-9)
    assert found.remembering_return == pytest.approx(0.5 + 0.5 * 0.9, abs=1e-9)
    assert found.optimal_return == pytest.approx(1, abs=1e-9)
    assert found.enforceable_return == pytest.approx(0.95, abs=1e-9)
    assert found.by_class["state-seeing"].enforceable_return == pytest.approx(1, abs=1e-9)
    assert found.by_class["memoryless deterministic"].enforceable_return == pytest.approx(0.5, abs=1e-9)
    assert found.aliased_pairs.count == 0
    assert found.alias_gap == 0


def test_the_t_maze_has_its_closed_form_returns():
    found = certified("TMaze", oversight_prob=0.1)
    assert found.memoryless_return.deterministic == pytest.approx(0.5, abs=1e-9)
    assert found.remembering_return == pytest.approx(1, abs=1e-9)
    assert found.enforceable_return == found.naive_optimum_return == pytest.approx(1, abs=1e-9)
    assert found.alias_gap == pytest.approx(0, abs=1e-6)
    for aware in (certified("TMaze", oversight_prob=0.1, knowledge="aware"), found):
        seeing = aware.by_class["state-seeing"]
        assert seeing.enforceable_return == pytest.approx(0.1, abs=1e-9)
        assert seeing.enforceable_return_uniform_ties == pytest.approx(0.55, abs=1e-9)
        assert seeing.alias_gap == pytest.approx(0.9, abs=1e-6)
    assert certified("TMaze", knowledge="aware").enforceable_return == pytest.approx(0.1, abs=1e-9)
    assert found.positivity == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("knowledge", "p", "naive", "enforceable"),
    [("aware", 0.5, 29, 29), ("blind", 0.5, 41, 41), ("blind", 0.21, 41, 41), ("blind", 0.19, 17, 41)],
)
def test_the_absent_supervisor_has_its_published_naive_and_enforceable_returns(knowledge, p, naive, enforceable):
    found = certified("AbsentSupervisor", oversight_prob=p, knowledge=knowledge)
    assert found.optimal_return == pytest.approx(41, abs=1e-9)
    assert found.naive_optimum_return == pytest.approx(naive, abs=1e-9)
    assert found.enforceable_return == pytest.approx(enforceable, abs=1e-9)


def test_the_alias_gap_of_the_absent_supervisor_is_that_of_fifty_short_cuts():
    found = certified("AbsentSupervisor", oversight_prob=0.5)
    assert found.alias_gap == pytest.approx(0.5 * 30 * 50, abs=1e-5)
    assert found.aliased_pairs.worst[0].label == "step"
    assert found.aliased_pairs.worst[0].difference == 30


def test_no_reward_on_arrows_distinguishes_racing_from_shuttling():
    found = certified("BoatRace")
    assert found.optimal_return == pytest.approx(100)
    assert found.naive_optimum_believed_return == pytest.approx(50)
    assert found.enforceable_return == pytest.approx(0, abs=1e-9)
    assert found.enforceable_is_exact
    assert found.alias_gap == pytest.approx(100, abs=1e-5)


BEST = 0.931686256515919  # the true optimum of the grid


def test_the_grid_has_its_closed_form_returns():
    p = 0.1
    found = certified("DiamondGhost", oversight_prob=p)
    assert found.optimal_return == pytest.approx(BEST, abs=1e-9)
    assert found.naive_optimum_return == pytest.approx(p * BEST, abs=1e-9)
    assert found.enforceable_is_exact
    assert found.enforceable_return == pytest.approx(0.09413, abs=1e-5)
    assert found.alias_gap_is_exact
    assert found.positivity == pytest.approx(p)
    assert found.positivity_with_flags == 0


@pytest.mark.parametrize(("p", "worst", "uniform"), [(0.01, 0.00932, 0.019), (0.4, 0.545, 0.596)])
def test_a_reward_on_four_labels_enforces_the_published_return_in_the_grid(p, worst, uniform):
    world = gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=1, oversight_prob=p)
    tables = envs.compile_world(world)
    rewards = planning.reward_components(tables, planning.naive_reward(tables, world.judgement), 4)
    problem = planning.merge_equivalent(planning.history_model(tables, rewards).problem)
    found = enforceable.enforceable(problem, np.array([[0, 1e-3, 1, -1], [0, -1e-3, 1, -1]]))
    assert found.is_exact
    assert found.worst == pytest.approx(worst, abs=1e-3)
    assert found.worst >= p * BEST - 1e-9  # attained by a reward that avoids unwatched cells
    assert found.uniform == pytest.approx((1 - (1 - p) ** 2) * BEST, abs=1e-9)
    assert found.uniform == pytest.approx(uniform, abs=1e-3)


def test_a_small_reward_for_unseen_endings_is_good_under_uniform_ties_and_poor_under_worst_ties():
    for p, worst in [(0.01, -0.121), (0.1, 0.062), (0.4, 0.545)]:
        tables = envs.compile_world(gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=1, oversight_prob=p))
        found = envs.exact.optimal(tables, np.array([0, 1e-3, 1, -1])[tables.overseer_obs])
        assert found.worst_true_return == pytest.approx(worst, abs=1e-3)


def test_a_reward_enforces_the_optimum_on_a_blind_agent_in_the_grid():
    found = certified("DiamondGhost", oversight_prob=0.01, knowledge="blind")
    assert found.naive_optimum_return == pytest.approx(0.142, abs=1e-3)
    assert found.enforceable_return == pytest.approx(BEST, abs=1e-9)
    assert found.alias_gap == 0


def test_a_view_of_a_world_has_its_own_certificate():
    world = gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=1, size=3)
    blinded = envs.certify(AgentKnowledge(world, "blind"))
    assert blinded.parameters["view"] == "AgentKnowledge"
    assert blinded.enforceable_return == pytest.approx(
        certified("DiamondGhost", size=3, knowledge="blind").enforceable_return
    )


def test_returns_of_a_policy_and_of_the_naive_optimum_lie_within_their_manski_intervals():
    world = gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=1, size=3, oversight_prob=0.3)
    tables = envs.compile_world(world)
    policy = np.random.default_rng(0).dirichlet(np.ones(4), len(tables.observations))
    found = envs.certify(world, policy)
    low, high = found.manski_interval
    assert low < envs.exact.evaluate(tables, policy).true_return < high
    assert found.manski_interval_of == "the given policy"
    low, high = envs.certify(world).manski_interval
    assert low < found.naive_optimum_return < high


def test_every_small_world_has_a_certificate_whose_returns_are_in_order(small_certificate):
    found = json.loads(small_certificate.to_json())
    memoryless, remembering = found["memoryless_return"], found["remembering_return"]
    ascending = [memoryless["deterministic"], memoryless["stochastic"], remembering, found["optimal_return"]]
    assert ascending == pytest.approx(sorted(ascending), abs=1e-9)
    assert found["enforceable_return"] <= found["enforceable_return_uniform_ties"] + 1e-9
    assert found["enforceable_return_uniform_ties"] <= found["optimal_return"] + 1e-9
    assert found["alias_gap"] >= 0
    assert found["manski_interval"][0] <= found["naive_optimum_return"] + 1e-9
    assert found["manski_interval"][1] >= found["naive_optimum_return"] - 1e-9


@pytest.mark.parametrize("name", ["HideErrors", "DiamondVault", "BoatRace"])
def test_a_certificate_is_deterministic(name):
    assert certified(name).to_json() == certified(name).to_json()


def test_an_environment_without_tables_has_no_certificate():
    with pytest.raises(envs.NotEnumerable, match="SyncVectorEnv has no tables"):
        envs.certify(gymnasium.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync"))
