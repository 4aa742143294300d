"""Routed gradients of unusual models equal a loop over examples in float64, or the router raises a one-line error."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from routing import Regions, Router, Rules, module, params, routed_linear, scale_grad, units
from routing.selectors import Part

B = T = 4
E = 8
WEIGHTS = torch.tensor([0.3, -1.7, 0.0, 2.0], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def router_of(model: nn.Module, part: Part | list[Part], level: str = "parameter", **options) -> Router:
    return Router(model, Rules.direct(Regions(model, {"r": part})), level, **options)


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    pairs = zip(named.items(), found, strict=True)
    return {name: torch.zeros_like(p) if g is None else g.to_dense() for (name, p), g in pairs}


def looped(model: nn.Module, part: Part | list[Part], x: Tensor, axis: int = 0, call=None) -> dict[str, Tensor]:
    """Sum the gradients of single examples, weighted in the region."""
    names = {piece.name for piece in Regions(model, {"r": part})["r"].pieces}
    total: dict[str, Tensor] = {}
    for i, weight in enumerate(WEIGHTS):
        for name, g in gradients(model, loss_of(call or model, x.narrow(axis, i, 1))).items():
            total[name] = total.get(name, 0) + g * (weight if name in names else 1)
    return total


def loss_of(call, x: Tensor) -> Tensor:
    output = call(x)
    return sum(leaf.square().sum() for leaf in (output if isinstance(output, tuple) else (output,)) if leaf is not None)


def largest_error(model: nn.Module, part: Part | list[Part], x: Tensor, axis: int = 0, call=None, **options) -> float:
    """Route a batch and return the largest relative error of a parameter's gradient against the loop."""
    expected = looped(model, part, x, axis, call)
    with router_of(model, part, **options)(WEIGHTS[:, None]):
        found = gradients(model, loss_of(call or model, x))
    scale = max(float(g.norm()) for g in expected.values())
    return max(float((found[name] - g).norm()) / max(float(g.norm()), 1e-3 * scale) for name, g in expected.items())


def message(error: type[Exception], call) -> str:
    with pytest.raises(error, match=r".+") as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def floats(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


class Model(nn.Module):
    """A model of named layers and a forward function of the model and its input."""

    def __init__(self, forward, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.compute = forward
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(self, x)


def attention(batch_first: bool = False) -> Model:
    layer = nn.MultiheadAttention(E, 2, batch_first=batch_first)
    return Model(lambda m, x: m.a(x, x, x), a=layer)


def encoder(batch_first: bool = False) -> Model:
    layer = nn.TransformerEncoderLayer(E, 2, 16, dropout=0.0, batch_first=batch_first)
    return Model(lambda m, x: m.a(x), a=layer)


@pytest.mark.parametrize(("build", "path"), [(attention, "a"), (encoder, "a"), (encoder, "a.linear1")])
def test_sequence_first_layers_are_rejected_unless_the_batch_axis_is_declared(build, path):
    model = build()
    assert "batch_first=False" in message(ValueError, lambda: router_of(model, module(path)))
    assert "batch_dim is 0" in message(ValueError, lambda: router_of(model, module(path), batch_dim=0))
    assert "batch_dim=0" in message(ValueError, lambda: router_of(build(True), module(path), batch_dim=1))
    assert "must be 0 or 1" in message(ValueError, lambda: router_of(model, module(path), batch_dim=2))
    assert "unknown region 'x'" in message(ValueError, lambda: router_of(model, module(path), batch_dim={"x": 1}))


@pytest.mark.parametrize("build", [attention, encoder])
@pytest.mark.parametrize("length", [T, 3])
def test_sequence_first_layers_with_a_declared_axis_are_exact_even_if_sizes_coincide(build, length):
    assert largest_error(build(), module("a"), floats(length, B, E), 1, batch_dim=1) < 1e-12
    assert largest_error(build(), module("a"), floats(length, B, E), 1, batch_dim={"r": 1}) < 1e-12


@pytest.mark.parametrize("build", [attention, encoder])
def test_batch_first_layers_are_exact_if_sizes_coincide(build):
    assert largest_error(build(True), module("a"), floats(B, T, E)) < 1e-12


def test_activations_of_sequence_first_layers_are_weighted_on_the_declared_axis():
    model = Model(lambda m, x: m.a(m.first(x)), first=nn.Linear(E, E), a=nn.TransformerEncoderLayer(E, 2, 16, 0.0))
    x = floats(T, B, E)
    found = {}
    for region in ("a", "first"):
        with router_of(model, module(region), "activation" if region == "a" else "parameter", batch_dim=1)(
            WEIGHTS[:, None]
        ):
            found[region] = gradients(model, loss_of(model, x))["first.weight"]
    torch.testing.assert_close(found["a"], found["first"])  # nothing else lies upstream of the encoder layer


def test_token_labels_of_sequence_first_layers_weight_tokens():
    model, x, weights = Model(lambda m, x: m.a(x), a=nn.Linear(E, E)), floats(T, B, E), floats(B, T)
    with router_of(model, module("a"), batch_dim=1)(weights[..., None]):
        found = gradients(model, loss_of(model, x))
    with router_of(model, module("a"))(weights[..., None]):
        expected = gradients(model, loss_of(model, x.transpose(0, 1)))
    torch.testing.assert_close(found["a.weight"], expected["a.weight"])


def positions(index) -> Model:
    layers = {"tokens": nn.Embedding(9, E), "position": nn.Embedding(T, E), "head": nn.Linear(E, 3)}
    return Model(lambda m, x: m.head((m.tokens(x) + m.position(index(x))).tanh()), **layers)


def test_positions_shared_by_all_examples_are_rejected_and_expanded_positions_are_exact():
    x = torch.randint(0, 9, (B, T))
    shared, expanded = positions(lambda x: torch.arange(T)), positions(lambda x: torch.arange(T).expand_as(x))
    assert "expand it to (B, T)" in message(ValueError, lambda: largest_error(shared, module("position"), x))
    assert largest_error(expanded, module("position"), x) < 1e-12
    with router_of(shared, module("position"), "activation")(WEIGHTS[:, None]):
        assert "expand it to (B, T)" in message(ValueError, lambda: shared(x))


def test_a_category_for_each_example_is_exact_if_the_batch_axis_is_declared():
    model = Model(lambda m, x: m.head(m.e(x).tanh()), e=nn.Embedding(9, E), head=nn.Linear(E, 3))
    assert largest_error(model, module("e"), torch.randint(0, 9, (B,)), batch_dim=0) < 1e-12


@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_reentrant_checkpointing_is_rejected(level):
    model, x = Model(lambda m, x: m.a(x), a=nn.Linear(E, E)), floats(B, E).requires_grad_()
    with router_of(model, module("a"), level)(WEIGHTS[:, None]):
        assert "use_reentrant=False" in message(RuntimeError, lambda: checkpoint(model, x, use_reentrant=True))
        with torch.no_grad():
            model(x)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("normalise", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_weights_that_a_hook_computes_are_rejected_and_their_bias_is_exact(normalise):
    model = Model(lambda m, x: m.a(x).tanh(), a=nn.Linear(E, E))
    normalise(model.a)
    assert "a hook computes" in message(ValueError, lambda: router_of(model, module("a")))
    assert "a hook computes" in message(ValueError, lambda: router_of(model, params("a.weight_*")))
    model.eval()  # spectral_norm updates its vectors in training mode
    assert largest_error(model, params("a.bias"), floats(B, E)) < 1e-12


def test_pruned_weights_are_rejected():
    model = Model(lambda m, x: m.a(x), a=nn.Linear(E, E))
    prune.random_unstructured(model.a, "weight", 0.5)
    assert "a hook computes" in message(ValueError, lambda: router_of(model, module("a")))


def penalised(model: nn.Module, x: Tensor) -> Tensor:
    """Return a gradient penalty plus the loss; both are sums over examples."""
    x = x.clone().requires_grad_()
    loss = model(x).square().sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    return loss + gradient.square().sum()


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(E, 6), nn.Tanh(), nn.Linear(6, 3)], (E,)),
        ([nn.Conv1d(3, 4, 3, stride=2, padding=1), nn.Tanh(), nn.Conv1d(4, 2, 2, dilation=2)], (3, 9)),
        ([nn.Conv2d(4, 4, 3, groups=2), nn.Tanh()], (4, 5, 6)),
    ],
)
def test_a_gradient_penalty_through_linear_layers_and_convolutions_is_exact(layers, shape):
    model, x, total = nn.Sequential(*layers).double(), floats(B, *shape), {}
    for i, weight in enumerate(WEIGHTS):
        for name, g in gradients(model, penalised(model, x[i : i + 1])).items():
            total[name] = total.get(name, 0) + g * (weight if name.startswith("0") else 1)
    with router_of(model, module("0"))(WEIGHTS[:, None]):
        found = gradients(model, penalised(model, x))
    for name, expected in total.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-12)


def test_a_gradient_penalty_with_routed_columns_is_exact():
    model, x, total = nn.Sequential(nn.Linear(E, 6), nn.Tanh(), nn.Linear(6, 3)).double(), floats(B, E), {}
    part = units("0", slice(0, 3), out="2")
    for i, weight in enumerate(WEIGHTS):
        for name, g in gradients(model, penalised(model, x[i : i + 1])).items():
            factor = torch.ones_like(g)
            factor[
                {"0.weight": slice(0, 3), "0.bias": slice(0, 3), "2.weight": (slice(None), slice(0, 3))}.get(name, ())
            ] = 1 if name == "2.bias" else weight
            total[name] = total.get(name, 0) + g * factor
    with router_of(model, part)(WEIGHTS[:, None]):
        found = gradients(model, penalised(model, x))
    for name, expected in total.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-12)


def test_a_gradient_penalty_through_a_layer_evaluated_twice_is_rejected():
    model = nn.Sequential(nn.LayerNorm(E), nn.Linear(E, 3)).double()
    with router_of(model, module("0"))(WEIGHTS[:, None]):
        assert "second-order" in message(RuntimeError, lambda: penalised(model, floats(B, E)).backward())
        penalty = penalised(model, floats(B, E))
    with pytest.raises(RuntimeError, match="second-order"):
        penalty.backward()


@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_a_deep_copy_inside_the_context_uses_its_own_parameters_and_is_not_routed(level):
    model, x = Model(lambda m, x: m.a(x), a=nn.Linear(E, E)), floats(B, E)
    with router_of(model, module("a"), level)(WEIGHTS[:, None]):
        duplicate = copy.deepcopy(model)
        with torch.no_grad():
            duplicate.a.weight.zero_()
        assert torch.equal(duplicate(x), duplicate.a.bias.expand(B, E))
        assert not torch.equal(model(x), duplicate(x))
        assert copy.deepcopy(model.a).weight is not model.a.weight
        routed = gradients(model, loss_of(model, x))
    assert "forward" not in {**duplicate.a.__dict__, **model.a.__dict__}
    assert "__deepcopy__" not in {**duplicate.a.__dict__, **model.a.__dict__}
    assert level == "activation" or not torch.equal(routed["a.weight"], gradients(model, loss_of(model, x))["a.weight"])


class Stateful(nn.Module):
    """Counts its calls in a buffer, an attribute and a list, and scales by the count."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(E))
        self.register_buffer("count", torch.zeros(()))
        self.calls, self.log, self._last = 0, [], None
        self.norm = nn.InstanceNorm1d(1, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.calls += 1
        self.log.append(self.calls)
        self._last = self.calls
        return (self.norm(x[:, None])[:, 0] + x) * self.scale * self.count * self.calls


def test_a_layer_with_state_is_exact_and_updates_its_state_once():
    model, x = nn.Sequential(Stateful()).double(), floats(B, E)
    plain, part = copy.deepcopy(model), module("0")
    plain(x)
    names = {piece.name for piece in Regions(model, {"r": part})["r"].pieces}
    total: dict[str, Tensor] = {}
    for i, weight in enumerate(WEIGHTS):
        alone = copy.deepcopy(model)
        for name, g in gradients(alone, loss_of(alone, x[i : i + 1])).items():
            total[name] = total.get(name, 0) + g * (weight if name in names else 1)
    with router_of(model, part)(WEIGHTS[:, None]):
        found = gradients(model, loss_of(model, x))
    for name, expected in total.items():
        torch.testing.assert_close(found[name], expected)
    assert (model[0].calls, model[0].log, model[0]._last) == (1, [1], 1)
    for name, buffer in plain.named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], buffer)


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings_scaled_by_frequency_are_rejected(kind):
    model = nn.Sequential(kind(9, E, scale_grad_by_freq=True))
    assert "scale_grad_by_freq" in message(ValueError, lambda: router_of(model, module("0")))
    router_of(model, module("0"), "activation")


class Block(nn.Module):
    """A GPT-2 block, pre-norm, or a post-norm variant."""

    def __init__(self, post: bool) -> None:
        super().__init__()
        self.norm_1, self.norm_2, self.post = nn.LayerNorm(E), nn.LayerNorm(E), post
        self.attention = nn.MultiheadAttention(E, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(E, 16), nn.GELU(), nn.Linear(16, E), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = self.norm_1(x + self.attention(x, x, x, need_weights=False)[0])
            return self.norm_2(x + self.mlp(x))
        y = self.norm_1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm_2(x))


@pytest.mark.parametrize("post", [False, True])
@pytest.mark.parametrize("trained_input", [False, True])
def test_forward_ablation_of_a_residual_block_is_rejected_and_of_its_mlp_is_accepted(post, trained_input):
    model = Model(lambda m, x: m.block(m.first(x)), first=nn.Linear(E, E), block=Block(post))
    model.first.requires_grad_(trained_input)
    x = floats(B, T, E)
    with router_of(model, module("block"), "forward_ablated")(WEIGHTS[:, None]):
        assert "residual connection" in message(ValueError, lambda: model(x))
    with router_of(model, module("block.mlp"), "forward_ablated")(WEIGHTS[:, None]):
        model(x)


def test_weights_of_a_wrong_length_are_rejected_when_used():
    x, W = floats(B, E), floats(3, E)
    for weight in (torch.ones(1), torch.ones(3), torch.ones(B, 3), torch.ones(E)):
        assert "does not match" in message(ValueError, lambda w=weight: scale_grad(x, w))
    assert "does not match" in message(ValueError, lambda: routed_linear(x, W, rows=torch.ones(B + 1)))
    assert "does not match" in message(ValueError, lambda: routed_linear(x, W, cols=torch.ones(B, 3)))
    model = Model(lambda m, x: m.a(x), a=nn.Linear(E, E))
    for level in ("activation", "parameter"):
        with router_of(model, module("a"), level)(torch.ones(1, 1)):
            assert "labels are for (1,)" in message(ValueError, lambda: model(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch.func.jvp scripts its own code
def test_forward_mode_differentiation_raises_inside_the_context():
    model, x = Model(lambda m, x: m.a(x), a=nn.Linear(E, E)), floats(B, E)
    for level in ("activation", "parameter"):
        with (
            router_of(model, module("a"), level)(WEIGHTS[:, None]),
            pytest.raises(RuntimeError, match=r"forward AD|jvp"),
        ):
            torch.func.jvp(model, (x,), (x,))


class Bag(nn.Module):
    """A bag of embeddings with learned weights of its entries."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.s = nn.EmbeddingBag(9, E, mode="sum"), nn.Embedding(9, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.e(x, per_sample_weights=self.s(x)[..., 0])


class Scale(nn.Module):
    """Scales the result of a function of itself and its input."""

    def __init__(self, function=lambda m, x: x, **layers: nn.Module) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(E))
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x) * self.scale


class Product(torch.autograd.Function):
    """A matrix product with its own backward."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad @ w.T, x.T @ grad


class Cell(nn.Module):
    """Runs a recurrent cell over a sequence."""

    def __init__(self, kind) -> None:
        super().__init__()
        self.cell = kind(E, E)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return state if isinstance(state, Tensor) else state[0]


def tied() -> Model:
    model = Model(lambda m, x: m.b(m.a(x).tanh()), a=nn.Linear(E, E), b=nn.Linear(E, E))
    model.b.weight = model.a.weight
    return model


def one(layer: nn.Module) -> Model:
    return Model(lambda m, x: m.a(m.f(x).tanh()), f=nn.Linear(E, E), a=layer)


EXACT = {
    "an in-place activation after a linear layer": (
        lambda: Model(lambda m, x: m.a(x).relu_(), a=nn.Linear(E, E)),
        module("a"),
        (E,),
    ),
    "an in-place activation after a norm": (
        lambda: Model(lambda m, x: m.a(x).relu_(), a=nn.LayerNorm(E)),
        module("a"),
        (E,),
    ),
    "a layer used twice": (
        lambda: Model(lambda m, x: m.a(m.a(x).tanh()), a=nn.Linear(E, E)),
        module("a"),
        (E,),
    ),
    "a norm used twice": (
        lambda: Model(lambda m, x: m.a(m.a(x).tanh()), a=nn.LayerNorm(E)),
        module("a"),
        (E,),
    ),
    "tied linear layers": (tied, module("a"), (E,)),
    "a bilinear layer": (lambda: Model(lambda m, x: m.a(x, x.tanh()), a=nn.Bilinear(E, E, 3)), module("a"), (E,)),
    "a GRU cell": (lambda: Cell(nn.GRUCell), module("cell"), (T, E)),
    "an LSTM cell": (lambda: Cell(nn.LSTMCell), module("cell"), (T, E)),
    "a parameter beside an LSTM": (
        lambda: Scale(lambda m, x: m.r(x)[0], r=nn.LSTM(E, E, batch_first=True)),
        params("scale"),
        (T, E),
    ),
    "a parameter beside a parametrized layer": (
        lambda: Scale(lambda m, x: m.a(x), a=nn.utils.parametrizations.weight_norm(nn.Linear(E, E))),
        params("scale"),
        (E,),
    ),
    "nested routed modules": (
        lambda: one(Scale(lambda m, x: m.n(m.l(x)), n=nn.LayerNorm(E), l=nn.Linear(E, E))),
        module("a"),
        (E,),
    ),
    "a custom autograd function": (
        lambda: one(Scale(lambda m, x: Product.apply(x, m.w.weight), w=nn.Linear(E, E, bias=False))),
        params("a.scale"),
        (E,),
    ),
    "a transposed convolution": (lambda: nn.Sequential(nn.ConvTranspose1d(4, 3, 3)), module("0"), (4, 5)),
    "a circular convolution": (
        lambda: nn.Sequential(nn.Conv1d(4, 3, 3, padding=1, padding_mode="circular")),
        module("0"),
        (4, 5),
    ),
    "a parametric ReLU": (lambda: one(nn.PReLU(E)), module("a"), (E,)),
    "a whole transformer": (
        lambda: Model(lambda m, x: m.a(x, x), a=nn.Transformer(E, 2, 1, 1, 8, 0.0, batch_first=True)),
        module("a"),
        (T, E),
    ),
    "attention weights for each head": (
        lambda: Model(
            lambda m, x: m.a(x, x, x, average_attn_weights=False),
            a=nn.MultiheadAttention(E, 2, batch_first=True, add_bias_kv=True),
        ),
        module("a"),
        (T, E),
    ),
    "positions as a parameter of the root module": (
        lambda: Scale(lambda m, x: x.cumsum(1)),
        params("scale"),
        (T, E),
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_gradients_are_exact_with(name):
    build, part, shape = EXACT[name]
    assert largest_error(build().double(), part, floats(B, *shape)) < 1e-11


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
def test_bags_of_embeddings_are_exact(mode):
    model, x = Model(lambda m, x: m.a(x), a=nn.EmbeddingBag(9, E, mode=mode)), torch.randint(0, 9, (B, T))
    assert largest_error(model, module("a"), x) < 1e-12
    ragged = Model(lambda m, x: m.a(x.flatten(), torch.arange(len(x)) * T), a=nn.EmbeddingBag(9, E, mode=mode))
    assert largest_error(ragged, module("a"), x) < 1e-12


def test_a_bag_of_embeddings_with_learned_weights_is_exact():
    assert largest_error(Bag().double(), module("e"), torch.randint(0, 9, (B, T))) < 1e-12


def test_complex_layers_are_exact():
    layers = {"f": nn.Linear(E, E, dtype=torch.complex128), "a": nn.Linear(E, E, dtype=torch.complex128)}

    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f, self.a = layers["f"], layers["a"]

        def forward(self, x: Tensor) -> Tensor:
            return torch.view_as_real(self.a(self.f(x + 0.5j * x.flip(1)).tanh()))

    assert largest_error(Complex(), module("a"), floats(B, E)) < 1e-12
    x, found = floats(B, E), {}
    for region, level in (("a", "activation"), ("f", "parameter")):
        with router_of(model := Complex(), module(region), level)(WEIGHTS[:, None]):
            found[region] = gradients(model, loss_of(model, x))["f.weight"]
    torch.testing.assert_close(found["a"], found["f"])


def remembered(m: nn.Module, x: Tensor) -> Tensor:
    m.s.memory = m.f(x)
    return m.s(x)


def hidden_layer() -> nn.Module:
    linear = nn.Linear(E, E).double()
    return Model(lambda m, x: m.s(x), f=linear, s=Scale(lambda m, x: linear(x)))


def cached_parametrization(m: nn.Module, x: Tensor) -> Tensor:
    with nn.utils.parametrize.cached():
        return m.s(x)


REJECTED = {
    "a layer that changes its input in place": (
        lambda: Model(lambda m, x: m.s(m.f(x)), f=nn.Linear(E, E), s=Scale(lambda m, x: x.add_(1))),
        RuntimeError,
        "changes its input in place",
    ),
    "an earlier activation stored as an attribute": (
        lambda: Model(remembered, f=nn.Linear(E, E), s=Scale(lambda m, x: x + m.memory)),
        RuntimeError,
        "neither an argument nor an attribute parameter",
    ),
    "a layer hidden in a closure": (hidden_layer, RuntimeError, "neither an argument nor an attribute parameter"),
    "a cached parametrization": (
        lambda: Model(
            cached_parametrization,
            s=Scale(lambda m, x: m.a(x), a=nn.utils.parametrizations.weight_norm(nn.Linear(E, E))),
        ),
        RuntimeError,
        "neither an argument nor an attribute parameter",
    ),
    "a result that is not a tensor": (
        lambda: Model(lambda m, x: m.s(x).pop(), s=type("S", (Scale,), {"forward": lambda s, x: {s.scale * x}})()),
        ValueError,
        "returns a set",
    ),
    "a batch processed in chunks": (
        lambda: Model(lambda m, x: torch.cat([m.s(c) for c in x.chunk(2)]), s=Scale()),
        ValueError,
        "labels are for (4,) examples",
    ),
    "a batch repeated inside the model": (
        lambda: Model(lambda m, x: m.s(torch.cat([x, -x])), s=Scale()),
        ValueError,
        "labels are for (4,) examples",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_a_one_line_error_is_raised_when_used_for(name):
    build, error, text = REJECTED[name]
    model, x = build().double(), floats(B, E)
    with router_of(model, params("s.scale"))(WEIGHTS[:, None]):
        assert text in message(error, lambda: model(x))


@pytest.mark.parametrize("level", ["activation", "parameter"])
@pytest.mark.parametrize("layer", [nn.Conv1d(B, B, 3), nn.ConvTranspose1d(B, B, 3), nn.InstanceNorm1d(B, affine=True)])
def test_an_input_without_batch_axis_is_rejected(layer, level):
    model = nn.Sequential(layer).double()
    with router_of(model, module("0"), level)(WEIGHTS[:, None]):
        assert "add a batch axis" in message(ValueError, lambda: model(floats(B, 5)))


@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_attention_without_batch_axis_is_rejected(level):
    model = attention(True)
    with router_of(model, module("a"), level)(WEIGHTS[:, None]):
        assert "add a batch axis" in message(ValueError, lambda: model(floats(T, E)))


@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_token_labels_are_rejected_by_layers_with_channels_before_positions(level):
    model = nn.Sequential(nn.ConvTranspose1d(T, T, 3)).double()
    with router_of(model, module("0"), level)(floats(B, T, 1)):
        assert "labels are for" in message(ValueError, lambda: model(floats(B, T, 5)))


@pytest.mark.parametrize("level", ["activation", "parameter"])
def test_token_labels_are_rejected_if_two_axes_have_the_number_of_tokens(level):
    model = Model(lambda m, x: m.a(x.unflatten(2, (T, 2)).transpose(1, 2)), a=nn.Linear(2, 2))
    with router_of(model, module("a"), level)(floats(B, T, 1)):
        assert "several axes" in message(ValueError, lambda: model(floats(B, T, E)))


def test_units_of_layers_with_computed_weights_are_rejected():
    model = Model(None, a=nn.Linear(E, E), b=nn.utils.parametrizations.weight_norm(nn.Linear(E, E)))
    assert "is computed" in message(ValueError, lambda: Regions(model, {"r": units("b", slice(0, 3))}))
    assert "is computed" in message(ValueError, lambda: Regions(model, {"r": units("a", slice(0, 3), out="b")}))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_modules_whose_forward_cannot_be_replaced_are_rejected_when_the_router_is_built():
    scripted = nn.Sequential(torch.jit.script(nn.Linear(E, E)))
    assert "scripted" in message(ValueError, lambda: router_of(scripted, module("0")))
    assert "scripted" in message(ValueError, lambda: router_of(scripted, module("0"), "activation"))
    replicated = nn.DataParallel(nn.Linear(E, E))
    replicated.device_ids = [0, 1]
    assert "DistributedDataParallel" in message(ValueError, lambda: router_of(replicated, module("module")))


def test_an_in_place_operation_on_a_routed_activation_is_rejected_by_torch():
    model = Model(lambda m, x: m.a(x).relu_(), a=nn.Linear(E, E))
    with router_of(model, module("a"), "activation")(WEIGHTS[:, None]), pytest.raises(RuntimeError, match="inplace"):
        model(floats(B, E))


def test_unexpected_results_of_a_routed_activation_are_rejected():
    model = Model(lambda m, x: m.s(x).pop(), s=type("S", (Scale,), {"forward": lambda s, x: {s.scale * x}})())
    with router_of(model, module("s"), "activation")(WEIGHTS[:, None]):
        assert "returns a set" in message(ValueError, lambda: model(floats(B, E)))
