"""Control for ablation: as many hidden units as the forget block has are removed, but chosen at random."""

import torch
from torch import Tensor, nn

from agents.policies.blocks import BlockUse
from agents.policies.policy import BlockPolicy


def ablate_random(
    policy: BlockPolicy, deployment_use: BlockUse, observations: Tensor | None, weights: Tensor | None, seed: int
) -> BlockPolicy:
    """Remove random hidden units from the experts instead of the forget block.

    The last layers of n experts have n * w units. (n - 1) * w of them, as many as all forget experts have, are chosen
    without replacement by the seed; retain units and forget units are equally likely. The weights and the bias of a
    chosen unit are set to 0, so its output is 0 for every observation. Every other parameter is unchanged: earlier
    layers, gate, heads and critic. Deploy the result whole: the experts then have the coefficients of training.

    Args:
        policy: the trained policy; it is not changed.
        deployment_use: not used.
        observations: not used.
        weights: not used.
        seed: of the choice; the global generator is unchanged.

    Returns:
        A copy of the policy without the chosen units.

    Raises:
        ValueError: the policy has no forget expert with layers of its own, or its activation is not 0 at 0.
    """
    if policy.network not in ("gated", "ungated"):
        raise ValueError(
            f"ablate_random needs experts with layers of their own; network {policy.network!r} has none to compare "
            "with; use network 'gated' or 'ungated'"
        )
    if policy.activation_fn()(torch.zeros(1)).any():
        raise ValueError(
            f"ablate_random sets units to 0, but {policy.activation_fn.__name__} is not 0 at 0; use ReLU or Tanh"
        )
    ablated = policy.fresh(seed)  # a deep copy fails where the policy still holds the graph of its last update
    ablated.load_state_dict(policy.state_dict())
    ablated.set_training_mode(policy.training)
    layers = [_last_layer(network) for network in ablated.mlp_extractor.networks().values()]
    width = layers[0].out_features
    order = torch.randperm(len(layers) * width, generator=torch.Generator().manual_seed(seed))
    chosen = order[: (len(layers) - 1) * width].tolist()
    with torch.no_grad():
        for layer, unit in (divmod(number, width) for number in chosen):
            layers[layer].weight[unit] = 0
            layers[layer].bias[unit] = 0
    return ablated


def _last_layer(network: nn.Module) -> nn.Linear:
    return [layer for layer in network.children() if isinstance(layer, nn.Linear)][-1]
