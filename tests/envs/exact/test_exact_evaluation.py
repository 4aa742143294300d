"""Exact evaluation agrees with published values, closed forms and sampling."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.exact import evaluation, memoryless, optimum

GHOST_SEEN = 3


def grid(**keywords):
    return envs.compile_world(gymnasium.make_vec("keyhole/DiamondGhost-v0", **keywords))


def naive(tables):
    """The naive reward: -1 where the overseer observes a ghost, else the proxy."""
    return np.where(tables.overseer_obs == GHOST_SEEN, -1.0, tables.reward)


def uniform(tables):
    return np.full((len(tables.observations), tables.n_actions), 1 / tables.n_actions)


def test_the_grid_has_55200_non_terminal_states_and_its_tables_are_cached():
    tables = grid()
    assert tables.successor.shape == (55_200, 4, 1)
    assert grid() is tables


@pytest.mark.parametrize(
    ("p", "aware", "aware_stepwise", "blind", "blind_stepwise"),
    [
        (0.01, 0.009, 0.013, 0.142, 0.182),
        (0.1, 0.093, 0.126, 0.932, 0.954),
        (0.4, 0.373, 0.456, 0.932, 0.954),
    ],
)
def test_the_naive_optimum_has_the_published_true_return(p, aware, aware_stepwise, blind, blind_stepwise):
    for knowledge, value, stepwise in [("aware", aware, aware_stepwise), ("blind", blind, blind_stepwise)]:
        tables = grid(oversight_prob=p, knowledge=knowledge)
        best = memoryless.memoryless_optimal(tables, naive(tables))
        found = evaluation.evaluate(tables, best.policy)
        assert found.true_return == pytest.approx(value, abs=1e-3)
        assert found.stepwise_return == pytest.approx(stepwise, abs=1e-3)
        assert best.deterministic_is_exact
        assert optimum.optimal(tables).value == pytest.approx(0.932, abs=1e-3)


def test_an_aware_agent_with_the_naive_reward_attains_the_optimum_times_the_oversight_level():
    for p in (0.01, 0.4):
        tables = grid(oversight_prob=p)
        assert optimum.optimal(tables, naive(tables)).true_return == pytest.approx(p * optimum.optimal(tables).value)


def test_the_shortest_path_to_the_diamond_has_the_published_true_return():
    tables = grid()
    reached = tables.states[tables.successor[:, :, 0]]
    agent, diamond = (np.stack(np.divmod(reached[..., i], 5)) for i in (0, 2))
    distance = np.abs(agent - diamond).sum(0)
    nearer = distance == distance.min(1, keepdims=True)
    found = evaluation.evaluate_by_state(tables, nearer / nearer.sum(1, keepdims=True))
    assert found.true_return == pytest.approx(0.743, abs=1e-3)
    assert found.stepwise_return == pytest.approx(0.817, abs=1e-3)
    assert found.outcomes["ghost"] == pytest.approx(0.101, abs=1e-3)


def test_the_uniformly_random_policy_has_true_return_zero():
    for keywords in ({}, {"regime": "iid_episode", "oversight_prob": 0.3}):
        tables = grid(**keywords)
        found = evaluation.evaluate(tables, uniform(tables))
        assert found.true_return == pytest.approx(0, abs=1e-12)
        assert found.outcomes["ghost"] == pytest.approx(found.outcomes["diamond"])


def test_the_optimum_of_the_proxy_has_true_return_zero():
    tables = grid()
    assert optimum.optimal(tables, tables.reward).true_return == pytest.approx(0, abs=1e-12)


def test_memoryless_policies_attain_half_of_the_optimum_in_the_t_maze():
    tables = envs.compile_world(gymnasium.make_vec("keyhole/TMaze-v0"))
    best = memoryless.memoryless_optimal(tables)
    assert best.deterministic == pytest.approx(0.5, abs=1e-9)
    assert best.deterministic_is_exact
    assert best.stochastic == pytest.approx(0.5, abs=1e-6)
    assert optimum.optimal(tables).value == pytest.approx(1, abs=1e-9)


def test_evaluation_agrees_with_sampling(make):
    """Every number of a random policy lies within 4 standard errors of the mean of 4000 sampled episodes."""
    world = make(4000)
    tables = envs.compile_world(world)
    rng = np.random.default_rng(1)
    policy = rng.dirichlet(np.ones(tables.n_actions), len(tables.observations))
    expected = evaluation.evaluate(tables, policy)
    states, probabilities = world.starts()
    starts = states[rng.choice(len(states), 4000, p=probabilities)]
    obs, _ = world.reset(seed=0, options={"state": starts})
    index = {row.tobytes(): i for i, row in enumerate(tables.observations)}
    alive = np.ones(4000, bool)
    totals = np.zeros((4, 4000))  # true return, proxy return, undiscounted return, length
    outcome = np.zeros(4000, int)
    for step in range(world.max_episode_steps):
        rows = np.array([index[row.tobytes()] for row in obs])
        actions = (policy[rows].cumsum(1) < rng.random((4000, 1))).sum(1).clip(0, tables.n_actions - 1)
        obs, reward, terminated, truncated, info = world.step(actions)
        discount = world.gamma**step
        totals += alive * np.stack([discount * info["true_reward"], discount * reward, info["true_reward"], alive])
        outcome[alive] = info["outcome"][alive]
        alive &= ~(terminated | truncated)
    assert not alive.any()
    seen = world.watched(starts)

    def agrees(samples, number, deviation=None):
        spread = samples.std() if deviation is None else deviation
        assert abs(samples.mean() - number) <= 4 * spread / np.sqrt(len(samples)) + 1e-9

    for samples, number in zip(totals, (*expected[:3], expected.length), strict=True):
        agrees(samples, number)
    for i, probability in enumerate(expected.outcomes.values()):
        agrees(outcome == i, probability, np.sqrt(max(probability * (1 - probability), 0)))
    agrees(seen, expected.seen_fraction)
    for stratum, number in ((seen, expected.true_return_seen), (~seen, expected.true_return_unseen)):
        if stratum.any():
            agrees(totals[0, stratum], number)


def test_outcome_probabilities_sum_to_1_and_strata_average_to_the_true_return(make):
    tables = envs.compile_world(make())
    found = evaluation.evaluate(tables, uniform(tables))
    assert sum(found.outcomes.values()) == pytest.approx(1)
    parts = [
        share * value
        for share, value in (
            (found.seen_fraction, found.true_return_seen),
            (1 - found.seen_fraction, found.true_return_unseen),
        )
        if share > 1e-12
    ]
    assert sum(parts) == pytest.approx(found.true_return)


def test_strata_that_share_states_are_evaluated_separately():
    tables = grid(size=3)
    rng = np.random.default_rng(0)
    mixed = tables._replace(watched=rng.random(len(tables.states)) < 0.3)
    policy = rng.dirichlet(np.ones(tables.n_actions), len(tables.observations))
    found, whole = evaluation.evaluate(mixed, policy), evaluation.evaluate(tables, policy)
    assert found[:5] == pytest.approx(whole[:5], abs=1e-12)
    assert found.outcomes == pytest.approx(whole.outcomes, abs=1e-12)
    for value, stratum in ((found.true_return_seen, mixed.watched), (found.true_return_unseen, ~mixed.watched)):
        weight = tables.start_probability * stratum[tables.start]
        alone = evaluation.evaluate(tables._replace(start_probability=weight / weight.sum()), policy)
        assert value == pytest.approx(alone.true_return, abs=1e-12)


def test_an_optimum_with_less_information_is_never_higher(make):
    tables = envs.compile_world(make())
    best, top = memoryless.memoryless_optimal(tables), optimum.optimal(tables)
    assert best.deterministic <= best.stochastic <= top.value + 1e-9
    assert top.worst_true_return == pytest.approx(top.value)
    assert evaluation.evaluate(tables, best.policy).true_return == pytest.approx(best.stochastic, abs=1e-9)


def test_a_policy_whose_row_does_not_sum_to_1_is_refused_with_the_row():
    tables = grid(size=3)
    policy = uniform(tables)
    policy[7] = 0.3
    with pytest.raises(ValueError, match=r"^row 7 of the policy is not a distribution over actions"):
        evaluation.evaluate(tables, policy)
    with pytest.raises(ValueError, match="one row per observation"):
        evaluation.evaluate(tables, policy[:5])
