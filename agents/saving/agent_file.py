"""Saves an agent as data: a manifest and the policy's tensors. Loading executes no code from the file.

The manifest describes the network. Loading checks its size, builds it without memory, and the tensors must have its
names and shapes. The manifest only names the world, which is imported when `Agent.make_world` is called. Usage:

    >>> agent = agents.load("agent.zip")
    >>> with agent.deployed(without=["forget"]):
    ...     actions = agent.act(observations)
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv

from agents.actions import draw_actions
from agents.carried import Carried, is_recurrent
from agents.deployment import use_of
from agents.memory import NONE
from agents.policies.blocks import BlockUse
from agents.policies.policy import BlockPolicy
from agents.saving import archive, spaces
from agents.saving.archive import unreadable
from agents.saving.manifest import Description, parse_manifest, use_data
from agents.saving.weights import decode_tensors, encode_tensors, tensor_bytes
from agents.worlds import make_world
from routing import find
from routing.errors import unknown_name

REFUSED = ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, AssertionError

ALIASES = ("pi_features_extractor.", "vf_features_extractor.")  # of the names of a shared features extractor


@dataclass(frozen=True)
class Agent:
    """A trained policy and its origin."""

    policy: BlockPolicy
    env: str
    """Gymnasium id of the world in which the policy was trained"""
    world: Mapping[str, Any]
    """the world's arguments, including oversight_prob"""
    method: str
    deployments: Mapping[str, BlockUse]
    """deployment rule -> how the blocks are used. The first rule selected the weights. "whole" (as trained) is appended
    if the method has no such rule."""
    facts: Mapping[str, Any]
    """further JSON values passed to `save`"""

    @contextmanager
    def deployed(self, rule: str | None = None, without: Collection[str] = ()) -> Iterator[None]:
        """Context in which the agent acts by a deployment rule.

        Args:
            rule: a key of `deployments`; None takes the first.
            without: blocks to ablate.

        Raises:
            ValueError: the agent has no such rule.
        """
        rule = rule or next(iter(self.deployments))
        if rule not in self.deployments:
            raise unknown_name("deployment rule", rule, self.deployments)
        use = self.deployments[rule]
        with self.policy.deployed(*use._replace(without=use.without | set(without))):
            yield

    def act(
        self, observations: Any, generator: torch.Generator | None = None, carried: Carried | None = None
    ) -> np.ndarray:
        """Select actions.

        Args:
            observations: (N, *obs), by name for a Dict space.
            generator: draws the actions; None takes the most probable ones.
            carried: of the agent's policy and N copies; an agent with an LSTM needs it to act along episodes.

        Returns:
            (N, *action) as the environment takes them; (N,) int of Discrete actions.

        Raises:
            ValueError: the agent has an LSTM, and there is no `carried`.
        """
        if carried is None and is_recurrent(self.policy):
            raise ValueError(
                f"the agent has memory {self.policy.memory}, so its actions depend on earlier observations; pass "
                "carried=agents.Carried(agent.policy, N)"
            )
        inputs = self.policy.obs_to_tensor(observations)[0]
        distribution = (carried or Carried(self.policy, 1)).distribution(inputs)  # without memory, of any number
        if not isinstance(self.policy.action_space, Discrete):
            return draw_actions(self.policy, distribution, generator)
        probabilities = distribution.distribution.probs.double()  # type: ignore[union-attr]
        if generator is None:
            return probabilities.argmax(1).numpy()
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(1).numpy()

    def make_world(self, copies: int = 1, **changed: Any) -> VectorEnv:
        """Make the agent's world. Imports the module that the world's id names.

        Args:
            copies: N.
            **changed: arguments of the world that replace the saved ones.

        Raises:
            ValueError: the spaces of the world differ from the policy's.
        """
        world = make_world(self.env, copies, **{**self.world, **changed})
        ours = self.policy.observation_space, self.policy.action_space
        theirs = world.single_observation_space, world.single_action_space
        if ours != theirs:
            raise ValueError(f"{self.env} with {changed} has the spaces {theirs}; the agent was trained on {ours}")
        return world


def save(
    path: Path,
    policy: BlockPolicy,
    env: str,
    world: Mapping[str, Any],
    method: str,
    forget_scales: Mapping[str, float] | None = None,
    **facts: Any,
) -> None:
    """Save an agent atomically.

    Args:
        path: of the file; an existing file is replaced.
        policy: its weights are those that the method's first deployment rule selected.
        env: Gymnasium id of the world in which the policy was trained.
        world: the world's arguments.
        method: name of the oversight method.
        forget_scales: deployment rule -> the factor of the forget experts, for each rule that measures it.
        **facts: further JSON values.

    Raises:
        ValueError: the agent could not be loaded: a space, an argument of the world or the network's size is refused,
            or a deployment rule has another number of coefficients than experts. Or a rule that measures has no factor.
        OSError: the file cannot be written.
    """
    manifest = {
        "env": env,
        "world": dict(world),
        "method": method,
        "deployments": [
            [rule.name, use_data(use_of(rule, (forget_scales or {}).get(rule.name)))] for rule in find(method).deployed
        ],
        "facts": facts,
        "network": network_data(policy),
        "observation_space": spaces.to_data(policy.observation_space),
        "action_space": spaces.to_data(policy.action_space),
    }
    parse_manifest(manifest)
    archive.write_archive(Path(path), manifest, encode_tensors(own_tensors(policy)))


def own_tensors(policy: BlockPolicy) -> dict[str, torch.Tensor]:
    """Return the tensors of a policy by name, once each: Stable-Baselines3 names a shared features extractor thrice."""
    tensors = policy.state_dict()
    if not policy.share_features_extractor:
        return tensors
    return {name: value for name, value in tensors.items() if not name.startswith(ALIASES)}


def _with_aliases(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Invert `own_tensors`."""
    shared = [(name, value) for name, value in tensors.items() if name.startswith("features_extractor.")]
    aliases = {prefix + name.partition(".")[2]: value for prefix in ALIASES for name, value in shared}
    return {**tensors, **aliases}


def network_data(policy: BlockPolicy) -> dict[str, Any]:
    """Return the manifest's entry that describes a policy's network."""
    return {
        "widths": {part: list(widths) for part, widths in policy.net_arch.items()},  # type: ignore[union-attr]
        "activation": policy.activation_fn.__name__,
        **policy.architecture._asdict(),
        "precision": policy.precision,
        **({} if policy.extractor is None else {"extractor": policy.extractor}),
        **({} if policy.memory == NONE else {"memory": policy.memory}),
    }


def _policy_class(network: Mapping[str, Any]) -> type[BlockPolicy]:
    """The class that takes these keyword arguments."""
    if "lstm_hidden_size" not in network:
        return BlockPolicy
    from agents.policies.recurrent import RecurrentBlockPolicy

    return RecurrentBlockPolicy


def load(path: str | Path) -> Agent:
    """Load an agent to the CPU.

    Raises:
        BadAgentError: the file is not a complete agent file.
        OSError: the file cannot be read.
    """
    path = Path(path)
    manifest, weights = archive.read_archive(path)
    description, policy = described_policy(path, manifest)
    try:
        tensors = _with_aliases(decode_tensors(weights, own_tensors(policy)))
    except ValueError as error:
        raise unreadable(path, f"{archive.CURRENT.weights} does not fit the network in the manifest: {error}") from None
    policy.load_state_dict(tensors, assign=True)
    policy.set_training_mode(False)
    origin = {name: getattr(description, name) for name in ("env", "world", "method", "deployments", "facts")}
    return Agent(policy, **origin)


def check_size(policy: BlockPolicy) -> None:
    """Raise ValueError if the policy is larger than an agent file can be."""
    if (size := tensor_bytes(own_tensors(policy))) > archive.LIMIT:
        raise ValueError(f"the network has {size} bytes; the limit of an agent file is {archive.LIMIT}")


def described_policy(path: Path, manifest: Mapping[str, Any]) -> tuple[Description, BlockPolicy]:
    """Read a manifest and build its network on device "meta", where parameters have no memory.

    Args:
        path: of the file, for the error.
        manifest: as `read_archive` returns it.

    Raises:
        BadAgentError: the manifest describes no policy, or one that is larger than `archive.LIMIT`.
    """
    try:
        description = parse_manifest(manifest)
        observation, action = (
            spaces.from_data(data) for data in (description.observation_space, description.action_space)
        )
        with torch.device("meta"):
            kind = _policy_class(description.network)
            policy = kind(observation, action, lambda progress: 0.0, **description.network)
        check_size(policy)
    except REFUSED as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise unreadable(path, f"{archive.MANIFEST} describes no policy ({reason})") from None
    return description, policy
