"""Every world trains; audits and limits of the overseer reach the learner alike by tables and by stepping."""

import gymnasium
import numpy as np
import pytest

import agents
import envs
from agents.learners.reinforce import RoutedReinforce
from routing import METHODS, limit, parse_limits
from routing.oversight.limits import LIMITS

WORLDS = sorted(spec.id for spec in gymnasium.registry.values() if spec.id.startswith("keyhole/"))
GHOST = "keyhole/DiamondGhost-v0"
ERRORS = "keyhole/HideErrors-v0"
TWO_SIDED = [name for name in METHODS if name != "reward_model_pu"]  # methods for good and bad verdicts


def learner(world: str, method: str = "naive", algorithm: str = "reinforce", seed: int = 0, **arguments):
    """A small learner that has trained for two rollouts."""
    settings = {name: arguments.pop(name) for name in ("by_tables", "whole_episodes", "n_steps") if name in arguments}
    small = {"size": 2} if world == GHOST else {}
    env = agents.make_vec_env(world, 16, **{"oversight_prob": 0.5, **small, **arguments})
    model = agents.build(
        env, method, seed, algorithm=algorithm, width=8, batch_size=64, **{"n_steps": 16, **settings}
    )  # fmt: skip
    model.learn(2 * 16 * model.n_steps)
    return model


def parameters(model) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()])


@pytest.mark.parametrize("place", range(len(WORLDS)), ids=list(WORLDS))
def test_every_world_trains_and_every_method_trains_in_three_of_them_or_more(place):
    groups = len(WORLDS) // 3
    others = [method for rank, method in enumerate(sorted(TWO_SIDED)) if rank % groups == place % groups]
    for method in dict.fromkeys(["naive", "gradient_routing", *others]):
        assert np.isfinite(parameters(learner(list(WORLDS)[place], method))).all(), method


BY_STEPS = ("gradient_routing(label=step)", "filtering(label=return)", "naive(reward=model(steps))")


@pytest.mark.parametrize(("world", "method"), [*zip(WORLDS, BY_STEPS * len(WORLDS), strict=False)])
def test_every_world_trains_by_its_steps_in_minibatches(world, method):
    assert np.isfinite(parameters(learner(world, method, "ppo"))).all()


@pytest.mark.parametrize("how", [{}, {"by_tables": False}, {"algorithm": "ppo"}, {"whole_episodes": True}], ids=str)
def test_one_sided_verdicts_train_a_positive_unlabelled_model_and_two_sided_ones_stop_it(how):
    for text in ("recall(0,diamond)", "recall(0,ghost)"):
        assert np.isfinite(parameters(learner(GHOST, "reward_model_pu", overseer=text, **how))).all()
    with pytest.raises(ValueError, match="found both; use reward=model"):
        learner(GHOST, "reward_model_pu", **how)


def view_of(buffer) -> agents.channel.View:
    view = agents.channel.View(buffer.overseer_obs, buffer.true_reward, buffer.dones, audited=buffer.audited)
    return buffer.channel.view(view)


@pytest.mark.parametrize("how", [{}, {"by_tables": False}, {"algorithm": "ppo"}], ids=str)
def test_kinds_are_the_labels_with_a_bad_verdict_in_their_order(how):
    buffer = learner(GHOST, "proxy", **how).rollout_buffer
    kinds = view_of(buffer).kinds
    assert kinds.dtype == np.int8
    assert np.array_equal(kinds, buffer.overseer_obs == 3)  # the label "ghost" alone is bad
    buffer.channel.kinds[:] = [1, 0, 0, 2]  # a channel whose labels "nothing" and "ghost" were bad
    assert np.array_equal(view_of(buffer).kinds, 2 * (buffer.overseer_obs == 3))


def test_audits_have_kinds_of_their_own_labels():
    buffer = learner(ERRORS, "proxy").rollout_buffer
    view, judgement = view_of(buffer), buffer.channel.env.judgement
    bad = np.flatnonzero(judgement < 0)
    assert np.array_equal(view.kinds[view.verdict < 0], 1 + np.searchsorted(bad, buffer.overseer_obs[view.verdict < 0]))
    assert not view.kinds[~(view.verdict < 0)].any()


def test_a_limit_with_a_history_removes_and_delays_kinds_with_their_verdicts():
    spent = learner(GHOST, "proxy", overseer="budget(0)", oversight_prob=1.0).rollout_buffer
    assert not view_of(spent).kinds.any()
    late = learner(GHOST, "proxy", overseer="delay(2)", oversight_prob=1.0).rollout_buffer
    (limit_,) = late.channel.limits.values()
    limit_.restore({})
    kinds = view_of(late).kinds
    assert np.array_equal(kinds[2:], late.overseer_obs[:-2] == 3)
    assert not kinds[:2].any()
    state = limit_.snapshot()
    assert np.array_equal(state["kinds_under_way"], late.overseer_obs[-2:] == 3)


def test_the_metrics_of_weights_are_there_if_weights_differ():
    names = {"oversight/effective_sample_size", "oversight/largest_weight"}
    assert not names & learner(GHOST, "naive").rollout_buffer.metrics.keys()
    weighted = learner(GHOST, "naive_weighted", oversight_prob=0.25).rollout_buffer
    weights = weighted.weights.ravel()
    assert weighted.metrics["oversight/largest_weight"] == weights.max() == 4
    share = weights.sum() ** 2 / (len(weights) * np.square(weights).sum())
    assert weighted.metrics["oversight/effective_sample_size"] == pytest.approx(share)
    filtered = learner(GHOST, "positives_only").rollout_buffer
    assert filtered.metrics["oversight/effective_sample_size"] == pytest.approx((filtered.weights > 0).mean())


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_without_audits_training_is_that_of_the_environment_itself(algorithm):
    audited = learner(ERRORS, algorithm=algorithm, oversight_prob=0.0)
    alone = learner(ERRORS, algorithm=algorithm, oversight_prob=None)
    assert np.array_equal(parameters(audited), parameters(alone))


@pytest.mark.parametrize("how", [{}, {"by_tables": False}, {"algorithm": "ppo"}, {"whole_episodes": True}], ids=str)
def test_if_all_is_audited_naive_oversight_is_the_oracle(how):
    naive, oracle = (learner(ERRORS, method, oversight_prob=1.0, **how) for method in ("naive", "oracle"))
    assert np.array_equal(parameters(naive), parameters(oracle))


@pytest.mark.parametrize("how", [{}, {"by_tables": False}, {"algorithm": "ppo"}, {"whole_episodes": True}], ids=str)
def test_an_audited_step_has_its_true_reward_as_verdict_and_the_others_that_of_the_overseer(how):
    if how.get("by_tables", True) and "algorithm" not in how:
        how = {**how, "n_steps": 64}
    buffer = learner(ERRORS, "proxy", **how).rollout_buffer
    view = buffer.channel.view(
        agents.channel.View(buffer.overseer_obs, buffer.true_reward, buffer.dones, audited=buffer.audited)
    )
    live = buffer.live
    audited = view.audited & live
    assert 0.2 < audited.sum() / live.sum() < 0.8
    assert np.array_equal(view.verdict[audited], buffer.true_reward[audited])
    world = gymnasium.make_vec(ERRORS, num_envs=1)
    own = world.judgement[buffer.overseer_obs[live & ~audited]]
    assert np.array_equal(view.verdict[live & ~audited], own, equal_nan=True)


def test_an_episode_is_audited_whole():
    buffer = learner(ERRORS, "proxy", n_steps=64).rollout_buffer
    audited = buffer.overseer_obs >= buffer.channel.audit_label
    continues = ~buffer.dones[:-1]
    assert (audited[1:] == audited[:-1])[continues].all()


@pytest.mark.parametrize("how", [{}, {"by_tables": False}, {"algorithm": "ppo"}], ids=str)
def test_recall_hides_its_share_of_ghosts_and_no_diamond(how):
    counts = np.zeros(2)
    for seed in range(3):
        model = learner(GHOST, "proxy", seed=seed, overseer="recall(0.25,ghost)", oversight_prob=1.0, **how)
        labels = model.rollout_buffer.overseer_obs[model.rollout_buffer.dones]
        counts += (labels == 1).sum(), (labels == 3).sum()
        true = model.rollout_buffer.true_reward[model.rollout_buffer.dones]
        assert ((true > 0) == (labels == 2)).all()
    hidden, seen = counts
    assert abs(hidden - 0.75 * counts.sum()) < 5 * np.sqrt(0.75 * 0.25 * counts.sum())
    assert seen > 0


@pytest.mark.parametrize("how", [{}, {"by_tables": False}, {"algorithm": "ppo"}], ids=str)
def test_a_budget_ends_oversight(how):
    model = learner(GHOST, "naive", overseer="budget(3)", oversight_prob=1.0, **how)
    assert model.labels_used == 3
    assert next(iter(model.overseer_limits.values())).left == 0


def test_limits_do_not_change_what_an_all_seeing_overseer_sees():
    limited, alone = (learner(GHOST, "oracle", overseer=text) for text in ("budget(1)|delay(3)", ""))
    assert np.array_equal(parameters(limited), parameters(alone))


def test_a_limit_that_reads_outcomes_gets_them_by_tables_and_by_stepping():
    @limit
    class no_ghosts:  # noqa: N801
        """The overseer never says what it sees of a ghost."""

        def __init__(self, seed: int) -> None:
            self.seed = seed

        def __call__(self, view):
            ghost = view.dones & (view.outcome == 2)
            assert view.features.shape == (*view.dones.shape, 2)
            return view._replace(verdict=np.where(ghost, np.nan, view.verdict))

    try:
        for how in ({}, {"by_tables": False}, {"algorithm": "ppo"}, {"whole_episodes": True}):
            model = learner(GHOST, "naive", overseer="no_ghosts", oversight_prob=1.0, **how)
            assert (model.verdicts == 1).all()
            assert len(model.verdicts)
    finally:
        LIMITS.pop("no_ghosts")


def test_an_agent_is_evaluated_without_audits_and_limits():
    plain, _ = agents.make_evaluator(ERRORS, 0)
    limited, exact = agents.make_evaluator(ERRORS, 0, oversight_prob=0.5, overseer="noise(0.5)")
    policy = learner(ERRORS).policy
    assert exact
    found, alone = limited(policy), plain(policy)
    assert found._replace(bad_acts=None) == alone._replace(bad_acts=None)
    assert found.bad_acts.kinds == alone.bad_acts.kinds


def test_asking_is_an_action_of_the_policy_that_is_evaluated_and_saved(tmp_path):
    model = learner(ERRORS, overseer="queried(0.1)", oversight_prob=0.0)
    assert model.action_space.n == 5
    evaluate, _ = agents.make_evaluator(ERRORS, 0, oversight_prob=0.0, overseer="queried(0.1)|budget(5)")
    assert np.isfinite(evaluate(model.policy).true_return)
    world = {"oversight_prob": 0.0, "overseer": "queried(0.1)"}
    agents.save(tmp_path / "agent.zip", model.policy, f"envs:{ERRORS}", world, "naive")
    assert agents.load(tmp_path / "agent.zip").make_world(2).single_action_space.n == 5


@pytest.mark.parametrize("env", [ERRORS, GHOST])
def test_weights_of_one_over_p_are_refused_where_the_agent_decides_what_is_seen(env):
    with pytest.raises(ValueError, match="the agent decides what is seen"):
        learner(env, "naive_weighted", overseer="queried(0.1)", oversight_prob=0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recall(of=gost)", "did you mean 'ghost'"),
        ("selected(rates=[1],feature=row)", "give a rate for each value"),
        ("selected(rates=[1],feature=wind)", "unknown feature 'wind'"),
        ("recal", "did you mean 'recall'"),
    ],
)
def test_a_limit_that_the_world_cannot_have_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        learner(GHOST, overseer=text)


def test_the_limits_of_a_world_are_those_that_a_user_wrote():
    world = agents.make_world(GHOST, 2, overseer="noise(0.1)|budget(3)|recall(0.5)", size=2, oversight_prob=0.5)
    assert [bound.name for bound in world.history_limits] == ["budget(3)"]
    assert isinstance(world, envs.LimitedOverseer)
    assert parse_limits("noise|recall") == parse_limits("noise(0.1)|recall(0.5)")


def test_tables_are_used_under_limits():
    model = learner(GHOST, overseer="noise(0.1)|budget(3)")
    assert isinstance(model, RoutedReinforce)
    assert model.tabular
