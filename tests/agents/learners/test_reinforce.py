"""With tables, samples are summed by observation, and the gradient equals that of the samples."""

import copy

import numpy as np
import pytest
import torch

import envs
from agents import BlockPolicy, RoutedPPO, build, make_vec_env
from agents.build import architecture_of
from agents.learners.one_pass_ppo import OnePassPPO
from agents.learners.reinforce import RoutedReinforce
from agents.learners.routed_buffer import RoutedSamples
from agents.tabular.device_rollout import DeviceRollout
from agents.tabular.grouping import distinct_masks, pad_rows
from agents.tabular.policy_table import WholeTable
from agents.tabular.rollout import TableRollout
from routing import METHODS, find

ENV = "envs:keyhole/DiamondGhost-v0"


def learner(method: str, **kwargs) -> RoutedReinforce:
    settings = {"n_steps": 48, "batch_size": 48 * 64, "n_epochs": 3, "seed": 1, "gamma": 0.97, "ent_coef": 0.02}
    settings |= {"whole_episodes": False}
    env = make_vec_env(ENV, 64, size=3, oversight_prob=0.4)
    policy = {**architecture_of(find(method)), "activation_fn": torch.nn.ReLU}
    return RoutedReinforce(
        BlockPolicy, env, method=method, device="cpu", max_grad_norm=None, policy_kwargs=policy, **settings | kwargs
    )


def samples(model: RoutedReinforce) -> RoutedSamples:
    """The rollout as one minibatch of samples with whole observations."""
    buffer, selected = model.rollout_buffer, model.rollout_buffer.weights > 0
    observations = torch.as_tensor(model.tables.observations, dtype=torch.float32)[
        model.trajectories.observation[selected]
    ]
    actions = torch.as_tensor(model.trajectories.action[selected])
    masks = torch.as_tensor(buffer.masks[selected]) if model.policy.architecture.relabels else None
    with torch.no_grad():
        log_prob = model.policy.evaluate_actions(observations, actions, masks)[1]
    if model.coins is not None:
        log_prob = torch.as_tensor(model.table.log_prob[model.looked_up[selected], actions])
    columns = (buffer.values, buffer.advantages, buffer.returns, buffer.weights, buffer.masks)
    values, advantages, returns, weights, masks = (torch.as_tensor(x[selected]) for x in columns)
    treated = (torch.as_tensor(x[selected]) for x in (buffer.critic_weights, buffer.gate, buffer.baselined))
    return RoutedSamples(
        observations, actions, values, log_prob, advantages, returns, weights, masks, *treated, buffer.scale
    )


def gradients(model) -> dict[str, torch.Tensor | None]:
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.policy.named_parameters()}


PARTS = (
    "gradient_routing(critic=retain,advantage=scaled)",
    "gradient_routing(network=gated(3))",
    "gradient_routing(masks=placebo,baseline=none)",
    "gradient_routing_weighted(level=forward_ablated)",
    "gradient_routing_weighted(network=adapters,level=parameter,gate_loss=none)",
    "gradient_routing(head=per_expert)",
    "hard_experts(network=ungated(3),gate_loss=none)",
    "label_conditioned(head=per_expert)",
    "naive(head=frozen,network=single)",
    "gradient_routing(masks=routed(retain,push=0.5),critic=retain)",
)
TWO_SIDED = [name for name in METHODS if name != "reward_model_pu"]  # methods for good and bad verdicts


@pytest.mark.parametrize("whole_episodes", [True, False])
@pytest.mark.parametrize("method", [*TWO_SIDED, *PARTS])
def test_gradient_equals_that_of_the_samples_in_every_epoch(method, whole_episodes):
    model = learner(method, whole_episodes=whole_episodes)
    model.learn(48 * 64 * 2)  # some updates, so that the policy is no longer uniform
    model.collect_rollouts(model.env, without_callbacks(model), model.rollout_buffer, 48)
    start = copy.deepcopy(model.policy.state_dict())
    sgd = torch.optim.SGD(model.policy.parameters(), lr=0.5)  # a step proportional to the gradient compares well
    model.policy.optimizer = sgd
    batch, ours = model._batch(model.rollout_buffer.weights > 0), []
    for _ in range(3):
        model._step(batch, 0.05)
        ours.append(gradients(model))
    model.policy.load_state_dict(start)
    batch = samples(model)
    for epoch in range(3):
        RoutedPPO._update(model, batch, 0.05)
        for name, theirs in gradients(model).items():
            mine = ours[epoch][name]
            assert (mine is None) == (theirs is None), name
            if theirs is not None and theirs.norm() > 1e-7:
                error = (mine - theirs).norm() / theirs.norm()
                assert error < (1e-5 if epoch == 0 else 1e-3), (name, epoch, float(error))


def without_callbacks(model):
    from stable_baselines3.common.callbacks import CallbackList

    callback = CallbackList([])
    callback.init_callback(model)
    return callback


def device_rollout(tables, copies, generator) -> DeviceRollout:
    """A device rollout that runs on the CPU, for machines without CUDA."""
    return DeviceRollout(tables, copies, generator, torch.device("cpu"))


@pytest.mark.parametrize("whole_episodes", [True, False])
def test_device_rollouts_reach_the_same_return_as_host_rollouts(monkeypatch, whole_episodes):
    returns = {}
    for name in ("host", "device"):
        model = learner("oracle", whole_episodes=whole_episodes, learning_rate=1.6e-2)
        if name == "device":
            model.table_rollout = device_rollout(model.tables, model.n_envs, np.random.default_rng(1))
            monkeypatch.setattr(model, "_make_table", lambda model=model: WholeTable(model.policy, model.inputs))
        model.learn(25_000)
        probabilities = model.policy.log_probabilities(model.policy.encode(model.inputs))[0].exp().double().numpy()
        returns[name] = envs.exact.evaluate(model.tables, probabilities).true_return
    assert min(returns.values()) > 0.5
    assert abs(returns["host"] - returns["device"]) < 0.1


@pytest.mark.parametrize("kind", [TableRollout, device_rollout])
def test_rollout_follows_the_tables_and_restarts_at_start_states(kind):
    model = learner("naive")
    model.policy.action_net.weight.data.zero_()  # uniform actions
    tables = model.tables
    table_rollout = kind(tables, 128, np.random.default_rng(0))
    state = table_rollout.state.copy()
    rollout = table_rollout.steps(100, WholeTable(model.policy, model.inputs))
    elapsed = np.zeros(128, int)
    for t in range(100):
        np.testing.assert_array_equal(rollout.observation[t], tables.observation[state])
        np.testing.assert_array_equal(rollout.reached[t], tables.successor[state, rollout.action[t], 0])
        np.testing.assert_array_equal(rollout.reward[t], tables.reward[state, rollout.action[t], 0])
        elapsed += 1
        terminal = rollout.reached[t] >= len(tables.successor)
        np.testing.assert_array_equal(rollout.dones[t], terminal | (elapsed == tables.horizon))
        np.testing.assert_array_equal(rollout.timeouts[t], ~terminal & (elapsed == tables.horizon))
        elapsed[rollout.dones[t]] = 0
        ahead = rollout.observation[t + 1] if t < 99 else tables.observation[table_rollout.state]
        live = ~rollout.dones[t]
        np.testing.assert_array_equal(ahead[live], tables.observation[rollout.reached[t][live]])
        state = np.where(live, rollout.reached[t], -1)
        if t < 99:  # the observation identifies the drawn start: an aware agent sees the state
            lookup = np.argsort(tables.observation)
            state = np.where(live, state, lookup[rollout.observation[t + 1]])
    assert rollout.dones.sum() > 100
    np.testing.assert_array_equal(table_rollout.elapsed, elapsed)
    starts = rollout.observation[1:][rollout.dones[:-1]]  # drawn from the start distribution, which is uniform
    assert len(np.unique(starts)) > 0.6 * min(len(starts), len(tables.start))
    assert np.isclose(np.bincount(rollout.action.ravel()) / rollout.action.size, 0.25, atol=0.02).all()


@pytest.mark.parametrize("kind", [TableRollout, device_rollout])
def test_rollout_of_whole_episodes_stratifies_the_starts_and_completes_each_episode(kind):
    model = learner("naive")
    model.policy.action_net.weight.data.zero_()  # uniform actions
    tables = model.tables
    rollout = kind(tables, 4096, np.random.default_rng(0)).episodes(WholeTable(model.policy, model.inputs))
    assert rollout.dones.sum() == 4096
    assert rollout.live[0].all()
    assert not (rollout.live[1:] & ~rollout.live[:-1]).any()  # no gap between the episodes of a column
    assert rollout.dones[
        np.argmax(np.cumsum(rollout.live, 0), 0), np.arange(len(rollout.next_state))
    ].all()  # and the last one is complete
    assert not rollout.reward[~rollout.live].any()
    assert not rollout.dones[~rollout.live].any()
    going = rollout.live[1:] & ~rollout.dones[:-1]
    np.testing.assert_array_equal(rollout.observation[1:][going], tables.observation[rollout.reached[:-1][going]])
    starting = np.vstack([rollout.live[:1], rollout.live[1:] & rollout.dones[:-1]])
    length = np.diff(np.flatnonzero(np.append(starting.T[rollout.live.T], True)))
    late = rollout.dones.T[rollout.live.T].nonzero()[0]
    np.testing.assert_array_equal(
        rollout.timeouts.T[rollout.live.T][late],
        (length == tables.horizon) & (rollout.reached.T[rollout.live.T][late] < len(tables.successor)),
    )
    assert rollout.live.sum() > rollout.live.size / 2
    exact = envs.exact.evaluate(tables, np.full((len(tables.observations), 4), 0.25))
    assert np.isclose(rollout.live.sum() / 4096, exact.length, rtol=0.03)
    ghosts = (rollout.true_reward < 0).sum() / 4096
    assert np.isclose(ghosts, exact.outcomes["ghost"], atol=0.02)
    first = np.sort(rollout.observation[starting])  # one start from each 4096-th part of the distribution
    cdf = np.cumsum(tables.start_probability)
    assert np.abs(np.searchsorted(cdf, np.arange(4096) / 4096) - first).max() <= len(cdf)
    assert len(np.unique(first)) >= min(4096, len(cdf)) * 0.9


def test_an_update_on_whole_episodes_has_no_sample_of_an_unfinished_episode():
    model = learner("filtering", whole_episodes=True)
    model.learn(64)
    assert model.num_timesteps == model.trajectories.live.sum()
    np.testing.assert_array_equal(model.rollout_buffer.live, model.trajectories.live)
    assert not model.rollout_buffer.weights[~model.trajectories.live].any()
    assert np.isnan(model.rollout_buffer.gate).sum() == 0


def test_step_size_and_entropy_bonus_follow_their_schedules():
    env = make_vec_env(ENV, 64, size=3, oversight_prob=0.4)
    settings = {"learning_rate": 0.01, "decay_from": 0.5, "ent_coef": 0.1, "final_ent_coef": 0.001, "width": 8}
    model = build(env, "naive", 0, **settings)
    found = []
    for remaining in (1.0, 0.5, 0.25, 0.0):
        model._current_progress_remaining = remaining
        found.append((model.lr_schedule(remaining), model.entropy_weight()))
    steps = [0.01, 0.01, 0.005, 0.0]
    np.testing.assert_allclose([step for step, _ in found], steps)
    np.testing.assert_allclose([weight for _, weight in found], [0.1, 0.01, 0.1**0.25 * 0.001**0.75, 0.001])


def test_bf16_products_change_the_update_little_and_parameters_stay_float32():
    found = {}
    for precision in ("fp32", "bf16"):
        model = build(make_vec_env(ENV, 64, size=3, oversight_prob=0.4), "gradient_routing", 0, precision=precision)
        model.learn(64)
        found[precision] = torch.cat([p.detach().flatten() for p in model.policy.parameters()])
        assert {p.dtype for p in model.policy.parameters()} == {torch.float32}
        with torch.no_grad():
            assert model.policy.log_probabilities(model.policy.encode(model.inputs))[0].dtype == torch.float32
    assert not torch.equal(*found.values())
    assert torch.nn.functional.cosine_similarity(*found.values(), dim=0) > 0.99


def test_distinct_masks_keep_real_weights_and_put_the_unit_mask_first():
    masks = np.array([[1, 1, 1], [0, 1, 0.5], [1, 1, 1], [1, 0, 0], [0, 1, 0.5]])
    routes, route = distinct_masks(masks)
    np.testing.assert_array_equal(routes[route], masks)
    assert len(routes) == 3
    assert (routes[0] == 1).all()


def test_world_without_tables_is_trained_by_samples_with_a_warning(caplog, monkeypatch):
    def refuse(world):
        raise envs.NotEnumerable("it is too large")

    monkeypatch.setattr(envs, "compile_world", refuse)
    model = learner("gradient_routing")
    assert "it is too large" in caplog.text
    model.learn(48 * 64)
    assert model.num_timesteps == 48 * 64


def test_same_seed_gives_the_same_weights():
    first, second = (learner("gradient_routing").learn(48 * 64 * 3).policy.state_dict() for _ in range(2))
    assert all(torch.equal(x, second[name]) for name, x in first.items())


def test_a_probability_that_underflows_to_zero_leaves_the_update_finite():
    model = learner("naive")
    model.policy.action_net.bias.data[0] = 1000.0  # the other actions have probability 0 in float32
    model.learn(48 * 64)
    assert all(torch.isfinite(x).all() for x in model.policy.parameters())


def test_batches_have_few_sizes_and_little_padding():
    sizes = {n: len(pad_rows(np.arange(n))) for n in range(1, 60_000)}
    assert all(n <= size < max(n * 1.125 + 1, n + 32) for n, size in sizes.items())
    assert len(set(sizes.values())) < 110
    np.testing.assert_array_equal(pad_rows(np.array([7, 5, 6])), [7, 5, 6] + [7] * 29)


@pytest.mark.parametrize("method", TWO_SIDED)
def test_the_recorded_graph_of_acting_gives_the_gradient_of_a_second_forward_pass(method):
    model = learner(method, n_epochs=1, by_tables=False)
    model.learn(48 * 64 * 2)  # some updates, so that the policy is no longer uniform
    model.policy.optimizer = torch.optim.SGD(model.policy.parameters(), lr=0.0)
    model.collect_rollouts(model.env, without_callbacks(model), model.rollout_buffer, 48)
    assert bool(model.acted) == (not model.policy.architecture.reads_masks and model.coins is None)
    batch = next(model._minibatches())
    model._update(batch, 0.2)
    kept = gradients(model)
    assert not model.acted
    RoutedPPO._update(model, batch, 0.2)
    for name, again in gradients(model).items():
        assert (kept[name] is None) == (again is None), name
        if again is not None and again.norm() > 1e-7:
            assert (kept[name] - again).norm() / again.norm() < 1e-5, name


def test_bootstrapping_time_outs_in_one_batch_equals_stable_baselines3_one_at_a_time():
    found = []
    for collect in (OnePassPPO.collect_rollouts, RoutedPPO.collect_rollouts):
        model = learner("naive", by_tables=False)
        model.learn(48 * 64)
        if collect is RoutedPPO.collect_rollouts:
            model.rollout_buffer.critic = None
        collect(model, model.env, without_callbacks(model), model.rollout_buffer, 48)
        found.append((model.rollout_buffer.timeouts.sum(), model.rollout_buffer.advantages))
    assert found[0][0] == found[1][0] > 5
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)


def test_an_environment_reports_time_outs_again_after_a_rollout():
    model = learner("naive", by_tables=False)
    model.learn(48 * 64)
    model.env.reset()
    infos_of_steps = [model.env.step(np.zeros(64, int))[3] for _ in range(40)]
    assert any(info.get("TimeLimit.truncated") for infos in infos_of_steps for info in infos)
