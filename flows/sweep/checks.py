"""Checks the settings of a run or sweep before anything starts."""

from collections.abc import Sequence
from typing import Any

from gymnasium.vector import AutoresetMode, VectorEnv

from flows import arms
from flows.config import CompareConfig, TrainConfig
from flows.environments import make_env
from flows.errors import UserError, unknown_name
from flows.running.runners import check_runner

INFO_KEYS = ("overseer_obs", "true_reward")  # keys required in the info of every step
ATTRIBUTES = ("judgement", "overseer_labels", "flags", "watched")


def check_sweep(config: CompareConfig) -> None:
    """Raises UserError if a run of the sweep could not start."""
    check_runner(config)
    check_device(config.training.device)
    parsed = [arms.parse_arm(name) for name in config.methods]
    check_methods([arm.method for arm in parsed])
    worlds = [config.env_kwargs | arm.env_kwargs for arm in parsed]
    for index, arguments in enumerate(worlds):
        if arguments not in worlds[:index]:
            for oversight in config.oversight:
                check_env(config.env, arguments, oversight)


def check_run(config: TrainConfig) -> None:
    """Raises UserError if the run could not start."""
    check_device(config.training.device)
    check_methods([config.method])
    check_env(config.env, config.env_kwargs, config.oversight)


def check_device(name: str) -> None:
    """Raises UserError if torch cannot compute on this device."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UserError(f"--device {name!r} is not available: {reason}; available are {', '.join(available)}") from None


def check_methods(names: Sequence[str]) -> None:
    """Raises UserError for the first unknown name."""
    import routing

    for name in names:
        if name not in routing.METHODS:
            raise unknown_name("method", name, routing.METHODS)


def check_env(name: str, arguments: dict[str, Any], oversight: float) -> None:
    """Builds two copies and takes a step; raises UserError if they cannot be trained in under oversight."""
    if "oversight_prob" in arguments:
        raise UserError("oversight_prob is set twice; use --oversight and leave it out of the environment's arguments")
    world = make_env(name, {"oversight_prob": oversight, **arguments})
    try:
        _check_autoreset(name, world)
        _check_view(name, world)
    finally:
        world.close()


def _check_autoreset(name: str, world: VectorEnv) -> None:
    mode = world.metadata.get("autoreset_mode")
    if mode != AutoresetMode.SAME_STEP:
        found = mode.name if isinstance(mode, AutoresetMode) else repr(mode)
        raise UserError(
            f"environment {name!r} resets itself in mode {found}; runs need SAME_STEP: "
            "derive its vector form from envs.POMDP, or set metadata['autoreset_mode']"
        )


def _check_view(name: str, world: VectorEnv) -> None:
    world.reset(seed=0)
    info = world.step(world.action_space.sample())[-1]
    missing = [key for key in INFO_KEYS if key not in info]
    missing += [key for key in ATTRIBUTES if getattr(world.unwrapped, key, None) is None]
    if missing:
        raise UserError(
            f"environment {name!r} gives no overseer view: it lacks {', '.join(missing)}; derive it from envs.POMDP"
        )
