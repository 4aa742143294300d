"""What each part that learns, draws or reads kinds does to hand-made rollouts, also where verdicts are of one kind."""

from typing import Any

import numpy as np
import pytest

import routing
from routing import PARTS, Feedback, Rollout, find
from routing.oversight.fitting import Memory

NAN = np.nan
T, N = 16, 32
BAD, WATCHED = 0, 3  # entries of an observation: what was reached is bad; the overseer looks (a flag)
FLAGS = np.arange(4) == WATCHED
P = 0.5


def rollout(seed: int = 0, share: float = P, **changes: Any) -> Rollout:
    """Episodes of about two steps, each with a proxy reward of 1 at its end, of which a share is judged."""
    rng = np.random.default_rng(seed)
    dones = rng.random((T, N)) < 0.5
    dones[-1, : N // 2] = True
    reached = rng.integers(0, 2, (T, N, 4)).astype(np.int8)
    reached[..., WATCHED] = rng.random((T, N)) < share
    verdict = np.where(reached[..., BAD] == 1, -1.0, 1.0)
    score = np.where(dones, np.where(reached[..., WATCHED] == 1, verdict, NAN), 0.0)
    observed = np.where(dones, np.where(np.isnan(score), 1, 2 + (score < 0)), 0)
    feedback = Feedback(score, dones, share, kinds=np.where(score < 0, 1 + reached[..., 1], 0).astype(np.int8))
    made = Rollout(
        dones.astype(float), reached[dones], FLAGS, feedback, overseer_obs=observed, reached=lambda: reached
    )  # fmt: skip
    return made._replace(**changes)


def with_score(r: Rollout, score: np.ndarray) -> Rollout:
    return r._replace(feedback=r.feedback._replace(score=score))


def truth(r: Rollout) -> np.ndarray:
    return np.where(r.reached()[..., BAD] == 1, -1.0, 1.0)


CASES = {
    "mixed": rollout,
    "no verdict": lambda seed=0: with_score(rollout(seed), np.where(rollout(seed).feedback.dones, NAN, 0.0)),
    "no verdict at all": lambda seed=0: with_score(rollout(seed), np.full((T, N), NAN)),
    "all judged": lambda seed=0: with_score(rollout(seed), truth(rollout(seed))),
    "only bad": lambda seed=0: with_score(
        rollout(seed), np.where(rollout(seed).feedback.score > 0, NAN, rollout(seed).feedback.score)
    ),
    "only good": lambda seed=0: with_score(
        rollout(seed), np.where(rollout(seed).feedback.score < 0, NAN, rollout(seed).feedback.score)
    ),
    "audits": lambda seed=0: rollout(seed)._replace(
        feedback=rollout(seed).feedback._replace(audited=np.random.default_rng(seed).random((T, N)) < 0.3)
    ),
    "dead copies": lambda seed=0: rollout(seed)._replace(
        live=np.arange(T)[:, None] <= rollout(seed).feedback.dones.argmax(0)
    ),
    "steps": lambda seed=0: rollout(seed)._replace(feedback=rollout(seed).feedback._replace(kinds=None)),
}
ONE_SIDED = ("no verdict", "no verdict at all", "only bad", "only good")
METHOD_OF = {
    "reward": "naive(reward={})",
    "weights": "naive(weights={})",
    "masks": "gradient_routing(network=gated(4),masks={})",
}
VARIANTS = {
    "model": ("model", "model(steps)", "model(sees=flags)", "model(sees=overseer)", "model(steps,sees=overseer)"),
    "abstaining": ("abstaining", "abstaining(of=steps,sees=overseer)"),
    "positive_unlabelled": ("positive_unlabelled", "positive_unlabelled(steps,propensity=estimated)"),
    "taint": ("taint", "taint(match=model)", "taint(2,of=steps)", "taint(of=steps,sees=flags,match=model)"),
    "by_kind": ("by_kind", "by_kind(retain,push=0.5)"),
    "placebo": ("placebo", "placebo(judged,kinds=true)"),
    "random_episodes": ("random_episodes", "random_episodes(0.3)"),
}
TREATED = [
    "label_conditioned" if name == "conditioned" else METHOD_OF[kind].format(text)
    for kind in METHOD_OF
    for name in PARTS[kind]
    for text in VARIANTS.get(name, (name,))
]


TREATED_CASES = [  # two-sided verdicts are refused by positive_unlabelled
    (text, case) for text in TREATED for case in CASES if "positive_unlabelled" not in text or case in ONE_SIDED
]


@pytest.mark.parametrize(("text", "case"), TREATED_CASES)
def test_a_part_is_finite_repeatable_and_leaves_the_rollout_alone(text, case):
    first, again, found = find(text).make(3), find(text).make(3), CASES[case]
    for seed in range(2):
        treated, before, repeated = first(found(seed)), found(seed), again(found(seed))
        for x, y in zip(treated, repeated, strict=True):
            np.testing.assert_array_equal(x, y)
        assert np.isfinite(treated.rewards).all()
        assert (np.isfinite(treated.weights) & (treated.weights >= 0)).all()
        assert np.isfinite(treated.masks).all()
        assert treated.rewards.shape == treated.weights.shape == treated.masks.shape[:2] == (T, N)
        given = found(seed)
        find(text).make(3)(given)
        np.testing.assert_array_equal(given.rewards, before.rewards)
        np.testing.assert_array_equal(given.feedback.score, before.feedback.score)
        np.testing.assert_array_equal(given.endings, before.endings)


@pytest.mark.parametrize("text", [text for text in TREATED if find(text).make(0).learning])
def test_a_part_that_learns_continues_bit_for_bit_where_a_saved_one_stopped(text):
    from agents.saving.run_state import pack, unpack

    found = CASES["only bad"] if "positive_unlabelled" in text else rollout
    straight, resumed = find(text).make(1), find(text).make(2)
    for seed in range(3):
        straight(found(seed))
    for kind, part in straight.learning.items():
        resumed.learning[kind].restore(unpack(pack(part.snapshot())))
    for seed in range(3, 6):
        for x, y in zip(straight(found(seed)), resumed(found(seed)), strict=True):
            np.testing.assert_array_equal(x, y)


def test_dose_one_is_the_verdict_bit_for_bit():
    for case in CASES.values():
        one, verdict = (find(text).make(0)(case()).rewards for text in ("penalty", "naive"))
        assert one.tobytes() == verdict.tobytes()


@pytest.mark.parametrize("propensity", [0.0, NAN])
def test_an_unbiased_penalty_needs_a_known_positive_propensity(propensity):
    unknown = rollout()._replace(feedback=rollout().feedback._replace(propensity=propensity))
    with pytest.raises(ValueError, match="probability p that an act is seen") as refused:
        find("unbiased_penalty").make(0)(unknown)
    assert "\n" not in str(refused.value)


def test_an_unbiased_penalty_makes_a_bad_act_worth_minus_one_on_average():
    r = rollout(share=0.25)
    unjudged, judged = np.isnan(r.feedback.score), r.feedback.score < 0
    rewards = find("unbiased_penalty").make(0)(r).rewards
    assert 0.25 * rewards[judged][0] + 0.75 * rewards[unjudged][0] == pytest.approx(-1)


def test_pessimism_starts_with_the_first_verdict_and_keeps_the_worst():
    method, silent = find("pessimistic").make(0), CASES["no verdict"](0)
    unseen = np.isnan(silent.feedback.score)
    np.testing.assert_array_equal(method(silent).rewards, silent.rewards)
    method(CASES["only good"](1))
    assert (method(silent).rewards[unseen] == 1).all()
    method(with_score(silent, np.full((T, N), -3.0)))
    method(rollout(2))
    assert (method(silent).rewards[unseen] == -3).all()


def trained(text: str, rollouts: int = 40, case: str = "mixed") -> Any:
    method = find(text).make(0)
    for seed in range(rollouts):
        method(CASES[case](seed))
    return method


@pytest.mark.parametrize("text", ["reward_model", "reward_model(steps)", "reward_model(sees=flags)"])
def test_a_reward_model_rewards_unseen_ends_by_what_was_reached(text):
    """With flags it reads them, and is fitted to watched ends alone; here what was reached is all that matters."""
    r = rollout(99)
    unseen = np.isnan(r.feedback.score)
    rewards = trained(text, 150)(r).rewards
    sign = np.sign(rewards[unseen])
    assert (sign == truth(r)[unseen]).mean() > 0.97


def test_a_reward_model_that_sees_labels_predicts_the_mean_verdict():
    r = rollout(99)
    rewards = trained("reward_model(sees=overseer)", 60)(r).rewards[np.isnan(r.feedback.score)]
    assert rewards.std() < 1e-6
    assert abs(rewards.mean()) < 0.2


def test_a_reward_model_that_sees_features_uses_those_that_unjudged_steps_show():
    """Judged ends show both features; unjudged ones the first alone, which decides the verdict."""

    def observed(seed: int) -> Rollout:
        r = rollout(seed)
        numbers = r.reached()[..., :2].astype(float)
        numbers[np.isnan(r.feedback.score), 1] = NAN
        return r._replace(overseer_obs=numbers)

    method = find("reward_model(sees=overseer)").make(0)
    for seed in range(150):
        rewards = method(observed(seed)).rewards
    unseen = np.isnan(observed(149).feedback.score)
    assert (np.sign(rewards[unseen]) == truth(observed(149))[unseen]).all()


def test_what_the_overseer_observed_must_be_there_for_a_model_that_sees_it():
    with pytest.raises(ValueError, match="use sees=agent"):
        find("reward_model(sees=overseer)").make(0)(rollout(overseer_obs=None))


def test_an_ensemble_rewards_no_more_than_any_of_its_members():
    method = trained("pessimistic_ensemble(3)", 20)
    part, r = method.learning["reward"], rollout(99)
    rewards = method(r).rewards[np.isnan(r.feedback.score)]
    unseen = np.isnan(r.feedback.score[r.feedback.dones])
    each = np.array([part.clipped(member.outputs(r.endings[unseen][:, :3])) for member in part.members])
    np.testing.assert_array_equal(rewards, each.min(0))
    assert (each.max(0) - each.min(0)).max() > 0


def blind_to_half(seed: int) -> Rollout:
    """Where entry 2 is set nothing is ever judged, and what is reached is good."""
    r = rollout(seed)
    blind = (r.reached()[..., 2] == 1) & r.feedback.dones
    return with_score(r, np.where(blind, NAN, r.feedback.score))


def test_abstention_gives_nothing_where_labels_are_improbable_and_the_model_elsewhere():
    method = find("reward_model_abstaining").make(0)
    for seed in range(200):
        r = blind_to_half(seed)
        rewards = method(r).rewards
    unseen = np.isnan(r.feedback.score)
    blind = r.reached()[..., 2] == 1
    assert (rewards[unseen & blind] == 0).mean() > 0.95
    assert (np.sign(rewards[unseen & ~blind]) == truth(r)[unseen & ~blind]).mean() > 0.95


@pytest.mark.parametrize("text", ["reward_model_pu", "reward_model_pu(propensity=estimated)"])
@pytest.mark.parametrize("case", ["only bad", "only good"])
def test_a_positive_unlabelled_model_tells_good_from_bad_by_labels_of_one(text, case):
    method = trained(text, 200, case)
    r = CASES[case](999)
    rewards = method(r).rewards[np.isnan(r.feedback.score)]
    expected = truth(r)[np.isnan(r.feedback.score)]
    assert rewards[expected > 0].mean() > 0.8
    assert rewards[expected < 0].mean() < (-0.6 if case == "only bad" else 0.2)


def test_two_sided_verdicts_are_refused_by_a_positive_unlabelled_model_in_one_line():
    method = trained("reward_model_pu", 1, "only bad")
    with pytest.raises(ValueError, match="found both; use reward=model") as refused:
        method(CASES["only good"](1))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["taint(2)", "taint(2,match=model)"])
def test_taint_penalises_what_looks_like_anything_ever_judged_bad(text):
    method, silent = trained(text, 60), CASES["no verdict"](99)
    rewards = method(silent).rewards
    bad = truth(silent)[silent.feedback.dones] < 0
    np.testing.assert_array_equal(rewards[silent.feedback.dones][bad], -2)
    np.testing.assert_array_equal(rewards[silent.feedback.dones][~bad], 1)


def test_taint_with_flags_does_not_recognise_an_unwatched_end():
    silent = CASES["no verdict"](99)
    silent.endings[:, WATCHED] = 0
    np.testing.assert_array_equal(trained("taint(sees=flags)")(silent).rewards, silent.rewards)


def test_a_memory_keeps_a_uniform_sample_of_what_it_met():
    means = []
    for seed in range(50):
        memory = Memory(seed, 100)
        for start in range(0, 1000, 70):
            drawn = np.arange(start, min(start + 70, 1000), dtype=float)
            memory.add(drawn[:, None], drawn)
        assert len(memory) == 100
        np.testing.assert_array_equal(memory.features[:, 0], memory.targets)
        means.append(memory.targets.mean())
    assert abs(np.mean(means) - 499.5) < 15


def test_propensity_weights_are_the_inverse_of_the_share_judged_of_what_looks_alike():
    """Half of the ends with entry 1 are judged, and an eighth of the others."""
    method = find("naive(weights=propensity_weights)").make(0)
    for seed in range(150):
        rng, r = np.random.default_rng([seed, 1]), rollout(seed)
        often = r.reached()[..., 1] == 1
        unjudged = r.feedback.dones & (rng.random((T, N)) >= np.where(often, 0.5, 0.125))
        r = with_score(r, np.where(unjudged, NAN, np.where(r.feedback.dones, truth(r), 0)))
        weights = method(r).weights
    ends = ~unjudged & r.feedback.dones
    assert weights[ends & often].mean() == pytest.approx(2, rel=0.15)
    assert weights[ends & ~often].mean() == pytest.approx(8, rel=0.25)
    assert set(weights[np.isnan(routing.episode_labels(r.feedback))]) == {1.0}


def test_propensity_weights_refuse_what_is_never_judged_in_one_line():
    method = find("importance_weighting").make(0)
    for seed in range(20):  # enough data is needed
        method(blind_to_half(seed))
    rollouts = map(blind_to_half, range(20, 200))
    with pytest.raises(ValueError, match="what is never judged cannot be weighted") as refused:
        list(map(method, rollouts))
    assert "\n" not in str(refused.value)


def test_propensity_weights_do_not_refuse_rare_verdicts():
    method = find("importance_weighting").make(0)
    for seed in range(150):
        method(rollout(seed, share=0.03))
    assert method.learning["weights"].judged > 100


def test_random_episodes_train_whole_and_a_coin_persists_over_cuts():
    r = rollout()
    method = find("naive(weights=random_episodes(0.5))").make(0)
    before = None
    for _ in range(20):
        weights, dones = method(r).weights, r.feedback.dones
        starts = np.vstack([np.ones(N, bool) if before is None else before[1], dones[:-1]])
        changed = np.vstack(
            [np.zeros(N, bool) if before is None else weights[0] != before[0], np.diff(weights, axis=0) != 0]
        )
        assert not (changed & ~starts).any()
        before = weights[-1], dones[-1]
    assert 0.3 < weights.mean() < 0.7


def test_a_copy_that_stopped_within_a_rollout_starts_an_episode_of_its_own():
    """In whole episodes the last step of a column need not be an end."""
    method = find("naive(weights=random_episodes(0.5))").make(0)
    first = [method(CASES["dead copies"]()).weights[0] for _ in range(2)]
    assert (first[0] != first[1]).any()


def test_oracle_filtering_trains_on_a_share_of_the_declared_propensity_with_the_true_reward():
    view = routing.View(np.zeros((50, 400), int), np.full((50, 400), 3.0), np.ones((50, 400), bool))
    feedback = find("oracle_filtering").overseer(np.zeros(1), 0.2)(view)
    assert feedback.propensity == 0.2
    assert find("oracle").overseer(np.zeros(1), 0.2)(view).propensity == 1
    r = Rollout(np.ones((50, 400)), np.zeros((20_000, 1)), np.zeros(1, bool), feedback)
    treatment = find("oracle_filtering").make(0)(r)
    assert set(treatment.weights.flat) == {0, 1}
    assert treatment.weights.mean() == pytest.approx(0.2, abs=0.01)
    assert (treatment.rewards == 3).all()
    unknown = r._replace(feedback=feedback._replace(propensity=NAN))
    with pytest.raises(ValueError, match="give a share"):
        find("oracle_filtering").make(0)(unknown)
    assert find("oracle_filtering(0.5)").make(0)(unknown).weights.mean() == pytest.approx(0.5, abs=0.02)


def test_each_kind_of_bad_episode_trains_its_own_forget_expert_and_those_beyond_share_the_last():
    score = np.array([[0, 0, 0, 0, 0, -1], [1, -1, -1, -1, NAN, 0]], float)
    kinds = np.array([[0, 0, 0, 0, 0, 2], [0, 1, 2, 3, 0, 0]], np.int8)
    dones = np.array([[0] * 6, [1] * 6], bool)
    r = Rollout(np.ones((2, 6)), np.zeros((6, 1)), np.zeros(1, bool), Feedback(score, dones, kinds=kinds))
    retain, first, second, every = (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (1, 1, 1, 1)
    expected = [retain, first, second, second, every, every]
    masks = find("routing_by_kind").make(0)(r).masks
    np.testing.assert_array_equal(masks, [expected, expected])
    by_return = find("routing_by_kind(label=return)").make(0)(r).masks
    np.testing.assert_array_equal(by_return[0], [*expected[:5], second])
    by_step = find("routing_by_kind(label=step)").make(0)(r).masks
    np.testing.assert_array_equal(by_step, [[every] * 5 + [second], [retain, first, second, second, every, every]])
    pushed = find("routing_by_kind(masks=by_kind(retain,push=0.5))").make(0)(r).masks
    np.testing.assert_array_equal(pushed[0, [1, 4]], [(-0.5, 1, 0, 0), (1, 0, 0, 1)])


def test_a_placebo_of_kinds_permutes_the_kind_with_the_verdict():
    r = rollout()
    experts = "gradient_routing(network=gated(3),masks={})"
    routed, placebo = (
        find(experts.format(masks)).make(0)(r).masks[r.feedback.dones] for masks in ("by_kind", "placebo(kinds=true)")
    )
    assert (routed != placebo).any()
    np.testing.assert_array_equal(np.sort(routed.view("f4,f4,f4,f4"), 0), np.sort(placebo.view("f4,f4,f4,f4"), 0))


@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_a_router_multiplies_a_gradient_by_a_negative_weight(level):
    import torch
    from torch import nn

    from routing import Regions, Router, Rules, module

    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    router = Router(model, Rules.direct(Regions(model, {"first": module("0")})), level)
    x, push = torch.randn(5, 3).double(), 1.5
    model(x).square().sum().backward()
    plain = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    with router(torch.full((5, 1), -push).double()):
        model(x).square().sum().backward()
    for i, (parameter, before) in enumerate(zip(model.parameters(), plain, strict=True)):
        torch.testing.assert_close(parameter.grad, -push * before if i < 2 else before)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("penalty(-1)", "a penalty is 0 or more"),
        ("taint(-1)", "a penalty is 0 or more"),
        ("reward_model(edges)", "of=edges; use endings or steps"),
        ("reward_model(sees=all)", "sees=all; use agent or flags or overseer"),
        ("taint(sees=overseer)", "sees=overseer; use agent or flags"),
        ("taint(match=near)", "match=near; use exact or model"),
        ("pessimistic_ensemble(0)", "use 1 to 50"),
        ("reward_model_abstaining(-1)", "give 0 or more"),
        ("reward_model_pu(propensity=guessed)", "use declared or estimated"),
        ("importance_weighting(0.5)", "a weight is at least 1"),
        ("oracle_filtering(2)", "a share from 0 to 1"),
        ("gradient_routing(masks=routed(neither))", "unlabelled=neither; use both or retain or forget"),
        ("gradient_routing(masks=routed(push=-1))", "a finite number of 0 or more"),
    ],
)
def test_a_value_that_a_part_cannot_have_is_refused_in_one_line(text, words):
    with pytest.raises(ValueError, match=words) as refused:
        find(text).make(0)(rollout())
    assert "\n" not in str(refused.value)
