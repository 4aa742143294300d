"""Makes a registered environment with an overseer's channel as a run asks for it.

`oversight_prob` p is an argument of worlds in which the overseer sees with that probability. In any other environment
it means audits: with probability p an episode is judged by the true reward of each step.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import VectorEnv

from envs.audits import Audits
from envs.channels import images_first

log = logging.getLogger(__name__)
Wrapper = Callable[[VectorEnv], VectorEnv]


def make_vec(
    env_id: str,
    num_envs: int,
    *,
    oversight_prob: float | None = None,
    limits: Sequence[Wrapper] = (),
    asks: Wrapper | None = None,
    **arguments: Any,
) -> VectorEnv:
    """Make `num_envs` copies of a registered environment; the channels of images are first.

    Args:
        env_id: Gymnasium id, prefixed with "module:" if a module registers it.
        num_envs: N.
        oversight_prob: the probability that the overseer sees, or else that it audits; None: the environment as it is.
        limits: wrappers that change what the overseer observes, the innermost first.
        asks: a wrapper by which the agent asks for a look; it is outside of the audits.
        **arguments: of the environment.

    Raises:
        ValueError: the agent asks for looks, and the environment would have audits at random too.
    """
    if oversight_prob is None or takes_oversight_prob(env_id):
        given: dict[str, Any] = {} if oversight_prob is None else {"oversight_prob": oversight_prob}
        env = gymnasium.make_vec(env_id, num_envs=num_envs, **given, **arguments)
        audits = False
    else:
        env = gymnasium.make_vec(env_id, num_envs=num_envs, **arguments)
        audits = True
    env = images_first(env)
    for wrap in limits:
        env = wrap(env)
    if audits and oversight_prob is not None and asks is None:
        return Audits(env, oversight_prob)
    if audits and oversight_prob:
        raise ValueError(
            f"the agent asks for looks, so audits are not at random: set oversight {oversight_prob:g} to 0"
        )
    return env if asks is None else asks(env)


def takes_oversight_prob(env_id: str) -> bool:
    """Whether the constructor of an environment has the argument `oversight_prob`.

    Raises:
        gymnasium.error.Error: there is no such environment.
    """
    module, _, short = env_id.rpartition(":")
    if module:
        import_module(module)
    entry = gymnasium.spec(short).vector_entry_point
    if entry is None:
        return False
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    parameters = signature(creator).parameters
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return "oversight_prob" in parameters or _accepts_oversight_prob(short)
    return "oversight_prob" in parameters


@functools.cache
def _accepts_oversight_prob(env_id: str) -> bool:
    """Whether an environment whose constructor takes any keyword passes `oversight_prob` on: made once to find out."""
    try:
        gymnasium.make_vec(env_id, num_envs=1, oversight_prob=0.5).close()
    except TypeError as error:
        return "oversight_prob" not in str(error)
    except Exception as error:  # it lacks other arguments: making it as a run does explains what is wrong
        log.info("%s cannot be made with its default arguments: %s", env_id, error)
    return True
