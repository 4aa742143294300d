"""An actor made of blocks: experts that read the same observation, mixed by a gate, under one action head.

latent = sum_i c_i expert_i(x) with coefficients c = (gate, 1 - gate), or (1/2, 1/2) without a gate, or fixed numbers
at deployment. Masks scale the gradient that flows into each block and change no value: every block is a region of a
router, and a sample's mask is a soft label that trains each region with its own weight.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from routing import BLOCKS, Regions, Router, Rules, module

EXPERTS, GATE = BLOCKS[:-1], BLOCKS[-1]


def mlp(inputs: int, widths: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    sizes = zip([inputs, *widths[:-1]], widths, strict=True)
    return nn.Sequential(*(layer for i, o in sizes for layer in (nn.Linear(i, o), activation())))


class BlockExtractor(nn.Module):
    """Features -> latent of the actor, by experts and gate, and latent of the critic, by a network of its own."""

    def __init__(
        self,
        features_dim: int,
        pi: Sequence[int],
        vf: Sequence[int],
        activation: type[nn.Module],
        gated: bool,
        level: str = "activation",
    ) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = pi[-1], vf[-1]
        self.experts = nn.ModuleDict({name: mlp(features_dim, pi, activation) for name in EXPERTS})
        self.gate = nn.Sequential(mlp(features_dim, pi, activation), nn.Linear(pi[-1], 1)) if gated else None
        self.critic = mlp(features_dim, vf, activation)
        self.scales: tuple[float, ...] | None = None
        self.without: frozenset[str] = frozenset()
        paths = {name: f"experts.{name}" for name in EXPERTS} | ({GATE: GATE} if gated else {})
        regions = Regions(self, {name: module(path) for name, path in paths.items()})
        self.router = Router(self, Rules.direct(regions), level)

    def block(self, name: str) -> nn.Module | None:
        return self.gate if name == GATE else self.experts[name]

    def gate_logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> (B,)."""
        assert self.gate is not None
        return self.gate(features).squeeze(-1)

    def coefficients(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, features) -> the coefficient (B, 1) of each expert, as trained."""
        if self.gate is None or GATE in self.without:
            half = features.new_full((len(features), 1), 0.5)
            return half, half
        gate = torch.sigmoid(self.gate(features))
        return gate, 1 - gate

    def deployed_coefficients(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The same at deployment: fixed ones if there are any, and 0 for an ablated expert."""
        if self.scales is None:
            coefficients = self.coefficients(features)
        else:
            coefficients = tuple(features.new_full((len(features), 1), scale) for scale in self.scales)
        return tuple(c * (name not in self.without) for name, c in zip(EXPERTS, coefficients, strict=True))

    def forward_actor(self, features: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """Mix the experts.

        Args:
            features: (B, features).
            masks: (B, M) weight of each sample's gradient in each block; None: the policy acts, as deployed.
        """
        if masks is None:
            return self._mixed(self.deployed_coefficients(features), features)
        with self.router(masks[:, : len(self.router.levels)]):
            return self._mixed(self.coefficients(features), features)

    def _mixed(self, coefficients: Sequence[torch.Tensor], features: torch.Tensor) -> torch.Tensor:
        latents = (expert(features) for expert in self.experts.values())
        first, second = (c * latent for c, latent in zip(coefficients, latents, strict=True))
        return first + second

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        return self.critic(features)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)


class BlockPolicy(ActorCriticPolicy):
    """Stable-Baselines3's actor-critic policy with a `BlockExtractor` for its networks.

    Args:
        gated: mix the experts by a learned gate; otherwise half and half.
    """

    mlp_extractor: BlockExtractor  # type: ignore[assignment]

    def __init__(self, *args, gated: bool = True, **kwargs) -> None:
        self.gated = gated
        super().__init__(*args, **kwargs)

    def _get_constructor_parameters(self) -> dict:
        return {**super()._get_constructor_parameters(), "gated": self.gated}

    def _build_mlp_extractor(self) -> None:
        assert isinstance(self.net_arch, dict), "net_arch is dict(pi=[...], vf=[...])"
        self.mlp_extractor = BlockExtractor(
            self.features_dim, self.net_arch["pi"], self.net_arch["vf"], self.activation_fn, self.gated
        )

    def block_parameters(self, name: str) -> Iterator[nn.Parameter]:
        """Parameters of the block `name` of `routing.BLOCKS`; none where the policy lacks the block."""
        block = self.mlp_extractor.block(name)
        return iter(()) if block is None else block.parameters()

    def evaluate_actions(
        self, obs: PyTorchObs, actions: torch.Tensor, masks: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Values, log-probabilities (B,) and entropies (B,) of actions, their gradients routed by masks (B, M)."""
        features = self._features(obs)
        distribution = self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(features, masks))
        values = self.value_net(self.mlp_extractor.forward_critic(features))
        return values, distribution.log_prob(actions), distribution.entropy()

    def gate_logits(self, obs: PyTorchObs) -> torch.Tensor:
        """(B, *obs) -> (B,) log-odds that the gate gives to the first expert."""
        return self.mlp_extractor.gate_logits(self._features(obs))

    def gate_values(self, obs: PyTorchObs) -> torch.Tensor:
        """(B, *obs) -> (B,) weight of the first expert, as trained."""
        return self.mlp_extractor.coefficients(self._features(obs))[0].squeeze(-1)

    def _features(self, obs: PyTorchObs) -> torch.Tensor:
        features = self.extract_features(obs)
        assert isinstance(features, torch.Tensor), "actor and critic share the features extractor"
        return features

    @contextmanager
    def deployed(self, scales: tuple[float, ...] | None = None, without: Collection[str] = ()) -> Iterator[None]:
        """Act, while the context lasts, as deployed.

        Args:
            scales: fixed coefficient of each expert; None: the gate decides.
            without: blocks to ablate. An expert contributes nothing; without its gate the experts are mixed
                half and half.
        """
        blocks = self.mlp_extractor
        before = blocks.scales, blocks.without
        blocks.scales, blocks.without = scales, frozenset(without)
        try:
            yield
        finally:
            blocks.scales, blocks.without = before
