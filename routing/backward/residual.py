"""Detects a residual connection around a module, through which its output contains its input.

Setting the output of such a module to 0 removes the residual stream instead of the module's contribution.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from routing.selectors import Output

PASSING = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Dropout",
    "LayerNorm",
    "View",
    "Reshape",
    "Transpose",
    "Permute",
    "Clone",
    "ToCopy",
)
"""Graph nodes, by part of their name, whose output contains their input up to scale and shape."""


class ResidualCheck:
    """Checks the first differentiable forward pass of a module with submodules."""

    def __init__(self, output: Output) -> None:
        self.path = output.path
        self.checked = next(output.module.children(), None) is None  # a single layer has no residual connection

    def __call__(self, result: Any, arguments: Any) -> None:
        """Raise ValueError if the result contains an argument through a residual connection."""
        if self.checked or torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        self.checked = True
        inputs = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        if _contains(result, inputs):
            raise ValueError(
                f"the output of {self.path or '(model)'!r} contains its input (a residual connection), so setting it to 0 also "
                "removes the input; use level 'forward_ablated' on the modules inside it"
            )


def _contains(result: Any, inputs: list[Tensor]) -> bool:
    sources = {leaf.grad_fn for leaf in inputs if leaf.grad_fn is not None}
    leaves = {id(leaf) for leaf in inputs if leaf.grad_fn is None}
    stack = [leaf.grad_fn for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if node in sources or id(getattr(node, "variable", None)) in leaves:
            return True
        if any(part in node.name() for part in PASSING) and "mm" not in node.name():
            after = {function for function, _ in node.next_functions if function is not None} - seen
            seen |= after
            stack.extend(after)
    return False
