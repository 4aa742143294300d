"""The architecture of a policy made of blocks: its network, its experts, its head and its level.

Network:

- gated: experts mixed by a learned softmax gate, whose logit for the last expert is fixed at 0.
- ungated: n experts with coefficient 1/n each.
- single: one expert with coefficient 1, for comparison with a network without parts.
- adapters: one frozen network with a low-rank adapter for each expert; adapters add up with coefficient 1.
- conditioned: one network that reads, besides the features, the code of a verdict: good, bad or no verdict.

Head:

- shared: one linear layer on the mixed latent; it learns from every sample.
- per_expert: each expert has a linear layer of its own inside its block, which is therefore routed and ablated with the
  expert; the action logits are the experts' logits, mixed with the experts' coefficients.
- frozen: a shared layer that keeps its initial values.

Level, the gradients that a mask scales:

- activation: the gradient through a block's output.
- parameter: the gradient of a block's parameters, not that of its inputs. Where a features extractor that learns is
  below the blocks, every level weights parameters in the place of outputs, so masks do not reach the extractor.
- forward_ablated: as activation, and each forget expert outputs 0 for samples that do not train it.
- hard: as activation, and each expert has coefficient 0 for samples that do not train it; the others' coefficients are
  divided by their sum.
"""

from collections.abc import Sequence
from itertools import count, pairwise
from typing import NamedTuple

from routing import BLOCKS, CODES, blocks_of
from routing.errors import unknown_name

NETWORKS = ("gated", "ungated", "single", "adapters", "conditioned")
HEADS = ("shared", "per_expert", "frozen")
LEVELS = ("activation", "parameter", "forward_ablated", "hard")
ONE_EXPERT = ("single", "conditioned")
MAX_EXPERTS = 8  # the time to build a router is quadratic in the number of layers
RETAIN, GATE = BLOCKS[0], BLOCKS[-1]


def expert_names(experts: int) -> tuple[str, ...]:
    """Return the block of each expert: retain, forget, forget2, forget3, ..."""
    return blocks_of(experts)[:-1]


class Architecture(NamedTuple):
    """The parts of a policy made of blocks, as `BlockPolicy` takes them."""

    network: str = "gated"
    experts: int = 2
    head: str = "shared"
    level: str = "activation"

    @property
    def gated(self) -> bool:
        """Whether a gate mixes the experts."""
        return self.network == "gated"

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks in the order of the columns of masks; masks have a last column for the gate even without one."""
        return expert_names(self.experts) + ((GATE,) if self.gated else ())

    @property
    def conditioned(self) -> bool:
        """Whether the network reads the code of a verdict."""
        return self.network == "conditioned"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of masks: blocks, the gate's last even without one; codes of a network that reads verdicts."""
        return (*CODES, GATE) if self.conditioned else blocks_of(self.experts)

    @property
    def coefficients(self) -> tuple[str, ...]:
        """What a use of the policy can fix: the coefficient of each expert, or the code that the network reads."""
        return CODES if self.conditioned else expert_names(self.experts)

    @property
    def relabels(self) -> bool:
        """Whether a sample's masks choose the policy that it trains, so that it is not the policy that acted.

        The ratio of an update then compares the chosen policy with itself before the update.
        """
        return self.conditioned or self.level == "hard"

    @property
    def reads_masks(self) -> bool:
        """Whether the forward pass depends on masks."""
        return self.relabels or self.level == "forward_ablated"

    @property
    def forget(self) -> tuple[str, ...]:
        """The blocks of the experts other than retain."""
        return expert_names(self.experts)[1:]

    def check(self) -> None:
        """Raise ValueError if a part is unknown or the parts do not fit together."""
        for part, name, known in (
            ("network", self.network, NETWORKS),
            ("head", self.head, HEADS),
            ("level", self.level, LEVELS),
        ):
            if name not in known:
                raise unknown_name(part, name, known)
        if self.network in ONE_EXPERT and self.experts != 1:
            raise ValueError(
                f"network {self.network!r} has 1 expert, not {self.experts}; choose experts=1 or network 'gated'"
            )
        if self.network not in ONE_EXPERT and self.experts < 2:
            raise ValueError(
                f"network {self.network!r} has {self.experts} experts; choose at least 2, or network 'single'"
            )
        if self.experts > MAX_EXPERTS:
            raise ValueError(f"a policy of {self.experts} experts is too large; choose at most {MAX_EXPERTS}")
        if self.network == "adapters" and self.level != "parameter":
            raise ValueError(
                f"adapters share the activations of one network, so level {self.level!r} cannot separate them; "
                "choose level 'parameter'"
            )


def equal_capacity_width(
    inputs: int, widths: Sequence[int], actions: int, experts: int, gate: bool, core: int = 0
) -> int:
    """Compute the width of a single network that has as many parameters as an actor of several experts.

    Args:
        inputs: number of features.
        widths: units of each layer of each expert and of the gate.
        actions: outputs of the shared head.
        experts: number of experts n.
        gate: whether the actor has a gate, which is a network of its own with n - 1 outputs.
        core: parameters of the LSTM that precedes each expert, the gate and the single network; 0 without them.

    Returns:
        The smallest width of `len(widths)` equal layers for which network and head have at least as many parameters as
        the experts, the gate and the head.
    """
    networks = (experts + gate) * _parameters([inputs, *widths])
    needed = (
        networks
        + (experts + gate - 1) * core
        + gate * _parameters([widths[-1], experts - 1])
        + _parameters([widths[-1], actions])
    )
    return next(w for w in count(1) if _parameters([inputs, *[w] * len(widths), actions]) >= needed)


def _parameters(sizes: Sequence[int]) -> int:
    """The number of weights and biases of fully connected layers between these sizes."""
    return sum((before + 1) * after for before, after in pairwise(sizes))
