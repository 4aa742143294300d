"""The keys by which a user chooses actions: directions where actions have them, digits and letters elsewhere."""

from collections.abc import Sequence
from string import ascii_letters, digits

from flows.cli.keys import DOWN, LEFT, RIGHT, UP
from flows.errors import UserError

DIRECTIONS = {(-1, 0): (UP, "w"), (0, 1): (RIGHT, "d"), (1, 0): (DOWN, "s"), (0, -1): (LEFT, "a")}  # (drow, dcol)
BY_NAME = {keys[0]: keys for keys in DIRECTIONS.values()}
SHOWN = {
    UP: "\N{UPWARDS ARROW}",
    RIGHT: "\N{RIGHTWARDS ARROW}",
    DOWN: "\N{DOWNWARDS ARROW}",
    LEFT: "\N{LEFTWARDS ARROW}",
}


def action_keys(
    names: Sequence[str], arrows: Sequence[tuple[int, int]] | None, reserved: Sequence[str]
) -> list[tuple[str, ...]]:
    """Assigns keys to actions.

    An action with a direction, by its arrow or its name, has an arrow key and one of w, a, s, d. Every other action has
    the first letter of its name that is free. The first ten actions also have their number.

    Args:
        names: The name of each action.
        arrows: (drow, dcol) of the first actions, or None.
        reserved: Keys that have another meaning.

    Returns:
        The keys of each action.

    Raises:
        UserError: There are more actions than keys.
    """
    moves = [*(arrows or ())]
    keys: list[tuple[str, ...]] = [
        DIRECTIONS.get(tuple(moves[i]), ()) if i < len(moves) else BY_NAME.get(name.lower(), ())  # type: ignore[arg-type]
        for i, name in enumerate(names)
    ]
    taken = {*reserved, *(key for found in keys for key in found)}
    if len({found for found in keys if found}) < sum(map(bool, keys)):  # two actions in one direction
        keys, taken = [()] * len(names), set(reserved)
    for index, name in enumerate(names):
        number = (str(index),) if index < len(digits) else ()
        letters = [*name.lower(), *(() if number else ascii_letters)]
        free = next((key for key in letters if key in ascii_letters and key not in taken), None)
        if not keys[index] and free and not (number and name == f"action {index}"):
            keys[index] = (free,)
        keys[index] += number
        if not keys[index]:
            raise UserError(f"the environment has {len(names)} actions, more than can be chosen by keys")
        taken.update(keys[index])
    return keys


def key_text(key: str) -> str:
    """A key as help shows it."""
    return SHOWN.get(key, key)
