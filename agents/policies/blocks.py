"""An actor made of blocks: experts that read one observation, mixed by a gate.

latent = sum_i c_i expert_i(x) with coefficients c = softmax(gate(x)), or 1/n without a gate, or fixed numbers at
deployment. Every block is a region of a router. A sample's masks are a soft label that weights its gradient in each
region; the level determines what is weighted. `agents.policies.architecture` describes networks, heads and levels.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.nn.functional import pad

from agents.policies.architecture import CODES, GATE, RETAIN, Architecture, expert_names
from agents.policies.extractors import Encoder
from routing import Regions, Router, Rules, lora, module, set_scale
from routing.errors import unknown_name
from routing.selectors import Part

Widths = Sequence[int]
Arch = Mapping[str, Widths]
Coefficients = Sequence[torch.Tensor]
Network = Callable[[int, Widths], nn.Sequential]
Precision = Literal["fp32", "bf16"]
NO_VERDICT = tuple(float(code == "no_verdict") for code in CODES)
PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class MLP(nn.Sequential):
    """Fully connected network: (B, inputs) -> (B, widths[-1]), computed and returned in one precision.

    Args:
        inputs: number of input features.
        widths: units of each layer.
        activation: follows every layer.
        precision: a key of `PRECISIONS`.
        encoder: makes the first layer, which reads the inputs that are a flattened observation; None: there is none.
    """

    def __init__(
        self,
        inputs: int,
        widths: Widths,
        activation: type[nn.Module],
        precision: Precision,
        encoder: Callable[[], Encoder] | None = None,
    ) -> None:
        first = [] if encoder is None else [encoder()]
        inputs += sum(layer.features_dim - layer.size for layer in first)
        sizes = zip([inputs, *widths[:-1]], widths, strict=True)
        super().__init__(*first, *(layer for i, o in sizes for layer in (nn.Linear(i, o), activation())))
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
    """Fixed coefficient of each expert; None takes the trained ones. Of a network that reads verdicts it is the code:
    good, bad, no verdict; None is the last."""
    without: frozenset[str] = frozenset()
    """Ablated blocks. An ablated expert has coefficient 0; with an ablated gate, n experts have coefficient 1/n."""
    forget_scale: float | None = None
    """Factor, from 0 to 1, of the coefficients of all forget experts; None, like 1, leaves them as trained. With a gate
    the weight that they lose goes to the retain expert, so a factor of 0 gives it coefficient 1."""

    def coefficients(self, trained: Coefficients, gated: bool) -> Coefficients:
        """Compute the coefficients of the experts in this use.

        Args:
            trained: one (B, 1) tensor per expert, as trained.
            gated: whether a gate mixes the experts.

        Returns:
            One (B, 1) tensor per expert.
        """
        experts = len(trained)
        fixed = self.scales or ((1 / experts,) * experts if GATE in self.without else None)
        mixed = trained if fixed is None else tuple(torch.full_like(trained[0], scale) for scale in fixed)
        if self.forget_scale is not None and self.forget_scale != 1:  # at 1 a sum of weights could round
            forget = tuple(c * self.forget_scale for c in mixed[1:])
            mixed = (1 - reduce(torch.add, forget) if gated else mixed[0], *forget)
        return tuple(c * (name not in self.without) for name, c in zip(expert_names(experts), mixed, strict=True))

    def check(self, architecture: Architecture) -> None:
        """Raise ValueError if the policy of an architecture cannot be used in this way."""
        for name in self.without:
            if name not in architecture.blocks:
                raise unknown_name("block", name, architecture.blocks)
        if self.scales is not None and len(self.scales) != len(architecture.coefficients):
            raise ValueError(
                f"{len(self.scales)} coefficients {self.scales} for a policy of {architecture.experts} experts; "
                f"give one for each of {', '.join(architecture.coefficients)}"
            )
        if self.forget_scale is not None:
            self._check_forget_scale(self.forget_scale, architecture)

    def _check_forget_scale(self, scale: float, architecture: Architecture) -> None:
        if not architecture.forget:
            raise ValueError(f"network {architecture.network!r} has no forget expert to scale; omit forget_scale")
        if self.scales is not None:
            raise ValueError(f"coefficients {self.scales} are fixed, so forget_scale {scale} has no effect; omit one")
        if not 0 <= scale <= 1:
            raise ValueError(f"forget_scale is {scale}; choose a number from 0 to 1")


def weighted_sum(coefficients: Coefficients, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Weight the experts' outputs (B, units) and add them up, in their precision."""
    weighted = (c.to(output.dtype) * output for c, output in zip(coefficients, outputs, strict=True))
    return wide(reduce(torch.add, weighted))


def among_trained(coefficients: Coefficients, trained: torch.Tensor) -> Coefficients:
    """Return coefficients that are 0 for experts that a sample does not train, the others divided by their sum.

    Args:
        coefficients: one (B, 1) tensor per expert.
        trained: (B, n) bool, whether the sample trains the expert.

    Returns:
        One (B, 1) tensor per expert; a sample that trains all experts keeps its coefficients bit for bit.
    """
    mixed = torch.cat(list(coefficients), 1)
    remaining = mixed * trained
    total = remaining.sum(1, keepdim=True)
    shares = remaining / total.where(total > 0, 1.0)
    return mixed.where(trained.all(1, keepdim=True), shares).split(1, 1)


class BlockExtractor(nn.Module):
    """Computes the actor's latent by experts and a gate, and the critic's latent by a separate network.

    Args:
        features_dim: number of features.
        arch: "pi" and "vf": widths of each expert and the gate, and of the critic.
        network: builds a network from its number of inputs and its widths.
        architecture: the parts of the actor.
        logits: number of action logits. With a head per expert, the actor's latent is the mixed logits.
        inputs_learn: whether the features come from an extractor that learns. Masks then do not reach it: at the levels
            that weight the gradient of a block's output, that of the block's parameters is weighted instead.

    Attributes:
        use: how the blocks are used when no masks are given.
        use_in_part: another use and the samples, (B, 1) bool, that it applies to when no masks are given; None: none.
        regions: the blocks as regions of a router.
    """

    def __init__(
        self,
        features_dim: int,
        arch: Arch,
        network: Network,
        architecture: Architecture,
        logits: int,
        inputs_learn: bool = False,
    ) -> None:
        super().__init__()
        self.architecture, self.names = architecture, expert_names(architecture.experts)
        self.head_size = logits if architecture.head == "per_expert" else None
        self.latent_dim_pi, self.latent_dim_vf = self.head_size or arch["pi"][-1], arch["vf"][-1]
        parts = self._build_actor(features_dim, arch["pi"], network)
        self.critic = network(features_dim, arch["vf"])
        self.use = BlockUse()
        self.use_in_part: tuple[BlockUse, torch.Tensor] | None = None
        self.regions = Regions(self, parts)
        level = architecture.level
        ablated = dict.fromkeys(architecture.forget if level == "forward_ablated" else (), level)
        weighted = "parameter" if inputs_learn or level == "parameter" else "activation"
        self.router = Router(self, Rules.direct(self.regions), weighted, ablated)

    def _build_actor(self, inputs: int, widths: Widths, network: Network) -> dict[str, Part | Sequence[Part]]:
        """Build the actor's networks; returns the part of each block."""

        def expert() -> nn.Module:
            layers = network(inputs, widths)
            return layers if self.head_size is None else nn.Sequential(layers, Head(widths[-1], self.head_size))

        self.experts: Any = nn.ModuleDict({name: expert() for name in self.names})
        self.gate: nn.Module | None = None
        if self.architecture.gated:
            self.gate = nn.Sequential(network(inputs, widths), Head(widths[-1], len(self.names) - 1))
        paths = {name: f"experts.{name}" for name in self.names} | ({GATE: GATE} if self.architecture.gated else {})
        return {name: module(path) for name, path in paths.items()}

    def networks(self) -> dict[str, nn.Module]:
        """Return the layers of each expert, without its head."""
        own_heads = self.head_size is not None
        return {name: expert[0] if own_heads else expert for name, expert in self.experts.items()}

    def heads(self) -> dict[str, nn.Module]:
        """Return the head of each expert; empty unless each expert has its own."""
        return {} if self.head_size is None else {name: expert[1] for name, expert in self.experts.items()}

    def gate_logits(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> (B,) log-odds of the first of two experts; (B, n - 1) logits of n > 2, whose last is 0."""
        assert self.gate is not None
        logits = self.gate(features)
        return logits.squeeze(-1) if logits.shape[-1] == 1 else logits

    def retain_log_odds(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> (B,) log-odds of the first expert against all others in the gate."""
        logits = self.gate_logits(features)
        if logits.ndim == 1:
            return logits
        return logits[:, 0] - torch.logsumexp(pad(logits[:, 1:], (0, 1)), 1)

    def coefficients(self, features: torch.Tensor) -> Coefficients:
        """(B, features) -> one (B, 1) coefficient per expert, as trained."""
        if self.gate is None:
            equal = wide(features.new_full((len(features), 1), 1 / len(self.names)))
            return (equal,) * len(self.names)
        logits = self.gate(features)
        if logits.shape[-1] == 1:
            gate = torch.sigmoid(logits)
            return gate, 1 - gate
        return torch.softmax(pad(logits, (0, 1)), 1).split(1, 1)

    def forward_actor(self, features: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """Mix the experts.

        Args:
            features: (B, features).
            masks: (B, M) weight of each sample's gradient in each block, the gate's column last; it is unused without a
                gate. None: nothing is routed, and `use` applies.

        Returns:
            (B, latent).

        Raises:
            ValueError: M is not the number of experts plus 1.
        """
        if masks is None:
            return self._in_use(features)
        columns = self.architecture.columns
        if masks.shape[-1] != len(columns):
            raise ValueError(f"masks have {masks.shape[-1]} columns; give {len(columns)}: {', '.join(columns)}")
        return self._under_masks(features, masks)

    def _in_use(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> (B, latent), without masks."""
        if self.use_in_part is None:
            return self.latents(features, [self.use])[0]
        other, samples = self.use_in_part
        most, some = self.latents(features, [self.use, other])
        return some.where(samples, most)

    def _under_masks(self, features: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """(B, features), (B, M) -> (B, latent)."""
        with self.router(masks[:, : len(self.router.levels)]):
            coefficients = self.coefficients(features)
            if self.architecture.level == "hard":
                coefficients = among_trained(coefficients, masks[:, : len(self.names)] != 0)
            return self._mixed(coefficients, features)

    def latents(self, features: torch.Tensor, uses: Sequence[BlockUse]) -> list[torch.Tensor]:
        """(B, features) -> (B, latent) for each use; experts and gate are computed once."""
        coefficients, outputs = self.coefficients(features), [expert(features) for expert in self.experts.values()]
        gated = self.architecture.gated
        return [weighted_sum(use.coefficients(coefficients, gated), outputs) for use in uses]

    def _mixed(self, coefficients: Coefficients, features: torch.Tensor) -> torch.Tensor:
        return weighted_sum(coefficients, [expert(features) for expert in self.experts.values()])

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> (B, latent) of the critic."""
        return wide(self.critic(features))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)


class AdapterExtractor(BlockExtractor):
    """One frozen network instead of experts; each expert is a low-rank adapter on every layer. There is no gate."""

    def _build_actor(self, inputs: int, widths: Widths, network: Network) -> dict[str, Part | Sequence[Part]]:
        self.gate = None
        self.experts = network(inputs, widths)
        rank = max(min(widths) // 4, 1)
        adapters = {name: lora(self, "experts.*", rank, name) for name in self.names}
        if self.head_size is None:
            return dict(adapters)
        self.expert_heads = nn.ModuleDict({name: Head(widths[-1], self.head_size) for name in self.names})
        return {name: [part, module(f"expert_heads.{name}")] for name, part in adapters.items()}

    def networks(self) -> dict[str, nn.Module]:
        """Return the network with its adapters for each expert."""
        return dict.fromkeys(self.names, self.experts)

    def heads(self) -> dict[str, nn.Module]:
        return {} if self.head_size is None else dict(self.expert_heads.items())

    def coefficients(self, features: torch.Tensor) -> Coefficients:
        one = wide(features.new_ones(len(features), 1))
        return (one,) * len(self.names)

    def latents(self, features: torch.Tensor, uses: Sequence[BlockUse]) -> list[torch.Tensor]:
        """(B, features) -> (B, latent) for each use; adapters act inside the network, so each use is a forward pass."""
        trained = self.coefficients(features)
        return [self._mixed(use.coefficients(trained, gated=False), features) for use in uses]

    def _mixed(self, coefficients: Coefficients, features: torch.Tensor) -> torch.Tensor:
        for name, coefficient in zip(self.names, coefficients, strict=True):
            set_scale(self, name, coefficient)
        latent = wide(self.experts(features))
        heads = self.heads().values()
        return weighted_sum(coefficients, [head(latent) for head in heads]) if heads else latent


class ConditionedExtractor(BlockExtractor):
    """One network that reads the features and the code of a verdict; masks are codes, and mask no gradient."""

    def _build_actor(self, inputs: int, widths: Widths, network: Network) -> dict[str, Part | Sequence[Part]]:
        return super()._build_actor(inputs + len(CODES), widths, network)

    def _under_masks(self, features: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return self._mixed(self.coefficients(features), self._with_code(features, masks[:, : len(CODES)]))

    def latents(self, features: torch.Tensor, uses: Sequence[BlockUse]) -> list[torch.Tensor]:
        """(B, features) -> (B, latent) for each use; each code is a forward pass."""
        (one,) = self.coefficients(features)
        codes = [features.new_tensor(use.scales or NO_VERDICT).expand(len(features), -1) for use in uses]
        return [
            self._mixed([one * (RETAIN not in use.without)], self._with_code(features, code))
            for use, code in zip(uses, codes, strict=True)
        ]

    def _with_code(self, features: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """(B, features), (B, 3) -> (B, features + 3)."""
        return torch.cat([features, code.to(features.dtype)], 1)


def make_extractor(
    features_dim: int,
    arch: Arch,
    network: Network,
    architecture: Architecture,
    logits: int,
    inputs_learn: bool = False,
) -> BlockExtractor:
    """Build the extractor of an architecture; arguments as of `BlockExtractor`."""
    kind = EXTRACTORS.get(architecture.network, BlockExtractor)
    return kind(features_dim, arch, network, architecture, logits, inputs_learn)


EXTRACTORS = {"adapters": AdapterExtractor, "conditioned": ConditionedExtractor}
