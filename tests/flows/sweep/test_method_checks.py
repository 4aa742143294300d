"""An arm that its world cannot serve is refused in one line before anything trains."""

import pytest

import routing
from flows.config import CompareConfig, TrainConfig
from flows.errors import UserError
from flows.sweep.checks import check_run
from flows.sweep.method_checks import check_needs, method_notes, sweep_notes, verdicts_of, world_needs
from routing.oversight.parts import PARTS

PENALTY = "naive(reward=penalty(2))"
BLIND = "recall(of=ghost,rate=0)"


@pytest.fixture
def parts(monkeypatch):
    """Parts that declare each need, registered for the test."""
    for kind in ("weights", "reward", "masks"):
        monkeypatch.setitem(PARTS, kind, dict(PARTS[kind]))

    @routing.part("weights", "needs_positivity", world=("positivity",))
    def weights(rollout):
        return rollout.rewards

    @routing.part("reward", "needs_one_side", world=("one-sided verdicts",))
    def reward(rollout):
        return rollout.rewards

    @routing.part("masks", "for_each_kind", needs=("forget",), world=("an expert for each kind",))
    def masks(rollout):
        return routing.unmasked(rollout)

    yield
    routing.find.cache_clear()


def run(method: str, **settings) -> TrainConfig:
    return TrainConfig(method=method, **{"env": "keyhole/DiamondGhost-v0", "env_kwargs": {"size": 3}, **settings})


def test_parts_declare_what_they_need_of_the_world():
    assert world_needs(PENALTY) == [("reward=penalty(2)", "bad verdicts")]
    assert not world_needs("gradient_routing")


def test_an_unknown_need_is_refused_where_a_part_is_registered():
    with pytest.raises(ValueError, match="unknown need of a part in the world 'bad verdict'; did you mean"):
        routing.part("reward", "misspelt", world=("bad verdict",))(lambda rollout: rollout.rewards)


def test_a_penalty_needs_bad_verdicts_after_the_limits():
    check_needs(run(PENALTY))
    with pytest.raises(UserError, match=r"reward=penalty\(2\) needs an overseer that gives bad verdicts, and that of"):
        check_needs(run(PENALTY, overseer=BLIND))


def test_a_level_without_oversight_is_a_baseline_and_not_refused():
    check_needs(run(PENALTY, oversight=0.0))


def test_audits_count_as_verdicts():
    assert verdicts_of(run("naive", env="keyhole/DiamondVault-v0", env_kwargs={}, oversight=0.1)).bad
    assert not verdicts_of(run("naive", env="keyhole/DiamondVault-v0", env_kwargs={}, oversight=0.0)).bad


def test_the_commands_refuse_with_one_line(keyhole):
    code, out, err = keyhole(
        "train", "--method", PENALTY, "--set", "size=3", "--overseer", BLIND, "--steps", "100", "--n-envs", "4"
    )
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "reward=penalty(2) needs an overseer that gives bad verdicts" in err


def test_positivity_fails_where_a_rewarded_ending_is_never_judged(parts):
    check_needs(run("naive(weights=needs_positivity)"))
    with pytest.raises(UserError, match="needs a verdict with positive probability on every rewarded ending, and"):
        check_needs(run("naive(weights=needs_positivity)", overseer=BLIND))


def test_one_sided_parts_refuse_good_and_bad_verdicts(parts):
    with pytest.raises(UserError, match="needs verdicts that are all good or all bad, and those of this world are"):
        check_needs(run("naive(reward=needs_one_side)"))
    check_needs(run("naive(reward=needs_one_side)", overseer=BLIND))


def test_more_kinds_than_experts_are_noted_and_not_refused(parts):
    settings = {"env": "keyhole/HideErrors-v0", "env_kwargs": {}}
    arm = run("gradient_routing(masks=for_each_kind)", **settings)
    check_needs(arm)
    (note,) = method_notes(arm)
    assert "kinds of bad verdicts for 1 forget expert; the last one takes all further kinds" in note
    assert not method_notes(run("gradient_routing(masks=for_each_kind)"))
    sweep = CompareConfig(methods=(arm.method, "naive"), env="keyhole/HideErrors-v0")
    assert sweep_notes(sweep) == [note]


def test_relearning_needs_bad_acts():
    check_needs(run("naive", relearn_updates=3))
    with pytest.raises(UserError, match="--relearn: environment 'envs:keyhole/TMaze-v0' declares no bad acts"):
        check_needs(TrainConfig(method="naive", env="keyhole/TMaze-v0", relearn_updates=3))


def test_the_rehearsal_relearns_once():
    small = {"n_envs": 4, "n_steps": 8, "width": 8}
    check_run(run("gradient_routing", relearn_updates=1000, steps=100, training=small))
