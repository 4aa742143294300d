"""The axis of a sweep: the oversight level, an argument of the environment, or a parameter of a limit of the overseer.

    size=3,4,5    knowledge=aware,blind    recall.rate=0.2,0.5

A `Level` of the axis is the key of a sweep's tables, figures, certificates and tags. `routing.oversight.grammar` splits
values. It is imported inside functions, because importing routing imports torch, which help texts do without.
"""

import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

OVERSIGHT = "oversight"
HINT = "write NAME=VALUE,VALUE,..., for example size=3,4"
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?")
NAN = float("nan")  # one object, so that two levels without a number are equal
LONGEST_KEY = 60  # characters of a value in a file name


@dataclass(frozen=True, order=True)
class Level:
    """One level of an axis. Levels of one axis are sorted by value, or in the given order if one is not a number."""

    position: float
    """place on the x axis of a figure: the value, or the index of the level if a value of the axis is not a number"""
    text: str
    """the value as the user may write it"""
    axis: str = OVERSIGHT
    numeric: bool = True
    """whether `position` is the value"""

    def __str__(self) -> str:
        return f"p={self.text}" if self.axis == OVERSIGHT else f"{self.axis}={self.text}"

    @property
    def title(self) -> str:
        """The level in a heading."""
        return f"{self.axis} {self.text}"

    @property
    def key(self) -> str:
        """The level in names of files, params and tags; distinct within an axis."""
        if self.axis == OVERSIGHT:
            return self.text
        safe = re.sub(r"[^\w.+-]", "_", self.text, flags=re.ASCII)[:LONGEST_KEY]
        if safe != self.text:
            safe += "-" + sha256(self.text.encode()).hexdigest()[:8]
        return f"{self.axis}-{safe}"


@dataclass(frozen=True)
class Axis:
    """What a sweep changes from level to level."""

    name: str = OVERSIGHT
    texts: tuple[str, ...] = ()
    """the values as text, in the given order; not needed for oversight levels"""

    def __str__(self) -> str:
        return f"{self.name}={','.join(self.texts)}"

    @property
    def is_oversight(self) -> bool:
        """Whether the levels are oversight levels."""
        return self.name == OVERSIGHT

    @cached_property
    def numeric(self) -> bool:
        """Whether every value is a finite number."""
        return self.is_oversight or not any(math.isnan(_number(text)) for text in self.texts)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels in the given order."""
        return tuple(map(self.level, self.texts))

    @property
    def values(self) -> tuple[Any, ...]:
        """The values in the given order."""
        return tuple(map(_read, self.texts))

    def level(self, text: str) -> Level:
        """The level with this value. An unknown value comes last: users can edit tags."""
        index = self.texts.index(text) if text in self.texts else len(self.texts)
        return Level(_number(text) if self.numeric else float(index), text, self.name, self.numeric)


OVERSIGHT_AXIS = Axis()  # oversight levels need not be listed


def oversight_level(probability: float) -> Level:
    """The level of an axis of oversight levels."""
    return OVERSIGHT_AXIS.level(f"{probability:g}")


def value_text(value: Any) -> str:
    """Writes a value so that it is read back in a list of values: text as it is if possible, else JSON."""
    if isinstance(value, str) and _is_plain(value):
        return value
    return json.dumps(value, separators=(",", ":"))


def parse_axis(text: str) -> Axis:
    """Parses NAME=VALUE,VALUE,... The values are split outside brackets and quotes and read as JSON, or kept as text.

    Raises:
        ValueError: The text has another form, has no or an empty value or the same value twice, or names the oversight
            level.
    """
    from routing.oversight.grammar import split_outside

    name, _, rest = (part.strip() for part in text.partition("="))
    module, _, without_module = name.rpartition(":")
    if module and NAME.fullmatch(without_module):
        raise ValueError(f"an axis names a limit without its module; write {without_module}={rest or 'VALUE,...'}")
    if not NAME.fullmatch(name):
        raise ValueError(f"an axis has a name and values; {HINT}")
    if name in (OVERSIGHT, "oversight_prob"):
        raise ValueError(f"{name} is what a sweep changes without an axis; use --oversight {rest or 'P,P,...'}")
    if not rest:
        raise ValueError(f"the axis {name} has no values; {HINT}")
    pieces = split_outside(rest, ",")
    if not all(pieces):
        raise ValueError(f"the axis {name} has an empty value; {HINT}")
    values = list(map(_read, pieces))
    for index, value in enumerate(values):
        if any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values[:index]):
            raise ValueError(f"{value_text(value)} is named twice")
    return Axis(name, tuple(map(value_text, values)))


def with_limit(overseer: str, name: str, value: Any) -> str:
    """Sets a parameter of a limit of the overseer.

    Args:
        overseer: The limits, LIMIT(VALUE,...)|LIMIT(...).
        name: The parameter, LIMIT.PARAMETER.
        value: Its value.

    Returns:
        The limits with the parameter set.

    Raises:
        ValueError: The limit is not among them, or more than once.
    """
    from routing.oversight.grammar import Call, parse_call, split_outside
    from routing.oversight.limits import LIMITS

    limit, _, parameter = name.partition(".")
    calls = [parse_call(text) for text in split_outside(overseer, "|")] if overseer.strip() else []
    concerned = [call for call in calls if call.name.rpartition(":")[2] == limit]
    count = len(concerned)
    if not count:
        limits = ", ".join(call.name for call in calls) or "no limits"
        raise ValueError(f"--overseer lacks the limit {limit!r}, found {limits}")
    if count > 1:
        raise ValueError(f"--overseer has the limit {limit!r} {count} times; an axis changes a limit that it has once")

    def with_parameter(call: Call) -> Call:
        known = LIMITS[limit].parameters if limit in LIMITS else ()
        values = {**dict(zip(known, call.args, strict=False)), **dict(call.kwargs), parameter: value}
        unnamed = call.args[len(known) :]
        return Call(call.name, unnamed, tuple(sorted(values.items())))

    return "|".join(str(with_parameter(call) if call in concerned else call) for call in calls)


def _read(text: str) -> Any:
    """Reads a value as JSON, or keeps it as text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.strip()


def _number(text: str) -> float:
    """The finite number that a text is; nan for any other text."""
    value = _read(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NAN
    try:
        return float(value) if math.isfinite(value) else NAN
    except OverflowError:  # an integer above the largest float
        return NAN


def _is_plain(text: str) -> bool:
    """Whether a text, as one of several values, is read as itself."""
    from routing.oversight.grammar import split_outside

    try:
        return split_outside(text, ",") == [text] and _read(text) == text
    except ValueError:
        return False
