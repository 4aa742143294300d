"""Pictures of grid worlds: one glyph per cell, printed as text or painted as pixels."""

from typing import NamedTuple

import numpy as np

CELL = 32  # side of a cell in pixels

FLOOR, WALL, AGENT, DIAMOND, GHOST, SIGN, VOID = ".#ADGS "
COLOURS = {
    FLOOR: (244, 241, 234),
    VOID: (255, 255, 255),
    WALL: (74, 78, 86),
    AGENT: (38, 70, 130),
    DIAMOND: (42, 157, 143),
    GHOST: (196, 69, 54),
    SIGN: (233, 160, 60),
}
WATCHED = (255, 226, 138)  # floor of a cell that the overseer can see
INK = (60, 60, 60)


class Picture(NamedTuple):
    """What `render` shows of one state."""

    glyphs: np.ndarray  # (H, W) one-character strings
    watched: np.ndarray  # (H, W) bool: cells that the overseer can see
    caption: str = ""

    @classmethod
    def of_text(cls, text: str) -> "Picture":
        """A picture that consists of a caption."""
        return cls(np.full((1, 1), FLOOR), np.zeros((1, 1), bool), text)

    @property
    def is_text(self) -> bool:
        """Whether the picture consists of a caption."""
        return self.glyphs.size == 1 and self.glyphs.item() == FLOOR and bool(self.caption)


def ansi(picture: Picture) -> str:
    """Renders a picture as text, one line per row; watched cells are in brackets."""
    rows = [
        "".join(f"[{g}]" if watched else f" {g} " for g, watched in zip(*row, strict=True)).rstrip()
        for row in zip(picture.glyphs, picture.watched, strict=True)
    ]
    return "\n".join([*rows, picture.caption] if picture.caption else rows)


def rgb_array(picture: Picture) -> np.ndarray:
    """Renders a picture as pixels, (H * 32, W * 32, 3) uint8."""
    rows = [
        np.concatenate([_cell(*cell) for cell in zip(*row, strict=True)], 1) for row in zip(*picture[:2], strict=True)
    ]
    return np.concatenate(rows, 0)


def _cell(glyph: str, watched: bool) -> np.ndarray:
    """(32, 32, 3) uint8: the floor with a thin edge, and the glyph's shape with an anti-aliased outline."""
    y, x = (np.mgrid[:CELL, :CELL] + 0.5) / CELL * 2 - 1  # [-1, 1]
    floor = np.array(WATCHED if watched else COLOURS[FLOOR] if glyph not in COLOURS else _ground(glyph), float)
    inside = SHAPES.get(glyph, _empty)(x, y)
    cover = np.clip(inside * CELL / 2 + 0.5, 0, 1)[..., None]
    cell = floor * (1 - cover) + np.array(COLOURS.get(glyph, INK), float) * cover
    if glyph != VOID:
        cell[-1] = cell[:, -1] = np.array(COLOURS[FLOOR]) * 0.88
    return cell.astype(np.uint8)


def _ground(glyph: str) -> tuple[int, int, int]:
    return COLOURS[glyph] if glyph in (VOID, WALL) else COLOURS[FLOOR]


def _empty(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.full_like(x, -1)


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.62 - np.hypot(x, y)


def _diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (0.75 - np.abs(x) * 1.2 - np.abs(y)) / 1.56


def _ghost(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A dome above a wavy skirt, without two discs for the eyes."""
    dome = 0.55 - np.hypot(x, y + 0.12)
    skirt = np.minimum(0.55 - np.abs(x), np.minimum(y + 0.12, 0.6 + 0.1 * np.cos(x * 17) - y))
    eyes = np.minimum(np.hypot(x - 0.2, y + 0.15), np.hypot(x + 0.2, y + 0.15)) - 0.12
    return np.minimum(np.maximum(dome, skirt), eyes)


def _sign(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A board and a post."""
    board = np.minimum(0.6 - np.abs(x), 0.3 - np.abs(y + 0.25))
    post = np.minimum(0.08 - np.abs(x), np.minimum(y, 0.75 - y))
    return np.maximum(board, post)


SHAPES = {AGENT: _disc, DIAMOND: _diamond, GHOST: _ghost, SIGN: _sign}
FRAMES = {"ansi": ansi, "rgb_array": rgb_array}
