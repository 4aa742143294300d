"""Treatments of a hand-made rollout of two steps and six copies, one column for each kind of feedback."""

from typing import NamedTuple

import numpy as np
import pytest

from routing import METHODS, PARTS, Feedback, Rollout, Treatment, View, all_seeing, find, limited
from routing.oversight.registry import EARLIER

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
CAPPED = np.minimum(WEIGHTS, 10)
UNFINISHED = [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0]]
SEEN = np.array(KNOWN)
STEPS = [[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1]]  # every step whose own observation gives a verdict, 0 included
GATE = np.array([[1, -1, 0, 0, 0, -1], [1, -1, 0, 0, 0, 1]])
NONE = np.zeros((2, 6))
GOOD_ONLY = [[1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1]]
S = (1, 0, 1)  # retain and gate
RETAINED = [[R, F, S, S, S, F], [R, F, S, S, S, R]]
FORGOTTEN = [[R, F, (0, 1, 1), (0, 1, 1), (0, 1, 1), F], [R, F, (0, 1, 1), (0, 1, 1), (0, 1, 1), R]]
P2 = (-2, 1, 0)
PUSHED = [[R, P2, G, G, G, P2], [R, P2, G, G, G, R]]
SWAPPED = [[F, R, G, G, G, R], [F, R, G, G, G, F]]
ABSORBED = [[F] * 6] * 2
READ_GOOD, READ_BAD, READ_NONE = (1, 0, 0, 1), (0, 1, 0, 1), (0, 0, 1, 1)
READ = [
    [READ_GOOD, READ_BAD, *[READ_NONE] * 3, READ_BAD],
    [READ_GOOD, READ_BAD, *[READ_NONE] * 3, READ_GOOD],
]


class Expected(NamedTuple):
    """A treatment; None: every entry 1, for the gate 0."""

    rewards: object = PROXY_REWARDS
    weights: object = None
    masks: object = None
    critic: object = None
    baselined: object = None
    gate: object = None
    scale: float = 1.0


TABLE = {
    "proxy": Expected(),
    "naive": Expected(NAIVE_REWARDS),
    "naive_weighted": Expected(NAIVE_REWARDS, WEIGHTS),
    "oracle": Expected(NAIVE_REWARDS),  # only its overseer differs
    "filtering": Expected(NAIVE_REWARDS, KNOWN),
    "filtering_strict": Expected(NAIVE_REWARDS, JUDGED),
    "filtering_unfinished": Expected(NAIVE_REWARDS, SEEN + UNFINISHED, scale=10 / 12),
    "no_routing": Expected(gate=GATE),
    "no_gate": Expected(masks=ROUTES),
    "gradient_routing": Expected(masks=ROUTES, gate=GATE),
    "gradient_routing_weighted": Expected(weights=CAPPED, masks=ROUTES, baselined=1 - np.array(JUDGED), gate=GATE),
    # names of earlier versions
    "gradient_routing_paper": Expected(masks=ROUTES, baselined=1 - np.array(JUDGED), gate=GATE),
    "gradient_routing_ablated": Expected(weights=CAPPED, masks=ROUTES, baselined=1 - np.array(JUDGED), gate=GATE),
    "gradient_routing_adapter": Expected(weights=CAPPED, masks=ROUTES, baselined=1 - np.array(JUDGED)),
    # parts
    "naive(weights=ipw(2))": Expected(NAIVE_REWARDS, np.minimum(WEIGHTS, 2)),
    "naive(weights=estimated_ipw)": Expected(NAIVE_REWARDS, np.where(JUDGED, 5 / 4, 1)),
    "naive(weights=estimated_ipw(1.1))": Expected(NAIVE_REWARDS, np.where(JUDGED, 1.1, 1)),
    "naive(weights=seen_steps)": Expected(NAIVE_REWARDS, STEPS),
    "naive(reward=penalty)": Expected(NAIVE_REWARDS),
    "naive(reward=penalty(5))": Expected([[0, 0, 0, 0, 0, -5], [1, -5, 1, 0, 0, 1]]),
    "naive(baseline=none)": Expected(NAIVE_REWARDS, baselined=NONE),
    "naive(overseer=none)": Expected(NAIVE_REWARDS),  # only its overseer differs
    "gradient_routing(masks=swapped)": Expected(masks=SWAPPED, gate=GATE),
    "gradient_routing(masks=absorb_all)": Expected(masks=ABSORBED, gate=GATE),
    "gradient_routing(critic=retain)": Expected(masks=ROUTES, gate=GATE, critic=np.array(ROUTES)[..., 0]),
    "gradient_routing(gate_loss=none)": Expected(masks=ROUTES),
    "hard_experts": Expected(masks=ROUTES, gate=GATE),
    "routing_tuned": Expected(masks=np.maximum(PUSHED, -1), gate=GATE),  # until the end of the run
    "routing_split_adam": Expected(masks=ROUTES, gate=GATE),
    "label_conditioned": Expected(masks=READ),
    "gradient_routing(network=gated(3))": Expected(masks=np.array(ROUTES)[..., [0, 1, 1, 2]], gate=GATE),
    # doses, labels and pessimism
    "penalty": Expected(NAIVE_REWARDS),
    "penalty(2)": Expected([[0, 0, 0, 0, 0, -2], [1, -2, 1, 0, 0, 1]]),
    "penalty(0)": Expected([[0, 0, 0, 0, 0, 0], [1, 0, 1, 0, 0, 1]]),
    "penalty(cap=0.5)": Expected([[0, 0, 0, 0, 0, -1], [1, -1, 0.5, 0, 0, 1]]),
    "capped_penalty": Expected([[0, 0, 0, 0, 0, -5], [1, -5, 1, 0, 0, 1]]),
    "capped_penalty(2,cap=0.25)": Expected([[0, 0, 0, 0, 0, -2], [1, -2, 0.25, 0, 0, 1]]),
    "unbiased_penalty": Expected([[0, 0, 0, 0, 0, -7], [1, -7, 1, 0, 0, 1]]),  # (2 - 1/4) / (1/4)
    "label_reward": Expected([[0, 0, 0, 0, 0, -1], [1, -1, 0.01, 0, 0, 1]]),
    "label_reward(0.5)": Expected([[0, 0, 0, 0, 0, -1], [1, -1, 0.5, 0, 0, 1]]),
    "pessimistic": Expected([[0, 0, 0, 0, 0, -1], [1, -1, -1, 0, 0, 1]]),
    "filtering_steps": Expected(NAIVE_REWARDS, STEPS),
    "positives_only": Expected(NAIVE_REWARDS, GOOD_ONLY),
    "naive(weights=random_episodes(1))": Expected(NAIVE_REWARDS),
    # routing
    "routed_adapters": Expected(masks=ROUTES),
    "routing_retain_unlabelled": Expected(masks=RETAINED, gate=GATE),
    "gradient_routing(masks=routed(forget))": Expected(masks=FORGOTTEN, gate=GATE),
    "gradient_routing(masks=routed(push=2))": Expected(masks=PUSHED, gate=GATE),
    "gradient_routing(masks=routed(push=2),critic=retain)": Expected(
        masks=PUSHED, gate=GATE, critic=np.maximum(np.array(PUSHED)[..., 0], 0)
    ),
    "gradient_routing(masks=swapped(retain))": Expected(masks=[[F, R, S, S, S, R], [F, R, S, S, S, F]], gate=GATE),
    "gradient_routing(masks=by_kind)": Expected(masks=ROUTES, gate=GATE),
    "routing_by_kind": Expected(  # without kinds all bad episodes are of the first
        masks=np.array(ROUTES)[..., [0, 1, 1, 2]] * np.where(GATE[..., None] < 0, [1, 1, 0, 1], 1), gate=GATE
    ),
    "distil_after_ablation": Expected(masks=ROUTES, gate=GATE),
}
LEARN = {
    "importance_weighting",
    "oracle_filtering",
    "pessimistic_ensemble",
    "reward_model",
    "reward_model_abstaining",
    "reward_model_pu",
    "taint",
}
LEARNED_PARTS = {  # in tests/routing/test_parts.py
    ("reward", "abstaining"),
    ("reward", "lower_bound"),
    ("reward", "model"),
    ("reward", "positive_unlabelled"),
    ("reward", "taint"),
    ("weights", "propensity_weights"),
    ("masks", "placebo"),
}
TWO_SIDED = set(METHODS) - {"reward_model_pu"}  # methods for a rollout with good and bad verdicts
WITHOUT_PROPENSITY = set(METHODS) - {"unbiased_penalty"}


@pytest.mark.parametrize("name", TABLE)
def test_treatment_equals_the_table(name, rollout):
    expected, treatment = TABLE[name], treat(name, rollout)
    blocks = len(find(name).blocks)
    np.testing.assert_array_equal(treatment.rewards, expected.rewards)
    np.testing.assert_array_equal(
        treatment.masks, np.ones((2, 6, blocks)) if expected.masks is None else expected.masks
    )
    for field in ("weights", "critic", "baselined"):
        wanted = getattr(expected, field)
        np.testing.assert_array_equal(getattr(treatment, field), ONES if wanted is None else wanted, err_msg=field)
    np.testing.assert_array_equal(treatment.gate, NONE if expected.gate is None else expected.gate)
    assert treatment.scale == pytest.approx(expected.scale)


def test_every_method_is_in_the_table_or_learns():
    assert set(METHODS) | set(EARLIER) == {name for name in TABLE if "(" not in name} | LEARN


def test_every_part_that_treats_samples_is_in_the_table_or_draws():
    kinds = ("reward", "weights", "scale", "masks", "critic", "baseline", "gate_loss")
    used = {(kind, find(name).only(kind).part.name) for name in TABLE for kind in kinds}
    assert {(kind, name) for kind in kinds for name in PARTS[kind]} - used == LEARNED_PARTS


@pytest.mark.parametrize("name", sorted(TWO_SIDED))
def test_a_method_is_deterministic_and_leaves_the_rollout_unchanged(name, rollout):
    before = [np.copy(x) for x in (rollout.rewards, rollout.endings, rollout.feedback.score)]
    first, second = treat(name, rollout), treat(name, rollout)
    for x, y in zip(before, (rollout.rewards, rollout.endings, rollout.feedback.score), strict=True):
        np.testing.assert_array_equal(x, y)
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)
    assert first.masks.shape == (2, 6, len(find(name).blocks))


@pytest.mark.parametrize("name", sorted(WITHOUT_PROPENSITY))
def test_a_method_returns_finite_treatments_without_any_verdict(name, rollout):
    silent = Feedback(np.where(DONES, NAN, 0.0), DONES, 0.0)
    treatment = treat(name, rollout._replace(feedback=silent))
    assert np.isfinite(treatment.rewards).all()
    assert np.isfinite(treatment.weights).all()


def test_only_the_all_seeing_overseer_judges_the_unseen_ghost():
    view = View(OVERSEER_OBS, TRUE, DONES)
    assert np.isnan(limited(JUDGEMENT, P)(view).score[1, UNSEEN])
    assert all_seeing(JUDGEMENT, P)(view).score[1, UNSEEN] == -1


def test_routing_limits_the_weight_of_rare_verdicts_to_ten(rollout):
    rare = rollout._replace(feedback=rollout.feedback._replace(propensity=0.001))
    assert set(treat("gradient_routing_weighted", rare).weights.flat) == {1, 10}
    assert set(treat("naive_weighted", rare).weights.flat) == {1, 1000}


def test_weighting_by_an_unknown_propensity_is_rejected(rollout):
    unknown = rollout._replace(feedback=rollout.feedback._replace(propensity=NAN))
    with pytest.raises(ValueError, match="unknown here: the environment declares no oversight_prob"):
        treat("naive_weighted", unknown)
    unseen = np.full(rollout.feedback.score.shape, NAN)  # refused before the first verdict, so when a run is checked
    with pytest.raises(ValueError, match="unknown here"):
        treat("naive_weighted", unknown._replace(feedback=unknown.feedback._replace(score=unseen)))


def test_weighting_by_a_propensity_of_zero_is_rejected_if_an_episode_was_judged(rollout):
    never = rollout._replace(feedback=rollout.feedback._replace(propensity=0.0))
    with pytest.raises(ValueError, match="positive oversight_prob"):
        treat("naive_weighted", never)


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
    learned = model.learning["reward"]
    np.testing.assert_array_equal(learned.predict(obs[0][:, :3]), learned.predict(flipped_flags[0][:, :3]))


def test_the_error_for_an_unknown_method_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'gradient_routing"):
        find("gradient_routng")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_one_line_summary_and_distinct_deployments(name):
    summary, deployments = METHODS[name].summary, find(name).deployments
    assert 10 < len(summary) < 120
    assert summary.endswith(".")
    assert len({d.name for d in deployments}) == len(deployments) > 0
    assert all(d.leaky == (d.selects_by is not None and d.selects_by.startswith("eval/")) for d in deployments)
