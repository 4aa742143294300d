"""Stable-Baselines3's policy with networks made of blocks; what its acting computes can be kept for a backward pass."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from agents.policies.blocks import LEVELS, MLP, PRECISIONS, BlockExtractor, BlockUse, Precision
from routing import start_from_zero
from routing.errors import unknown_name

LEAST_LOG_PROB = math.log(torch.finfo(torch.float32).tiny)
Acted = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """(B, A) -> (B, A). The same numbers as `torch.log_softmax(logits, 1)`, which is slow for few actions."""
    return torch.log_softmax(logits.t(), 0).t()


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
        precision: of the matrix products in experts, gate and critic: "fp32", or "bf16", which is faster on a processor
            with such instructions. Parameters, heads and losses are float32 in both.
    """

    mlp_extractor: BlockExtractor  # type: ignore[assignment]

    def __init__(
        self, *args, gated: bool = True, level: str = "activation", precision: Precision = "fp32", **kwargs
    ) -> None:
        if level not in LEVELS:
            raise unknown_name("level", level, LEVELS)
        if precision not in PRECISIONS:
            raise unknown_name("precision", precision, PRECISIONS)
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
    def log_probabilities(self, features: torch.Tensor, uses: Sequence[BlockUse] = (BlockUse(),)) -> list[torch.Tensor]:
        """(B, features) -> (B, A) of discrete actions for each use; finite where a probability underflows."""
        latents = self.mlp_extractor.latents(self.rounded(features), uses)
        return [log_softmax(self.action_net(latent)).clamp(min=LEAST_LOG_PROB) for latent in latents]

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
        before, blocks.use = blocks.use, BlockUse(scales, frozenset(without))
        try:
            yield
        finally:
            blocks.use = before
