"""An actor made of blocks: experts that read one observation, mixed by a gate, under one action head.

latent = sum_i c_i expert_i(x) with coefficients c = (gate, 1 - gate), or (1/2, 1/2) without a gate, or fixed numbers
at deployment. Every block is a region of a router. A sample's masks are a soft label that weights its gradient in each
region; the level determines what is weighted.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from routing import BLOCKS, Regions, Router, Rules, lora, module, set_scale
from routing.selectors import Part

EXPERTS, GATE = BLOCKS[:-1], BLOCKS[-1]
FORGET = EXPERTS[-1]
Widths = Sequence[int]
Arch = Mapping[str, Widths]
Coefficients = Sequence[torch.Tensor]
Network = Callable[[int, Widths], nn.Sequential]
Precision = Literal["fp32", "bf16"]
PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class MLP(nn.Sequential):
    """Fully connected network: (B, inputs) -> (B, widths[-1]), computed and returned in one precision.

    Args:
        inputs: number of input features.
        widths: units of each layer.
        activation: follows every layer.
        precision: a key of `PRECISIONS`.
    """

    def __init__(self, inputs: int, widths: Widths, activation: type[nn.Module], precision: Precision) -> None:
        sizes = zip([inputs, *widths[:-1]], widths, strict=True)
        super().__init__(*(layer for i, o in sizes for layer in (nn.Linear(i, o), activation())))
        self.precision = PRECISIONS[precision]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.precision is torch.float32:
            return super().forward(x)
        with torch.autocast(x.device.type, self.precision):
            return super().forward(x.to(self.precision))


def wide(x: torch.Tensor) -> torch.Tensor:
    """Convert bfloat16 to float32; return other tensors unchanged."""
    return x.float() if x.dtype is torch.bfloat16 else x


class Head(nn.Linear):
    """A linear layer that computes in the precision of its parameters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(wide(x))


class BlockUse(NamedTuple):
    """How the blocks of a trained policy are used; the default is as trained."""

    scales: tuple[float, ...] | None = None
    """Fixed coefficient of each expert; None takes the gate's."""
    without: frozenset[str] = frozenset()
    """Ablated blocks. An ablated expert has coefficient 0; with an ablated gate, experts are mixed half and half."""

    def coefficients(self, trained: Coefficients) -> Coefficients:
        """Compute the coefficients of the experts in this use.

        Args:
            trained: one (B, 1) tensor per expert, as trained.

        Returns:
            One (B, 1) tensor per expert.
        """
        fixed = self.scales or ((0.5, 0.5) if GATE in self.without else None)
        mixed = trained if fixed is None else tuple(torch.full_like(trained[0], scale) for scale in fixed)
        return tuple(c * (name not in self.without) for name, c in zip(EXPERTS, mixed, strict=True))


def weighted_sum(coefficients: Coefficients, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Weight the experts' outputs (B, latent) and add them up, in their precision."""
    first, second = (c.to(output.dtype) * output for c, output in zip(coefficients, outputs, strict=True))
    return wide(first + second)


class BlockExtractor(nn.Module):
    """Computes the actor's latent by experts and a gate, and the critic's latent by a separate network.

    Args:
        features_dim: number of features.
        arch: "pi" and "vf": widths of each expert and the gate, and of the critic.
        network: builds a network from its number of inputs and its widths.
        gated: mix the experts by a learned gate; False mixes them half and half.
        level: what a mask scales, as `routing.Router` takes it.
        forget: level of the forget expert; None takes `level`.

    Attributes:
        use: how the blocks are used when no masks are given.
        regions: the blocks as regions of a router.
    """

    def __init__(
        self, features_dim: int, arch: Arch, network: Network, gated: bool, level: str, forget: str | None = None
    ) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = arch["pi"][-1], arch["vf"][-1]
        parts = self._build_actor(features_dim, arch["pi"], network, gated)
        self.critic = network(features_dim, arch["vf"])
        self.use = BlockUse()
        self.regions = Regions(self, parts)
        self.router = Router(self, Rules.direct(self.regions), level, {FORGET: forget or level})

    def _build_actor(self, inputs: int, widths: Widths, network: Network, gated: bool) -> dict[str, Part]:
        """Build the actor's networks; returns the part of each block."""
        self.experts: Any = nn.ModuleDict({name: network(inputs, widths) for name in EXPERTS})
        self.gate: nn.Module | None = None
        if gated:
            self.gate = nn.Sequential(network(inputs, widths), Head(widths[-1], 1))
        return {name: module(f"experts.{name}") for name in EXPERTS} | ({GATE: module(GATE)} if gated else {})

    def gate_logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> (B,) log-odds of the first expert."""
        assert self.gate is not None
        return self.gate(features).squeeze(-1)

    def coefficients(self, features: torch.Tensor) -> Coefficients:
        """(B, features) -> one (B, 1) coefficient per expert, as trained."""
        if self.gate is None:
            half = wide(features.new_full((len(features), 1), 0.5))
            return half, half
        gate = torch.sigmoid(self.gate(features))
        return gate, 1 - gate

    def forward_actor(self, features: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """Mix the experts.

        Args:
            features: (B, features).
            masks: (B, M) weight of each sample's gradient in each block. None: nothing is routed, and `use` applies.

        Returns:
            (B, latent).
        """
        if masks is None:
            return self.latents(features, [self.use])[0]
        with self.router(masks[:, : len(self.router.levels)]):
            return self._mixed(self.coefficients(features), features)

    def latents(self, features: torch.Tensor, uses: Sequence[BlockUse]) -> list[torch.Tensor]:
        """(B, features) -> (B, latent) for each use; experts and gate are computed once."""
        coefficients, outputs = self.coefficients(features), [expert(features) for expert in self.experts.values()]
        return [weighted_sum(use.coefficients(coefficients), outputs) for use in uses]

    def _mixed(self, coefficients: Coefficients, features: torch.Tensor) -> torch.Tensor:
        return weighted_sum(coefficients, [expert(features) for expert in self.experts.values()])

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> (B, latent) of the critic."""
        return wide(self.critic(features))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)


class AdapterExtractor(BlockExtractor):
    """One frozen network instead of experts; each expert is a low-rank adapter on every layer. There is no gate.

    Raises:
        ValueError: `gated` is true.
    """

    def _build_actor(self, inputs: int, widths: Widths, network: Network, gated: bool) -> dict[str, Part]:
        if gated:
            raise ValueError("adapters add up and are not mixed by a gate; level 'adapter' needs gated=False")
        self.gate = None
        self.experts = network(inputs, widths)
        return {name: lora(self, "experts.*", max(min(widths) // 4, 1), name) for name in EXPERTS}

    def coefficients(self, features: torch.Tensor) -> Coefficients:
        one = wide(features.new_ones(len(features), 1))
        return one, one

    def latents(self, features: torch.Tensor, uses: Sequence[BlockUse]) -> list[torch.Tensor]:
        """(B, features) -> (B, latent) for each use; adapters act inside the network, so each use is a forward pass."""
        trained = self.coefficients(features)
        return [self._mixed(use.coefficients(trained), features) for use in uses]

    def _mixed(self, coefficients: Coefficients, features: torch.Tensor) -> torch.Tensor:
        for name, coefficient in zip(EXPERTS, coefficients, strict=True):
            set_scale(self, name, coefficient)
        return wide(self.experts(features))


LEVELS: dict[str, Callable[..., BlockExtractor]] = {
    "activation": partial(BlockExtractor, level="activation"),
    "parameter": partial(BlockExtractor, level="parameter"),
    "forward_ablated": partial(BlockExtractor, level="activation", forget="forward_ablated"),
    "adapter": partial(AdapterExtractor, level="parameter"),
}
