"""Compositions: how a method is read, compared, and controlled; what cannot hold together is refused."""

import numpy as np
import pytest
import torch

import routing
from routing import METHODS, PARTS, Feedback, Rollout, differing_parts, find, part
from routing.oversight.controls import controls, with_parts
from routing.oversight.parts import KINDS
from routing.oversight.registry import EARLIER

ROUTED = "gradient_routing_weighted"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_one_part_of_each_kind_and_is_found_once(name):
    assert find(name) is find(name)
    assert [kind for kind, _ in find(name).names] == list(KINDS)


def test_parts_are_replaced_one_by_one():
    assert differing_parts("naive", "naive(weights=ipw(10))") == {"weights": ("one", "ipw(10)")}
    assert differing_parts("naive(weights=ipw( cap = 10 ))", "naive( weights = ipw(10.0) )") == {}
    assert differing_parts("gradient_routing", ROUTED) == {
        "weights": ("one", "ipw(10)"),
        "baseline": ("all", "unjudged"),
    }
    assert find("naive(deploy=whole)").training == find("naive").training


def test_deployment_rules_are_named_by_their_experts_and_by_what_they_compare():
    rules = "measured+measured(0.1)+measured(0.01,untrained)+without([forget2,retain])+without([forget3])"
    found = find(f"naive(network=gated(4),deploy={rules})")
    names = ["measured", "measured_0.1", "measured_untrained_0.01", "without_retain_forget2", "without_forget3"]
    assert [rule.name for rule in found.deployments] == names
    assert [rule.reads for rule in found.deployments] == ["rate of bad verdicts"] * 3 + ["nothing"] * 2
    assert not any(rule.leaky for rule in found.deployments)
    assert dict(found.names)["deploy"] == rules
    assert find('naive(network=gated(3),deploy=without(["forget2"]))') == find(
        "naive(network=gated(3),deploy=without([forget2]))"
    )


def test_a_method_of_an_earlier_version_takes_other_parts_too():
    assert (
        differing_parts("gradient_routing_paper(weights=ipw)", "gradient_routing(baseline=unjudged,weights=ipw)") == {}
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("naiv", "did you mean 'naive'"),
        ("naive(weight=ipw)", "unknown kind of part 'weight'; did you mean 'weights'"),
        ("naive(weights=ipv)", "did you mean 'ipw'"),
        ("naive(weights=ipw(a))", "is not of type float"),
        ("naive(weights=ipw(NaN))", "is not of type float"),
        ("naive(weights=ipw(true))", "is not of type float"),
        ("naive(weights=ipw(1,2))", "takes 1 at most"),
        ("naive(weights=ipw(caps=2))", "unknown parameter of weights ipw 'caps'"),
        ("naive(weights=ipw(2,cap=3))", "sets cap twice"),
        ("naive(weights)", "not of the form PART=VALUE"),
        ("naive(weights=)", "not of the form PART=VALUE"),
        ("naive(weights=one,weights=ipw)", "sets weights twice"),
        ("naive(masks=routed,network=single)", "masks=routed needs a forget block, which network=single lacks"),
        ("proxy(gate_loss=verdict,network=ungated)", "gate_loss=verdict needs a gate, which network=ungated lacks"),
        ("naive(network=single,deploy=retain)", "deploy=retain needs a forget block"),
        ("naive(network=single,level=forward_ablated)", "level=forward_ablated needs a forget block"),
        ("naive(network=adapters)", "level=activation needs layers of each expert's own, which network=adapters lacks"),
        ("naive(network=adapters,level=parameter,after=ablate_random)", "after=ablate_random needs layers"),
        ("naive(network=gated(1))", "use 2 to 8"),
        ("naive(network=single,deploy=measured)", "deploy=measured needs a forget block, which network=single lacks"),
        ("naive(deploy=measured(-1))", "has tolerance -1.0; use a finite number of at least 0"),
        ("naive(deploy=measured(against=start))", "compares with 'start'; use ablated or untrained"),
        ("naive(deploy=measured+measured)", "has a rule twice"),
        ("naive(deploy=without([forget2]))", "unknown expert 'forget2'; did you mean 'forget'"),
        ("naive(network=gated(3),deploy=without([gate]))", "unknown expert 'gate'"),
        ("naive(network=gated(3),deploy=without)", "at least one and not all: retain, forget, forget2"),
        ("naive(deploy=without([retain,forget]))", "at least one and not all"),
        ("naive(deploy=without([forget,forget]))", "must name distinct experts"),
        ("naive(deploy=without(forget))", "blocks is 'forget', which is not of type tuple"),
        ("naive(masks=conditioned)", "masks=conditioned needs an input for the verdict, which network=gated lacks"),
        ("naive(network=conditioned)", "reads the verdicts that masks=conditioned gives it, not masks=none"),
        ("label_conditioned(deploy=retain)", "deploy=retain needs a forget block, which network=conditioned lacks"),
        ("naive(deploy=good)", "deploy=good needs an input for the verdict, which network=gated lacks"),
        ("label_conditioned(optimizer=split_adam)", "optimizer=split_adam needs a forget block"),
        ("hard_experts(optimizer=split_adam)", "at level=hard the masks choose the policy; use optimizer=adam"),
        (
            "gradient_routing(network=adapters,level=hard,gate_loss=none)",
            "level=hard needs layers of each expert's own",
        ),
        ("label_conditioned(network=conditioned(big))", "network conditioned has capacity 'big'"),
        ("naive(network=single(big))", "use equal or expert"),
        ("naive(deploy=whole+whole)", "a rule twice"),
        ("naive(deploy=whole+)", "write NAME"),
        ("naive(weights=ipw", "lacks a closing"),
        ("naive(2)", "'2' is not of the form PART=VALUE"),
        ("penalty(a)", "dose is 'a', which is not of type float"),
        ("penalty(1,2,3)", "takes 2 at most"),
        ("penalty(1,dose=2)", "sets dose twice"),
        ("penalty(cap=1,2)", "name it too"),
        ("penalty(dosis=1)", "unknown kind of part 'dosis'"),
        ("penalty(2,reward=verdict)", "sets reward twice"),
        ("gradient_routing_paper(2)", "not of the form PART=VALUE"),
        ("penality(2)", "did you mean 'penalty'"),
    ],
)
def test_a_composition_that_cannot_be_is_refused_in_one_line(text, words):
    with pytest.raises(ValueError, match=words) as refused:
        find(text)
    assert "\n" not in str(refused.value)


def test_a_registered_part_serves_every_arm_and_a_name_is_registered_once():
    try:

        @part("weights")
        def test_twice(rollout, factor: float = 2.0):
            """Weight `factor`."""
            return np.full(rollout.rewards.shape, factor)

        rollout = Rollout(
            np.zeros((1, 2)), np.zeros((0, 1)), np.zeros(1, bool), Feedback(np.zeros((1, 2)), np.zeros((1, 2), bool))
        )
        assert (find("naive(weights=test_twice)").make(0)(rollout).weights == 2).all()
        assert (find("gradient_routing(weights=test_twice(3))").make(0)(rollout).weights == 3).all()
        with pytest.raises(ValueError, match="already registered"):
            part("weights")(test_twice)
        register = part("weigths")
        with pytest.raises(ValueError, match="unknown kind of part 'weigths'; did you mean 'weights'"):
            register(test_twice)
    finally:
        PARTS["weights"].pop("test_twice", None)
        find.cache_clear()


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("penalty(2)", "penalty(reward=penalty(2))"),
        ("penalty( 2.0 , baseline=none)", "penalty(baseline=none,reward=penalty(dose=2))"),
        ("penalty(cap=1)", "penalty(reward=penalty(cap=1))"),
        ("penalty(1)", "penalty"),
        ("capped_penalty(2)", "penalty(reward=penalty(2,1))"),  # what is not given stays
        ("capped_penalty(cap=2)", "penalty(reward=penalty(5,2))"),
        ("reward_model(steps,sees=flags)", "reward_model(reward=model(of=steps,sees=flags))"),
        ("importance_weighting(5)", "importance_weighting(weights=propensity_weights(5))"),
    ],
)
def test_a_shorthand_is_its_part_with_these_arguments(short, long):
    assert differing_parts(short, long) == {}


def test_a_shorthand_keeps_its_name_and_its_part_when_other_parts_change():
    assert with_parts("penalty(2)", {"baseline": "none"}) == "penalty(reward=penalty(2),baseline=none)"
    assert with_parts("capped_penalty(2)", {}) == "capped_penalty(reward=penalty(2,cap=1))"
    found = controls("penalty(2)")
    assert "penalty(overseer=none,reward=penalty(2))" in found
    assert all(dict(find(control).names)["reward"] == "penalty(2)" for control in found)


def test_the_masks_of_controls_have_the_options_of_the_arms_masks():
    found = controls("gradient_routing(network=gated(3),masks=by_kind(retain,push=0.5))")
    masks = [dict(find(control).names)["masks"] for control in found]
    assert "placebo(kinds=true,push=0.5,unlabelled=retain)" in masks
    assert "placebo(judged,retain,0.5,true)" in masks
    assert "swapped(retain,0.5)" in masks
    plain = {dict(find(control).names)["masks"] for control in controls("gradient_routing")}
    assert plain == {"none", "routed", "placebo", "placebo(judged)", "swapped", "absorb_all"}
    placebo = "gradient_routing(masks=placebo(kinds=true),network=gated(3))"
    assert "gradient_routing(masks=placebo(kinds=true,over=judged),network=gated(3))" in controls(placebo)


def test_a_method_name_is_registered_once():
    with pytest.raises(ValueError, match="already registered"):
        routing.method("naive", "Again.")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_default_and_every_part_a_summary(kind):
    assert KINDS[kind].default in PARTS[kind]
    assert all(10 < len(part.summary) < 125 and part.summary.endswith(".") for part in PARTS[kind].values())


def test_placebo_masks_are_the_routed_ones_of_permuted_verdicts():
    rng = np.random.default_rng(0)
    score = rng.choice([1.0, -1.0, np.nan], (1, 500), p=[0.2, 0.1, 0.7])
    rollout = Rollout(
        np.ones((1, 500)), np.zeros((500, 1)), np.zeros(1, bool), Feedback(score, np.ones((1, 500), bool))
    )
    placebo, again = (find("gradient_routing(masks=placebo)").make(seed) for seed in (0, 0))
    routed, first, second = (
        find("gradient_routing").make(0)(rollout).masks,
        placebo(rollout).masks,
        placebo(rollout).masks,
    )
    np.testing.assert_array_equal(first, again(rollout).masks)
    for drawn in (first, second):
        np.testing.assert_array_equal(np.sort(drawn.reshape(-1, 3), axis=0), np.sort(routed.reshape(-1, 3), axis=0))
    assert (first != second).any()
    assert abs(np.corrcoef(first[0, :, 0], routed[0, :, 0])[0, 1]) < 0.15


def test_a_placebo_over_judged_episodes_masks_the_samples_that_routing_masks():
    rng = np.random.default_rng(0)
    score = rng.choice([1.0, -1.0, np.nan, 0.0], (1, 500), p=[0.2, 0.1, 0.5, 0.2])
    rollout = Rollout(
        np.ones((1, 500)), np.zeros((500, 1)), np.zeros(1, bool), Feedback(score, np.ones((1, 500), bool))
    )
    routed = find("gradient_routing").make(0)(rollout).masks
    placebo = find("gradient_routing(masks=placebo(judged))").make(0)(rollout).masks
    np.testing.assert_array_equal(routed[..., -1], placebo[..., -1])
    assert 0 < (routed[..., 0] != placebo[..., 0]).sum() < (routed[..., -1] == 0).sum()


def test_a_placebo_continues_its_draws_where_a_saved_one_stopped():
    rollout = Rollout(
        np.ones((1, 9)),
        np.zeros((9, 1)),
        np.zeros(1, bool),
        Feedback(np.array([[1.0, -1, np.nan] * 3]), np.ones((1, 9), bool)),
    )
    one, other = (find("gradient_routing(masks=placebo)").make(seed) for seed in (1, 2))
    one(rollout)
    other.learning["masks"].restore(one.learning["masks"].snapshot())
    np.testing.assert_array_equal(one(rollout).masks, other(rollout).masks)


def test_estimated_propensity_approaches_the_declared_one():
    rng = np.random.default_rng(0)
    method = find("naive(weights=estimated_ipw)").make(0)
    for _ in range(20):
        score = np.where(rng.random((1, 500)) < 0.2, 1.0, np.nan)
        feedback = Feedback(score, np.ones((1, 500), bool), float("nan"))
        weights = method(Rollout(np.ones((1, 500)), np.zeros((500, 1)), np.zeros(1, bool), feedback)).weights
    assert weights.max() == pytest.approx(5, rel=0.05)


def test_advantages_are_centred_scaled_or_left_alone():
    advantages = torch.tensor([1.0, 3.0, 5.0, 100.0])
    baselined = torch.tensor([True, True, True, False])
    every, none = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    centred, scaled, plain = (find(f"naive(advantage={name})").advantage for name in ("centred", "scaled", "none"))
    assert torch.equal(centred(advantages, every), (advantages - advantages.mean()) / (advantages.std() + 1e-8))
    torch.testing.assert_close(centred(advantages, baselined), torch.tensor([-1.0, 0, 1, 50]))
    torch.testing.assert_close(scaled(advantages, baselined), advantages / 2)
    assert torch.equal(plain(advantages, baselined), advantages)
    for normalise in (centred, scaled):
        torch.testing.assert_close(normalise(advantages, none), advantages / advantages.std())
        assert torch.equal(normalise(advantages[:1], every[:1]), advantages[:1])


def test_every_control_holds_together():
    texts = [*METHODS, *EARLIER, "gradient_routing(level=forward_ablated)", "naive(network=single)"]
    assert all(find(control) for text in texts for control in controls(text))
    adapters = controls("gradient_routing_adapter")
    assert not any("ablate_random" in control for control in adapters)
    assert len(adapters) == 11


@pytest.mark.parametrize("text", [*METHODS, "naive(weights=ipw(10))", "gradient_routing(level=parameter)"])
def test_a_control_inherits_every_part_that_it_does_not_replace(text):
    from routing.oversight.controls import control_changes

    held = [changes for changes in control_changes(find(text)) if "adapters" not in text or "after" not in changes]
    for changes, control in zip(held, controls(text), strict=True):
        differing = differing_parts(text, control)
        assert differing.keys() <= changes.keys()
        assert changes.get("network") == "single" or len(changes) < 3
        assert all(dict(find(control).names)[kind] == value for kind, value in changes.items())


def test_the_controls_of_routing_hold_two_tables_of_two_by_two_and_the_placebos():
    found = controls(ROUTED)
    cells = ["masks=none", "baseline=all", "masks=none,baseline=all", "weights=one", "weights=one,masks=none"]
    assert found[:5] == [f"{ROUTED}({cell})" for cell in cells]
    assert {f"{ROUTED}(masks={name})" for name in ("placebo", "placebo(judged)", "swapped", "absorb_all")} <= set(found)
    assert f"{ROUTED}(overseer=none)" in found
    assert len(set(found)) == len(found) == 12


def test_parts_that_a_name_already_has_are_left_out():
    assert with_parts("naive(weights=ipw(10))", {"baseline": "none"}) == "naive(weights=ipw(10),baseline=none)"
    assert with_parts("naive(weights=ipw(10))", {"weights": "one"}) == "naive"
    assert with_parts("gradient_routing_paper", {"baseline": "all"}) == "gradient_routing"
    assert with_parts("gradient_routing_paper", {}) == "gradient_routing(baseline=unjudged)"
