"""The figures of a certificate for each class of agents equal those of brute force over all policies."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.certificate.report import certificate_page, certificate_text
from envs.exact import belief_mdp
from tests.envs.certificate import random_worlds
from tests.envs.certificate.random_worlds import RandomWorld

WORLDS = [
    *({"seed": seed, "max_episode_steps": 2, "certain": seed % 2 == 0} for seed in range(4)),
    *({"seed": seed, "max_episode_steps": 3, "labels": 4} for seed in range(4, 7)),
    {"seed": 7, "max_episode_steps": 3, "views": 1, "gamma": 1.0},  # all states aliased
    {"seed": 8, "max_episode_steps": 2, "labels": 5, "actions": 3, "views": 1},
    {"seed": 9, "max_episode_steps": 1},
    {"seed": 10, "max_episode_steps": 3, "gamma": 0.0},
    {"seed": 11, "max_episode_steps": 3, "actions": 1},
    {"seed": 12, "max_episode_steps": 3, "coin": 1.0},  # an outcome of the noise has probability 0
]


def certified(name, **keywords):
    return envs.certify(gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=1, **keywords))


@pytest.fixture(params=WORLDS, ids=lambda keywords: " ".join(f"{k}={v}" for k, v in keywords.items()))
def world(request):
    return RandomWorld(**request.param)


def assert_figures_equal(figures, policies):
    believed, naive = random_worlds.naive_by_search(policies)
    assert figures.enforceable_is_exact
    assert figures.optimal_return == pytest.approx(policies[:, 0].max(), abs=1e-7)
    assert figures.enforceable_return == pytest.approx(random_worlds.enforceable_by_search(policies), abs=1e-6)
    assert figures.naive_optimum_believed_return == pytest.approx(believed, abs=1e-7)
    assert figures.naive_optimum_return_worst_ties == pytest.approx(naive, abs=1e-7)
    assert figures.enforceable_return <= figures.enforceable_return_uniform_ties + 1e-9
    assert figures.enforceable_return_uniform_ties <= figures.optimal_return + 1e-9
    assert naive <= figures.naive_optimum_return + 1e-9


def test_figures_of_history_agents_are_those_of_all_deterministic_history_policies(world):
    tables, certificate = envs.compile_world(world), envs.certify(world)
    policies = random_worlds.all_history_policies(world, tables, tables.observation)
    figures = certificate.by_class["history"]
    assert_figures_equal(figures, policies)
    assert figures.alias_gap_is_exact
    assert figures.alias_gap == pytest.approx(random_worlds.alias_gap_by_linear_program(policies), abs=1e-6)
    assert certificate.agent_class == "history"
    assert certificate.enforceable_return == figures.enforceable_return
    assert certificate.remembering_return == figures.optimal_return


def test_figures_of_state_seeing_agents_are_those_of_all_history_policies_of_the_state():
    world = RandomWorld(seed=3, max_episode_steps=2)
    tables = envs.compile_world(world)
    policies = random_worlds.all_history_policies(world, tables, np.arange(len(tables.successor)))
    figures = envs.certify(world).by_class["state-seeing"]
    assert_figures_equal(figures, policies)
    assert figures.alias_gap == pytest.approx(random_worlds.alias_gap_by_linear_program(policies), abs=1e-6)


def test_figures_of_memoryless_agents_are_those_of_all_deterministic_policies_of_the_observation(world):
    tables = envs.compile_world(world)
    policies = random_worlds.all_memoryless_policies(world, tables)
    assert_figures_equal(envs.certify(world).by_class["memoryless deterministic"], policies)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5])
def test_a_blind_agent_with_memory_in_the_t_maze_attains_1_under_the_naive_reward(p):
    found = certified("TMaze", oversight_prob=p)
    assert found.agent_class == "history"
    assert found.enforceable_return == pytest.approx(1, abs=1e-9)
    assert found.naive_optimum_return_worst_ties == pytest.approx(1, abs=1e-9)
    assert found.by_class["state-seeing"].enforceable_return == pytest.approx(p, abs=1e-9)
    assert found.by_class["memoryless deterministic"].enforceable_return == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize(("name", "keywords"), [("HideErrors", {}), ("VerboseLog", {}), ("DiamondVault", {})])
def test_history_figures_are_state_seeing_ones_if_the_observation_is_the_state(name, keywords):
    found = certified(name, **keywords)
    assert found.agent == "sees the state"
    assert found.by_class["history"] == found.by_class["state-seeing"]


def test_an_agent_that_does_not_see_the_coin_is_harder_or_easier_to_control_than_one_that_sees_the_state():
    maze, corridor = certified("TMaze").by_class, certified("AliasedCorridor").by_class
    assert maze["history"].enforceable_return > maze["state-seeing"].enforceable_return + 0.8
    assert corridor["history"].enforceable_return < corridor["state-seeing"].enforceable_return - 0.04


@pytest.mark.parametrize("name", ["TMaze", "AliasedCorridor", "AbsentSupervisor", "DiamondVault", "BoatRace"])
def test_regrets_break_ties_to_the_worst_and_sum_to_the_optimum_minus_the_naive_optimum(name):
    found = certified(name)
    regret = found.regret
    assert regret.tie_rule == "worst ties"
    assert regret.unenforceable + regret.misspecified == pytest.approx(
        found.optimal_return - found.naive_optimum_return_worst_ties
    )
    assert regret.unenforceable >= regret.unobservable - 1e-9
    assert (regret.misspecified < -1e-9) == ("regret.misspecified" in found.notes)


def test_a_proxy_that_distinguishes_more_than_the_overseer_makes_misspecified_regret_negative():
    found = certified("DiamondVault")  # the proxy includes the cost of actions, which the screen does not show
    assert found.regret.misspecified < -0.7
    assert "negative: the proxy distinguishes" in certificate_text(found)


def test_the_corridor_counts_what_the_agent_cannot_observe_as_unobservable_regret():
    assert certified("AliasedCorridor").regret.unobservable == pytest.approx(0.05, abs=1e-9)


def test_too_many_beliefs_leave_a_certificate_of_an_agent_that_sees_the_state_and_says_so(monkeypatch):
    monkeypatch.setattr(belief_mdp, "MAX_BELIEFS", 3)
    found = certified("TMaze")
    text = certificate_text(found)
    assert found.agent_class == "state-seeing"
    assert found.remembering_return is None
    assert found.by_class["history"] is None
    assert found.regret.unobservable is None
    assert found.agents["enforceable_return"] == "state-seeing"
    assert "is taken to see the state" in text
    assert "its W is not bounded by W" in text
    assert "history                   not computed: more than" in text
    assert "not computed: more than" in certificate_page(found)


def test_every_figure_of_a_plan_names_its_class_of_agents_and_whether_it_is_exact(small_certificate):
    classes = {"history", "state-seeing", "memoryless deterministic", "memoryless stochastic"}
    assert set(small_certificate.agents.values()) <= classes
    assert set(small_certificate.bounds.values()) <= {"exact", "lower bound", "upper bound"}
    assert small_certificate.agents["optimal_return"] == "state-seeing"
    assert small_certificate.agents["enforceable_return"] == small_certificate.agent_class
    for name, figures in small_certificate.by_class.items():
        assert (figures is None) == (f"by_class.{name}" in small_certificate.notes)


def test_a_bound_on_the_enforceable_return_makes_the_regrets_bounds():
    found = envs.certify(RandomWorld(seed=0, labels=8, max_episode_steps=4))
    assert found.bounds["enforceable_return"] == "lower bound"
    assert found.bounds["regret.unenforceable"] == "upper bound"
    assert found.bounds["regret.misspecified"] == "lower bound"


class NearlyEqual(RandomWorld):
    """One step from aliased states whose true rewards differ by 2e-5 of their size."""

    def __init__(self, num_envs=1, *, max_episode_steps=1, render_mode=None):
        super().__init__(num_envs, views=1, max_episode_steps=max_episode_steps)
        self.next[:] = 3
        self.worth[:, 0], self.worth[0, 0], self.worth[:, 1] = 1e6 - 9, 1e6 + 9, 1e6 - 5

    @property
    def parameters(self):
        return {"max_episode_steps": self.max_episode_steps}


def test_aliased_states_with_nearly_equal_rewards_are_not_taken_to_be_equally_likely():
    found = envs.certify(NearlyEqual())
    assert found.remembering_return == pytest.approx(1e6, abs=1e-6)  # half of the starts pay 9 more, half 9 less
    assert found.memoryless_return.deterministic == pytest.approx(1e6, abs=1e-6)


class UnusedStart(RandomWorld):
    """The last start state has probability 0."""

    def starts(self):
        return super().starts()[0], np.array([0.6, 0.4, 0.0])


@pytest.mark.parametrize("seed", range(3))
def test_start_states_of_probability_0_change_no_figure(seed):
    world = UnusedStart(seed=seed, views=3, max_episode_steps=2)
    tables = envs.compile_world(world)
    policies = random_worlds.all_history_policies(world, tables, tables.observation)
    assert_figures_equal(envs.certify(world).by_class["history"], policies)
