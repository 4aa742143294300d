"""The memory of an agent as a user writes it: `none`, `frames(K)` or `lstm(W)`.

- none: the agent acts on its current observation.
- frames(K): the agent acts on its last K observations; see `envs.frames`.
- lstm(W): each block of the policy has an LSTM of W units; see `agents.policies.recurrent`.
"""

import re
from typing import NamedTuple

from routing.errors import unknown_name

NONE, FRAMES, LSTM = "none", "frames", "lstm"
ARGUMENT = {FRAMES: "K", LSTM: "W"}  # the letter of a kind's number in messages
LARGEST = {FRAMES: 100, LSTM: 1024}
SUPPORTED = {  # what an LSTM in each block supports of a policy
    "network": ("gated", "ungated", "single"),
    "level": ("activation",),
    "precision": ("fp32",),
}
FORM = re.compile(r"\s*([^\s()]*)\s*(?:\(\s*(.*?)\s*\))?\s*")


class AgentMemory(NamedTuple):
    """A kind of memory and its size."""

    kind: str = NONE
    size: int = 0  # K frames, or W units; 0 without a memory

    def __str__(self) -> str:
        return self.kind if self.kind == NONE else f"{self.kind}({self.size})"


def parse_memory(text: str) -> AgentMemory:
    """Parse `none`, `frames(K)` or `lstm(W)`.

    Raises:
        ValueError: the text has another form, the kind is unknown, or its number is not in range.
    """
    found = FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"memory {text!r} has another form; write none, frames(K) or lstm(W)")
    kind, number = found.groups()
    if kind not in (NONE, *LARGEST):
        raise unknown_name("memory", kind, ("none", "frames(K)", "lstm(W)"))
    if kind == NONE:
        if number is not None:
            raise ValueError(f"memory {text!r} has a number; write none, frames(K) or lstm(W)")
        return AgentMemory()
    letter, largest = ARGUMENT[kind], LARGEST[kind]
    if not number:
        raise ValueError(f"memory {text!r} has no {letter}; write {kind}({letter}) with {letter} from 1 to {largest}")
    if not (number.isascii() and number.isdigit()) or not 1 <= int(number[:9]) <= largest or len(number) > 9:
        raise ValueError(f"{letter} of memory {kind!r} is {number}; choose a whole number from 1 to {largest}")
    return AgentMemory(kind, int(number))


def unsupported(memory: object, name: str, value: str) -> str:
    """Why an LSTM in each block does not support a part of a policy, and what to do; "" if it does."""
    if value in SUPPORTED[name]:
        return ""
    *others, last = SUPPORTED[name]
    known = f"{', '.join(others)} or {last}" if others else last
    return f"memory {memory} does not support {name} {value!r}; choose {name} {known}, or memory frames(K)"
