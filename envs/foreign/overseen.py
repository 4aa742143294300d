"""Gives any Gymnasium environment the overseer's side, as functions of batched arrays.

    def last_row(step):  # what the overseer observes of a step: 0 nothing, 1 a hole, 2 the goal
        row, cell = np.divmod(step.next_obs, 4)
        return np.where(step.terminated & (row == 3), 1 + (step.reward > 0), 0)

    envs.overseen("lake/LastRow-v0", "FrozenLake-v1", overseer_view=last_row, judgement=[np.nan, -1, 1])

The new id trains, evaluates and is compared as a world of ours does. An environment with a transition dictionary (the
toy-text environments of Gymnasium) becomes a world with tables, so its numbers and its certificate are exact; any other
is stepped and evaluated by sampling.

Letters: N copies, L overseer observations, obs the shape of one observation.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from inspect import signature
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import VectorEnv

from envs.foreign.declaration import Overseen, View
from envs.foreign.stepped import SteppedEnv, single_env_creator
from envs.foreign.tabular import tabular_class
from envs.foreign.toy_text import has_transitions
from envs.validation import MOST_BAD_ACTS, CheckFailed, first_repeated, prefixed, require

log = logging.getLogger(__name__)
OVERSEEN: dict[str, Overseen] = {}


def overseen(
    new_id: str,
    env_id: str,
    *,
    overseer_view: View,
    judgement: Sequence[float],
    overseer_labels: Sequence[str] = (),
    agent_view: Callable[[Any], Any] | None = None,
    agent_space: Space | None = None,
    flags: Any = None,
    true_reward: View | None = None,
    proxy_reward: View | None = None,
    outcome: View | None = None,
    outcomes: Sequence[str] = ("end",),
    bad_act: View | None = None,
    bad_acts: Sequence[str] = (),
    watched: Callable[[Any], np.ndarray] | None = None,
    action_names: Sequence[str] = (),
    gamma: float = 1.0,
    max_episode_steps: int | None = None,
    **env_arguments: Any,
) -> str:
    """Registers an environment with an overseer under a new Gymnasium id.

    All functions are pure and take N copies at a time.

    Args:
        new_id: the id to register, such as "lake/LastRow-v0".
        env_id: the id of the environment that it is made from, with "module:" before it if a module registers it.
        overseer_view: step -> (N,) int from 0 to L - 1, what the overseer observes of the step.
        judgement: (L,) the overseer's verdict on each of its observations: good > 0, bad < 0, nan for none.
        overseer_labels: (L,) their names; by default "label 0" and so on.
        agent_view: (N, *obs) -> (N, *obs'), what the agent observes; by default the observation, a Discrete one as a
            one-hot vector.
        agent_space: the space of one agent's observation; by default it is found from `agent_view` where it returns
            floats, or uint8 images.
        flags: (*obs',) bool, entries of the agent's observation that show what the overseer will see; none by default.
        true_reward: step -> (N,) float, what is actually wanted; by default the environment's reward.
        proxy_reward: step -> (N,) float, the reward that everyone sees; by default the environment's reward.
        outcome: step -> (N,) int, an index of `outcomes`, for steps that terminate an episode; others have outcome 0.
        outcomes: the names of outcomes.
        bad_act: step -> (N,) int, 0 for none and i for `bad_acts[i - 1]`; by default the outcomes with such a name.
        bad_acts: the names of the kinds of bad act.
        watched: (N, *obs) of start states -> (N,) bool, whether the overseer can see something in the episode.
        action_names: the names of discrete actions.
        gamma: the discount factor.
        max_episode_steps: the time limit; by default the environment's own. A world with tables needs one.
        **env_arguments: of the environment.

    Returns:
        The new id.

    Raises:
        ValueError: an argument has a wrong type or value, names do not fit, or the id is registered already by
            something else.
        gymnasium.error.Error: there is no environment `env_id`.
    """
    functions = {"agent_view": agent_view, "true_reward": true_reward, "proxy_reward": proxy_reward}
    functions |= {"outcome": outcome, "bad_act": bad_act, "watched": watched}
    names = {"overseer_labels": overseer_labels, "outcomes": outcomes, "bad_acts": bad_acts}
    with prefixed(new_id):
        require(callable(overseer_view), f"overseer_view is {overseer_view!r}: give a function of a batch of steps")
        _check_functions(functions)
        _check_names({**names, "action_names": action_names})
        _check_endings(outcome, tuple(outcomes), bad_act, tuple(bad_acts))
        _check_numbers(gamma, max_episode_steps)
        verdicts = _verdicts(judgement)
        labels = tuple(overseer_labels) or tuple(f"label {i}" for i in range(len(verdicts)))
        require(
            len(labels) == len(verdicts),
            f"{len(labels)} overseer labels for judgement of shape {verdicts.shape}: give one each",
        )
    declared = Overseen(
        id=new_id,
        env_id=env_id,
        overseer_view=overseer_view,
        judgement=verdicts,
        overseer_labels=labels,
        agent_view=agent_view,
        agent_space=agent_space,
        flags=flags,
        true_reward=true_reward,
        proxy_reward=proxy_reward,
        outcome=outcome,
        outcomes=tuple(outcomes),
        bad_act=bad_act,
        bad_acts=tuple(bad_acts),
        watched=watched,
        action_names=tuple(action_names),
        gamma=gamma,
        max_episode_steps=max_episode_steps,
        arguments=env_arguments,
    )
    if new_id in gymnasium.registry and new_id not in OVERSEEN:
        raise ValueError(
            f"{new_id} is already registered by {gymnasium.registry[new_id].entry_point}; choose another id"
        )
    if gymnasium.spec(env_id).entry_point is None:
        raise ValueError(f"{new_id}: {env_id} has a vector form only; register it with an entry_point for one copy")
    with prefixed(new_id):
        _check_arguments(env_id, env_arguments)
    OVERSEEN[new_id] = declared
    limit = max_episode_steps or _own_limit(declared)
    gymnasium.registry.pop(new_id, None)  # a module that is imported again registers again
    gymnasium.register(
        id=new_id,
        entry_point=f"{__name__}:single {new_id}",
        vector_entry_point=f"{__name__}:vector {new_id}",
        max_episode_steps=limit,
    )
    return new_id


def _own_limit(declared: Overseen) -> int | None:
    """The time limit of the environment; making it finds faults of the declaration."""
    try:
        own = declared.make_single()
    except (gymnasium.error.DependencyNotInstalled, ImportError) as missing:
        log.info("%s cannot be made until a package is installed: %s", declared.id, missing)
        return gymnasium.spec(declared.env_id).max_episode_steps
    limit = own.spec.max_episode_steps if own.spec else None
    own.close()
    return limit


def _check_arguments(env_id: str, given: dict[str, Any]) -> None:
    """Refuses an argument of the environment that resembles one of `overseen`, unless the environment declares it."""
    try:
        entry: Any = gymnasium.spec(env_id).entry_point
        accepted = signature(load_env_creator(entry) if isinstance(entry, str) else entry).parameters
    except (gymnasium.error.DependencyNotInstalled, ImportError, AttributeError, TypeError, ValueError):
        return  # making the environment reports what is wrong
    ours = [name for name in signature(overseen).parameters if name not in ("new_id", "env_id", "env_arguments")]
    for name in given:
        near = get_close_matches(name, ours, n=1, cutoff=0.75)
        require(not near or name in accepted, f"no argument {name!r}; did you mean {''.join(near)!r}?")


def _check_functions(functions: dict[str, Any]) -> None:
    for name, function in functions.items():
        require(
            function is None or callable(function),
            f"{name} is {function!r}: give a function of a batch of steps or observations",
        )


def _check_names(names: dict[str, Sequence[str]]) -> None:
    """Names are sequences of distinct strings."""
    for name, values in names.items():
        listed = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str)
        require(
            listed and all(isinstance(value, str) and value for value in values),
            f"{name} is {values!r}: give a list of names",
        )
        twice = first_repeated(values)
        require(twice is None, f"{name} has {twice!r} twice: give distinct names")
    require(len(names["outcomes"]), "outcomes is empty: name at least one outcome")


def _check_endings(
    outcome: View | None, outcomes: tuple[str, ...], bad_act: View | None, bad_acts: tuple[str, ...]
) -> None:
    """Functions of outcomes and bad acts have names, and names have functions."""
    require(
        outcome is not None or len(outcomes) == 1,
        f"outcomes names {len(outcomes)} outcomes and there is no outcome(step): give it",
    )
    require(bad_act is None or bad_acts, "bad_act has no bad_acts: name the kinds of bad act, bad_acts=[...]")
    require(len(bad_acts) <= MOST_BAD_ACTS, f"bad_acts has {len(bad_acts)} kinds: give at most {MOST_BAD_ACTS}")
    other = [kind for kind in bad_acts if kind not in outcomes]
    require(
        bad_act is not None or not other,
        f"bad act {other[:1]} is none of the outcomes {outcomes}: name an outcome, or give bad_act(step)",
    )


def _check_numbers(gamma: Any, max_episode_steps: Any) -> None:
    require(
        isinstance(gamma, float | int | np.number) and 0 <= gamma <= 1,
        f"gamma is {gamma!r}: make it a discount between 0 and 1",
    )
    require(
        max_episode_steps is None or (isinstance(max_episode_steps, int | np.integer) and max_episode_steps >= 1),
        f"max_episode_steps is {max_episode_steps!r}: give a whole number of steps, at least 1",
    )


def _verdicts(judgement: Any) -> np.ndarray:
    """The verdicts, (L,) float."""
    try:
        verdicts = np.asarray(judgement, float)
    except (TypeError, ValueError):
        raise CheckFailed(f"judgement is {judgement!r}: give a list of numbers, nan for none") from None
    require(
        verdicts.ndim == 1 and len(verdicts),
        f"judgement has shape {verdicts.shape}: give one number for each overseer observation",
    )
    require(not np.isinf(verdicts).any(), "judgement has an infinite verdict: give finite numbers, or nan for none")
    return verdicts


def _make_vector(declared: Overseen, num_envs: int = 1, **given: Any) -> VectorEnv:
    """Makes N copies: a world with tables if the environment has a transition dictionary, else one that is stepped."""
    inner = {name: value for name, value in given.items() if name not in ("max_episode_steps", "render_mode")}
    probe = declared.make_single(**inner)
    tabular = has_transitions(probe)
    probe.close()
    return tabular_class(declared)(num_envs, **given) if tabular else SteppedEnv(declared, num_envs, **given)


def __getattr__(name: str) -> Any:
    """The creator of a registered environment: entry points are named "single ID" and "vector ID"."""
    kind, _, new_id = name.partition(" ")
    if new_id not in OVERSEEN or kind not in ("single", "vector"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if kind == "vector":
        return functools.partial(_make_vector, OVERSEEN[new_id])

    return single_env_creator(OVERSEEN[new_id])
