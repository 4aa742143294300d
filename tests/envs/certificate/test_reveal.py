"""Revealing state variables to the overseer raises the enforceable return, or leaves it as it is."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.certificate import reveal
from envs.certificate.planning import naive_reward
from envs.certificate.report import certificate_page, certificate_text

GUARDED = 0.9 / (1 - 0.9 * 0.95)
FORGETFUL = 0.1 * 0.9 * 0.05 / (1 - 0.9 * 0.95) / (1 - 0.9)  # guarding from the theft on, discounted
SMALL = [
    ("HideErrors", {}),
    ("VerboseLog", {"p_D": 0.1}),
    ("DiamondVault", {}),
    ("DiamondVault", {"action_log": True}),
    ("AbsentSupervisor", {"oversight_prob": 0.5}),
    ("BoatRace", {"max_episode_steps": 8}),
    ("AliasedCorridor", {}),
    ("TMaze", {"knowledge": "aware"}),
]


def world_of(name, **keywords):
    return gymnasium.make_vec(f"keyhole/{name}-v0", num_envs=1, **keywords)


def revealed(name, **keywords):
    return envs.certify(world_of(name, **keywords), reveals=True)


@pytest.mark.parametrize(("name", "keywords"), SMALL)
def test_revealing_a_variable_never_lowers_the_enforceable_return(name, keywords):
    found = revealed(name, **keywords)
    assert len(found.revealed) == len(world_of(name, **keywords).variables)
    for row in found.revealed:
        assert row.enforceable_return >= found.enforceable_return - 1e-9
        assert row.enforceable_return <= found.optimal_return + 1e-9


@pytest.mark.parametrize("name", ["HideErrors", "VerboseLog", "AbsentSupervisor"])
def test_the_optimum_is_enforceable_if_the_overseer_observes_every_state_reached(name):
    world = world_of(name)
    tables, found = envs.compile_world(world), envs.certify(world)
    refined, origin = reveal.refine(tables, range(tables.states.shape[1]))
    believed = naive_reward(tables, world.judgement)
    best = reveal.enforceable_when_revealed(refined, origin, believed, "history", found.by_class["history"])
    assert best.is_exact
    assert best.worst == pytest.approx(found.optimal_return, abs=1e-9)


def test_the_spoofed_flag_enforces_guarding_except_for_the_cost_of_guarding_an_empty_vault():
    # the reward pays for one tampering after the theft, at 0.02, where guarding would cost 0.1; afterwards the screen
    # is on for good, every action ties, and the worst one guards
    saved = 0.08 * 0.9 * 0.05 / (1 - 0.9 * 0.95)
    found = {row.variable: row for row in revealed("DiamondVault").revealed}
    for name in ("spoofed", "in"):
        assert found[name].enforceable_is_exact
        assert found[name].enforceable_return == pytest.approx(GUARDED - FORGETFUL + saved, abs=1e-4)
    with_log = revealed("DiamondVault", action_log=True)
    for row in with_log.revealed:
        assert row.enforceable_return == pytest.approx(6.2069, abs=1e-4)


def test_rows_are_sorted_by_the_enforceable_return():
    values = [row.enforceable_return for row in revealed("AbsentSupervisor").revealed]
    assert values == sorted(values, reverse=True) == pytest.approx([41, 29])


def test_a_refinement_keeps_the_original_observation_of_every_step():
    tables = envs.compile_world(world_of("DiamondVault"))
    refined, origin = reveal.refine(tables, [1])
    assert np.array_equal(origin[refined.overseer_obs], tables.overseer_obs)
    assert np.array_equal(np.unique(refined.overseer_obs), np.arange(len(origin)))


def test_a_world_without_names_has_numbered_variables():
    world = world_of("DiamondVault")
    tables = envs.compile_world(world)
    world.variables = ()
    assert reveal.variable_names(world, tables) == ["variable 0", "variable 1"]


def test_a_variable_that_is_too_large_to_reveal_states_why(monkeypatch):
    monkeypatch.setattr(reveal, "MAX_SIZE", 10)
    found = revealed("DiamondVault")
    assert [row.enforceable_return for row in found.revealed] == [None, None]
    text = certificate_text(found)
    assert "not computed: 4 non-terminal states and 3 observations" in text


def test_text_and_page_have_the_table_only_if_it_was_computed():
    plain, found = envs.certify(world_of("TMaze", knowledge="aware")), revealed("TMaze", knowledge="aware")
    assert "also observed one state variable" not in certificate_text(plain) + certificate_page(plain)
    assert ">=0.5000" in certificate_text(found)
    assert "≥0.5000" in certificate_page(found)
    assert plain.to_dict()["revealed"] is None
    assert found.to_dict()["revealed"][0]["variable"] == "cell"


@pytest.mark.parametrize("names", [("only one",), ("in", "in")])
def test_names_of_variables_are_checked(names):
    world = world_of("DiamondVault")
    world.variables = names
    with pytest.raises(ValueError, match="variables has"):
        envs.certify(world)


def test_what_is_audited_is_not_a_variable_to_reveal_and_stays_hidden_from_the_agent():
    world = envs.Audits(gymnasium.make_vec("keyhole/HideErrors-v0", num_envs=1), 0.3)
    certificate = envs.certify(world, reveals=True)
    assert len(certificate.revealed) == world.unwrapped.tabulate().states.shape[1]
    for row in certificate.revealed:
        assert row.enforceable_return <= certificate.optimal_return + 1e-9
