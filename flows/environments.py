"""Builds a Gymnasium environment from user input, or raises a one-line UserError."""

from importlib import import_module
from inspect import Parameter, signature
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import VectorEnv

from flows.errors import UserError, nearest_hint, unknown_name
from flows.text import one_line


def make_env(name: str, arguments: dict[str, Any], copies: int = 2) -> VectorEnv:
    """Builds `copies` copies of a registered environment.

    Args:
        name: Gymnasium id, prefixed with "module:" if a module must be imported to register it.
        arguments: Keyword arguments of the environment.

    Raises:
        UserError: The environment is unknown or refuses the arguments.
    """
    entry = _entry(name)
    try:
        return gymnasium.make_vec(name, num_envs=copies, **arguments)
    except TypeError as error:
        raise _refused_argument(name, entry, arguments, error) from None
    except (gymnasium.error.Error, ValueError) as error:
        raise UserError(f"environment {name!r}: {one_line(error)}") from None


def _entry(name: str) -> Any:
    """The constructor of the environment's vector form, or None if it has no vector form of its own."""
    module, _, short = name.rpartition(":")
    import envs  # noqa: F401  (registers)

    try:
        if module:
            import_module(module)
        entry = gymnasium.spec(short).vector_entry_point
        return load_env_creator(entry) if isinstance(entry, str) else entry
    except ModuleNotFoundError as error:
        raise UserError(f"environment {name!r}: no module named {error.name!r}; is it on PYTHONPATH?") from None
    except gymnasium.error.Error:
        ours = sorted(world for world in gymnasium.registry if world.startswith("keyhole/"))
        hint = nearest_hint(short, gymnasium.registry)
        raise UserError(f"unknown environment {short!r}{hint} (ours: {', '.join(ours)}; see `keyhole envs`)") from None


def _refused_argument(name: str, build: Any, arguments: dict[str, Any], error: TypeError) -> UserError:
    parameters = signature(build).parameters if callable(build) else {}
    known = [key for key, value in parameters.items() if value.kind is not Parameter.VAR_KEYWORD]
    if build is None or ("oversight_prob" in arguments and known and "oversight_prob" not in known):
        return UserError(f"environment {name!r} gives no overseer view: it takes no oversight_prob; see `keyhole envs`")
    wrong = next((key for key in arguments if known and key not in known), None)
    if wrong is None:
        return UserError(f"environment {name!r}: {one_line(error)}")
    return unknown_name(f"argument of {name}", wrong, [key for key in known if key not in ("num_envs", "render_mode")])
