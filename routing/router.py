"""Routes the gradients of a batch: each example trains each region with its label's weight in the rules.

A level determines which gradients are weighted, and therefore which learning is stopped:

- activation: the gradient through the region's output. Nothing upstream of the output, inside the region or before it,
  learns from a masked example. Columns that read the region still learn.
- parameter: the gradients of the region's parameters only. Everything upstream learns as if nothing were masked.
- rows, columns: for a region made of units, the weights that write the units, or the weights that read them.
- forward_ablated: as parameter; in addition the region's activations are 0 for examples of weight 0 (SGTM, Shilov et
  al. 2025, arXiv 2512.05648).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from routing.backward.batch_axis import BatchDim, batch_dims, check_declared
from routing.backward.forward_patch import Release
from routing.backward.levels import LEVELS, Attach
from routing.backward.parameter_weights import RegionWeight
from routing.check import check_router
from routing.errors import unknown_name
from routing.regions import Rules


class Router:
    """Weights gradients of forward passes inside its context. Contexts nest; weights on the same tensor multiply.

    >>> router = Router(model, rules, level="parameter", overrides={"gate": "activation"})
    >>> with router(labels):
    ...     loss = criterion(model(x), y)
    >>> loss.backward()

    Weights are bound at the forward pass, so each loss has its own. A forward pass outside the context is not routed.

    Args:
        model: the network of the regions, or a wrapper of it such as DistributedDataParallel.
        rules: the weight of each label in each region.
        level: the gradients to weight: one of the levels above.
        overrides: region -> level, for regions whose level differs.
        batch_dim: the axis of examples in the activations of all regions, or region -> axis: 0 for (B, T, ...), 1 for
            (T, B, ...). None: 0, and ambiguous cases raise.

    Raises:
        ValueError: a level is unknown, a region has nothing to weight at its level, the regions belong to another
            model, the batch axis is ambiguous, or a layer is of a kind that cannot be routed at its level.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: Rules,
        level: str = "activation",
        overrides: Mapping[str, str] | None = None,
        batch_dim: BatchDim = None,
    ) -> None:
        if all(found is not rules.regions.model for found in model.modules()):
            raise ValueError("the regions belong to another model; build Regions on this one")
        if any(isinstance(found, nn.DataParallel) and len(found.device_ids) > 1 for found in model.modules()):
            raise ValueError("DataParallel replicates the model in each forward pass; use DistributedDataParallel")
        self.model, self.rules = model, rules
        self.levels = dict.fromkeys(rules.regions, level)
        for region, override in (overrides or {}).items():
            rules.column(region)  # raises if unknown
            self.levels[region] = override
        self.batch_dim = batch_dim
        for name in batch_dim if isinstance(batch_dim, Mapping) else ():
            rules.column(name)  # raises if unknown
        self._batch_dims = batch_dims(rules.regions, batch_dim)
        self._attach = [attach for name in rules.regions for attach in self._attachments(name)]
        check_declared(rules.regions.model, self._batch_dims)
        self._weights: Tensor | None = None
        self._release: list[Release] = []
        self._depth = 0

    def _attachments(self, name: str) -> list[Attach]:
        level = self.levels[name]
        if level not in LEVELS:
            raise unknown_name("level", level, LEVELS)
        weight = RegionWeight(self.weights, name, self._batch_dims[name])
        return LEVELS[level](self.rules.regions.model, self.rules.regions[name], weight)

    def __call__(self, labels: Tensor | Sequence[str]):
        """Return a context in which the examples have these labels.

        Args:
            labels: hard, (B,) or (B, T) integers; soft, (B, K) or (B, T, K) floats; or one name for each example.

        Raises:
            ValueError: (on entry) labels are empty, unknown or of the wrong shape; see `Rules.weigh`.
        """
        return self._labelled(labels)

    @contextmanager
    def _labelled(self, labels: Tensor | Sequence[str]) -> Iterator["Router"]:
        before = self._weights
        with self:
            try:
                self.label(labels)
                yield self
            finally:
                self._weights = before

    def __enter__(self) -> "Router":
        if not self._depth:
            self._release = [attach() for attach in self._attach]
        self._depth += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._weights = None
            for release in self._release:
                release()

    def label(self, labels: Tensor | Sequence[str]) -> None:
        """Set the labels of subsequent forward passes. Arguments and errors as for a call of the router."""
        self._weights = self.rules.weigh(self._encoded(labels))

    def _encoded(self, labels: Tensor | Sequence[str]) -> Tensor:
        return labels if isinstance(labels, Tensor) else self.rules.encode(labels)

    def check(
        self,
        batch: Any,
        labels: Tensor | Sequence[str],
        loss: Callable[[Any], Tensor] | None = None,
        batch_dim: int | None = None,
    ) -> float:
        """Compare routed gradients of a batch with a loop over its examples, in copies of the model.

        The gradient of each example alone is multiplied by the example's weights; their sum is the expected gradient.
        The check is made for the labels and for random weights, in float64 if the model runs in it, with dropout
        disabled. The model, its gradients and the random generators are left unchanged.

        Args:
            batch: the model's argument, or a tuple of positional or a dictionary of keyword arguments. Use the sizes of
                training, because axes that have equal sizes by chance are a source of errors.
            labels: the labels of the examples; see a call of the router.
            loss: maps the model's output, for any number of examples, to their sum or mean loss; by default the squared
                distance of all outputs from a random point.
            batch_dim: the axis of examples in the batch; by default that of the router, else 0.

        Returns:
            The largest relative error of any parameter's gradient.

        Raises:
            ValueError: labels and batch have different lengths, the model mixes examples, or it draws random numbers.
            RuntimeError: a gradient or a buffer is wrong; names the worst parameter and its error.
        """
        axis = batch_dim if batch_dim is not None else self.batch_dim if isinstance(self.batch_dim, int) else 0

        def route(model: nn.Module, rules: Rules) -> "Router":
            return Router(model, rules, overrides=self.levels, batch_dim=self.batch_dim)

        return check_router(self.model, self.rules, self.levels, route, batch, self._encoded(labels), loss, axis)

    def weights(self, region: str) -> Tensor:
        """Return the current weight of each example in a region, for use with `scale_grad` in the caller's own code.

        Returns:
            (B,) or (B, T) weights.

        Raises:
            ValueError: no labels are set, or the region is unknown.
        """
        if self._weights is None:
            raise ValueError("no labels are set; run the forward pass inside `with router(labels):`")
        return self._weights[..., self.rules.column(region)]
