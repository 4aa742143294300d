"""Treatments of a hand-made rollout of two steps and six copies, one column for each kind of feedback."""

import numpy as np
import pytest

from routing import BLOCKS, METHODS, Feedback, Rollout, Treatment, View, all_seeing, find, flipped, limited

NAN = np.nan
JUDGEMENT = np.array([0, NAN, 1, -1])
P = 0.25
GOOD, BAD, UNSEEN, NOTHING, CUT, TWO = range(6)  # columns
DONES = np.array([[0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 0, 1]], bool)
OVERSEER_OBS = np.array([[0, 0, 0, 0, 0, 3], [2, 3, 1, 0, 0, 2]])
TRUE = np.array([[0, 0, 0, 0, 0, -1], [1, -1, -1, 0, 0, 1]], float)


@pytest.fixture
def rollout() -> Rollout:
    view = View(OVERSEER_OBS, TRUE, DONES)
    endings = np.random.default_rng(0).integers(0, 2, (DONES.sum(), 4)).astype(np.int8)
    rewards = (OVERSEER_OBS > 0).astype(float)
    return Rollout(rewards, endings, np.array([False, False, False, True]), limited(JUDGEMENT, P)(view))


def treat(name: str, rollout: Rollout) -> Treatment:
    return find(name).make(0)(rollout)


R, F, G = (1, 0, 0), (0, 1, 0), (1, 1, 1)
ONES = np.ones((2, 6))
NAIVE_REWARDS = [[0, 0, 0, 0, 0, -1], [1, -1, 1, 0, 0, 1]]
PROXY_REWARDS = [[0, 0, 0, 0, 0, 1], [1, 1, 1, 0, 0, 1]]
KNOWN = [[1, 1, 0, 1, 0, 1], [1, 1, 0, 1, 0, 1]]
JUDGED = [[1, 1, 0, 0, 0, 1], [1, 1, 0, 0, 0, 1]]
WEIGHTS = ONES + (1 / P - 1) * np.array(JUDGED)
ROUTES = [[R, F, G, G, G, F], [R, F, G, G, G, R]]
TABLE = {  # rewards, weights, masks
    "proxy": (PROXY_REWARDS, ONES, None),
    "naive": (NAIVE_REWARDS, ONES, None),
    "naive_weighted": (NAIVE_REWARDS, WEIGHTS, None),
    "oracle": (NAIVE_REWARDS, ONES, None),  # only its overseer differs
    "filtering": (NAIVE_REWARDS, KNOWN, None),
    "filtering_strict": (NAIVE_REWARDS, JUDGED, None),
    "no_routing": (PROXY_REWARDS, WEIGHTS, None),
    "no_gate": (PROXY_REWARDS, WEIGHTS, ROUTES),
    "gradient_routing": (PROXY_REWARDS, WEIGHTS, ROUTES),
    "gradient_routing_paper": (PROXY_REWARDS, ONES, ROUTES),
    "gradient_routing_ablated": (PROXY_REWARDS, WEIGHTS, ROUTES),
    "gradient_routing_adapter": (PROXY_REWARDS, WEIGHTS, ROUTES),
}


@pytest.mark.parametrize("name", TABLE)
def test_treatment_equals_the_table(name, rollout):
    rewards, weights, masks = TABLE[name]
    treatment = treat(name, rollout)
    np.testing.assert_array_equal(treatment.rewards, rewards)
    np.testing.assert_array_equal(treatment.weights, weights)
    np.testing.assert_array_equal(treatment.masks, np.ones((2, 6, 3)) if masks is None else masks)


def test_every_method_is_in_the_table_or_learns():
    assert set(METHODS) == set(TABLE) | {"reward_model"}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_deterministic_and_leaves_the_rollout_unchanged(name, rollout):
    before = [np.copy(x) for x in (rollout.rewards, rollout.endings, rollout.feedback.score)]
    first, second = treat(name, rollout), treat(name, rollout)
    for x, y in zip(before, (rollout.rewards, rollout.endings, rollout.feedback.score), strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)
    assert first.masks.shape == (2, 6, len(BLOCKS))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_returns_finite_treatments_without_any_verdict(name, rollout):
    silent = Feedback(np.where(DONES, NAN, 0.0), DONES, 0.0)
    treatment = treat(name, rollout._replace(feedback=silent))
    assert np.isfinite(treatment.rewards).all()
    assert np.isfinite(treatment.weights).all()


def test_only_the_all_seeing_overseer_judges_the_unseen_ghost():
    view = View(OVERSEER_OBS, TRUE, DONES)
    assert np.isnan(limited(JUDGEMENT, P)(view).score[1, UNSEEN])
    assert all_seeing(JUDGEMENT, P)(view).score[1, UNSEEN] == -1


def test_label_noise_flips_only_episode_ends_and_at_its_rate():
    view = View(np.full((1, 10_000), 2), np.ones((1, 10_000)), np.arange(10_000)[None] % 2 == 0)
    score = flipped(limited(JUDGEMENT, P), 0.2, np.random.default_rng(0))(view).score
    assert (score[~view.dones] == 1).all()
    assert abs((score[view.dones] == -1).mean() - 0.2) < 0.03


def test_routing_limits_the_weight_of_rare_verdicts_to_ten(rollout):
    rare = rollout._replace(feedback=rollout.feedback._replace(propensity=0.001))
    assert set(treat("gradient_routing", rare).weights.flat) == {1, 10}
    assert set(treat("naive_weighted", rare).weights.flat) == {1, 1000}


def test_weighting_by_an_unknown_propensity_is_rejected(rollout):
    unknown = rollout._replace(feedback=rollout.feedback._replace(propensity=NAN))
    with pytest.raises(ValueError, match="positive oversight_prob"):
        treat("naive_weighted", unknown)


def test_reward_model_learns_the_verdict_and_ignores_the_flags(rollout):
    rng = np.random.default_rng(1)
    obs = rng.integers(0, 2, (64, 32, 4)).astype(np.int8)
    verdict = 2.0 * obs[..., 0] - 1
    seen = rng.random((64, 32)) < 0.5
    everywhere = np.ones((64, 32), bool)
    score = np.where(seen, verdict, NAN)
    rollout = Rollout(np.ones((64, 32)), obs.reshape(-1, 4), rollout.flags, Feedback(score, everywhere, 0.5))
    model = find("reward_model").make(0)
    for _ in range(100):  # rollouts of 2048 samples, two steps each
        rewards = model(rollout).rewards
    np.testing.assert_allclose(rewards, verdict, atol=0.1)
    flipped_flags = obs.copy()
    flipped_flags[..., 3] ^= 1
    np.testing.assert_array_equal(model.predict(obs[0][:, :3]), model.predict(flipped_flags[0][:, :3]))


def test_the_error_for_an_unknown_method_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'gradient_routing'"):
        find("gradient_routng")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_one_line_summary_and_distinct_deployments(name):
    spec = METHODS[name]
    assert 10 < len(spec.summary) < 120
    assert spec.summary.endswith(".")
    assert len({d.name for d in spec.deployments}) == len(spec.deployments) > 0
    assert all(d.leaky == (d.selects_by is not None and d.selects_by.startswith("eval/")) for d in spec.deployments)
