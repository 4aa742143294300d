"""Invariants of every world, tested on small random worlds."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

import envs
from envs.certificate import aliasing, ambiguity, enforceable, misestimation, mixture, planning
from envs.exact import belief_mdp, evaluation, memoryless, optimum
from envs.tables import HashedIndex
from tests.envs.certificate.random_worlds import RandomWorld

some = settings(derandomize=True, max_examples=15, deadline=None)
seeds = st.integers(0, 10_000)


def problem(world, shown=None):
    """A world's tables, and its state-seeing agent's planning problem, whole and merged; `shown` relabels."""
    tables = envs.compile_world(world)
    if shown is not None:
        tables = tables._replace(overseer_obs=shown[tables.overseer_obs])
    judgement = world.judgement if shown is None else np.full(int(shown.max()) + 1, np.nan)
    rewards = planning.reward_components(tables, planning.naive_reward(tables, judgement), len(judgement))
    whole = planning.state_model(tables, rewards).problem
    return tables, whole, planning.merge_equivalent(whole)


def best_reward(planned):
    return enforceable.enforceable(planned, np.zeros((1, planned.rewards.shape[2] - 2)))


def gap_by_linear_program(planned):
    """max U.(mu - mu') over two finite-horizon occupancies with equal counts, as one linear program."""
    n, n_actions, n_components = planned.rewards.shape
    transition, rows, limits = planned.transition.toarray(), [], []
    size = planned.horizon * n * n_actions
    for step in range(planned.horizon):
        for x in range(n):
            row = np.zeros((planned.horizon, n * n_actions))
            row[step, x * n_actions : (x + 1) * n_actions] = 1
            if step:
                row[step - 1] -= planned.gamma * transition[:, x]
            rows.append(row.ravel())
            limits.append(0 if step else planned.start[x])
    flow = np.array(rows)
    rewards = np.tile(planned.rewards.reshape(n * n_actions, n_components), (planned.horizon, 1))
    counts, true = rewards[:, planning.LABELS].T, rewards[:, planning.TRUE]
    zero = np.zeros_like(flow)
    equal = np.vstack([np.hstack([flow, zero]), np.hstack([zero, flow]), np.hstack([counts, -counts])])
    limit = np.concatenate([limits, limits, np.zeros(len(counts))])
    solution = optimize.linprog(np.append(-true, true), A_eq=equal, b_eq=limit, method="highs")
    assert len(solution.x) == 2 * size
    return -solution.fun


@some
@given(seeds, st.booleans())
def test_the_alias_gap_is_that_of_the_linear_program_over_occupancies(seed, certain):
    _, _, planned = problem(RandomWorld(seed=seed, certain=certain))
    found = enforceable.alias_gap(planned)
    assert found.is_exact
    assert found.value == pytest.approx(gap_by_linear_program(planned), abs=1e-6)
    assert found.value >= 0


@some
@given(seeds)
def test_an_overseer_that_observes_every_step_enforces_the_optimum(seed):
    _, _, planned = problem(RandomWorld(seed=seed, labels=32))
    best = planning.plan_returns(planned, enforceable.true_weights(planned)).value
    assert enforceable.alias_gap(planned).value == pytest.approx(0, abs=1e-6)
    assert best_reward(planned).worst == pytest.approx(best, abs=1e-7)
    assert best_reward(planned).is_exact


@some
@given(seeds, st.booleans())
def test_a_finer_overseer_observation_never_lowers_the_enforceable_return_nor_widens_the_alias_gap(seed, certain):
    world = RandomWorld(seed=seed, labels=4, certain=certain)
    fine, coarse = problem(world)[2], problem(world, np.array([0, 0, 1, 1]))[2]
    finer, coarser = best_reward(fine), best_reward(coarse)
    assert finer.is_exact
    assert coarser.is_exact
    assert coarser.worst <= finer.worst + 1e-7
    assert enforceable.alias_gap(coarse).value >= enforceable.alias_gap(fine).value - 1e-6


@some
@given(seeds, st.booleans())
def test_no_random_reward_on_observations_enforces_more_than_the_enforceable_return(seed, certain):
    _, _, planned = problem(RandomWorld(seed=seed, labels=4, certain=certain))
    found = best_reward(planned)
    assert planning.plan_returns(planned, enforceable.label_weights(found.reward)).worst == pytest.approx(found.worst)
    for reward in np.random.default_rng(seed).normal(size=(40, 4)):
        assert planning.plan_returns(planned, enforceable.label_weights(reward)).worst <= found.worst + 1e-7
    best = planning.plan_returns(planned, enforceable.true_weights(planned)).value
    assert best - enforceable.alias_gap(planned).value - 1e-6 <= best
    assert found.worst <= found.uniform + 1e-9 <= best + 2e-9


@some
@given(seeds)
def test_an_optimum_with_less_memory_or_less_information_is_never_higher(seed):
    tables = envs.compile_world(RandomWorld(seed=seed))
    best = memoryless.memoryless_optimal(tables)
    remembered, top = belief_mdp.history_optimal(tables), optimum.optimal(tables).value
    ascending = [best.deterministic, best.stochastic, remembered, top]
    assert ascending == pytest.approx(sorted(ascending), abs=1e-9)


@some
@given(seeds)
def test_memory_adds_nothing_for_an_agent_that_sees_the_state(seed):
    tables = envs.compile_world(RandomWorld(seed=seed, views=4))
    assert belief_mdp.history_optimal(tables) == pytest.approx(optimum.optimal(tables).value, abs=1e-9)


@some
@given(seeds, st.integers(1, 4), st.booleans())
def test_merging_bisimilar_planning_states_changes_no_return(seed, views, certain):
    _, whole, merged = problem(RandomWorld(seed=seed, views=views, certain=certain))
    assert len(merged.rewards) <= len(whole.rewards)
    for weights in np.random.default_rng(seed).normal(size=(5, whole.rewards.shape[2])):
        assert planning.plan_returns(whole, weights) == pytest.approx(planning.plan_returns(merged, weights), abs=1e-9)


@some
@given(seeds)
def test_a_mixture_returns_the_counts_and_worst_return_that_planning_returns(seed):
    _, _, planned = problem(RandomWorld(seed=seed, labels=4, certain=True, max_episode_steps=6))
    parts = mixture.uniform_mixture(planned)
    for reward in np.random.default_rng(seed).normal(size=(5, 4)):
        counts, worst = parts.best(reward)
        assert counts == pytest.approx(enforceable.label_counts(planned, reward), abs=1e-9)
        assert worst == pytest.approx(planning.plan_returns(planned, enforceable.label_weights(reward)).worst, abs=1e-9)


@some
@given(seeds)
def test_over_and_underestimation_differ_by_the_excess_of_the_believed_return(seed):
    world = RandomWorld(seed=seed)
    tables, planned, _ = problem(world)
    believed = planning.naive_reward(tables, world.judgement)
    plan = planning.best_plan(planned, np.eye(planned.rewards.shape[2])[planning.BELIEVED])
    over, under = misestimation.misestimation_of(tables, believed, plan)
    returns = [misestimation.expected_return(tables, plan, reward) for reward in (believed, tables.true_reward)]
    assert over - under == pytest.approx(returns[0] - returns[1], abs=1e-9)
    assert min(over, under) >= 0


@some
@given(seeds)
def test_the_ambiguity_is_zero_for_an_overseer_that_observes_the_states_reached(seed):
    tables = envs.compile_world(RandomWorld(seed=seed))
    tables = tables._replace(overseer_obs=tables.successor)
    beliefs = ambiguity.posterior(tables, aliasing.random_visits(tables), len(tables.states))
    assert ambiguity.ambiguity(tables, beliefs) == 0


@some
@given(seeds, st.sampled_from(["aware", "blind"]))
def test_without_oversight_swapping_diamond_and_ghost_negates_the_true_return(seed, knowledge):
    world = gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=1, size=2, oversight_prob=0, knowledge=knowledge)
    tables = envs.compile_world(world)
    policy = np.random.default_rng(seed).dirichlet(np.ones(4), len(tables.observations))
    swapped = policy[HashedIndex.of_rows(tables.observations).lookup(tables.observations[:, [0, 2, 1, 4, 3]])]
    found, mirrored = (evaluation.evaluate(tables, each) for each in (policy, swapped))
    assert mirrored.true_return == pytest.approx(-found.true_return, abs=1e-12)
    assert mirrored.proxy_return == pytest.approx(found.proxy_return, abs=1e-12)
