"""An actor made of blocks: experts that read the same observation, mixed by a gate, under one action head.

latent = sum_i c_i expert_i(x) with coefficients c = (gate, 1 - gate), or (1/2, 1/2) without a gate, or fixed numbers
at deployment. Every block is a region of a router, and a sample's masks are a soft label that trains each region with
its own weight; the policy's level says how.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from routing import BLOCKS, Regions, Router, Rules, lora, module, set_scale, start_from_zero
from routing.names import unknown
from routing.parts import Part

EXPERTS, GATE = BLOCKS[:-1], BLOCKS[-1]
FORGET = EXPERTS[-1]
LEAST_LOG_PROB = math.log(torch.finfo(torch.float32).tiny)
Widths = Sequence[int]
Arch = Mapping[str, Widths]
Coefficients = Sequence[torch.Tensor]
Network = Callable[[int, Widths], nn.Sequential]
Acted = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Precision = Literal["fp32", "bf16"]
PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class MLP(nn.Sequential):
    """(B, inputs) -> (B, widths[-1]), by matrix products of numbers of a precision, and in that precision."""

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
    """What was computed in bfloat16 as float32, anything else as it is."""
    return x.float() if x.dtype is torch.bfloat16 else x


class Head(nn.Linear):
    """A linear layer in the precision of its parameters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(wide(x))


class Use(NamedTuple):
    """How a trained policy acts; by default, as it was trained."""

    scales: tuple[float, ...] | None = None
    """Fixed coefficient of each expert; None: the gate decides."""
    without: frozenset[str] = frozenset()
    """Blocks that are ablated: an expert contributes nothing; without their gate, experts are mixed half and half."""

    def coefficients(self, trained: Coefficients) -> Coefficients:
        """The coefficients (B, 1) of the experts in this use."""
        fixed = self.scales or ((0.5, 0.5) if GATE in self.without else None)
        mixed = trained if fixed is None else tuple(torch.full_like(trained[0], scale) for scale in fixed)
        return tuple(c * (name not in self.without) for name, c in zip(EXPERTS, mixed, strict=True))


def weighted_sum(coefficients: Coefficients, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Of the experts' outputs, summed in their precision."""
    first, second = (c.to(output.dtype) * output for c, output in zip(coefficients, outputs, strict=True))
    return wide(first + second)


class BlockExtractor(nn.Module):
    """Features -> latent of the actor, by experts and gate, and latent of the critic, by a network of its own."""

    def __init__(
        self, features_dim: int, arch: Arch, network: Network, gated: bool, level: str, forget: str | None = None
    ) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = arch["pi"][-1], arch["vf"][-1]
        parts = self._build_actor(features_dim, arch["pi"], network, gated)
        self.critic = network(features_dim, arch["vf"])
        self.use = Use()
        self.regions = Regions(self, parts)
        self.router = Router(self, Rules.direct(self.regions), level, {FORGET: forget or level})

    def _build_actor(self, inputs: int, widths: Widths, network: Network, gated: bool) -> dict[str, Part]:
        """Make the actor's networks; what each block is made of."""
        self.experts: Any = nn.ModuleDict({name: network(inputs, widths) for name in EXPERTS})
        self.gate: nn.Module | None = None
        if gated:
            self.gate = nn.Sequential(network(inputs, widths), Head(widths[-1], 1))
        return {name: module(f"experts.{name}") for name in EXPERTS} | ({GATE: module(GATE)} if gated else {})

    def gate_logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> (B,)."""
        assert self.gate is not None
        return self.gate(features).squeeze(-1)

    def coefficients(self, features: torch.Tensor) -> Coefficients:
        """(B, features) -> the coefficient (B, 1) of each expert, as trained."""
        if self.gate is None:
            half = wide(features.new_full((len(features), 1), 0.5))
            return half, half
        gate = torch.sigmoid(self.gate(features))
        return gate, 1 - gate

    def forward_actor(self, features: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """Mix the experts.

        Args:
            features: (B, features).
            masks: (B, M) weight of each sample's gradient in each block; None: the policy acts, as it is used.
        """
        if masks is None:
            return self.latents(features, [self.use])[0]
        with self.router(masks[:, : len(self.router.levels)]):
            return self._mixed(self.coefficients(features), features)

    def latents(self, features: torch.Tensor, uses: Sequence[Use]) -> list[torch.Tensor]:
        """(B, features) -> (B, latent) for each use; experts and gate are asked once for all."""
        coefficients, outputs = self.coefficients(features), [expert(features) for expert in self.experts.values()]
        return [weighted_sum(use.coefficients(coefficients), outputs) for use in uses]

    def _mixed(self, coefficients: Coefficients, features: torch.Tensor) -> torch.Tensor:
        return weighted_sum(coefficients, [expert(features) for expert in self.experts.values()])

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        return wide(self.critic(features))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)


class AdapterExtractor(BlockExtractor):
    """One frozen network in place of the experts, with an adapter of each on every layer, and no gate."""

    def _build_actor(self, inputs: int, widths: Widths, network: Network, gated: bool) -> dict[str, Part]:
        if gated:
            raise ValueError("adapters add up and are not mixed by a gate; level 'adapter' needs gated=False")
        self.gate = None
        self.experts = network(inputs, widths)
        return {name: lora(self, "experts.*", max(min(widths) // 4, 1), name) for name in EXPERTS}

    def coefficients(self, features: torch.Tensor) -> Coefficients:
        one = wide(features.new_ones(len(features), 1))
        return one, one

    def latents(self, features: torch.Tensor, uses: Sequence[Use]) -> list[torch.Tensor]:
        """(B, features) -> (B, latent) for each use: adapters act inside the network, which is asked for each."""
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


class Evaluated(NamedTuple):
    """What a policy makes of samples."""

    values: torch.Tensor  # (B, 1)
    log_prob: torch.Tensor  # (B,) of the actions taken
    entropy: torch.Tensor | None  # (B,); None: the law of the actions has none in closed form


class BlockPolicy(ActorCriticPolicy):
    """Stable-Baselines3's actor-critic policy with a `BlockExtractor` for its networks.

    Args:
        gated: mix the experts by a learned gate; otherwise half and half.
        level: what masks scale: the gradient into a block ("activation") or that of its parameters ("parameter"),
            the same while the features extractor learns nothing; "forward_ablated": activation, and the forget expert
            gives 0 for samples that do not train it; "adapter": parameter, of adapters to one frozen network.
        precision: of the matrix products in experts, gate and critic: "fp32", or "bf16", which a processor with such
            instructions does three times as fast. Parameters, heads and losses are float32 in both.
    """

    mlp_extractor: BlockExtractor  # type: ignore[assignment]

    def __init__(
        self, *args, gated: bool = True, level: str = "activation", precision: Precision = "fp32", **kwargs
    ) -> None:
        if level not in LEVELS:
            raise unknown("level", level, LEVELS)
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        self.gated, self.level, self.precision = gated, level, precision
        self._keep: Callable[[torch.Tensor, bool], Acted] | None = None
        super().__init__(*args, **kwargs)

    def rounded(self, features: torch.Tensor) -> torch.Tensor:
        """Features as the networks read them: once for all, or every network would round them itself."""
        return features.to(torch.bfloat16) if self.precision == "bf16" else features

    def forward(self, obs: torch.Tensor, deterministic: bool = False) -> Acted:
        """Actions (N, *action), values (N, 1) and log-probabilities (N,); kept for a backward pass, if in `kept`."""
        if self._keep is None:
            return super().forward(obs, deterministic)
        return self._keep(obs, deterministic)

    @contextmanager
    def kept(self, masks: torch.Tensor) -> Iterator[list[Evaluated]]:
        """While the context lasts, keep what acting computes for one backward pass, step by step, in the list given.

        Args:
            masks: (T, N, M) weight of each sample's gradient in each block. They are read in the backward pass alone
                and may be written, through `masks.data`, once the samples' episodes have ended.
        """
        steps: list[Evaluated] = []

        def act(obs: torch.Tensor, deterministic: bool) -> Acted:
            with torch.enable_grad():
                values, distribution = self._distribution(obs, masks[len(steps)])
                actions = distribution.get_actions(deterministic)
                steps.append(Evaluated(values, distribution.log_prob(actions), distribution.entropy()))
            return actions, values.detach(), steps[-1].log_prob.detach()

        self._keep = act
        try:
            yield steps
        finally:
            self._keep = None

    def _get_constructor_parameters(self) -> dict:
        own = {"gated": self.gated, "level": self.level, "precision": self.precision}
        return {**super()._get_constructor_parameters(), **own}

    def _build_mlp_extractor(self) -> None:
        assert isinstance(self.net_arch, dict), "net_arch is dict(pi=[...], vf=[...])"
        network = partial(MLP, activation=self.activation_fn, precision=self.precision)
        self.mlp_extractor = LEVELS[self.level](self.features_dim, self.net_arch, network, self.gated)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        start_from_zero(self)  # its orthogonal initialisation knows nothing of adapters

    def block_parameters(self, name: str) -> Iterator[nn.Parameter]:
        """Parameters of the block `name` of `routing.BLOCKS`; none where the policy lacks the block."""
        regions = self.mlp_extractor.regions
        return (piece.parameter for piece in (regions[name].pieces if name in regions else ()))

    def evaluate_actions(self, obs: PyTorchObs, actions: torch.Tensor, masks: torch.Tensor | None = None) -> Evaluated:
        """Values, log-probabilities (B,) and entropies (B,) of actions, their gradients routed by masks (B, M)."""
        values, distribution = self._distribution(obs, masks)
        return Evaluated(values, distribution.log_prob(actions), distribution.entropy())

    def _distribution(self, obs: PyTorchObs, masks: torch.Tensor | None) -> tuple[torch.Tensor, Distribution]:
        """Values (B, 1), and the law of the actions."""
        features = self.extract_features(obs)
        distribution = self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(features, masks))
        return self.value_net(self.mlp_extractor.forward_critic(features)), distribution

    @torch.no_grad()
    def log_probabilities(self, features: torch.Tensor, uses: Sequence[Use] = (Use(),)) -> list[torch.Tensor]:
        """(B, features) -> (B, A) of discrete actions for each use; finite where a probability underflows."""
        latents = self.mlp_extractor.latents(self.rounded(features), uses)
        return [torch.log_softmax(self.action_net(latent), 1).clamp(min=LEAST_LOG_PROB) for latent in latents]

    def gate_logits(self, obs: PyTorchObs) -> torch.Tensor:
        """(B, *obs) -> (B,) log-odds that the gate gives to the first expert."""
        return self.mlp_extractor.gate_logits(self.extract_features(obs))

    def gate_values(self, obs: PyTorchObs) -> torch.Tensor:
        """(B, *obs) -> (B,) weight of the first expert, as trained."""
        return self.mlp_extractor.coefficients(self.extract_features(obs))[0].squeeze(-1)

    def extract_features(self, obs: PyTorchObs, features_extractor=None) -> torch.Tensor:
        """(B, *obs) -> (B, features), as the networks read them."""
        features = super().extract_features(obs, features_extractor)
        assert isinstance(features, torch.Tensor), "actor and critic share the features extractor"
        return self.rounded(features)

    @contextmanager
    def deployed(self, scales: tuple[float, ...] | None = None, without: Collection[str] = ()) -> Iterator[None]:
        """Act, while the context lasts, as deployed.

        Args:
            scales, without: see `Use`.
        """
        blocks = self.mlp_extractor
        before, blocks.use = blocks.use, Use(scales, frozenset(without))
        try:
            yield
        finally:
            blocks.use = before
