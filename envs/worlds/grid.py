"""Moves on a square grid."""

import numpy as np

ACTION_NAMES = ("up", "right", "down", "left")
ACTION_ARROWS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # (drow, dcol)


def grid_moves(side: int, walls: np.ndarray | None = None) -> np.ndarray:
    """The cell that each action leads to.

    Args:
        side: cells per side of the grid; cells are numbered row by row.
        walls: (side**2,) bool, cells that cannot be entered; by default none.

    Returns:
        (side**2, 4) int; an agent that would enter a wall or leave the grid stays in its cell.
    """
    cells = np.arange(side**2)[:, None]
    row, col = np.divmod(cells, side)
    drow, dcol = np.array(ACTION_ARROWS).T
    target = np.clip(row + drow, 0, side - 1) * side + np.clip(col + dcol, 0, side - 1)
    return target if walls is None else np.where(walls[target], cells, target)
