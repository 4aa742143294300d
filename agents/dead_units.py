"""Dead units: units of a block's last hidden layer whose output is the same for every observation.

A ReLU unit that outputs 0 for every observation gets no gradient, so its own weights no longer change; a saturated tanh
unit outputs 1 or -1. An expert all of whose units are dead acts equally after every observation, and its layers learn
nothing more. Optimiser
steps that are mostly noise cause this: where the return says little about a unit, its weights walk at random until it
is off (Lu et al. 2019, arXiv 1903.06733; Sokar et al. 2023, arXiv 2302.12902, on reinforcement learning).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from agents.policies.architecture import GATE
from agents.policies.policy import BlockPolicy


class UnitRanges:
    """The least and the largest output of each unit of a network, and whether its input varied, over forward passes."""

    def __init__(self) -> None:
        self.low = self.high = self.first = torch.empty(0)
        self.varied = False

    def hook(self, network: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        """Add a forward pass of (B, features) to (B, units)."""
        x, y = inputs[0].detach(), output.detach()
        if not len(y):
            return
        low, high = y.amin(0), y.amax(0)
        if not len(self.low):
            self.low, self.high, self.first = low, high, x[0].clone()
        self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)
        self.varied = self.varied or bool((x != self.first).any())

    @property
    def dead(self) -> float | None:
        """The share of the units whose output was always the same; None unless the input varied."""
        return float((self.low == self.high).double().mean()) if self.varied else None


@contextmanager
def counting_dead_units(policy: BlockPolicy) -> Iterator[dict[str, float]]:
    """Context in which a policy is evaluated, to count dead units.

    Args:
        policy: any policy made of blocks.

    Yields:
        A dictionary that is filled at the end: block -> share of its units that are dead, from 0 to 1, for each expert
        and the gate. A block that read only one input, or none, is left out.
    """
    extractor = policy.mlp_extractor
    networks = dict(extractor.networks())
    if extractor.gate is not None:
        networks[GATE] = extractor.gate[0]  # type: ignore[index]
    ranges = {name: UnitRanges() for name in networks}
    hooks = [network.register_forward_hook(ranges[name].hook) for name, network in networks.items()]
    shares: dict[str, float] = {}
    try:
        yield shares
    finally:
        for hook in hooks:
            hook.remove()
    shares.update({name: found.dead for name, found in ranges.items() if found.dead is not None})
