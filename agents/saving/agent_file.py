"""Saves an agent as data: a manifest and the policy's tensors. Loading executes no code from the file.

The manifest describes the network. Loading builds the network without memory, and the tensors must have its names and
shapes. The manifest only names the world, which is imported when `Agent.make_world` is called. Usage:

    >>> agent = agents.load("agent.zip")
    >>> with agent.deployed(without=["forget"]):
    ...     actions = agent.act(observations)
"""

import io
import pickle
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import nn

from agents.evaluate import action_probabilities
from agents.policies.blocks import LEVELS
from agents.policies.policy import BlockPolicy
from agents.saving import archive, spaces
from agents.saving.archive import unreadable
from routing import find
from routing.errors import unknown_name
from routing.oversight.registry import WHOLE

WEIGHTS = "weights.pt"
ACTIVATIONS: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (nn.ReLU, nn.Tanh)}
MAX_LAYERS = 16
UNREADABLE = pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError
Scales = tuple[float, ...] | None


@dataclass(frozen=True)
class Agent:
    """A trained policy and its origin."""

    policy: BlockPolicy
    env: str
    """Gymnasium id of the world in which the policy was trained"""
    world: Mapping[str, Any]
    """the world's arguments, including oversight_prob"""
    method: str
    deployments: Mapping[str, Scales]
    """deployment rule -> fixed coefficient of each expert, None for the gate's. The first rule selected the weights.
    "whole" (as trained) is appended if the method has no such rule."""
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
        with self.policy.deployed(self.deployments[rule], without):
            yield

    def act(self, observations: np.ndarray, generator: torch.Generator | None = None) -> np.ndarray:
        """Select actions.

        Args:
            observations: (N, *obs).
            generator: draws the actions; None takes the most probable ones.

        Returns:
            (N,) int.
        """
        probabilities = action_probabilities(self.policy, torch.as_tensor(observations)).double()
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
        world = gymnasium.make_vec(self.env, num_envs=copies, **{**self.world, **changed})
        ours = self.policy.observation_space, self.policy.action_space
        theirs = world.single_observation_space, world.single_action_space
        if ours != theirs:
            raise ValueError(f"{self.env} with {changed} has the spaces {theirs}; the agent was trained on {ours}")
        return world


def save(path: Path, policy: BlockPolicy, env: str, world: Mapping[str, Any], method: str, **facts: Any) -> None:
    """Save an agent atomically.

    Args:
        path: of the file; an existing file is replaced.
        policy: its weights are those that the method's first deployment rule selected.
        env: Gymnasium id of the world in which the policy was trained.
        world: the world's arguments.
        method: name of the oversight method.
        **facts: further JSON values.

    Raises:
        ValueError: a space of the policy cannot be saved.
        OSError: the file cannot be written.
    """
    manifest = {
        "env": env,
        "world": dict(world),
        "method": method,
        "deployments": [[rule.name, rule.scales] for rule in find(method).deployments],
        "facts": facts,
        "network": {
            "widths": policy.net_arch,
            "activation": policy.activation_fn.__name__,
            "gated": policy.gated,
            "level": policy.level,
            "precision": policy.precision,
        },
        "observation_space": spaces.to_data(policy.observation_space),
        "action_space": spaces.to_data(policy.action_space),
    }
    tensors = io.BytesIO()
    torch.save({name: value.detach().cpu().contiguous() for name, value in policy.state_dict().items()}, tensors)
    archive.write_archive(Path(path), manifest, {WEIGHTS: tensors.getvalue()})


def load(path: str | Path) -> Agent:
    """Load an agent to the CPU.

    Raises:
        BadAgentError: the file is not a complete agent file.
        OSError: the file cannot be read.
    """
    path = Path(path)
    manifest, members = archive.read_archive(path, [WEIGHTS])
    try:
        policy = _policy(manifest)
        agent = Agent(policy, **_origin(manifest))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OverflowError, AssertionError) as error:
        raise unreadable(path, f"its manifest describes no policy ({type(error).__name__}: {error})"[:300]) from None
    tensors = _tensors(path, members[WEIGHTS])
    expected = {name: (value.shape, value.dtype) for name, value in policy.state_dict().items()}
    if {name: (value.shape, value.dtype) for name, value in tensors.items()} != expected:
        raise unreadable(path, "its tensors do not fit the network in its manifest")
    policy.load_state_dict(tensors, assign=True)
    policy.set_training_mode(False)
    return agent


def _origin(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an `Agent` except its policy."""
    fields = {name: manifest[name] for name in ("env", "world", "method", "facts")}
    types = {"env": str, "world": dict, "method": str, "facts": dict}
    wrong = [name for name, kind in types.items() if not isinstance(fields[name], kind)]
    if wrong:
        raise ValueError(f"{wrong[0]} is a {type(fields[wrong[0]]).__name__}")
    rules = {str(rule): scales and tuple(map(float, scales)) for rule, scales in manifest["deployments"]}
    if not rules or any(scales is not None and len(scales) != 2 for scales in rules.values()):
        raise ValueError("a deployment rule needs one coefficient for each of two experts")
    return {**fields, "deployments": {**rules, WHOLE.name: rules.get(WHOLE.name)}}


def _policy(manifest: Mapping[str, Any]) -> BlockPolicy:
    """The network of a manifest, on device "meta": its parameters have no memory."""
    network = manifest["network"]
    widths = {part: [int(width) for width in network["widths"][part]] for part in ("pi", "vf")}
    if any(not 0 < len(layers) <= MAX_LAYERS or min(layers) < 1 for layers in widths.values()):
        raise ValueError(f"widths {widths} are not those of a network")
    if network["level"] not in LEVELS:
        raise unknown_name("level", str(network["level"]), LEVELS)
    with torch.device("meta"):
        return BlockPolicy(
            spaces.from_data(manifest["observation_space"]),
            spaces.from_data(manifest["action_space"]),
            lambda progress: 0.0,
            net_arch=widths,
            activation_fn=ACTIVATIONS[network["activation"]],
            gated=bool(network["gated"]),
            level=network["level"],
            precision=network["precision"],
        )


def _tensors(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    """Dense tensors by name, read by torch's loader for tensors only."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about other pickles, which are refused
            tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UNREADABLE:
        raise unreadable(path, f"{WEIGHTS} is not a file of tensors only") from None
    if not isinstance(tensors, dict) or not all(map(_is_dense, tensors.values())):
        raise unreadable(path, f"{WEIGHTS} contains values that are not dense tensors")
    return tensors


def _is_dense(value: Any) -> bool:
    """Whether a value is a tensor with memory for its whole shape."""
    return type(value) is torch.Tensor and value.layout is torch.strided and value.is_contiguous()
