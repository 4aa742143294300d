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
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.vector import VectorEnv

from envs.foreign.declaration import Overseen, View
from envs.foreign.stepped import SteppedEnv, single_env_creator
from envs.foreign.tabular import tabular_class
from envs.foreign.toy_text import has_transitions

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
        ValueError: the id is registered already by something else, or the names do not fit the verdicts.
        gymnasium.error.Error: there is no environment `env_id`.
    """
    verdicts = np.asarray(judgement, float)
    labels = tuple(overseer_labels) or tuple(f"label {i}" for i in range(len(verdicts)))
    if verdicts.ndim != 1 or not len(verdicts) or len(labels) != len(verdicts):
        raise ValueError(
            f"{new_id}: {len(labels)} overseer labels for judgement of shape {verdicts.shape}: give one each"
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
    OVERSEEN[new_id] = declared
    own = declared.make_single()
    limit = max_episode_steps or (own.spec.max_episode_steps if own.spec else None)
    own.close()
    gymnasium.registry.pop(new_id, None)  # a module that is imported again registers again
    gymnasium.register(
        id=new_id,
        entry_point=f"{__name__}:single {new_id}",
        vector_entry_point=f"{__name__}:vector {new_id}",
        max_episode_steps=limit,
    )
    return new_id


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
