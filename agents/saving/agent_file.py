"""An agent on disk is data: a manifest and the policy's tensors. Loading it executes nothing that the file brings.

The manifest describes the network; it is laid out without memory, and the tensors must have its names and shapes. The
world is only named: it is imported and made when somebody asks for it. To use an agent that a run has saved:

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
DEEPEST = 16  # layers
UNREADABLE = pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError
Scales = tuple[float, ...] | None


@dataclass(frozen=True)
class Agent:
    """A policy, and where it comes from."""

    policy: BlockPolicy
    env: str
    """Gymnasium id of the world it was trained in"""
    world: Mapping[str, Any]
    """the world's arguments, oversight_prob among them"""
    method: str
    deployments: Mapping[str, Scales]
    """deployment rule -> fixed coefficient of each expert, None: the gate's; first the rule that chose the weights,
    last, if it is no rule of the method, "whole": as trained"""
    facts: Mapping[str, Any]
    """what else was said of it when it was saved"""

    @contextmanager
    def deployed(self, rule: str | None = None, without: Collection[str] = ()) -> Iterator[None]:
        """Acts, while the context lasts, by a deployment rule (unset: its method's first), some blocks ablated.

        Raises:
            ValueError: the agent has no such rule.
        """
        rule = rule or next(iter(self.deployments))
        if rule not in self.deployments:
            raise unknown_name("deployment rule", rule, self.deployments)
        with self.policy.deployed(self.deployments[rule], without):
            yield

    def act(self, observations: np.ndarray, generator: torch.Generator | None = None) -> np.ndarray:
        """(N, *obs) -> (N,) int actions: the likeliest, or drawn by `generator`."""
        probabilities = action_probabilities(self.policy, torch.as_tensor(observations)).double()
        if generator is None:
            return probabilities.argmax(1).numpy()
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(1).numpy()

    def make_world(self, copies: int = 1, **changed: Any) -> VectorEnv:
        """Its world, with arguments changed; imports the module that the world's id names.

        Raises:
            ValueError: the world shows or takes something else than the policy does.
        """
        world = gymnasium.make_vec(self.env, num_envs=copies, **{**self.world, **changed})
        ours = self.policy.observation_space, self.policy.action_space
        theirs = world.single_observation_space, world.single_action_space
        if ours != theirs:
            raise ValueError(f"{self.env} with {changed} has the spaces {theirs}; the agent was trained on {ours}")
        return world


def save(path: Path, policy: BlockPolicy, env: str, world: Mapping[str, Any], method: str, **facts: Any) -> None:
    """Writes an agent; the file at `path` is the old one or the new one, never a part.

    Args:
        env, world: id and arguments of the world it was trained in.
        method: its oversight method; what is saved is chosen by the method's first deployment rule.
        **facts: anything that JSON can hold.
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
    """The agent that a file holds, on the CPU.

    Raises:
        BadAgentError: the file holds none, not all of one, or more.
        OSError: it cannot be read.
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
        raise unreadable(path, "its tensors are not those of the network in its manifest")
    policy.load_state_dict(tensors, assign=True)
    policy.set_training_mode(False)
    return agent


def _origin(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an agent beside its policy."""
    found = {name: manifest[name] for name in ("env", "world", "method", "facts")}
    kinds = {"env": str, "world": dict, "method": str, "facts": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(found[name], kind)]
    if wrong:
        raise ValueError(f"{wrong[0]} is a {type(found[wrong[0]]).__name__}")
    rules = {str(rule): scales and tuple(map(float, scales)) for rule, scales in manifest["deployments"]}
    if not rules or any(scales is not None and len(scales) != 2 for scales in rules.values()):
        raise ValueError("deployments need a coefficient for each of two experts")
    return {**found, "deployments": {**rules, WHOLE.name: rules.get(WHOLE.name)}}


def _policy(manifest: Mapping[str, Any]) -> BlockPolicy:
    """The network of a manifest, its parameters without memory."""
    network = manifest["network"]
    widths = {part: [int(width) for width in network["widths"][part]] for part in ("pi", "vf")}
    if any(not 0 < len(layers) <= DEEPEST or min(layers) < 1 for layers in widths.values()):
        raise ValueError(f"widths {widths} are of no network")
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
    """Dense tensors by name, read by the loader that knows nothing but tensors."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of foreign pickles, which are refused
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UNREADABLE:
        raise unreadable(path, f"{WEIGHTS} is no file of tensors alone") from None
    if not isinstance(found, dict) or not all(map(_is_dense, found.values())):
        raise unreadable(path, f"{WEIGHTS} holds something else than whole tensors")
    return found


def _is_dense(value: Any) -> bool:
    """A tensor that has the memory its shape says."""
    return type(value) is torch.Tensor and value.layout is torch.strided and value.is_contiguous()
