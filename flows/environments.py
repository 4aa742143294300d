"""Builds a Gymnasium environment from user input, or raises a one-line UserError."""

from importlib import import_module
from inspect import Parameter, signature
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import VectorEnv

from flows.errors import UserError, nearest_hint, unknown_name
from flows.plugins import load_worlds
from flows.search_path import hidden_by_ours
from flows.text import one_line
from flows.user_code import error_line, raised_by_user, user_place

HIDDEN = ("num_envs", "render_mode")  # arguments of a constructor that users do not set


def make_env(name: str, arguments: dict[str, Any], copies: int = 2) -> VectorEnv:
    """Builds `copies` copies of a registered environment, with the limits of its overseer.

    Args:
        name: Gymnasium id, prefixed with "module:" if a module must be imported to register it.
        arguments: Keyword arguments of the environment, and those of `agents.make_world`: with `oversight_prob`, an
            environment that does not take it is audited.
        copies: Number of copies.

    Raises:
        UserError: The environment is unknown, its module cannot be imported, or its constructor raises an exception.
    """
    import agents

    entry = _entry(name)
    try:
        return agents.make_world(name, copies, **arguments)
    except TypeError as error:
        raise _refused_argument(name, entry, arguments, error) from None
    except (Exception, SystemExit) as error:
        raise environment_error(name, error) from None


def check_argument(name: str, argument: str) -> None:
    """Raises UserError if the environment is unknown or takes no such argument."""
    entry = _entry(name)
    parameters = signature(entry).parameters if callable(entry) else {}
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [key for key in parameters if key not in HIDDEN]
    if known and argument not in known and not takes_any:
        raise unknown_name(f"argument of {name}", argument, known)


def environment_error(name: str, error: BaseException) -> UserError:
    """Describes an exception that an environment raised; one of user code with its type, file and line."""
    plain = isinstance(error, gymnasium.error.Error | ValueError) and not raised_by_user(error)
    line = one_line(error).removeprefix(f"{name.rpartition(':')[2]}: ")  # the checker names the environment too
    return UserError(f"environment {name!r}: {line + user_place(error.__cause__) if plain else error_line(error)}")


def import_environment(name: str) -> None:
    """Imports the module that registers an environment; raises UserError if that fails."""
    module = name.rpartition(":")[0]
    try:
        if module:
            import_module(module)
    except ModuleNotFoundError as error:
        found = error_line(error) if raised_by_user(error) else f"no module named {error.name!r}"
        hint = hidden_by_ours(error) or "; is it installed, in the current folder or on PYTHONPATH?"
        raise UserError(f"environment {name!r}: {found}{hint}") from None
    except (Exception, SystemExit) as error:
        hint = hidden_by_ours(error)
        raise UserError(f"environment {name!r}: importing {module} failed: {error_line(error)}{hint}") from None


def _entry(name: str) -> Any:
    """The constructor of the environment's vector form, or None if it has no vector form of its own."""
    short = name.rpartition(":")[2]
    import envs  # noqa: F401  (registers)

    import_environment(name)
    try:
        entry = gymnasium.spec(short).vector_entry_point
    except gymnasium.error.Error:
        failed = "".join(f"; {line}" for line in load_worlds())
        ours = sorted(world for world in gymnasium.registry if world.startswith("keyhole/"))
        hint = nearest_hint(short, gymnasium.registry) or ";"
        raise UserError(f"unknown environment {short!r}{hint} one of {', '.join(ours)}{failed}") from None
    try:
        return load_env_creator(entry) if isinstance(entry, str) else entry
    except (Exception, SystemExit) as error:
        raise environment_error(name, error) from None


def _refused_argument(name: str, build: Any, arguments: dict[str, Any], error: TypeError) -> UserError:
    parameters = signature(build).parameters if callable(build) else {}
    known = list(parameters)
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return environment_error(name, error)
    ours = ("oversight_prob", "overseer", "memory")
    wrong = next((key for key in arguments if known and key not in known and key not in ours), None)
    if wrong is None:
        return environment_error(name, error)
    return unknown_name(f"argument of {name}", wrong, [key for key in known if key not in HIDDEN])
