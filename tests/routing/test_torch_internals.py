"""What routing relies on in torch beyond its public interface; each test names what to replace if torch changes it."""

import copy

import torch
from torch import nn
from torch.autograd.function import FunctionCtx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from routing.backward.residual import PASSING
from routing.backward.side_effects import MODULE_ATTRIBUTES, versions
from routing.backward.two_pass import stop_grad


def test_pytrees_flatten_nested_results_and_keep_their_structure():
    value = {"a": (torch.ones(1), [None, 2]), "b": torch.zeros(1)}
    leaves, structure = tree_flatten(value)
    assert len([leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]) == 2
    assert tree_unflatten(leaves, structure) == value
    assert tree_map_only(int, lambda n: n + 1, value)["a"][1][1] == 3
    assert len(tree_leaves(value)) == len(leaves)


def test_an_in_place_operation_increases_the_version_of_a_tensor():
    x = torch.ones(2)
    before = versions(x)
    x.add_(1)
    assert versions(x) != before


def test_the_names_of_graph_nodes_identify_additions_norms_and_stopped_gradients():
    x, y = torch.ones(3, requires_grad=True), nn.LayerNorm(3)
    assert any(part in (x + x).grad_fn.name() for part in PASSING)
    assert any(part in y(x).grad_fn.name() for part in PASSING)
    assert "mm" in nn.Linear(3, 3)(x[None]).grad_fn.name()
    assert stop_grad(x).grad_fn.name() == "_StopGradBackward"
    assert x.exp().grad_fn.next_functions[0][0].variable is x


def test_the_context_of_a_custom_function_is_the_first_variable_of_its_forward():
    frames = []

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            frames.append(isinstance(ctx, FunctionCtx))
            return x.clone()

    Function.apply(torch.ones(1, requires_grad=True))
    assert frames == [True]


def test_the_attributes_of_an_empty_module_are_those_of_torch():
    assert {"training", "_parameters", "_buffers", "_modules"} <= MODULE_ATTRIBUTES


def test_a_forward_and_a_deepcopy_set_on_an_instance_are_called():
    layer = nn.Linear(2, 2)
    layer.__dict__.update(forward=lambda x: "forward", __deepcopy__=lambda memo: "copy")
    assert layer(torch.ones(2)) == "forward"
    assert copy.deepcopy(layer) == "copy"


def test_the_backward_of_a_convolution_takes_a_mask_of_gradients():
    x, W, grad = torch.randn(2, 3, 5), torch.randn(4, 3, 3), torch.randn(2, 4, 3)
    found = torch.ops.aten.convolution_backward(
        grad, x, W, None, (1,), (0,), (1,), False, (0,), 1, [True, False, False]
    )
    torch.testing.assert_close(found[0], torch.conv_transpose1d(grad, W))
    assert found[1] is None or not found[1].numel()
