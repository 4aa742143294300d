"""The actor of exactly two experts, mixed by a sigmoid, from which the actor of any number of experts was made.

It is written out so that the default policy can be compared with it bit for bit on any machine.
"""

from functools import partial

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from agents.policies.blocks import MLP, Head, wide
from routing import Regions, Router, Rules, lora, module, set_scale, start_from_zero

EXPERTS = ("retain", "forget")
LEVELS = {
    "activation": ("activation", "activation"),
    "parameter": ("parameter", "parameter"),
    "forward_ablated": ("activation", "forward_ablated"),
    "adapter": ("parameter", "parameter"),
}


class TwoExperts(nn.Module):
    """Latents of actor and critic; level "adapter" has adapters of one frozen network as experts."""

    def __init__(self, features_dim, arch, network, gated, level) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = arch["pi"][-1], arch["vf"][-1]
        self.adapters = level == "adapter"
        if self.adapters:
            self.gate = None
            self.experts = network(features_dim, arch["pi"])
            parts = {name: lora(self, "experts.*", max(min(arch["pi"]) // 4, 1), name) for name in EXPERTS}
        else:
            self.experts = nn.ModuleDict({name: network(features_dim, arch["pi"]) for name in EXPERTS})
            self.gate = nn.Sequential(network(features_dim, arch["pi"]), Head(arch["pi"][-1], 1)) if gated else None
            parts = {name: module(f"experts.{name}") for name in EXPERTS} | ({"gate": module("gate")} if gated else {})
        self.critic = network(features_dim, arch["vf"])
        level, forget = LEVELS[level]
        self.router = Router(self, Rules.direct(Regions(self, parts)), level, {"forget": forget})

    def forward_actor(self, features, masks=None):
        if masks is None:
            return self.mixed(features)
        with self.router(masks[:, : len(self.router.levels)]):
            return self.mixed(features)

    def mixed(self, features):
        if self.adapters:
            one = wide(features.new_ones(len(features), 1))
            for name in EXPERTS:
                set_scale(self, name, one)
            return wide(self.experts(features))
        if self.gate is None:
            first = second = wide(features.new_full((len(features), 1), 0.5))
        else:
            first = torch.sigmoid(self.gate(features))
            second = 1 - first
        retain, forget = (expert(features) for expert in self.experts.values())
        return wide(first.to(retain.dtype) * retain + second.to(forget.dtype) * forget)

    def forward_critic(self, features):
        return wide(self.critic(features))

    def forward(self, features):
        return self.forward_actor(features), self.forward_critic(features)


class TwoExpertPolicy(ActorCriticPolicy):
    """Stable-Baselines3's policy with `TwoExperts`."""

    def __init__(self, *args, gated=True, level="activation", precision="fp32", **kwargs) -> None:
        self.arguments = gated, level
        self.precision = precision
        super().__init__(*args, **kwargs)

    def _build_mlp_extractor(self) -> None:
        network = partial(MLP, activation=self.activation_fn, precision=self.precision)
        self.mlp_extractor = TwoExperts(self.features_dim, self.net_arch, network, *self.arguments)

    def _build(self, lr_schedule) -> None:
        super()._build(lr_schedule)
        start_from_zero(self)
