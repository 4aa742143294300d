"""Planning for an agent with memory: the Markov decision process over beliefs.

The belief (the distribution of the state given all past observations and actions) is a sufficient statistic, so the
beliefs are the states of a Markov decision process (Astrom 1965). The beliefs that are reachable within the time
limit are enumerated where they are few.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, O observations, B beliefs,
n rows.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.tables import Tables, distinct_rows, make_index

DIGITS = 10  # beliefs that agree to this many digits are equal
MAX_BELIEFS = 5_000
MAX_STATES = 5_000  # non-terminal; above, beliefs are not enumerated
MAX_ENTRIES = 20_000_000  # beliefs times non-terminal states
MAX_PAIRS = 200_000  # of belief and state
CHUNK = 4_000_000  # entries of predicted distributions that are computed together


class BeliefMDP(NamedTuple):
    """The beliefs reachable within the time limit, in the order of the step at which they are first reachable."""

    beliefs: np.ndarray  # (B, S_A)
    observation: np.ndarray  # (B,) int: the last observation, which all states of the belief share
    start: np.ndarray  # (B,): the distribution of the first belief
    transition: sparse.csr_array  # (B * A, B); rows sum to less than 1 where episodes end
    n_expanded: int  # later beliefs are reachable at the last step only and have no transitions


class BeliefWorld(NamedTuple):
    """A world whose state includes the agent's belief, and whose observation is the belief."""

    tables: Tables
    state: np.ndarray  # (S_A of the tables,) int: the state of the original world
    belief: np.ndarray  # (S_A of the tables,): the probability of the state given the belief


def history_optimal(tables: Tables) -> float | None:
    """Computes the optimal true return of an agent that remembers its observations and actions.

    The agent observes every non-terminal state that it visits. It does not observe rewards.

    Args:
        tables: The enumerated world.

    Returns:
        The expected discounted true return per episode within the time limit; None if the beliefs are too many.
    """
    mdp = belief_mdp(tables)
    if mdp is None:
        return None
    reward = mdp.beliefs @ (tables.true_reward @ tables.noise)
    value = np.zeros(len(reward))
    for _ in range(tables.horizon):
        value = (reward + tables.gamma * (mdp.transition @ value).reshape(reward.shape)).max(1)
    return float(mdp.start @ value)


def belief_mdp(tables: Tables) -> BeliefMDP | None:
    """Enumerates the beliefs of an agent that remembers its observations and actions.

    Args:
        tables: The enumerated world.

    Returns:
        The beliefs and their transitions; None if the world exceeds `MAX_STATES`, or the beliefs exceed
        `MAX_BELIEFS` or `MAX_ENTRIES`.
    """
    n_acting, n_actions, _ = tables.successor.shape
    limit = min(MAX_BELIEFS, MAX_ENTRIES // n_acting)
    if n_acting > MAX_STATES or len(np.unique(tables.observation[tables.start])) > limit:
        return None
    index: dict[bytes, int] = {}
    probability, fresh = _condition(tables, np.bincount(tables.start, tables.start_probability, n_acting)[None])
    start, beliefs, entries = probability.toarray()[0], [fresh], []
    _indices(index, fresh)
    n_expanded = 0
    for _ in range(tables.horizon - 1):
        layer = []
        for part in np.array_split(fresh, len(fresh) * n_actions * n_acting // CHUNK + 1):
            probability, following = _condition(tables, _predict(tables, part))
            n_known = len(index)
            column = _indices(index, following)
            if len(index) > limit:
                return None
            row, local = probability.nonzero()
            entries.append((row + n_expanded * n_actions, column[local], probability.data))
            layer.append(following[column >= n_known])
            n_expanded += len(part)
        fresh = np.concatenate(layer)
        beliefs.append(fresh)
        if not len(fresh):
            break
    every = np.concatenate(beliefs)
    row, column, data = (np.concatenate(c) for c in zip(*entries, strict=True)) if entries else np.zeros((3, 0), int)
    return BeliefMDP(
        beliefs=every,
        observation=tables.observation[every.argmax(1)],
        start=np.pad(start, (0, len(every) - len(start))),
        transition=sparse.csr_array((data, (row, column)), (len(every) * n_actions, len(every))),
        n_expanded=n_expanded,
    )


def belief_world(tables: Tables) -> BeliefWorld | None:
    """Extends the state of a world by the belief of an agent that remembers its observations and actions.

    In the extended world the observation is a sufficient statistic, so memoryless planning over it is planning over
    histories of the original world.

    Args:
        tables: The enumerated world.

    Returns:
        The extended world; None if the beliefs, or the pairs of belief and state, are too many.
    """
    mdp = belief_mdp(tables)
    pairs = None if mdp is None else _pairs(tables, mdp)
    if mdp is None or pairs is None:
        return None
    n_acting, n_pairs = len(tables.successor), len(pairs)
    belief, state = np.divmod(pairs, n_acting)
    reached, known = _step(tables, mdp, pairs)
    ended = tables.successor[state] - n_acting  # negative where the episode goes on
    n_all = len(tables.states)
    successor = n_pairs + ended % n_all  # after the pairs: terminal states, then states reached at the time limit
    successor[known] = np.searchsorted(pairs, reached[known])
    all_states = np.concatenate((state, np.arange(n_acting, n_all), np.arange(n_acting)))
    all_beliefs = np.concatenate((belief, np.full(n_all - n_acting, -1), np.full(n_acting, -2)))
    states = np.column_stack((all_beliefs, all_states))
    extended = tables._replace(
        states=states,
        successor=successor,
        reward=tables.reward[state],
        true_reward=tables.true_reward[state],
        overseer_obs=tables.overseer_obs[state],
        bad_act=tables.bad_act[state] if tables.bad_act.size else tables.bad_act,
        observations=np.arange(len(mdp.beliefs))[:, None],
        observation=belief,
        view=all_beliefs[:, None],
        outcome=tables.outcome[all_states],
        watched=tables.watched[all_states],
        start=np.searchsorted(pairs, _start_pairs(tables, mdp)),
        start_probability=tables.start_probability[tables.start_probability > 0],
        keys=make_index(states),
    )
    return BeliefWorld(extended, state, mdp.beliefs[belief, state])


def _pairs(tables: Tables, mdp: BeliefMDP) -> np.ndarray | None:
    """The reachable pairs of belief and state, sorted, as belief * S_A + state; None if they are too many."""
    pairs = fresh = np.unique(_start_pairs(tables, mdp))
    while len(fresh):
        reached, known = _step(tables, mdp, fresh)
        belief, state = np.divmod(fresh, len(tables.successor))
        possible = (tables.successor[state] < len(tables.successor)) & (tables.noise > 0)
        if (possible & ~known)[belief < mdp.n_expanded].any():
            return None  # beliefs that rounding has merged have different supports
        fresh = np.setdiff1d(reached[known], pairs)
        pairs = np.union1d(pairs, fresh)
        if len(pairs) > MAX_PAIRS:
            return None
    return pairs


def _start_pairs(tables: Tables, mdp: BeliefMDP) -> np.ndarray:
    """The pair of each start state of positive probability."""
    first = np.flatnonzero(mdp.start)
    belief = np.zeros(len(tables.observations), np.int64)
    belief[mdp.observation[first]] = first
    start = tables.start[tables.start_probability > 0]
    return belief[tables.observation[start]] * len(tables.successor) + start


def _step(tables: Tables, mdp: BeliefMDP, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pair that each action and noise leads to, (n, A, Z) int, and where there is one, (n, A, Z) bool."""
    n_acting, n_actions, _ = tables.successor.shape
    n_observations = len(tables.observations)
    row, column = mdp.transition.nonzero()
    keys = row * n_observations + mdp.observation[column]
    order = np.argsort(keys)
    belief, state = np.divmod(pairs, n_acting)
    successor = tables.successor[state]
    acting = (successor < n_acting) & (tables.noise > 0)
    observation = np.append(tables.observation, np.zeros(len(tables.states) - n_acting, np.int64))[successor]
    key = (belief[:, None, None] * n_actions + np.arange(n_actions)[:, None]) * n_observations + observation
    place = np.searchsorted(keys[order], key).clip(max=max(len(keys) - 1, 0))
    known = acting & (keys[order][place] == key) if len(keys) else np.zeros_like(acting)
    following = column[order][place] if len(keys) else np.zeros_like(successor)
    return following * n_acting + successor, known


def _indices(index: dict[bytes, int], beliefs: np.ndarray) -> np.ndarray:
    """The index of each belief (n, S_A), (n,) int; new beliefs are added to the index."""
    rounded = np.round(beliefs, DIGITS) + 0.0  # no -0.0
    return np.array([index.setdefault(row.tobytes(), len(index)) for row in rounded], np.int64)


def _predict(tables: Tables, beliefs: np.ndarray) -> np.ndarray:
    """The unnormalised distribution of the next non-terminal state, (n, S_A) -> (n * A, S_A)."""
    n_acting, n_actions, _ = tables.successor.shape
    acting = tables.successor < n_acting
    probability = np.broadcast_to(tables.noise, acting.shape)
    origin, action, _ = np.nonzero(acting)
    column = action * n_acting + tables.successor[acting]
    move = sparse.csr_array((probability[acting], (origin, column)), (n_acting, n_actions * n_acting))
    return (move.T @ beliefs.T).T.reshape(-1, n_acting)


def _condition(tables: Tables, weights: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
    """Conditions state weights (n, S_A) on the observation: probabilities (n, B) of the beliefs (B, S_A)."""
    n_acting = len(tables.successor)
    indicator = sparse.csr_array((np.ones(n_acting), (np.arange(n_acting), tables.observation)))
    likelihood = weights @ indicator
    row, observation = np.nonzero(likelihood > 0)
    posterior = weights[row] * (tables.observation == observation[:, None]) / likelihood[row, observation][:, None]
    first, belief = distinct_rows(np.round(posterior, DIGITS))
    probability = sparse.csr_array((likelihood[row, observation], (row, belief)), (len(weights), len(first)))
    return probability, posterior[first]
