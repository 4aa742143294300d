"""Checks what a world declares beside its functions, as training reads it from the environment that it is given."""

from typing import Any

import numpy as np

from envs import validation
from envs.pomdp import POMDP
from envs.validation import first_repeated, require
from envs.world import World

READ_BY_TRAINING = ("gamma", "judgement", "overseer_labels", "flags", "watched", "outcomes", "observation")


def check_declarations(env: Any) -> None:
    """Checks a world, or a wrapper around one; raises CheckFailed at the first fault."""
    world = env.unwrapped
    if world.overseer_features:
        _check_features(world)  # first: labels and verdicts are read from the tables
    hidden = [name for name in READ_BY_TRAINING if not hasattr(env, name)]
    require(
        not hidden,
        f"{type(env).__name__} hides {', '.join(hidden)} of {type(world).__name__}: "
        "derive it from envs.wrappers.AgentView, which forwards them",
    )
    _check_overseer(env)
    _check_numbers(env)
    _check_names(env)
    _check_beliefs(env)
    validation.check_noise(world)
    _check_state_features(world)
    _check_parameters(world)


def _check_overseer(env: Any) -> None:
    if env.overseer_features and not len(env.overseer_codebook):
        return  # without tables there are no labels
    labels, judgement = env.overseer_labels, env.judgement
    require(
        isinstance(judgement, np.ndarray) and judgement.ndim == 1 and judgement.dtype.kind in "fiu",
        f"judgement is {validation.described(judgement)}: make it an array of one number for each overseer label",
    )
    require(
        len(labels) == len(judgement) > 0,
        f"judgement has {len(judgement)} verdicts for {len(labels)} overseer_labels: give one for each",
    )
    hidden = np.asarray(env.hidden)
    require(
        not len(hidden)
        or (
            hidden.shape == judgement.shape
            and hidden.dtype.kind in "iu"
            and 0 <= hidden.min() <= hidden.max() < len(labels)
        ),
        f"hidden is {validation.described(hidden)}: give the index of a label for each of the {len(labels)} labels",
    )
    require(not np.isinf(judgement).any(), "judgement has an infinite verdict: give finite numbers, or nan for none")


def _check_features(world: POMDP) -> None:
    """The overseer's features have distinct names, and a verdict of their own."""
    twice = first_repeated(world.overseer_features)
    require(twice is None, f"overseer_features has {twice!r} twice: give distinct names")
    require(
        type(world).verdict is not World.verdict,
        f"{type(world).__name__} has overseer_features and no verdict(overseer_obs): implement it",
    )


def _check_state_features(world: POMDP) -> None:
    """State features have distinct names."""
    twice = first_repeated(world.feature_names)
    require(twice is None, f"feature_names has {twice!r} twice: give distinct names")


def _check_numbers(env: Any) -> None:
    gamma, flags = env.gamma, env.flags
    require(
        isinstance(gamma, float | int) and 0 <= gamma <= 1, f"gamma is {gamma!r}: make it a discount between 0 and 1"
    )
    shape, expected = np.shape(flags), env.single_observation_space.shape
    require(shape == expected, f"flags have shape {shape}, an observation {expected}: give them its shape")
    require(flags.dtype.kind == "b", f"flags are {flags.dtype}: make them bool")


def _check_names(env: Any) -> None:
    """Labels, outcomes and actions have distinct names, and as many as there are."""
    n_actions = int(env.single_action_space.n)
    names = {
        "overseer_labels": env.overseer_labels,
        "outcomes": env.outcomes,
        "action_names": env.action_names,
        "variables": env.unwrapped.variables,
    }
    for name, values in names.items():
        twice = first_repeated(values)
        require(twice is None, f"{name} has {twice!r} twice: give distinct names")
    require(len(env.outcomes), "outcomes is empty: name at least one outcome")
    for name in ("action_names", "action_arrows"):
        count = len(getattr(env, name) or ())
        require(count in (0, n_actions), f"{name} has {count} entries for {n_actions} actions: give one for each")


def _check_beliefs(env: Any) -> None:
    """Beliefs are distributions over states, by overseer observation."""
    for label, (states, probabilities) in env.unwrapped.beliefs.items():
        require(
            0 <= label < len(env.overseer_labels),
            f"beliefs has the overseer observation {label}, but there are {len(env.overseer_labels)}",
        )
        require(
            np.shape(probabilities) == np.shape(states)[:1] and np.isclose(np.sum(probabilities), 1),
            f"beliefs of overseer observation {label} are not a distribution over states: make them sum to 1",
        )


def _check_parameters(world: POMDP) -> None:
    """The constructor's keywords are attributes from which an equal world is made."""
    try:
        parameters = world.parameters
    except AttributeError as missing:
        require(
            False,
            f"a keyword of __init__ is not an attribute: {missing}; set it on self, since tables are made from it",
        )
    rebuilt = type(world)(1, **parameters).parameters
    for name, value in parameters.items():
        require(
            np.array_equal(value, rebuilt[name], equal_nan=isinstance(value, float)),
            f"keyword {name!r} is {value!r} on self, and {rebuilt[name]!r} in a world made with it: "
            "set it on self as it is given",
        )
