"""Stable-Baselines3's actor-critic policy with networks made of blocks.

The graph of acting can be recorded for a later backward pass.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Dict, flatdim
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from agents.policies.architecture import ONE_EXPERT, Architecture
from agents.policies.blocks import MLP, PRECISIONS, BlockExtractor, BlockUse, Precision, make_extractor
from agents.policies.extractors import EXTRACTORS, Encoder, FlatObservation, SharedEncoder, features_dim, flat_size
from routing import start_from_zero
from routing.errors import unknown_name

LEAST_LOG_PROB = math.log(torch.finfo(torch.float32).tiny)
Acted = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """(B, A) -> (B, A). Equals `torch.log_softmax(logits, 1)` bit for bit, which is slow for few actions."""
    return torch.log_softmax(logits.t(), 0).t()


class Evaluated(NamedTuple):
    """Values, log-probabilities and entropies of samples under a policy."""

    values: torch.Tensor  # (B, 1)
    log_prob: torch.Tensor  # (B,) of the actions taken
    entropy: torch.Tensor | None  # (B,); None: the action distribution has no closed form


def _features_extractor(extractor: str, network: str, space: Space) -> type[BaseFeaturesExtractor]:
    """Return the class of the features extractor that all blocks share."""
    if extractor not in EXTRACTORS:
        raise unknown_name("extractor", extractor, EXTRACTORS)
    if extractor == "shared":
        return SharedEncoder
    if network == "adapters" and features_dim(space) != flat_size(space):
        raise ValueError(
            "adapters share one network, so no block has an encoder of its own; choose extractor 'shared', or network "
            "'gated'"
        )
    return FlatObservation


class BlockPolicy(ActorCriticPolicy):
    """Stable-Baselines3's actor-critic policy with a `BlockExtractor` for its networks.

    Args:
        *args, **kwargs: as ActorCriticPolicy's; `net_arch` has at least one layer for pi and for vf.
        network: how experts are built and mixed: "gated", "ungated", "single", "adapters" or "conditioned".
        experts: number of experts n, at most 8; None takes 1 for "single" and "conditioned", and 2 for other networks.
        head: the layer that computes action logits: "shared", "per_expert" or "frozen".
        level: what a mask scales: "activation", "parameter", "forward_ablated" or "hard"; adapters need "parameter".
        precision: of the matrix products in experts, gate and critic: "fp32", or "bf16", which is faster on processors
            with bfloat16 instructions. Parameters, heads and losses are float32 in both.
        extractor: where images, alone or in a Dict, are encoded by convolutions. "shared": in the features extractor,
            which learns from every sample, since masks do not reach it. "per_block": in each expert, the gate and the
            critic, so an encoder is routed and ablated with its block. None: as `features_extractor_class` says.

    `agents.policies.architecture` describes each network, head and level.

    Attributes:
        architecture: network, experts, head and level.

    Raises:
        ValueError: a name is unknown, network, experts, level and extractor do not fit together, `net_arch` has no
            layer for pi or vf, or a head per expert is combined with `use_sde`.
    """

    mlp_extractor: BlockExtractor  # type: ignore[assignment]

    def __init__(
        self,
        observation_space: Space,
        *args,
        network: str = "gated",
        experts: int | None = None,
        head: str = "shared",
        level: str = "activation",
        precision: Precision = "fp32",
        extractor: str | None = None,
        **kwargs,
    ) -> None:
        if precision not in PRECISIONS:
            raise unknown_name("precision", precision, PRECISIONS)
        if extractor is not None:
            kwargs["features_extractor_class"] = _features_extractor(extractor, network, observation_space)
        elif isinstance(observation_space, Dict):
            kwargs.setdefault("features_extractor_class", CombinedExtractor)
        self.extractor = extractor
        experts = (1 if network in ONE_EXPERT else 2) if experts is None else experts
        self.architecture, self.precision = Architecture(network, experts, head, level), precision
        self.architecture.check()
        self._recorder: Callable[[torch.Tensor, bool], Acted] | None = None
        self._acting: tuple[BlockUse, np.ndarray] | None = None
        super().__init__(observation_space, *args, **kwargs)

    @property
    def network(self) -> str:
        """How experts are built and mixed."""
        return self.architecture.network

    @property
    def experts(self) -> int:
        """The number of experts."""
        return self.architecture.experts

    @property
    def head(self) -> str:
        """The kind of layer that computes action logits."""
        return self.architecture.head

    @property
    def level(self) -> str:
        """What a mask scales."""
        return self.architecture.level

    @property
    def gated(self) -> bool:
        """Whether a gate mixes the experts."""
        return self.architecture.gated

    @property
    def memory(self) -> str:
        """The policy's own memory as a user writes it: none."""
        return "none"

    @property
    def blocks(self) -> tuple[str, ...]:
        """The policy's blocks in the order of the columns of masks."""
        return self.architecture.blocks

    def rounded(self, features: torch.Tensor) -> torch.Tensor:
        """Convert features to the networks' precision, once for all networks."""
        return features.to(torch.bfloat16) if self.precision == "bf16" else features

    def forward(self, obs: torch.Tensor, deterministic: bool = False) -> Acted:
        """Act; inside `recorded` the graph is recorded, and inside `acting_by` another use acts in some copies.

        Returns:
            Actions (N, *action), values (N, 1) and log-probabilities (N,).
        """
        if self._recorder is not None:
            return self._recorder(obs, deterministic)
        if self._acting is None:
            return super().forward(obs, deterministic)
        use, copies = self._acting
        self.mlp_extractor.use_in_part = use, torch.as_tensor(copies, device=self.device).unsqueeze(1)
        try:
            return super().forward(obs, deterministic)
        finally:
            self.mlp_extractor.use_in_part = None

    @contextmanager
    def acting_by(self, use: BlockUse, copies: np.ndarray) -> Iterator[None]:
        """Context in which `forward` uses the blocks in another way in some copies.

        Args:
            use: of the blocks.
            copies: (N,) bool, the copies that it acts in; the array is read at every step.
        """
        use.check(self.architecture)
        self._acting = use, copies
        try:
            yield
        finally:
            self._acting = None

    @contextmanager
    def recorded(self, masks: torch.Tensor) -> Iterator[list[Evaluated]]:
        """Context in which each call of `forward` appends its results, with their graph, to the list it yields.

        Args:
            masks: (T, N, M) weight of each sample's gradient in each block, as `evaluate_actions` takes them. They are
                read only in the backward pass and may be written, through `masks.data`, once the samples' episodes have
                ended.
        """
        steps: list[Evaluated] = []

        def act(obs: torch.Tensor, deterministic: bool) -> Acted:
            with torch.enable_grad():
                values, distribution = self._distribution(obs, masks[len(steps)])
                actions = distribution.get_actions(deterministic).detach()  # a Gaussian's draws have a gradient
                steps.append(Evaluated(values, distribution.log_prob(actions), distribution.entropy()))
            actions = actions.reshape(-1, *self.action_space.shape)  # type: ignore[misc]  # not of a Dict space
            return actions, values.detach(), steps[-1].log_prob.detach()

        self._recorder = act
        try:
            yield steps
        finally:
            self._recorder = None

    def _get_constructor_parameters(self) -> dict:
        own = {**self.architecture._asdict(), "precision": self.precision, "extractor": self.extractor}
        return {**super()._get_constructor_parameters(), **own}

    def fresh(self, seed: int) -> "BlockPolicy":
        """Build a policy with the same arguments from a seed, on the same device; the global generator is unchanged."""
        arguments = self._get_constructor_parameters()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            policy = type(self)(**arguments, share_features_extractor=self.share_features_extractor)
        return policy.to(self.device)

    def _build_mlp_extractor(self) -> None:
        if isinstance(self.net_arch, list):
            self.net_arch = {"pi": self.net_arch, "vf": self.net_arch}
        if not all(self.net_arch.get(part) for part in ("pi", "vf")):
            raise ValueError(f"net_arch {self.net_arch} lacks layers; blocks need one at least for each of pi and vf")
        if self.head == "per_expert" and self.use_sde:
            raise ValueError("use_sde draws noise from one latent, which head 'per_expert' lacks; use head 'shared'")
        encoder = partial(Encoder, self.observation_space) if self.extractor == "per_block" else None
        network = partial(MLP, activation=self.activation_fn, precision=self.precision, encoder=encoder)
        logits = flatdim(self.action_space)
        self.mlp_extractor = make_extractor(
            self.features_dim, self.net_arch, network, self.architecture, logits, self.learns_features
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        start_from_zero(self)  # the orthogonal initialisation overwrote the adapters
        if self.head == "shared":
            return
        if self.head == "frozen":
            self.init_weights(self.action_net, gain=1)
            self.action_net.requires_grad_(False)
        else:
            self.action_net = nn.Identity()  # the extractor's latent is the logits
            for head in self.mlp_extractor.heads().values() if self.ortho_init else ():
                self.init_weights(head, gain=0.01)
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self.optimizer = self.optimizer_class(trained, lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters of the critic that the actor does not share."""
        yield from self.mlp_extractor.critic.parameters()
        yield from self.value_net.parameters()

    def block_parameters(self, name: str) -> Iterator[nn.Parameter]:
        """Iterate over the parameters of a block; there are none if the policy lacks the block."""
        regions = self.mlp_extractor.regions
        return (piece.parameter for piece in (regions[name].pieces if name in regions else ()))

    def evaluate_actions(self, obs: PyTorchObs, actions: torch.Tensor, masks: torch.Tensor | None = None) -> Evaluated:
        """Evaluate actions.

        Args:
            obs: (B, *obs).
            actions: (B, *action).
            masks: (B, M) weight of each sample's gradient in each block: one column per expert, and the gate's, which
                is unused in a policy without a gate. None routes nothing.
        """
        values, distribution = self._distribution(obs, masks)
        return Evaluated(values, distribution.log_prob(actions), distribution.entropy())

    def _distribution(self, obs: PyTorchObs, masks: torch.Tensor | None) -> tuple[torch.Tensor, Distribution]:
        """Values (B, 1), and the action distribution."""
        features, critic_features = self._actor_and_critic_features(obs)
        distribution = self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(features, masks))
        return self.value_net(self.mlp_extractor.forward_critic(critic_features)), distribution

    def _actor_and_critic_features(self, obs: PyTorchObs) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, features) each, in the networks' precision; equal if the features extractor is shared."""
        features = self.extract_features(obs)
        return features if isinstance(features, tuple) else (features, features)

    @property
    def learns_features(self) -> bool:
        """Whether a features extractor has parameters."""
        extractors = self.pi_features_extractor, self.vf_features_extractor
        return any(True for extractor in extractors for _ in extractor.parameters())

    @torch.no_grad()
    def encode(self, obs: PyTorchObs) -> torch.Tensor:
        """(B, *obs) -> (B, features), float32: the actor's features of observations, such as one-hot vectors."""
        return self.pi_features_extractor(preprocess_obs(obs, self.observation_space, self.normalize_images))

    @torch.no_grad()
    def log_probabilities(self, features: torch.Tensor, uses: Sequence[BlockUse] = (BlockUse(),)) -> list[torch.Tensor]:
        """Log-probabilities of discrete actions, finite where a probability underflows.

        Args:
            features: (B, features).
            uses: of the blocks.

        Returns:
            (B, A) for each use.

        Raises:
            ValueError: the policy lacks an ablated block, or a use has another number of coefficients than experts.
        """
        for use in uses:
            use.check(self.architecture)
        latents = self.mlp_extractor.latents(self.rounded(features), uses)
        return [log_softmax(self.action_net(latent)).clamp(min=LEAST_LOG_PROB) for latent in latents]

    def gate_logits(self, obs: PyTorchObs) -> torch.Tensor:
        """(B, *obs) -> (B,) log-odds of the first of two experts in the gate; (B, n - 1) logits of n > 2 experts."""
        return self.mlp_extractor.gate_logits(self._actor_and_critic_features(obs)[0])

    def retain_log_odds(self, obs: PyTorchObs) -> torch.Tensor:
        """(B, *obs) -> (B,) log-odds of the first expert against all others in the gate."""
        return self.mlp_extractor.retain_log_odds(self._actor_and_critic_features(obs)[0])

    def gate_values(self, obs: PyTorchObs) -> torch.Tensor:
        """(B, *obs) -> (B,) coefficient of the first expert, as trained."""
        return self.mlp_extractor.coefficients(self._actor_and_critic_features(obs)[0])[0].squeeze(-1)

    def extract_features(  # type: ignore[override]
        self, obs: PyTorchObs, features_extractor=None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """(B, *obs) -> (B, features), in the networks' precision; a pair for actor and critic if these do not share."""
        features = super().extract_features(obs, features_extractor)
        if isinstance(features, tuple):
            return self.rounded(features[0]), self.rounded(features[1])
        return self.rounded(features)

    @contextmanager
    def deployed(
        self,
        scales: tuple[float, ...] | None = None,
        without: Collection[str] = (),
        forget_scale: float | None = None,
    ) -> Iterator[None]:
        """Context in which the policy acts with its blocks used as deployed; see `BlockUse`.

        Args:
            scales: fixed coefficient of each expert; None takes the trained ones.
            without: blocks to ablate.
            forget_scale: factor of the trained coefficients of the forget experts.

        Raises:
            ValueError: the policy lacks a block to ablate or to scale, or has another number of experts.
        """
        blocks, use = self.mlp_extractor, BlockUse(scales, frozenset(without), forget_scale)
        use.check(self.architecture)
        before, blocks.use = blocks.use, use
        try:
            yield
        finally:
            blocks.use = before
