"""How many directions of the reward leave no trace in what an overseer believes of episodes.

Let a row of Gamma count the states that one possible episode reaches, and a row of B Gamma those that the
overseer believes were reached, given all that it saw. Rewards of states in the kernel of B Gamma that are not
in the kernel of Gamma change true returns and no believed one, so no amount of feedback determines them. Their
dimension is rank Gamma - rank B Gamma. (Lang et al. 2024, arXiv 2402.17747, theorem 5.2.)

Episodes are not enumerated. With a 1 put before it, the row of an episode moves linearly at each step, so the
span of all rows that end in a state moves as a subspace. Rows are discounted; scaling one changes no span.

Letters: S states of which the first S_A are not terminal, A actions, Z noise, F = S features, H steps.
"""

import numpy as np

from envs.tables import Tables

INDEPENDENT = 1e-9
MAX_STATES = 2_000
WORK = 30_000_000  # S_A * F * F * H


def ambiguity(tables: Tables, beliefs: np.ndarray) -> int | None:
    """rank Gamma - rank B Gamma; None where there are too many states.

    `beliefs`, (L, S): with what probability the overseer thinks each state was reached, by its observation.
    """
    n_states = len(tables.states)
    if n_states > MAX_STATES or len(tables.successor) * n_states**2 * tables.horizon > WORK:
        return None
    reached = np.eye(n_states)[tables.successor]
    return _rank(_rows(tables, reached)) - _rank(_rows(tables, beliefs[tables.overseer_obs]))


def posterior(tables: Tables, visits: np.ndarray, n_labels: int) -> np.ndarray:
    """(L, S): the states reached by an agent that acts at random, given what the overseer sees of the step."""
    table = np.zeros((n_labels, len(tables.states)))
    np.add.at(table, (tables.overseer_obs, tables.successor), visits)
    total = table.sum(1, keepdims=True)
    return np.divide(table, total, out=np.zeros_like(table), where=total > 0)


def _rows(tables: Tables, feature: np.ndarray) -> np.ndarray:
    """A basis of the span of all episodes' rows; `feature`, (S_A, A, Z, F), is added by each step."""
    n_acting, n_features = len(tables.successor), feature.shape[-1]
    here = {int(state): np.eye(1, 1 + n_features) for state in np.unique(tables.start)}
    ended = np.zeros((0, n_features))
    moves = [_moves(tables, state) for state in range(n_acting)]
    for _ in range(tables.horizon):
        arriving: dict[int, list[np.ndarray]] = {}
        for state, basis in here.items():
            for action, noise, after in moves[state]:
                row = basis.copy()
                row[:, 1:] = (row[:, 1:] + row[:, :1] * feature[state, action, noise]) / max(tables.gamma, 0.5)
                arriving.setdefault(after, []).append(row)
        spans = {state: _basis(np.concatenate(rows)) for state, rows in arriving.items()}
        ended = _basis(np.concatenate([ended, *(s[:, 1:] for state, s in spans.items() if state >= n_acting)]))
        here = {state: span for state, span in spans.items() if state < n_acting}
    return np.concatenate([ended, *(span[:, 1:] for span in here.values())])


def _moves(tables: Tables, state: int) -> list[tuple[int, int, int]]:
    """(action, noise, next state) of all steps that can be made here, one for each that differs."""
    n_actions, n_noise = tables.successor.shape[1:]
    every = {
        (int(tables.successor[state, a, z]), int(tables.overseer_obs[state, a, z])): (a, z)
        for a in range(n_actions)
        for z in range(n_noise)
        if tables.noise[z] > 0
    }
    return [(a, z, after) for (after, _), (a, z) in every.items()]


def _basis(rows: np.ndarray) -> np.ndarray:
    """Orthonormal rows with the same span."""
    _, lengths, basis = np.linalg.svd(rows, full_matrices=False)
    return basis[: int((lengths > INDEPENDENT * max(lengths.max(initial=0), 1)).sum())]


def _rank(rows: np.ndarray) -> int:
    return len(_basis(rows))
