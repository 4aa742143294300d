"""Policies of any number of experts: the default is bit for bit that of two, and every part does what it promises."""

import copy
import pickle
from itertools import product

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from stable_baselines3.common.distributions import kl_divergence
from torch.nn.functional import pad

from agents import BlockPolicy, BlockUse, RoutedPPO, make_vec_env
from agents.policies.architecture import HEADS, LEVELS, Architecture, equal_capacity_width, expert_names
from agents.policies.policy import log_softmax
from routing import BLOCKS, audit
from tests.agents.policies.two_experts import TwoExpertPolicy

OBSERVATIONS = Box(0, 1, (6,), np.float32)
ARCH = {"pi": [16, 12], "vf": [8]}
ROWS = torch.rand(24, 6, generator=torch.Generator().manual_seed(1))
SPACES = [Discrete(4), Box(-1, 1, (3,), np.float32), MultiDiscrete([2, 3]), MultiBinary(3)]
OLD_LEVELS = [level for level in LEVELS if level != "hard"]
SIZES = {"single": [1], "gated": [2, 3, 5], "ungated": [2, 3], "adapters": [2, 3]}
SHAPES = [
    Architecture(network, experts, head, level)
    for network, sizes in SIZES.items()
    for experts, head, level in product(sizes, HEADS, ["parameter"] if network == "adapters" else LEVELS)
    if (experts < 5 or head == "shared") and (level != "hard" or experts == 3)
]
POLICIES = [shape for shape in SHAPES if shape.experts <= 3]


def schedule(progress: float) -> float:
    return 1e-2


def make(action_space=SPACES[0], kind=BlockPolicy, random: bool = True, **arguments):
    """A policy from seed 0, whose adapters and heads are not near 0 if `random`."""
    torch.manual_seed(0)
    policy = kind(OBSERVATIONS, action_space, schedule, net_arch=copy.deepcopy(ARCH), **arguments)
    for name, parameter in policy.named_parameters() if random else ():
        if "adapters" in name or "head" in name or name.startswith("action_net") or ".1." in name:
            parameter.data.normal_()
    return policy


def of(shape: Architecture, action_space=SPACES[0], **arguments):
    return make(action_space, **shape._asdict(), **arguments)


def masks_of(policy, seed: int = 2) -> torch.Tensor:
    """(24, n + 1) masks of 0, 1 and other weights."""
    values = torch.tensor([0.0, 1.0, 0.5, -2.0])
    chosen = torch.randint(4, (len(ROWS), policy.experts + 1), generator=torch.Generator().manual_seed(seed))
    return values[chosen]


def gradients(policy, evaluate) -> dict[str, torch.Tensor]:
    policy.zero_grad()
    evaluate().backward()
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


def all_outputs(policy, features, masks) -> torch.Tensor:
    """(24, A + 1) logits and values."""
    logits = policy.action_net(policy.mlp_extractor.forward_actor(features, masks))
    return torch.cat([logits, policy.value_net(policy.mlp_extractor.forward_critic(features))], 1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {}),
        *(({"level": level}, {"level": level}) for level in OLD_LEVELS),
        *(({"gated": False, "level": level}, {"network": "ungated", "level": level}) for level in OLD_LEVELS),
        ({"gated": False, "level": "adapter"}, {"network": "adapters", "level": "parameter"}),
    ],
)
def test_two_experts_are_those_of_the_sigmoid_gate_bit_for_bit(old, new, precision):
    """Names, initial values, random draws, outputs and gradients, with and without masks."""
    arguments = {"precision": precision}
    theirs = make(kind=TwoExpertPolicy, random=False, **arguments, **old)
    state = torch.get_rng_state()
    ours = make(random=False, **arguments, **new)
    assert torch.equal(state, torch.get_rng_state())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    assert len(ours.optimizer.param_groups[0]["params"]) == len(theirs.optimizer.param_groups[0]["params"])
    theirs, ours = make(kind=TwoExpertPolicy, **arguments, **old), make(**arguments, **new)
    features = ROWS.to(torch.bfloat16) if precision == "bf16" else ROWS
    for masks in (None, masks_of(ours)):
        outputs = [all_outputs(policy, features, masks) for policy in (theirs, ours)]
        found = [
            gradients(policy, lambda o=output: o.square().sum())
            for policy, output in zip((theirs, ours), outputs, strict=True)
        ]
        assert torch.equal(*outputs)
        assert found[0].keys() == found[1].keys()
        assert all(torch.equal(gradient, found[1][name]) for name, gradient in found[0].items())


def test_the_blocks_of_the_default_policy_are_those_of_routing():
    assert make().blocks == BLOCKS
    assert make(network="gated", experts=4).blocks == ("retain", "forget", "forget2", "forget3", "gate")
    assert make(network="ungated", experts=3).blocks == ("retain", "forget", "forget2")
    assert make(network="adapters", level="parameter").blocks == ("retain", "forget")
    assert make(network="single").blocks == ("retain",)


@pytest.mark.parametrize("shape", POLICIES, ids=str)
def test_every_parameter_belongs_to_one_block_or_is_shared(shape):
    policy = of(shape)
    owned = [id(p) for name in policy.blocks for p in policy.block_parameters(name)]
    assert len(owned) == len(set(owned))
    shared = [name for name, p in policy.named_parameters() if id(p) not in owned]
    heads = set() if shape.head == "per_expert" else {"action_net"}
    frozen = [name for name in shared if ".base." in name]
    assert len(frozen) == (4 if shape.network == "adapters" else 0)
    assert {name.split(".")[0] for name in shared if "extractor" not in name} == {"value_net", *heads}
    assert all("critic" in name for name in shared if "extractor" in name and name not in frozen)
    assert all(next(policy.block_parameters(name), None) is not None for name in policy.blocks)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_optimiser_has_every_parameter_that_trains_once_and_no_other_head(shape):
    policy = of(shape)
    optimised = [id(p) for group in policy.optimizer.param_groups for p in group["params"]]
    trained = {id(p) for p in policy.parameters() if p.requires_grad}
    assert len(optimised) == len(set(optimised))
    assert trained <= set(optimised) <= {id(p) for p in policy.parameters()}
    assert all(id(p) in trained for head in policy.mlp_extractor.heads().values() for p in head.parameters())
    frozen = [id(p) for p in policy.action_net.parameters()] if shape.head == "frozen" else []
    assert not set(frozen) & {*optimised, *trained}


@pytest.mark.parametrize("experts", [3, 5])
def test_the_gate_is_a_softmax_whose_last_logit_is_0(experts):
    policy = make(experts=experts)
    logits = policy.gate_logits(ROWS)
    assert logits.shape == (24, experts - 1)
    expected = torch.softmax(pad(logits, (0, 1)), 1)
    found = policy.mlp_extractor.coefficients(ROWS)
    torch.testing.assert_close(torch.cat(found, 1), expected)
    odds = policy.retain_log_odds(ROWS)
    torch.testing.assert_close(torch.sigmoid(odds), expected[:, 0])
    torch.testing.assert_close(policy.gate_values(ROWS), expected[:, 0])


def test_with_two_experts_the_log_odds_are_the_gates_logits_bit_for_bit():
    policy = make()
    assert torch.equal(policy.retain_log_odds(ROWS), policy.gate_logits(ROWS))
    assert policy.gate_logits(ROWS).shape == (24,)
    assert torch.equal(policy.gate_values(ROWS), torch.sigmoid(policy.gate_logits(ROWS)))


def expected_logits(policy, coefficients) -> torch.Tensor:
    """(24, A) by hand from the outputs of experts without adapters."""
    extractor, heads = policy.mlp_extractor, policy.mlp_extractor.heads()
    latents = {name: network(ROWS) for name, network in extractor.networks().items()}
    if policy.head == "per_expert":
        outputs = [heads[name](latent) for name, latent in latents.items()]
        return sum(c * output for c, output in zip(coefficients, outputs, strict=True))
    return policy.action_net(sum(c * latent for c, latent in zip(coefficients, latents.values(), strict=True)))


@pytest.mark.parametrize("shape", [shape for shape in POLICIES if shape.network != "adapters"], ids=str)
def test_logits_are_the_mixture_of_the_experts_in_every_use(shape):
    policy = of(shape)
    n, names = shape.experts, expert_names(shape.experts)
    trained = policy.mlp_extractor.coefficients(ROWS)
    if not shape.gated:
        assert all((c == 1 / n).all() for c in trained)
    scales = tuple(0.3 * i - 0.5 for i in range(n))
    equal = [torch.full((24, 1), 1 / n)] * n
    cases = [(BlockUse(), trained), (BlockUse(scales), [torch.full((24, 1), scale) for scale in scales])]
    for block in policy.blocks:
        kept = [c * (name != block) for name, c in zip(names, trained, strict=True)]
        cases.append((BlockUse(without=frozenset([block])), equal if block == "gate" else kept))
    together = policy.log_probabilities(ROWS, [use for use, _ in cases])
    for (use, coefficients), found in zip(cases, together, strict=True):
        expected = expected_logits(policy, coefficients)
        torch.testing.assert_close(found, log_softmax(expected))
        with policy.deployed(*use):
            torch.testing.assert_close(policy.get_distribution(ROWS).distribution.logits, log_softmax(expected))


WITH_FORGET = [shape for shape in POLICIES if shape.experts > 1]


@pytest.mark.parametrize("shape", WITH_FORGET, ids=str)
def test_forget_scale_1_is_the_policy_as_trained_and_0_has_no_forget_expert_bit_for_bit(shape):
    policy, n = of(shape), shape.experts
    retain = {"gated": 1.0, "ungated": 1 / n, "adapters": 1.0}[shape.network]
    uses = [BlockUse(forget_scale=1.0), BlockUse(), BlockUse(forget_scale=0.0), BlockUse((retain, *[0.0] * (n - 1)))]
    full, trained, none, alone = policy.log_probabilities(ROWS, uses)
    assert torch.equal(full, trained)
    assert torch.equal(none, alone)
    assert not torch.equal(full, none)
    with policy.deployed(forget_scale=0.0):
        assert torch.equal(policy.log_probabilities(ROWS, [policy.mlp_extractor.use])[0], none)


@pytest.mark.parametrize("shape", WITH_FORGET, ids=str)
def test_forget_scale_multiplies_the_forget_experts_and_a_gate_gives_their_weight_to_the_retain_expert(shape):
    policy = of(shape)
    trained = policy.mlp_extractor.coefficients(ROWS)
    scaled = BlockUse(forget_scale=0.3).coefficients(trained, shape.gated)
    for before, after in zip(trained[1:], scaled[1:], strict=True):
        torch.testing.assert_close(after, 0.3 * before)
    kept = 1 - sum(scaled[1:]) if shape.gated else trained[0]
    torch.testing.assert_close(scaled[0], kept)
    ablated = BlockUse(without=frozenset(["forget"]), forget_scale=0.3).coefficients(trained, shape.gated)
    assert (ablated[1] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "use", "message"),
    [
        ({"network": "single"}, BlockUse(forget_scale=0.5), "network 'single' has no forget expert to scale"),
        ({}, BlockUse((1.0, 0.0), forget_scale=0.5), "are fixed, so forget_scale 0.5 has no effect"),
        ({}, BlockUse(forget_scale=1.5), "forget_scale is 1.5; choose a number from 0 to 1"),
        ({}, BlockUse(forget_scale=float("nan")), "forget_scale is nan"),
    ],
)
def test_a_forget_scale_that_does_not_fit_is_refused_in_one_line(arguments, use, message):
    with pytest.raises(ValueError, match=message) as refusal:
        make(**arguments).log_probabilities(ROWS, [use])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("head", HEADS)
def test_adapters_are_the_frozen_network_plus_low_rank_terms(head):
    policy = make(network="adapters", experts=3, level="parameter", head=head)
    scales = (1.0, -0.5, 0.25)
    latent = ROWS
    for layer in list(policy.mlp_extractor.experts)[::2]:
        terms = [scale * adapter(latent) for scale, adapter in zip(scales, layer.adapters.values(), strict=True)]
        latent = torch.tanh(layer.base(latent) + sum(terms))
    if head == "per_expert":
        heads = policy.mlp_extractor.heads().values()
        expected = sum(scale * head(latent) for scale, head in zip(scales, heads, strict=True))
    else:
        expected = policy.action_net(latent)
    torch.testing.assert_close(policy.log_probabilities(ROWS, [BlockUse(scales)])[0], log_softmax(expected))
    unscaled = [policy.log_probabilities(ROWS, [use])[0] for use in (BlockUse(), BlockUse((1.0, 1.0, 1.0)))]
    assert torch.equal(*unscaled)


@pytest.mark.parametrize("shape", POLICIES, ids=str)
def test_a_deployed_expert_ignores_the_parameters_of_other_blocks(shape):
    policy = of(shape)
    alone = BlockUse(tuple(float(name == "retain") for name in expert_names(shape.experts)))
    before, whole = policy.log_probabilities(ROWS, [alone, BlockUse()])
    for name in policy.blocks[1:]:
        for parameter in policy.block_parameters(name):
            parameter.data.normal_()
    after, changed = policy.log_probabilities(ROWS, [alone, BlockUse()])
    assert torch.equal(before, after)
    assert torch.equal(whole, changed) == (shape.experts == 1)


@pytest.mark.parametrize("shape", POLICIES, ids=str)
def test_no_gradient_leaks_into_a_block_whose_mask_is_zero(shape):
    policy = of(shape)
    extractor = policy.mlp_extractor
    labels = torch.arange(len(ROWS)) % len(policy.blocks)
    found = audit(extractor, extractor.router, ROWS, labels, loss=lambda out: out[0].sum())
    assert found.leaks == []
    assert (found.routed.diagonal() > 0).all()


@pytest.mark.parametrize("shape", POLICIES, ids=str)
def test_masks_weight_each_samples_gradient_in_each_block(shape):
    """The routed gradient of a block is the sum of each sample's own, times its mask; other parameters have all."""
    policy = of(shape).double()
    extractor, masks, rows = policy.mlp_extractor, masks_of(policy).double(), ROWS.double()
    if shape.level in ("forward_ablated", "hard"):
        masks = masks.where(masks != 0, 0.5)  # a mask of 0 changes outputs; another test covers it
    target = torch.randn(24, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def loss(samples, masks=None):
        latent = extractor.forward_actor(rows[samples], masks)
        return ((policy.action_net(latent) - target[samples]) ** 2).sum()

    routed = gradients(policy, lambda: loss(slice(None), masks))
    alone = [gradients(policy, lambda i=i: loss(slice(i, i + 1))) for i in range(len(rows))]
    column = {id(p): i for i, name in enumerate(policy.blocks) for p in policy.block_parameters(name)}
    for name, parameter in policy.named_parameters():
        if name in routed:
            weights = masks[:, column[id(parameter)]] if id(parameter) in column else torch.ones(24)
            expected = sum(weight * gradient[name] for weight, gradient in zip(weights, alone, strict=True))
            torch.testing.assert_close(routed[name], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("network", ["gated", "ungated"])
def test_forward_ablated_samples_act_without_each_forget_expert_that_they_do_not_train(network, head):
    policy = make(network=network, experts=3, head=head, level="forward_ablated")
    masks = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 0]]).repeat(6, 1).float()
    actions = torch.zeros(24, dtype=torch.long)
    found = policy.evaluate_actions(ROWS, actions, masks).log_prob
    for row, without in enumerate([(), ("forget",), ("forget2",), ("forget", "forget2")]):
        with policy.deployed(without=without):
            expected = policy.evaluate_actions(ROWS, actions).log_prob
        torch.testing.assert_close(found[row::4], expected[row::4])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("network", ["gated", "ungated"])
def test_hard_samples_are_computed_by_the_experts_that_they_train_alone(network, head):
    policy = make(network=network, experts=3, head=head, level="hard")
    masks = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0.5, 0, 1], [0, -1, 2, 0]]).repeat(6, 1).float()
    actions = torch.zeros(24, dtype=torch.long)
    found = policy.evaluate_actions(ROWS, actions, masks).log_prob
    trained = policy.mlp_extractor.coefficients(ROWS)
    pair = trained[1] + trained[2]
    by_hand = [trained, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0 * pair, trained[1] / pair, trained[2] / pair)]
    for row, coefficients in enumerate(by_hand):
        latents = [expert(ROWS) for expert in policy.mlp_extractor.experts.values()]
        mixed = sum(c * latent for c, latent in zip(coefficients, latents, strict=True))
        torch.testing.assert_close(found[row::4], log_softmax(policy.action_net(mixed))[row::4, 0])
    assert torch.equal(found[::4], policy.evaluate_actions(ROWS, actions).log_prob[::4])
    with policy.deployed((1.0, 0.0, 0.0)):
        torch.testing.assert_close(found[1::4], policy.evaluate_actions(ROWS, actions).log_prob[1::4])


@pytest.mark.parametrize("network", ["gated", "ungated"])
def test_unit_masks_at_level_hard_change_no_bit_of_values_and_gradients(network):
    policy = make(network=network, experts=3, level="hard")
    found = []
    for masks in (None, torch.ones(24, 4)):
        outputs = all_outputs(policy, ROWS, masks)
        found.append((outputs, gradients(policy, lambda o=outputs: o.square().sum())))
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(gradient, found[1][1][name]) for name, gradient in found[0][1].items())


def test_a_hard_sample_gives_no_gradient_to_experts_that_it_does_not_train():
    policy = make(experts=3, level="hard")
    masks = torch.tensor([[0.0, 1.0, 0.0, 0.0]]).expand(24, 4)
    found = gradients(policy, lambda: all_outputs(policy, ROWS, masks).square().sum())
    moved = {name for name in policy.blocks if any(found[key].any() for key in block_names(policy, name))}
    assert moved == {"forget"}


def block_names(policy, block: str) -> list[str]:
    owned = {id(parameter) for parameter in policy.block_parameters(block)}
    return [name for name, parameter in policy.named_parameters() if id(parameter) in owned]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("head", HEADS)
def test_a_conditioned_network_reads_each_samples_code_in_the_update_and_its_uses_code_elsewhere(head, precision):
    policy = make(network="conditioned", head=head, precision=precision)
    assert policy.blocks == ("retain",)
    codes = torch.eye(3)
    masks = torch.cat([codes, torch.ones(3, 1)], 1).repeat(8, 1)
    actions = torch.zeros(24, dtype=torch.long)
    found = policy.evaluate_actions(ROWS, actions, masks).log_prob
    alone = []
    for code in codes.tolist():
        with policy.deployed(tuple(code)):
            alone.append(policy.evaluate_actions(ROWS, actions).log_prob)
    for row, log_prob in enumerate(alone):
        torch.testing.assert_close(found[row::3], log_prob[row::3])
    assert not torch.allclose(alone[0], alone[1])
    assert torch.equal(policy.evaluate_actions(ROWS, actions).log_prob, alone[2])
    uses = [BlockUse(tuple(code)) for code in codes.tolist()]
    for log_prob, expected in zip(policy.log_probabilities(policy.rounded(ROWS), uses), alone, strict=True):
        torch.testing.assert_close(log_prob[:, 0], expected)


def test_no_gradient_of_a_conditioned_network_is_masked():
    policy = make(network="conditioned").double()
    rows, masks = ROWS.double(), torch.tensor([[1.0, 0.0, 0.0, 1.0]]).double().expand(24, 4)
    found = gradients(policy, lambda: all_outputs(policy, rows, masks).square().sum())
    with policy.deployed((1.0, 0.0, 0.0)):
        plain = gradients(policy, lambda: all_outputs(policy, rows, None).square().sum())
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient)
    read = found["mlp_extractor.experts.retain.0.weight"][:, -3:]
    assert read[:, 0].any()
    assert not read[:, 1:].any()


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("network", SIZES)
def test_recorded_steps_have_the_gradient_of_the_same_samples_evaluated_later(network, head, space):
    level = "parameter" if network == "adapters" else "activation"
    policy = make(space, network=network, experts=SIZES[network][-1], head=head, level=level)
    masks = masks_of(policy)
    with policy.recorded(masks[None].clone()) as steps:
        actions, _, log_prob = policy(ROWS)
    recorded = gradients(policy, lambda: (steps[0].log_prob + steps[0].values.squeeze(-1)).sum())
    later = policy.evaluate_actions(ROWS, actions, masks)
    again = gradients(policy, lambda: (later.log_prob + later.values.squeeze(-1)).sum())
    torch.testing.assert_close(log_prob, later.log_prob.detach())
    assert recorded.keys() == again.keys()
    for name, gradient in recorded.items():
        torch.testing.assert_close(gradient, again[name])
    alone = BlockUse(tuple(float(name == "retain") for name in expert_names(policy.experts)))
    with policy.deployed(*alone):
        deployed = copy.copy(policy.get_distribution(ROWS))  # Stable-Baselines3 returns one object each time
    whole = policy.get_distribution(ROWS)
    assert torch.allclose(kl_divergence(whole, deployed), torch.zeros(())) == (policy.experts == 1)


def test_heads_have_stable_baselines3s_initial_gain_and_a_frozen_one_is_orthogonal():
    shared = make(random=False).action_net.weight
    torch.testing.assert_close(shared @ shared.T, 1e-4 * torch.eye(4))
    own = make(random=False, head="per_expert", experts=3)
    for head in own.mlp_extractor.heads().values():
        torch.testing.assert_close(head.weight @ head.weight.T, 1e-4 * torch.eye(4))
        assert not head.bias.any()
    assert not list(own.action_net.parameters())
    frozen = make(random=False, head="frozen").action_net
    torch.testing.assert_close(frozen.weight @ frozen.weight.T, torch.eye(4))
    assert not frozen.bias.any()


@pytest.mark.parametrize("space", [Discrete(4), Box(-1, 1, (2,), np.float32)], ids=str)
@pytest.mark.parametrize("network", SIZES)
def test_training_moves_every_head_but_a_frozen_one(network, space):
    level = "parameter" if network == "adapters" else "activation"
    for head in HEADS:
        policy = make(space, network=network, experts=SIZES[network][-1], head=head, level=level)
        actions = policy(ROWS)[0].detach()  # a Gaussian's draws have a gradient
        before = copy.deepcopy(policy.state_dict())
        loss = policy.evaluate_actions(ROWS, actions, torch.ones(24, policy.experts + 1)).log_prob.square().sum()
        loss.backward()
        policy.optimizer.step()
        heads = [name for name in before if "action_net" in name]
        heads += [
            f"{path}.{name}"
            for path, module in policy.named_modules()
            for name, _ in module.named_parameters(recurse=False)
            if module in policy.mlp_extractor.heads().values()
        ]
        assert heads
        assert all(torch.equal(before[name], policy.state_dict()[name]) == (head == "frozen") for name in heads)


@pytest.mark.parametrize("shape", POLICIES, ids=str)
def test_a_policy_survives_copies_pickles_and_stable_baselines3s_file(shape, tmp_path):
    policy = of(shape)
    policy.save(tmp_path / "policy.pt")
    for other in (
        copy.deepcopy(policy),
        pickle.loads(pickle.dumps(policy)),
        BlockPolicy.load(tmp_path / "policy.pt"),
    ):
        assert other.architecture == shape
        assert torch.equal(*(p.log_probabilities(ROWS)[0] for p in (policy, other)))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("network", "experts"), [("single", 1), ("gated", 3), ("ungated", 3), ("adapters", 3)])
def test_ppo_trains_every_network_and_loads_it(network, experts, head, tmp_path):
    level = "parameter" if network == "adapters" else "activation"
    kwargs = {"network": network, "experts": experts, "head": head, "level": level, "net_arch": ARCH}
    model = RoutedPPO(BlockPolicy, "CartPole-v1", n_steps=16, batch_size=8, n_epochs=2, seed=0, policy_kwargs=kwargs)
    before = copy.deepcopy(model.policy.state_dict())
    model.learn(32)
    frozen = [name for name in before if ".base." in name or (head == "frozen" and "action_net" in name)]
    for name, value in model.policy.state_dict().items():
        assert torch.equal(before[name], value) == (name in frozen), name
    model.save(tmp_path / "model.zip")
    loaded = RoutedPPO.load(tmp_path / "model.zip").policy
    assert loaded.architecture == model.policy.architecture
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.policy.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "gate"}, "unknown network 'gate'; did you mean 'gated'?"),
        ({"head": "per_experts"}, "unknown head 'per_experts'; did you mean 'per_expert'?"),
        ({"level": "rows"}, "unknown level 'rows'"),
        ({"level": "adapter"}, "unknown level 'adapter'"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"network": "single", "experts": 2}, "network 'single' has 1 expert, not 2"),
        ({"network": "conditioned", "experts": 2}, "network 'conditioned' has 1 expert, not 2"),
        ({"network": "adapters", "level": "hard"}, "choose level 'parameter'"),
        ({"experts": 1}, "network 'gated' has 1 experts; choose at least 2"),
        ({"network": "ungated", "experts": 0}, "network 'ungated' has 0 experts; choose at least 2"),
        ({"experts": 9}, "a policy of 9 experts is too large; choose at most 8"),
        ({"network": "adapters"}, "level 'activation' cannot separate them; choose level 'parameter'"),
        ({"network": "adapters", "level": "forward_ablated"}, "choose level 'parameter'"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as refusal:
        make(**arguments)
    assert "\n" not in str(refusal.value)


def test_a_head_per_expert_refuses_state_dependent_noise():
    with pytest.raises(ValueError, match="use head 'shared'"):
        make(SPACES[1], head="per_expert", use_sde=True)
    make(SPACES[1], head="frozen", use_sde=True)


def test_a_use_that_does_not_fit_the_policy_is_refused_before_it_acts():
    policy = make(experts=3)
    with pytest.raises(ValueError, match="unknown block 'forget3'; did you mean"), policy.deployed(without=["forget3"]):
        pass
    with pytest.raises(ValueError, match="unknown block 'gate'"):
        make(network="single").log_probabilities(ROWS, [BlockUse(without=frozenset(["gate"]))])
    with pytest.raises(
        ValueError, match=r"2 coefficients \(1.0, 0.0\) for a policy of 3 experts; give one for each of"
    ):
        policy.log_probabilities(ROWS, [BlockUse((1.0, 0.0))])


@pytest.mark.parametrize(("network", "experts"), [("single", 1), ("gated", 3), ("ungated", 3)])
def test_masks_of_another_number_of_columns_are_refused(network, experts):
    policy = make(network=network, experts=experts)
    with pytest.raises(ValueError, match=rf"masks have {experts} columns; give {experts + 1}: retain"):
        policy.evaluate_actions(ROWS, torch.zeros(24), torch.ones(24, experts))


def parameters_of(policy) -> int:
    """Parameters that compute actions."""
    critic = {id(p) for module in (policy.mlp_extractor.critic, policy.value_net) for p in module.parameters()}
    return sum(p.numel() for p in policy.parameters() if id(p) not in critic)


@pytest.mark.parametrize(("network", "experts"), [("gated", 2), ("gated", 4), ("ungated", 2), ("ungated", 3)])
@pytest.mark.parametrize("widths", [[16, 12], [5], [64, 64]])
def test_the_width_of_equal_capacity_is_the_smallest_that_has_as_many_parameters(network, experts, widths):
    def size(network, experts, widths):
        arch = {"pi": widths, "vf": [4]}
        return parameters_of(
            BlockPolicy(OBSERVATIONS, Discrete(4), schedule, network=network, experts=experts, net_arch=arch)
        )

    width = equal_capacity_width(6, widths, 4, experts, network == "gated")
    needed = size(network, experts, widths)
    assert size("single", 1, [width] * len(widths)) >= needed
    assert size("single", 1, [width - 1] * len(widths)) < needed


def test_a_treated_policy_without_gate_learns_from_masks_with_the_gates_column():
    env = make_vec_env("envs:keyhole/DiamondGhost-v0", 4, size=2)
    kwargs = {"network": "ungated", "head": "per_expert", "net_arch": ARCH}
    model = RoutedPPO(BlockPolicy, env, method="no_gate", n_steps=16, batch_size=64, policy_kwargs=kwargs).learn(128)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.policy.parameters())
