"""Routes the gradients of a batch: each example trains each region with the weight that the rules give its label.

Levels differ in what they weigh, and so in what they stop:

- activation: the gradient through the region's output. Nothing upstream of it learns from a masked example, inside
  the region or before it; columns that read the region still do.
- parameter: the region's parameters alone. What lies upstream learns as if nothing were masked.
- rows, columns: of a region made of units, the weights that write them, or those that read them.
- forward_ablated: parameter, and the region's activations are 0 for examples of weight 0 (SGTM, arXiv 2512.05648).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from routing.backward.forward_patch import Release
from routing.backward.levels import LEVELS, Attach
from routing.errors import unknown_name
from routing.regions import Rules


class Router:
    """Weighs gradients while its context lasts. Contexts nest; where several reach one place, weights multiply.

    >>> router = Router(model, rules, level="parameter", overrides={"gate": "activation"})
    >>> with router(labels):
    ...     loss = criterion(model(x), y)
    >>> loss.backward()

    Masks are taken at the forward pass, so each loss has its own: what is computed outside the context is not routed.

    Args:
        model: the network, or a wrapper of it (DistributedDataParallel), that the regions belong to.
        rules: the weight of each label in each region.
        level: what is weighed; see above.
        overrides: region -> its own level.

    Raises:
        ValueError: a level is unknown, a region has nothing at its level, or the model is not the regions'.
    """

    def __init__(
        self, model: nn.Module, rules: Rules, level: str = "activation", overrides: Mapping[str, str] | None = None
    ):
        if all(found is not rules.regions.model for found in model.modules()):
            raise ValueError("the regions were named on another model; build Regions on this one")
        self.rules = rules
        self.levels = dict.fromkeys(rules.regions, level)
        for region, own in (overrides or {}).items():
            rules.column(region)  # raises if unknown
            self.levels[region] = own
        self._attach = [attach for name in rules.regions for attach in self._plan(name)]
        self._weights: Tensor | None = None
        self._release: list[Release] = []
        self._depth = 0

    def _plan(self, name: str) -> list[Attach]:
        level = self.levels[name]
        if level not in LEVELS:
            raise unknown_name("level", level, LEVELS)
        return LEVELS[level](self.rules.regions.model, name, self.rules.regions[name], self.weights)

    def __call__(self, labels: Tensor | Sequence[str]):
        """A context in which examples have these labels: hard, soft, or by name; see `Rules.weigh`."""
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
        """Set the labels of the forward passes to come."""
        self._weights = self.rules.weigh(labels if isinstance(labels, Tensor) else self.rules.encode(labels))

    def weights(self, region: str) -> Tensor:
        """(B,) or (B, T): how much each example trains the region now; for `scale_grad` at a site of your own.

        Raises:
            ValueError: there are no labels, or no such region.
        """
        if self._weights is None:
            raise ValueError("the examples have no labels; run the forward pass inside `with router(labels):`")
        return self._weights[..., self.rules.column(region)]
