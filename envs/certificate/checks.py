"""Checks that the tables of a world are valid, and are those of the world, before a certificate is computed.

Letters: S states of which the first S_A are not terminal, L overseer observations, n steps.
"""

from typing import Any

import numpy as np

from envs.checks.transitions import sample_transitions
from envs.checks.world import CheckFailed, check_world, require
from envs.enumeration import compile_world
from envs.overseer_view import inside_overseer_views
from envs.pomdp import POMDP
from envs.tables import Tables
from envs.validation import differing_rows


def check_before_certifying(world: Any, tables: Tables) -> None:
    """Checks a world, its tables, and that they agree.

    The functions of a POMDP are checked, and compared with its tables on sampled steps. Another world has only its
    tables, and only these are checked.

    Args:
        world: A world with tables, or a view of one.
        tables: Its tables.

    Raises:
        CheckFailed: A ValueError of one line that names the world and the check that fails.
    """
    try:
        if isinstance(world.unwrapped, POMDP):
            check_world(world.unwrapped)
        _check_tables(world, tables)
        if isinstance(world.unwrapped, POMDP):
            inside = inside_overseer_views(world)
            _check_agreement(inside, tables if inside is world else compile_world(inside))
    except CheckFailed as failure:
        raise CheckFailed(f"{type(world.unwrapped).__name__}: {failure}") from None


def _check_tables(world: Any, tables: Tables) -> None:
    """Probabilities, indices and numbers are valid."""
    n_states, n_acting, n_labels = len(tables.states), len(tables.successor), len(world.overseer_labels)
    for name, p in (("noise", tables.noise), ("start", tables.start_probability)):
        valid = np.min(p, initial=0) >= 0 and np.isclose(np.sum(p), 1, atol=1e-9)
        require(valid, f"the {name} probabilities of the tables do not sum to 1, or one is negative: fix the tables")
    require(0 <= tables.gamma <= 1, f"gamma is {tables.gamma}: a discount lies between 0 and 1")
    require(tables.horizon >= 1, f"the time limit is {tables.horizon} steps: it must be at least 1")
    require(len(world.judgement) == n_labels > 0, f"{len(world.judgement)} verdicts for {n_labels} overseer_labels")
    for name, index, n in (
        ("successor", tables.successor, n_states),
        ("start", tables.start, n_acting),
        ("observation", tables.observation, len(tables.observations)),
        ("overseer_obs", tables.overseer_obs, n_labels),
    ):
        low, high = np.min(index), np.max(index)
        require(low >= 0 and high < n, f"{name} of the tables ranges from {low} to {high}, outside 0 to {n - 1}")
    for name in ("reward", "true_reward"):
        require(np.isfinite(getattr(tables, name)).all(), f"{name} of the tables has a number that is not finite")


def _check_agreement(world: Any, tables: Tables) -> None:
    """The tables have the values of the world's functions at sampled steps."""
    base = world.unwrapped
    require(tables.gamma == base.gamma, f"gamma is {base.gamma}, but {tables.gamma} in the tables: {REMEDY}")
    steps = sample_transitions(base, length=min(16, base.max_episode_steps))  # later states may be in no table
    row, following = tables.row(steps.state).clip(max=len(tables.successor) - 1), tables.row(steps.next_state)
    sizes = [len(p) for p in base.noise.values()]
    noise = np.ravel_multi_index([steps.noise[name] for name in base.noise], sizes) if sizes else 0
    at = (row, steps.action, noise)
    step, seen = steps[:3], tables.overseer_obs[at]
    seen = seen if tables.overseer_codebook is None else tables.overseer_codebook[seen]
    for name, stated, computed in (
        ("state", tables.states[row], steps.state),
        ("transition", tables.states[tables.successor[at]], steps.next_state),
        ("reward", tables.reward[at], base.reward(*step)),
        ("true_reward", tables.true_reward[at], base.true_reward(*step)),
        ("overseer_observation", seen, base.overseer_observation(*step)),
        ("observation", tables.view[following.clip(max=len(tables.states) - 1)], world.observation(steps.next_state)),
    ):
        different = differing_rows(stated, computed)
        state = steps.state[different.argmax()].tolist()
        require(not different.any(), f"{name} differs between the world and its tables in state {state}: {REMEDY}")


REMEDY = "set it by a keyword of __init__, from which tables are made"
