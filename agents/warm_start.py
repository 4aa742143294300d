"""Starts a policy from a saved agent."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from agents.policies.architecture import RETAIN
from agents.policies.policy import BlockPolicy
from agents.saving.agent_file import Agent
from routing.lora import AdaptedLinear

Pairs = Iterator[tuple[nn.Module, nn.Module]]
ADVICE = "start from an agent with the same network, experts and head, or from one of network 'single'"


def warm_start(policy: BlockPolicy, agent: Agent) -> None:
    """Copy an agent's parameters to a policy. Call it before training; the optimiser's state is not changed.

    Spaces, widths and activation must be equal. Then:

    - Network, number of experts and head are equal: all parameters are copied.
    - The policy has adapters: its frozen network and its head are copied from the agent's retain expert (of an agent
      with adapters: from their frozen network). The adapters keep their initial values, which have no effect, so the
      policy acts as that expert alone.
    - The agent has one expert: every expert of the policy starts from it, and the gate keeps its initial values. The
      experts' coefficients add up to 1, so the policy acts as the agent. A network that reads verdicts starts from it
      too; the weights that read the code are 0.

    In all cases the critic is copied, and so is the standard deviation of continuous actions. A head that is copied
    from a shared to a frozen one stays frozen; to heads per expert, each becomes a copy.

    Args:
        policy: the policy to start.
        agent: the agent to start from.

    Raises:
        ValueError: the policy cannot start from the agent; one line with the difference and what to do.
    """
    source = agent.policy
    _check_equal(policy, source)
    if policy.architecture[:3] == source.architecture[:3]:
        pairs: Pairs = iter([(policy, source)])
    elif policy.network == "adapters" and policy.head != "per_expert" and not source.architecture.conditioned:
        pairs = _for_one_network(policy, source, [RETAIN])
    elif policy.network in ("gated", "ungated", "conditioned") and source.network == "single":
        pairs = _for_one_network(policy, source, list(policy.mlp_extractor.networks()))
    else:
        raise ValueError(f"{_described(policy)} cannot start from an agent of {_described(source)}; {ADVICE}")
    with torch.no_grad():
        for target, copied in pairs:
            for parameter, value in zip(target.parameters(), copied.parameters(), strict=True):
                # the first layer of a network that reads a code has columns for it after those of the features
                reads_code = parameter.shape != value.shape
                parameter.copy_(pad(value, (0, parameter.shape[1] - value.shape[1])) if reads_code else value)
        if hasattr(policy, "log_std"):
            policy.log_std.copy_(source.log_std)


def _for_one_network(policy: BlockPolicy, source: BlockPolicy, experts: list[str]) -> Pairs:
    """Pair modules of the policy with those of the source's retain expert, its head and its critic."""
    ours, theirs = policy.mlp_extractor, source.mlp_extractor
    for name in experts:
        yield from zip(_layers(ours.networks()[name]), _layers(theirs.networks()[RETAIN]), strict=True)
    head = theirs.heads().get(RETAIN, source.action_net)
    yield from ((ours_head, head) for ours_head in ours.heads().values() or [policy.action_net])
    yield policy.features_extractor, source.features_extractor
    yield ours.critic, theirs.critic
    yield policy.value_net, source.value_net


def _layers(network: nn.Module) -> list[nn.Module]:
    """The layers of an expert, without adapters."""
    return [layer.base if isinstance(layer, AdaptedLinear) else layer for layer in network.children()]


def _check_equal(policy: BlockPolicy, source: BlockPolicy) -> None:
    if policy.learns_features and policy.extractor is None:
        raise ValueError("the policy's features extractor has parameters, which no agent has; use FlattenExtractor")
    for name, ours, theirs in (
        ("observation space", policy.observation_space, source.observation_space),
        ("action space", policy.action_space, source.action_space),
        ("widths", _widths(policy), _widths(source)),
        ("activation", policy.activation_fn.__name__, source.activation_fn.__name__),
        ("memory", policy.memory, source.memory),
        ("use_sde", policy.use_sde, source.use_sde),
        ("extractor", policy.extractor, source.extractor),
        ("number of features", policy.features_dim, source.features_dim),
    ):
        if ours != theirs:
            raise ValueError(
                f"the policy's {name} is {_short(ours)}, but the agent's is {_short(theirs)}; make them equal, or "
                "start from another agent"
            )


def _widths(policy: BlockPolicy) -> dict[str, list[int]]:
    return {part: list(widths) for part, widths in policy.net_arch.items()}  # type: ignore[union-attr]


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:200]  # bounds of a Box may fill many lines


def _described(policy: BlockPolicy) -> str:
    return f"network {policy.network!r} ({policy.experts} experts, head {policy.head!r})"
