"""Builds a learner from plain numbers and names."""

from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, flatdim
from stable_baselines3.common.preprocessing import get_flattened_obs_dim

from agents.learners.ppo import RoutedPPO
from agents.learners.reinforce import RoutedReinforce
from agents.memory import LSTM, NONE, AgentMemory, parse_memory, unsupported
from agents.policies.architecture import equal_capacity_width
from agents.policies.blocks import ACTIVATIONS, Precision
from agents.policies.extractors import EXTRACTORS, encodes, features_dim
from agents.policies.policy import BlockPolicy
from agents.saving.agent_file import check_size
from agents.saving.spaces import LARGEST
from agents.vec_env import OVERSEER, GymnasiumVecEnv
from envs.channels import is_image
from routing import Composition, Network, SplitAdam, find
from routing.errors import unknown_name


def decayed(learning_rate: float, decay_from: float, remaining: float) -> float:
    """Compute a learning rate that is constant at first and then falls linearly to 0.

    Args:
        learning_rate: rate of the constant part.
        decay_from: fraction of the run, in [0, 1), after which the rate falls.
        remaining: fraction of the run that remains; it falls from 1 to 0.
    """
    return learning_rate * min(1.0, remaining / (1 - decay_from))


LEARNERS: dict[str, type[RoutedPPO]] = {"reinforce": RoutedReinforce, "ppo": RoutedPPO}
"""Learners by name. Each gets all settings of a run; what it cannot do it refuses."""
NEEDS_OBSERVATIONS = ("distil",)  # what may follow training and reads single observations


def check_spaces(observation_space: Space, action_space: Space, learner: str) -> None:
    """Check that agents can be trained, evaluated, saved and loaded with these spaces.

    Args:
        observation_space: of one copy.
        action_space: of one copy.
        learner: a key of `LEARNERS`.

    Raises:
        ValueError: the learner is unknown or does not support a space; one line that names the space and the learner.
    """
    if learner not in LEARNERS:
        raise unknown_name("learner", learner, LEARNERS)
    for kind, space, fault in (
        ("observation", observation_space, _observation_fault(observation_space)),
        ("action", action_space, _action_fault(action_space, learner)),
    ):
        if fault:
            raise ValueError(f"learner {learner!r} does not support the {kind} space {_short(space)}: {fault}")


def _observation_fault(space: Space) -> str:
    """Why a policy cannot read these observations, and what to do; "" if it can."""
    if not isinstance(space, Dict):
        return _part_fault(space)
    if not space.spaces:
        return "it has no entries"
    for name, part in space.spaces.items():
        if fault := _part_fault(part):
            return f"its entry {name!r} is {_short(part)}: {fault}"
    size = sum(get_flattened_obs_dim(part) for part in space.spaces.values())
    return "" if size <= LARGEST else f"it has {size} entries when flattened; give it 1 to {LARGEST}"


def _part_fault(space: Space) -> str:
    """Why a policy cannot read a space that is not a Dict, and what to do; "" if it can."""
    if not isinstance(space, Box | Discrete | MultiDiscrete | MultiBinary):
        return "use Box, Discrete, MultiDiscrete or MultiBinary, or a Dict of these (agent_view can select them)"
    if isinstance(space, Discrete | MultiDiscrete) and np.any(space.start):
        return "its values do not start at 0; subtract the start"
    if isinstance(space, MultiDiscrete) and space.nvec.ndim != 1:
        return "it has more than one dimension; flatten it"
    if isinstance(space, Box) and not space.shape:
        return "it has no dimension; give it shape (1,)"
    if is_image(space) and int(np.argmin(space.shape)) == 1:  # type: ignore[arg-type]
        return "it is an image whose smallest dimension is the second; put its channels first or last"
    size = get_flattened_obs_dim(space)
    return "" if 0 < size <= LARGEST else f"it has {size} entries when flattened; give it 1 to {LARGEST}"


def _action_fault(space: Space, learner: str) -> str:
    """Why a learner cannot act in this space, and what to do; "" if it can."""
    if isinstance(space, Discrete):
        return "its actions do not start at 0; subtract the start" if space.start else ""
    if fault := _several_actions_fault(space):
        return fault
    if learner == "ppo":
        return ""
    return "reinforce sums over the actions of a Discrete space; use learner ppo (--learner ppo)"


def _several_actions_fault(space: Space) -> str:
    """Why no learner can act in a space that is not Discrete, and what to do; "" if PPO can."""
    if isinstance(space, Box):
        if space.dtype.kind != "f":
            return f"its actions are {space.dtype}; use a Box of floats, or MultiDiscrete"
        if not space.is_bounded():
            return "its bounds are not finite, and Gaussian actions are clipped to them; give finite bounds"
        size = int(np.prod(space.shape))
        return "" if space.shape and 0 < size <= LARGEST else f"its shape is {space.shape}; give it shape (n,), n >= 1"
    if isinstance(space, MultiDiscrete):
        if space.nvec.ndim != 1 or np.any(space.start):
            return "it has more than one dimension, or actions that do not start at 0; flatten it, subtract the start"
        return ""
    if isinstance(space, MultiBinary):
        return "" if len(space.shape) == 1 else "it has more than one dimension; flatten it"
    return "use Discrete actions, or Box, MultiDiscrete or MultiBinary with learner ppo (--learner ppo)"


def _short(space: Space) -> str:
    return " ".join(str(space).split())[:200]  # bounds of a Box may fill many lines


def architecture_of(method: Composition) -> dict[str, Any]:
    """The network, experts, head and level of a method's policy, as arguments of `BlockPolicy`."""
    network = method.network
    return {
        "network": network.name,
        "experts": network.experts,
        "head": method.value("head"),
        "level": method.value("level"),
    }


def _widths(env: GymnasiumVecEnv, network: Network, width: int, lstm: int) -> list[int]:
    """Units of the hidden layers of each expert; encoders of images do not count as its capacity.

    `lstm` is the number of units of an expert's core, 0 without one.
    """
    if network.equal_capacity:
        space, actions = env.observation_space, flatdim(env.action_space)
        inputs = features_dim(space) if encodes(space) else get_flattened_obs_dim(space)
        core = 4 * lstm * (inputs + lstm + 2)  # parameters of an LSTM
        width = equal_capacity_width(lstm or inputs, [width, width], actions, experts=2, gate=True, core=core)
    return [width, width]


def _check_distillation(env: GymnasiumVecEnv, method: Composition) -> None:
    """Raise ValueError if the method distils the trained policy and the spaces have no table of probabilities."""
    after = method.value("after")
    if after is None or after.name != "distil":
        return
    for kind, space, fits in (
        ("observations of a", env.observation_space, not isinstance(env.observation_space, Dict)),
        ("actions of a", env.action_space, isinstance(env.action_space, Discrete)),
    ):
        if not fits:
            raise ValueError(f"after=distil does not support {kind} {type(space).__name__} space; leave it out")


def check_memory(memory: AgentMemory, learner: str, method: Composition, precision: str) -> None:
    """Check that agents with a memory can be trained by a learner under a method.

    Args:
        memory: of the agent.
        learner: a key of `LEARNERS`.
        method: the oversight method.
        precision: of matrix products.

    Raises:
        ValueError: the memory is an LSTM, and the learner, the precision or a part of the method does not support it.
    """
    if memory.kind != LSTM:
        return
    if learner != "ppo":
        raise ValueError(
            f"memory {memory} needs --learner ppo, found {learner}, which looks actions up by single observations; "
            "choose --learner ppo, or memory frames(K)"
        )
    parts = {"network": method.network.name, "level": method.value("level"), "precision": precision}
    if fault := next(filter(None, (unsupported(memory, name, value) for name, value in parts.items())), ""):
        raise ValueError(fault)
    after = method.value("after")
    if after is not None and after.name in NEEDS_OBSERVATIONS:
        raise ValueError(
            f"memory {memory} does not support after={after.name}, which reads single observations; choose another "
            "method, or memory frames(K)"
        )


def build(
    env: GymnasiumVecEnv,
    method: str,
    seed: int,
    *,
    algorithm: str = "reinforce",
    memory: str = NONE,
    n_steps: int = 32,
    batch_size: int | None = None,
    width: int = 64,
    activation: str = "relu",
    precision: Precision = "fp32",
    extractor: str = "shared",
    gamma: float | None = None,
    learning_rate: float = 2e-3,
    decay_from: float = 1.0,
    device: str = "cpu",
    **settings,
) -> RoutedPPO:
    """Build a learner whose experts, gate and critic have two hidden layers of `width` units.

    Args:
        env: N copies of an environment with an overseer.
        method: as `routing.find` reads it: the name of an oversight method, with parts replaced if need be.
        seed: of the initial parameters, of the actions and of the method.
        algorithm: a key of `LEARNERS`.
        memory: as `agents.memory.parse_memory` reads it. With lstm(W) each block has an LSTM. Frames are part of the
            environment.
        n_steps: T, steps of each copy between two updates.
        batch_size: samples in a minibatch, where the learner has minibatches. None, or more than T * N: all samples of
            the rollout.
        width: units of each hidden layer.
        activation: of the hidden layers, a key of `ACTIVATIONS`.
        precision: of matrix products; see `BlockPolicy`.
        extractor: where images are encoded, "shared" or "per_block"; see `BlockPolicy`. Vectors are not encoded.
        gamma: discount factor; None takes the environment's.
        learning_rate: Adam's step size. keyhole's commands pass their own default, see flows/config.py.
        decay_from: fraction of the run after which the step size falls linearly to 0; 1 keeps it constant.
        device: of the networks.
        **settings: other arguments of `RoutedPPO`.

    Returns:
        The learner, ready for `learn`.

    Raises:
        ValueError: the method or the algorithm is unknown, a space is not supported (see `check_spaces`), the
            environment has no overseer, the networks are too large to be saved, or the memory is not supported.
    """
    remembers = parse_memory(memory)
    check_spaces(env.observation_space, env.action_space, algorithm)
    if not env.has_overseer:
        raise ValueError(f"{env.env} has no overseer: it lacks {', '.join(OVERSEER)}; train it by RoutedPPO, untreated")
    if extractor not in EXTRACTORS:
        raise unknown_name("extractor", extractor, EXTRACTORS)
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    composition, learner, samples = find(method), LEARNERS[algorithm], env.num_envs * n_steps
    check_memory(remembers, algorithm, composition, precision)
    policy: type[BlockPolicy] = BlockPolicy
    lstm = remembers.size if remembers.kind == LSTM else 0
    if lstm and encodes(env.observation_space):
        raise ValueError(
            f"memory {remembers} does not support observations that an encoder reads, found a space "
            f"{type(env.observation_space).__name__}; flatten them by agent_view"
        )
    if lstm:  # sb3-contrib is imported for agents that need it
        from agents.learners.recurrent_ppo import RoutedRecurrentPPO
        from agents.policies.recurrent import RecurrentBlockPolicy

        learner, policy = RoutedRecurrentPPO, RecurrentBlockPolicy
    network, optimizer = composition.network, composition.value("optimizer")
    _check_distillation(env, composition)
    if learner.fuses_adam and optimizer.optimizer_class in (torch.optim.Adam, SplitAdam):
        optimizer.arguments["fused"] = True
    model = learner(
        policy,
        env,
        method=method,
        seed=seed,
        n_steps=n_steps,
        batch_size=samples if learner.steps_on_whole_rollouts else min(batch_size or samples, samples),
        learning_rate=learning_rate if decay_from == 1 else partial(decayed, learning_rate, decay_from),
        gamma=env.env.gamma if gamma is None else gamma,  # type: ignore[attr-defined]
        policy_kwargs={
            "net_arch": {"pi": _widths(env, network, width, lstm), "vf": [width, width]},
            "activation_fn": ACTIVATIONS[activation],
            **architecture_of(composition),
            "precision": precision,
            "extractor": extractor if encodes(env.observation_space) else None,
            **({"lstm_hidden_size": lstm} if lstm else {}),
            "optimizer_class": optimizer.optimizer_class,
            "optimizer_kwargs": optimizer.arguments,
        },
        device=device,
        **settings,
    )
    check_size(model.policy)
    return model
