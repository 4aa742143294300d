"""Detects a residual connection around a module, through which its output contains its input.

Setting the output of such a module to 0 removes the residual stream instead of the module's contribution.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

PASSING = (
    *("Add", "Sub", "Mul", "Div", "Dropout", "LayerNorm", "View", "Reshape", "Transpose", "Permute", "Clone", "ToCopy"),
    *("_Join", "_ScaleGrad"),
)
"""Graph nodes, by part of their name, whose output contains their input up to scale and shape."""


class ResidualCheck:
    """Checks the first differentiable forward pass of a module."""

    def __init__(self, path: str) -> None:
        self.path, self.checked = path, False

    def prepare(self, arguments: Any) -> Any:
        """Make the arguments require a gradient, so that the graph shows where they go."""
        return arguments if self._skipped() else tree_map_only(Tensor, _requiring_grad, arguments)

    def __call__(self, result: Any, arguments: Any) -> None:
        """Raise ValueError if the result contains an argument through a residual connection."""
        if self._skipped():
            return
        self.checked = True
        inputs = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        if _contains(result, inputs):
            raise ValueError(
                f"the output of {self.path or '(model)'!r} contains its input (a residual connection), which "
                "'forward_ablated' would also set to 0; apply this level to the modules inside it"
            )

    def _skipped(self) -> bool:
        return self.checked or torch.compiler.is_compiling() or not torch.is_grad_enabled()


def _requiring_grad(x: Tensor) -> Tensor:
    return (
        x
        if x.requires_grad or not x.is_floating_point()
        else x + torch.zeros((), dtype=x.dtype, device=x.device, requires_grad=True)
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
