"""`Router.check` accepts models that are routed exactly and raises for errors that the router cannot observe."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from routing import Regions, Router, Rules, module, params, units

B = T = 4
E = 6
LABELS = ["x", "y", "x", "y"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Model(nn.Module):
    """A model of named layers and a forward function of the model and its input."""

    def __init__(self, forward, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.compute = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(self, x)


def router_of(model: nn.Module, part, level: str = "parameter", **options) -> Router:
    rules = Rules(Regions(model, {"r": part}), ("x", "y"), {"x": {"r": 0.0}, "y": {"r": -0.5}})
    return Router(model, rules, level, **options)


def mlp(forward=None) -> Model:
    layers = {"a": nn.Linear(E, E), "b": nn.Linear(E, E)}
    return Model(forward or (lambda m, x: m.b(m.a(x).tanh())), **layers)


@pytest.mark.parametrize("level", ["activation", "parameter", "rows", "columns", "forward_ablated"])
@pytest.mark.parametrize("labels", [LABELS, torch.rand(B, 2)])
def test_check_accepts_every_level_of_a_plain_network_and_leaves_it_unchanged(level, labels):
    model, x = mlp(), torch.randn(B, E)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert router_of(model, units("a", slice(0, 3), out="b"), level).check(x, labels) < 1e-12
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_check_accepts_token_labels():
    assert router_of(mlp(), module("a")).check(torch.randn(B, T, E), torch.randint(0, 2, (B, T))) < 1e-12


def test_check_accepts_dropout_several_arguments_and_a_mean_loss():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.TransformerDecoderLayer(E, 2, 8, dropout=0.5, batch_first=True)

        def forward(self, x: Tensor, memory: Tensor) -> dict[str, Tensor]:
            return {"output": self.a(x, memory)}

    x = (torch.randn(B, T, E), torch.randn(B, 3, E))
    router = router_of(Two(), module("a"))
    assert router.check(x, LABELS) < 1e-12
    assert router.check({"x": x[0], "memory": x[1]}, LABELS, loss=lambda out: out["output"].exp().mean()) < 1e-12


def test_check_accepts_sequence_first_models_with_a_declared_axis():
    model = Model(lambda m, x: m.a(x), a=nn.TransformerEncoderLayer(E, 2, 8))
    for level in ("activation", "parameter"):
        assert router_of(model, module("a"), level, batch_dim=1).check(torch.randn(T, B, E), LABELS) < 1e-12


def test_check_accepts_a_model_that_fixes_its_dtype():
    model = mlp(lambda m, x: m.b(m.a(x.float()).tanh()))
    assert router_of(model, module("a")).check(torch.randn(B, E), LABELS) < 1e-4


def positions(m: nn.Module, x: Tensor) -> Tensor:
    return m.b(x + m.a(torch.eye(T, E).to(x)))


def halves_exchanged(m: nn.Module, x: Tensor) -> Tensor:
    y = m.a(torch.cat([x[2:], x[:2]]))
    return torch.cat([y[2:], y[:2]])


def sorted_by_size(m: nn.Module, x: Tensor) -> Tensor:
    order = x.flatten(1).sum(1).argsort()
    return m.b(m.a(x[order])[order.argsort()].tanh())


WRONG = {
    "examples sorted inside the model": (sorted_by_size, (B, E), "'a."),
    "examples reversed inside the model": (lambda m, x: m.b(m.a(x.flip(0)).tanh()), (B, E), "'a."),
    "halves of the batch exchanged": (halves_exchanged, (B, E), "'a."),
    "sequence-first input of a linear layer": (lambda m, x: m.a(x.transpose(0, 1)), (B, T, E), "'a."),
    "a table of positions computed by a layer": (positions, (B, T, E), "'a."),
    "a weight read without calling its layer": (lambda m, x: torch.addmm(m.a.bias, x, m.a.weight.T), (B, E), "'a."),
    "features and examples transposed": (lambda m, x: m.a(x.unflatten(1, (E, T)).permute(2, 0, 1)), (B, E * T), "'a."),
}


@pytest.mark.parametrize("name", WRONG)
def test_check_raises_with_the_worst_parameter_for(name):
    forward, shape, parameter = WRONG[name]
    router = router_of(mlp(forward), module("a"))
    with pytest.raises(RuntimeError, match=r"differs from the sum over single examples by") as caught:
        router.check(torch.randn(shape), LABELS)
    assert parameter in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level", ["activation", "forward_ablated"])
def test_check_raises_for_reordered_examples_at_levels_of_activations(level):
    router = router_of(mlp(lambda m, x: m.b(m.a(x.flip(0)).tanh())), module("a"), level)
    with pytest.raises(RuntimeError, match="differs from the sum over single examples"):
        router.check(torch.randn(B, E), LABELS)


def test_check_raises_for_a_weight_tied_to_a_functional_use():
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.a(x).tanh() @ m.a.weight.T

    with pytest.raises(RuntimeError, match=r"'a\.weight' differs"):
        router_of(mlp(forward), module("a")).check(torch.randn(B, E), LABELS)


def test_check_rejects_models_that_mix_examples_or_are_random():
    x = torch.randn(B, E)
    norm = Model(lambda m, x: m.a(m.n(x)), a=nn.Linear(E, E), n=nn.BatchNorm1d(E))
    with pytest.raises(ValueError, match="does not run on a single example"):
        router_of(norm, module("a")).check(x, LABELS)
    assert router_of(norm.eval(), module("a")).check(x, LABELS) < 1e-12
    with pytest.raises(ValueError, match="mixes examples"):
        router_of(mlp(lambda m, x: m.a(x - x.mean(0))), module("a")).check(x, LABELS)
    with pytest.raises(ValueError, match="random numbers"):
        router_of(mlp(lambda m, x: m.a(x + torch.randn_like(x))), module("a")).check(x, LABELS)


def test_check_rejects_labels_of_a_wrong_length():
    with pytest.raises(ValueError, match="there are 3 labels"):
        router_of(mlp(), module("a")).check(torch.randn(B, E), LABELS[:3])


def packed(m: nn.Module, x: Tensor) -> Tensor:
    lengths = torch.full((len(x),), x.shape[1])
    states, _ = m.r(pack_padded_sequence(x, lengths, batch_first=True))
    return m.a(pad_packed_sequence(states, batch_first=True)[0][:, :, :E])


def test_check_accepts_a_routed_head_after_a_bidirectional_packed_recurrent_network():
    model = Model(packed, r=nn.GRU(E, E, bidirectional=True, batch_first=True), a=nn.Linear(E, E))
    for level in ("activation", "parameter"):
        assert router_of(model, module("a"), level).check(torch.randn(B, T, E), LABELS) < 1e-12


def test_check_accepts_a_router_of_a_wrapper_and_regions_of_an_inner_model():
    inner = mlp()
    outer = nn.Sequential(nn.Linear(E, E), inner)
    rules = Rules(Regions(inner, {"r": params("a.*")}), ("x", "y"), {"x": {"r": 0.0}})
    assert Router(outer, rules, "parameter").check(torch.randn(B, E), LABELS) < 1e-12
