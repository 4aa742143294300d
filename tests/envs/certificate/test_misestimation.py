"""Estimation errors and outcomes of stochastic policies agree with those of plans and of the exact evaluation."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.certificate import misestimation
from envs.certificate.planning import naive_reward

WORLDS = [
    ("HideErrors", {}),
    ("HideErrors", {"p": 0.1, "p_H": 0.9}),
    ("VerboseLog", {"p_D": 0.1}),
    ("BoatRace", {"max_episode_steps": 6}),
    ("AbsentSupervisor", {"oversight_prob": 0.5}),
]


def tables_of(name, **keywords):
    world = gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=1, **keywords)
    tables = envs.compile_world(world)
    return tables, naive_reward(tables, world.judgement)


@pytest.mark.parametrize(("name", "keywords"), WORLDS)
def test_a_plan_of_equally_likely_actions_has_the_errors_of_its_probabilities(name, keywords):
    tables, believed = tables_of(name, **keywords)
    shape = (tables.horizon, *tables.successor.shape[:2])
    allowed = np.random.default_rng(0).random(shape) < 0.5
    allowed[..., 0] |= ~allowed.any(2)
    probabilities = allowed / allowed.sum(2, keepdims=True)
    of_plan, of_probabilities = (misestimation.misestimation_of(tables, believed, p) for p in (allowed, probabilities))
    assert of_plan == pytest.approx(of_probabilities, abs=1e-12)
    returns = [misestimation.expected_return(tables, plan, believed) for plan in (allowed, probabilities)]
    assert returns[0] == pytest.approx(returns[1], abs=1e-12)


@pytest.mark.parametrize(("name", "keywords"), WORLDS)
def test_a_single_step_of_probabilities_holds_for_every_step(name, keywords):
    tables, believed = tables_of(name, **keywords)
    policy = np.random.default_rng(1).dirichlet(np.ones(tables.n_actions), len(tables.observations))
    plan = policy[tables.observation][None]
    repeated = np.repeat(plan, tables.horizon, 0)
    assert misestimation.misestimation_of(tables, believed, plan) == pytest.approx(
        misestimation.misestimation_of(tables, believed, repeated), abs=1e-12
    )
    exact = envs.exact.evaluate(tables, policy)
    assert misestimation.expected_return(tables, plan, tables.true_reward) == pytest.approx(exact.true_return)
    assert misestimation.outcome_distribution(tables, plan) == pytest.approx(exact.outcomes)


def test_one_sided_errors_equal_those_of_enumerated_episodes(monkeypatch):
    tables, believed = tables_of("DiamondVault", max_episode_steps=6)
    plan = np.random.default_rng(2).dirichlet(np.ones(3), (1, 4))
    quick = misestimation.misestimation_of(tables, believed, plan)
    monkeypatch.setattr(misestimation, "is_one_sided", lambda difference: False)
    assert quick == pytest.approx(misestimation.misestimation_of(tables, believed, plan), abs=1e-12)
    assert quick.overestimation > 0
    assert quick.underestimation == 0


def test_too_many_prefixes_give_no_errors():
    tables, believed = tables_of("BoatRace", max_episode_steps=20)
    plan = np.ones((1, *tables.successor.shape[:2]))
    assert misestimation.misestimation_of(tables, believed, plan, 3) is None
    assert misestimation.misestimation_of(tables, believed, plan) is not None


def test_the_naive_optimum_of_the_vault_spoofs_the_camera_and_the_optimum_does_not():
    found = envs.certify(gymnasium.make_vec("keyhole/DiamondVault-v0", num_envs=1))
    naive, best = found.naive_optimum_outcomes, found.optimum_outcomes
    assert naive["stolen, spoofed"] + naive["kept, spoofed"] == pytest.approx(1)
    assert best["stolen, spoofed"] + best["kept, spoofed"] == pytest.approx(0)
    assert best["kept"] == pytest.approx(0.95**256, abs=1e-5)
    assert found.overestimation_error == pytest.approx(9.98 - (0.98 + 0.63 / (1 - 0.63)), abs=1e-9)
    assert found.optimum_believed_return == pytest.approx(found.optimal_return, abs=1e-9)
