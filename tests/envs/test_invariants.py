"""Invariants of all worlds, tested on small random ones."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import MultiBinary
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

import envs
from envs.certificate import aliasing, ambiguity, enforceable, misestimation, mixture, planning
from envs.exact import belief_mdp, evaluation, memoryless
from envs.tables import HashedIndex

some = settings(derandomize=True, max_examples=15, deadline=None)
seeds = st.integers(0, 10_000)


class RandomWorld(envs.POMDP):
    """Three states, one terminal state, two actions and a coin; all functions are drawn from a seed."""

    gamma = 0.9
    outcomes = ("end",)

    def __init__(self, num_envs=1, *, seed=0, labels=3, views=2, certain=False, max_episode_steps=3, render_mode=None):
        self.seed, self.labels, self.views, self.certain = seed, labels, views, certain
        rng = np.random.default_rng(seed)
        self.next = rng.integers(0, 4, (3, 2, 1 if certain else 2))
        self.worth = rng.normal(size=(4, 2, 4)).round(1)
        self.shown = rng.integers(0, labels, (4, 2, 4)) if labels < 32 else np.arange(32).reshape(4, 2, 4)
        self.seen = rng.integers(0, views, 4) if views < 4 else np.arange(4)
        self.overseer_labels = tuple(map(str, range(labels)))
        self.judgement = np.where(rng.random(labels) < 0.5, rng.normal(size=labels), np.nan)
        self.noise = {} if certain else {"coin": (0.3, 0.7)}
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(4), 2)

    def starts(self):
        return np.array([[0], [1], [2]]), np.array([0.5, 0.3, 0.2])

    def transition(self, state, action, coin=0):
        return self.next[state[:, 0], action, coin][:, None]

    def terminal(self, state):
        return state[:, 0] == 3

    def reward(self, state, action, next_state):
        return np.ones(len(state))

    def true_reward(self, state, action, next_state):
        return self.worth[state[:, 0], action, next_state[:, 0]]

    def observation(self, state):
        return np.eye(4, dtype=np.int8)[self.seen[state[:, 0]]]

    def overseer_observation(self, state, action, next_state):
        return self.shown[state[:, 0], action, next_state[:, 0]]


def problem(world, shown=None):
    """The tables, the agent's decisions, and these lumped; `shown` maps the overseer's observations."""
    tables = envs.compile_world(world)
    if shown is not None:
        tables = tables._replace(overseer_obs=shown[tables.overseer_obs])
    judgement = world.judgement if shown is None else np.full(int(shown.max()) + 1, np.nan)
    paid = planning.payments(tables, planning.naive_reward(tables, judgement), len(judgement))
    by_agent, _ = planning.decisions(tables, paid)
    return tables, by_agent, planning.lumped(by_agent)


def enforced(decisions):
    return enforceable.enforceable(decisions, np.zeros((1, decisions.paid.shape[2] - 2)))


def gap_by_linear_program(decisions):
    """The maximum of U.(mu - mu') over two finite-horizon occupancies with equal counts, as a linear program."""
    n, n_actions, n_payments = decisions.paid.shape
    onward, rows, limits = decisions.onward.toarray(), [], []
    size = decisions.horizon * n * n_actions
    for step in range(decisions.horizon):
        for x in range(n):
            row = np.zeros((decisions.horizon, n * n_actions))
            row[step, x * n_actions : (x + 1) * n_actions] = 1
            if step:
                row[step - 1] -= decisions.gamma * onward[:, x]
            rows.append(row.ravel())
            limits.append(0 if step else decisions.start[x])
    flow = np.array(rows)
    paid = np.tile(decisions.paid.reshape(n * n_actions, n_payments), (decisions.horizon, 1))
    made, true = paid[:, planning.LABELS].T, paid[:, planning.TRUE]
    nothing = np.zeros_like(flow)
    equal = np.vstack([np.hstack([flow, nothing]), np.hstack([nothing, flow]), np.hstack([made, -made])])
    limit = np.concatenate([limits, limits, np.zeros(len(made))])
    found = optimize.linprog(np.append(-true, true), A_eq=equal, b_eq=limit, method="highs")
    assert len(found.x) == 2 * size
    return -found.fun


@some
@given(seeds, st.booleans())
def test_the_alias_gap_is_that_of_the_linear_program_over_occupancies(seed, certain):
    _, _, decisions = problem(RandomWorld(seed=seed, certain=certain))
    found = enforceable.alias_gap(decisions)
    assert found.is_exact
    assert found.value == pytest.approx(gap_by_linear_program(decisions), abs=1e-6)
    assert found.value >= 0


@some
@given(seeds)
def test_an_overseer_that_sees_every_step_enforces_the_optimum(seed):
    _, _, decisions = problem(RandomWorld(seed=seed, labels=32))
    best = planning.tied(decisions, enforceable.on_truth(decisions)).value
    assert enforceable.alias_gap(decisions).value == pytest.approx(0, abs=1e-6)
    assert enforced(decisions).worst == pytest.approx(best, abs=1e-7)
    assert enforced(decisions).is_exact


@some
@given(seeds, st.booleans())
def test_finer_overseer_observations_never_enforce_less_nor_widen_the_alias_gap(seed, certain):
    world = RandomWorld(seed=seed, labels=4, certain=certain)
    fine, coarse = problem(world)[2], problem(world, np.array([0, 0, 1, 1]))[2]
    more, less = enforced(fine), enforced(coarse)
    assert more.is_exact
    assert less.is_exact
    assert less.worst <= more.worst + 1e-7
    assert enforceable.alias_gap(coarse).value >= enforceable.alias_gap(fine).value - 1e-6


@some
@given(seeds, st.booleans())
def test_no_reward_on_overseer_observations_enforces_more_than_the_certified_one(seed, certain):
    _, _, decisions = problem(RandomWorld(seed=seed, labels=4, certain=certain))
    found = enforced(decisions)
    assert planning.tied(decisions, enforceable.on_labels(found.reward)).worst == pytest.approx(found.worst)
    for reward in np.random.default_rng(seed).normal(size=(40, 4)):
        assert planning.tied(decisions, enforceable.on_labels(reward)).worst <= found.worst + 1e-7
    best = planning.tied(decisions, enforceable.on_truth(decisions)).value
    assert best - enforceable.alias_gap(decisions).value - 1e-6 <= best
    assert found.worst <= found.uniform + 1e-9 <= best + 2e-9


@some
@given(seeds)
def test_less_memory_and_coarser_observations_never_earn_more(seed):
    tables = envs.compile_world(RandomWorld(seed=seed))
    best = memoryless.memoryless_optimal(tables)
    remembered, top = belief_mdp.history_optimal(tables), evaluation.optimal(tables).value
    ascending = [best.deterministic, best.stochastic, remembered, top]
    assert ascending == pytest.approx(sorted(ascending), abs=1e-9)


@some
@given(seeds)
def test_memory_adds_nothing_for_an_agent_that_observes_the_state(seed):
    tables = envs.compile_world(RandomWorld(seed=seed, views=4))
    assert belief_mdp.history_optimal(tables) == pytest.approx(evaluation.optimal(tables).value, abs=1e-9)


@some
@given(seeds, st.integers(1, 4), st.booleans())
def test_lumping_situations_changes_the_value_of_no_plan(seed, views, certain):
    _, whole, merged = problem(RandomWorld(seed=seed, views=views, certain=certain))
    assert len(merged.paid) <= len(whole.paid)
    for weights in np.random.default_rng(seed).normal(size=(5, whole.paid.shape[2])):
        assert planning.tied(whole, weights) == pytest.approx(planning.tied(merged, weights), abs=1e-9)


@some
@given(seeds)
def test_a_mixture_has_the_counts_of_the_best_plans(seed):
    _, _, decisions = problem(RandomWorld(seed=seed, labels=4, certain=True, max_episode_steps=6))
    kinds = mixture.uniform_mixture(decisions)
    for reward in np.random.default_rng(seed).normal(size=(5, 4)):
        counts, worst = kinds.best(reward)
        assert counts == pytest.approx(enforceable.counts(decisions, reward), abs=1e-9)
        assert worst == pytest.approx(planning.tied(decisions, enforceable.on_labels(reward)).worst, abs=1e-9)


@some
@given(seeds)
def test_over_and_underestimation_differ_by_the_excess_of_believed_over_true_return(seed):
    world = RandomWorld(seed=seed)
    tables, by_agent, _ = problem(world)
    believed = planning.naive_reward(tables, world.judgement)
    plan = planning.best_plan(by_agent, np.eye(by_agent.paid.shape[2])[planning.BELIEVED])
    over, under = misestimation.misestimation_of(tables, believed, plan)
    excess = [misestimation.expected(tables, plan, reward) for reward in (believed, tables.true_reward)]
    assert over - under == pytest.approx(excess[0] - excess[1], abs=1e-9)
    assert min(over, under) >= 0


@some
@given(seeds)
def test_ambiguity_is_zero_for_an_overseer_that_observes_the_next_state(seed):
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
