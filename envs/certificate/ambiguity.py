"""The dimension of the rewards that no feedback of an overseer determines.

A row of Gamma counts the states that one possible episode reaches. A row of B Gamma counts the states that the
overseer believes were reached, given all that it observed. A reward of states that lies in the kernel of B Gamma but
not in the kernel of Gamma changes true returns and no believed return, so no amount of feedback determines it. The
dimension of these rewards is rank Gamma - rank B Gamma (Lang et al. 2024, arXiv 2402.17747, theorem 5.2). Beliefs about
single steps may combine to counts that no episode has, outside of the row space of Gamma. The dimension is therefore
computed as the rank of Gamma and B Gamma stacked, minus that of B Gamma; the two agree if B Gamma is in that space.

Episodes are not enumerated. With a leading 1, the row of an episode is updated linearly at each step, so the span of
all rows that end in a state is propagated as a subspace. Rows are discounted; scaling a row does not change a span.

Letters: S states of which the first S_A are not terminal, A actions, Z values of the noise, L overseer observations,
F = S features, H steps.
"""

import numpy as np

from envs.tables import Tables, distinct_rows

INDEPENDENT = 1e-9  # singular values that are smaller, relative to the largest, count as 0
MAX_STATES = 2_000
MAX_WORK = 30_000_000  # S_A * F * F * H


def ambiguity(tables: Tables, beliefs: np.ndarray, audit_label: int | None = None) -> int | None:
    """Computes the dimension of the rewards that no feedback determines (arXiv 2402.17747, theorem 5.2).

    With audits, states are counted without their last variable, AUDITED, on which no reward depends. The feedback on
    an audited step is its true reward, so it counts the state that was reached.

    Args:
        tables: The enumerated world.
        beliefs: (L, S), the overseer's distribution of the state reached, given its observation.
        audit_label: the first label of audited steps, if there are audits.

    Returns:
        The dimension; None if the world exceeds `MAX_STATES` or `MAX_WORK`.
    """
    n_states = len(tables.states)
    if n_states > MAX_STATES or len(tables.successor) * n_states**2 * tables.horizon > MAX_WORK:
        return None
    base = np.arange(n_states) if audit_label is None else distinct_rows(tables.states[:, :-1])[1]
    identity = np.eye(int(base.max()) + 1)[base]  # (S, F)
    reached, believed = identity[tables.successor], (beliefs @ identity)[tables.overseer_obs]
    if audit_label is not None:
        believed = np.where(tables.overseer_obs[..., None] >= audit_label, reached, believed)
    counts, beliefs_of_counts = _rows(tables, reached), _rows(tables, believed)
    return _rank(np.concatenate([counts, beliefs_of_counts])) - _rank(beliefs_of_counts)


def posterior(tables: Tables, visits: np.ndarray, n_labels: int) -> np.ndarray:
    """Computes the distribution of the state reached under the random policy, given the overseer observation.

    Args:
        tables: The enumerated world.
        visits: (S_A, A, Z), the expected visits of each step.
        n_labels: L.

    Returns:
        (L, S); a row of zeros for an overseer observation that never occurs.
    """
    table = np.zeros((n_labels, len(tables.states)))
    np.add.at(table, (tables.overseer_obs, tables.successor), visits)
    total = table.sum(1, keepdims=True)
    return np.divide(table, total, out=np.zeros_like(table), where=total > 0)


def _rows(tables: Tables, feature: np.ndarray) -> np.ndarray:
    """A basis of the span of the rows of all episodes; each step adds its `feature`, (S_A, A, Z, F)."""
    n_acting, n_features = len(tables.successor), feature.shape[-1]
    bases = {int(state): np.eye(1, 1 + n_features) for state in np.unique(tables.start)}
    ended = np.zeros((0, n_features))
    moves = [_moves(tables, state) for state in range(n_acting)]
    for _ in range(tables.horizon):
        extended: dict[int, list[np.ndarray]] = {}
        for state, basis in bases.items():
            for action, noise, after in moves[state]:
                row = basis.copy()
                row[:, 1:] = (row[:, 1:] + row[:, :1] * feature[state, action, noise]) / max(tables.gamma, 0.5)
                extended.setdefault(after, []).append(row)
        spans = {state: _basis(np.concatenate(rows)) for state, rows in extended.items()}
        ended = _basis(np.concatenate([ended, *(s[:, 1:] for state, s in spans.items() if state >= n_acting)]))
        bases = {state: span for state, span in spans.items() if state < n_acting}
    return np.concatenate([ended, *(span[:, 1:] for span in bases.values())])


def _moves(tables: Tables, state: int) -> list[tuple[int, int, int]]:
    """The distinct steps possible in a state, as (action, noise, next state)."""
    n_actions, n_noise = tables.successor.shape[1:]
    steps = {
        (int(tables.successor[state, a, z]), int(tables.overseer_obs[state, a, z])): (a, z)
        for a in range(n_actions)
        for z in range(n_noise)
        if tables.noise[z] > 0
    }
    return [(a, z, after) for (after, _), (a, z) in steps.items()]


def _basis(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the span of the rows."""
    _, lengths, basis = np.linalg.svd(rows, full_matrices=False)
    return basis[: int((lengths > INDEPENDENT * max(lengths.max(initial=0), 1)).sum())]


def _rank(rows: np.ndarray) -> int:
    return len(_basis(rows))
