"""A figure for each world with tables: some of its steps as the agent sees them and as the overseer sees them.

Each column is a step. The upper picture is the state in which the action is taken, the lower one the state that it
leads to. Upper pictures of states with the same agent observation have frames of one colour, and so have lower pictures
of steps with the same overseer observation. Frames are grey where no other state, or step, of the figure has the same
observation.

The steps are chosen by rule. For the two overseer observations whose steps differ most in true reward: the step with
the greatest and one with the least true reward. For every other overseer observation, the most frequent ones first: its
most frequent step. Then, as far as there are columns left, the most frequent step from another state that looks to the
agent like one of the chosen ones, and up to six columns the most frequent steps from other states. Frequencies are
those of the uniformly random policy.

Letters: S_A non-terminal states, A actions, Z values of the noise, L overseer observations.
"""

import io
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from envs import drawing
from envs.certificate.aliasing import DIGITS, random_visits
from envs.tables import Tables
from flows.reporting.figures import COLOURS, INK

COLUMNS, FEWEST = 8, 6
PAIRS = 2  # overseer observations of which two steps are drawn
FRAME = "#c9ced4"  # of a picture whose observation no other one of its row has
AGENT_COLOURS, OVERSEER_COLOURS = COLOURS[:4], COLOURS[4:10]
CELL, MARGIN, LEFT, HEAD, LINE = 1.4, 0.12, 0.4, 0.36, 0.135  # inches: a picture, its margins, a line of text
HIGHEST, CAPTIONS = 1.3, 0.7  # height of a picture in widths: the most, and that of a caption
TEXT_WIDTH = 20  # characters of a line under or in a picture
DPI, SHADES = 90, 64
SMALL: dict[str, Any] = {"fontsize": 7.5, "color": INK}
ROWS = ("as the agent\nsees it", "as the overseer\nsees it")
NO_NUMBER, NO_BREAK = "–", "\N{NO-BREAK SPACE}"
FOLDER = "gallery"  # of the pictures, beside the page


class DrawnStep(NamedTuple):
    """One column of the figure."""

    state: int
    """row of the tables"""
    action: int
    successor: int
    """row of the tables"""
    observation: int
    """of the state; an index of the distinct observations"""
    label: int
    """overseer observation"""
    reward: float
    true_reward: float


def choose_steps(tables: Tables) -> list[DrawnStep]:
    """Chooses the steps to draw, by the rule of the module's docstring, ordered by overseer observation."""
    visits = random_visits(tables)
    chosen: list[tuple[int, ...]] = []
    steps_of = {int(label): (tables.overseer_obs == label) & (visits > 0) for label in np.unique(tables.overseer_obs)}
    steps_of = {label: steps for label, steps in steps_of.items() if steps.any()}
    gaps = {label: float(np.ptp(tables.true_reward[steps])) for label, steps in steps_of.items()}
    pairs = sorted((label for label in gaps if gaps[label] > 10.0**-DIGITS), key=lambda label: -gaps[label])[:PAIRS]
    for label in pairs:
        chosen += _extremes(tables, visits, steps_of[label])
    frequency = {label: float(visits[steps].sum()) for label, steps in steps_of.items() if label not in pairs}
    for label in sorted(frequency, key=lambda label: -frequency[label])[: COLUMNS - 1 - len(chosen)]:
        chosen.append(_most_visited(visits, steps_of[label]))
    chosen += _partners(tables, visits, chosen)[: COLUMNS - len(chosen)]
    chosen += _others(visits, chosen)
    drawn = [
        DrawnStep(
            state=at[0],
            action=at[1],
            successor=int(tables.successor[at]),
            observation=int(tables.observation[at[0]]),
            label=int(tables.overseer_obs[at]),
            reward=float(tables.reward[at]),
            true_reward=float(tables.true_reward[at]),
        )
        for at in chosen
    ]
    return sorted(drawn, key=lambda step: (step.label, -step.true_reward))


def _extremes(tables: Tables, visits: np.ndarray, steps: np.ndarray) -> list[tuple[int, ...]]:
    """Of steps, (S_A, A, Z) bool, the one with the greatest true reward and one with the least.

    The second one is taken from a state that looks to the agent like the first one's, if there is any.
    """
    reward = np.round(tables.true_reward, DIGITS)
    best = _most_visited(visits, steps & (reward == reward[steps].max()))
    least = steps & (reward == reward[steps].min())
    looks_alike = least & (tables.observation == tables.observation[best[0]])[:, None, None]
    return [best, _most_visited(visits, looks_alike if looks_alike.any() else least)]


def _most_visited(visits: np.ndarray, steps: np.ndarray) -> tuple[int, ...]:
    """The index of the most frequent of some steps, (S_A, A, Z) bool."""
    return tuple(int(i) for i in np.unravel_index(np.argmax(np.where(steps, visits, -1)), visits.shape))


def _partners(tables: Tables, visits: np.ndarray, chosen: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """For each chosen state that looks to the agent like no other chosen one: a step from a state that does."""
    states = {at[0] for at in chosen}
    count = np.bincount(tables.observation[sorted(states)], minlength=len(tables.observations))
    partners = []
    for observation in dict.fromkeys(int(tables.observation[at[0]]) for at in chosen):
        alike = (tables.observation == observation)[:, None, None] & (visits > 0)
        alike[sorted(states)] = False
        if count[observation] == 1 and alike.any():
            partners.append(_most_visited(visits, alike))
    return partners


def _others(visits: np.ndarray, chosen: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The most frequent steps from states that are not chosen, as many as the fewest columns lack."""
    remaining = visits.copy()
    remaining[[at[0] for at in chosen]] = 0
    others: list[tuple[int, ...]] = []
    while len(chosen) + len(others) < FEWEST and (remaining > 0).any():
        others.append(_most_visited(remaining, remaining > 0))
        remaining[others[-1][0]] = 0
    return others


def gallery_figure(world: Any, tables: Tables, title: str) -> bytes:
    """Draws the chosen steps of a world as a PNG.

    Args:
        world: Names actions and overseer observations, and draws states.
        tables: Its tables.
        title: Heads the figure.
    """
    steps = choose_steps(tables)
    alike = np.bincount(tables.observation)
    states = [world.picture(tables.states[step.state]) for step in steps]
    reached = [world.picture(tables.states[step.successor]) for step in steps]
    upper = [
        _wrapped(f"{_caption(p)}\n{_looks(int(alike[s.observation]))}") for p, s in zip(states, steps, strict=True)
    ]
    lower = [_wrapped(f"{_caption(p)}\n{_observed(world, s.label)}") for p, s in zip(reached, steps, strict=True)]
    between = [_wrapped(f"{_action(world, step.action)}\ntrue reward {step.true_reward:g}") for step in steps]
    figure, axes = _panels(len(steps), _aspect([*states, *reached]), *map(_height, (upper, between, lower)))
    figure.suptitle(title, fontsize=10, color=INK, y=1 - 0.06 / figure.get_figheight(), va="top")
    frames = _frames([step.observation for step in steps], [step.state for step in steps], AGENT_COLOURS)
    for axis, picture, colour, text in zip(axes[0], states, frames, upper, strict=True):
        _draw_state(axis, picture, colour, text)
    frames = _frames([step.label for step in steps], range(len(steps)), OVERSEER_COLOURS)
    for axis, picture, colour, text, action in zip(axes[1], reached, frames, lower, between, strict=True):
        _draw_state(axis, picture, colour, text)
        axis.set_title(action, pad=5, **SMALL)
    for row, name in zip(axes, ROWS, strict=True):
        row[0].set_ylabel(name, **SMALL)
    return _png(figure)


def _aspect(pictures: Sequence[drawing.Picture]) -> float:
    """The height of the highest picture, in widths; that of pictures that are captions is `CAPTIONS`."""
    return max(CAPTIONS if p.is_text else p.glyphs.shape[0] / p.glyphs.shape[1] for p in pictures)


def _height(texts: Sequence[str]) -> float:
    """Inches that texts beside each other take, with a margin."""
    return LINE * max(text.count("\n") + 1 for text in texts) + MARGIN


def _panels(columns: int, aspect: float, upper: float, between: float, lower: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure with two rows of axes; the heights are those of the texts below, between and above them, in inches."""
    box = CELL * min(aspect, HIGHEST)
    width, height = LEFT + columns * (CELL + MARGIN), HEAD + 2 * box + upper + between + lower
    figure = Figure(figsize=(width, height), dpi=DPI)
    bottoms = (height - HEAD - box, lower)
    return figure, [
        [
            figure.add_axes(((LEFT + i * (CELL + MARGIN)) / width, bottom / height, CELL / width, box / height))
            for i in range(columns)
        ]
        for bottom in bottoms
    ]


def _frames(observations: Sequence[int], items: Sequence[int], palette: Sequence[str]) -> list[str]:
    """The colour of each frame: one colour for the different items that share an observation, FRAME for the others."""
    sharing = {o: {item for item, other in zip(items, observations, strict=True) if other == o} for o in observations}
    shared = [observation for observation, of in sharing.items() if len(of) > 1]
    colours = {observation: palette[i % len(palette)] for i, observation in enumerate(shared)}
    return [colours.get(observation, FRAME) for observation in observations]


def _draw_state(axis: Axes, picture: drawing.Picture, colour: str, text: str) -> None:
    """Draws a picture in a frame, and the text below it; a picture without a grid is its caption."""
    axis.set(xticks=[], yticks=[])
    if picture.is_text:
        axis.text(0.5, 0.5, _wrapped(picture.caption), ha="center", va="center", transform=axis.transAxes, **SMALL)
    else:
        axis.imshow(drawing.rgb_array(picture), interpolation="nearest")
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=1.2 if colour == FRAME else 4)
    axis.set_xlabel(text, labelpad=5, **SMALL)


def _caption(picture: drawing.Picture) -> str:
    """The caption of a picture that also has a grid."""
    return "" if picture.is_text else picture.caption


def _looks(count: int) -> str:
    return "1 state looks so" if count == 1 else f"{_count(count)} states look so"


def _observed(world: Any, label: int) -> str:
    verdict = world.judgement[label]
    return f"“{world.overseer_labels[label]}”\n" + ("no verdict" if np.isnan(verdict) else f"verdict {verdict:g}")


def _action(world: Any, action: int) -> str:
    names = world.action_names
    return names[action] if action < len(names) else f"action {action}"


def _wrapped(text: str) -> str:
    """The text in lines of at most TEXT_WIDTH characters, broken after commas where there are any."""
    return "\n".join(
        line.replace(NO_BREAK, " ")
        for part in text.split("\n")
        for line in textwrap.wrap(", ".join(map(_unbroken, part.split(", "))), TEXT_WIDTH)
    )


def _unbroken(piece: str) -> str:
    return piece.replace(" ", NO_BREAK) if len(piece) < TEXT_WIDTH else piece


def _png(figure: Figure) -> bytes:
    """The figure as a PNG of few colours, which is several times smaller."""
    whole, small = io.BytesIO(), io.BytesIO()
    figure.savefig(whole, format="png")
    Image.open(whole).convert("RGB").quantize(SHADES, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


class Section(NamedTuple):
    """What the page shows of one world."""

    name: str
    """heading, and name of the file of the figure"""
    env_id: str
    statement: str
    arguments: str
    """NAME=VALUE,... where they are not the defaults"""
    certificate: Any
    observations: int
    """distinct observations of the agent"""
    labels: int
    """overseer observations that occur"""


def section_lines(section: Section) -> Iterator[str]:
    """Yields the lines of Markdown of one world."""
    certificate = section.certificate
    yield f"## {section.name}"
    yield ""
    given = f" with `{section.arguments}`" if section.arguments else ""
    yield f"`{section.env_id}`{given}. {section.statement}"
    yield ""
    yield f"![Steps of {section.name} as the agent and as the overseer see them]({FOLDER}/{section.name}.png)"
    yield ""
    numbers = list(_numbers(section))
    yield f"| {' | '.join(name for name, _ in numbers)} |"
    yield f"|{'---|' * len(numbers)}"
    yield f"| {' | '.join(value for _, value in numbers)} |"
    yield ""
    yield f"The agent of the certificate {certificate.agent}."
    yield ""


def _numbers(section: Section) -> Iterator[tuple[str, str]]:
    """The certificate's main numbers by name."""
    certificate = section.certificate
    regret = certificate.regret
    yield "states", _count(certificate.states)
    yield "seen by the agent", _count(section.observations)
    yield "by the overseer", _count(section.labels)
    yield "aliased pairs", _count(certificate.aliased_pairs.count)
    yield "J*", _number(certificate.optimal_return)
    yield "W", f"{'' if certificate.enforceable_is_exact else '≥ '}{_number(certificate.enforceable_return)}"
    yield "J* - W", f"{'' if certificate.enforceable_is_exact else '≤ '}{_number(regret.unenforceable)}"
    yield "naive optimum", _number(certificate.naive_optimum_return_worst_ties)
    yield "deceptive inflation", _yes(certificate.deceptive_inflation)
    yield "overjustification", _yes(certificate.overjustification)


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"


def _yes(value: bool | None) -> str:
    return NO_NUMBER if value is None else "yes" if value else "no"


PREAMBLE = """# Gallery of worlds

What the agent and the overseer see of each world with tables. This page and its pictures are written by `{command}`.

Each column of a figure is a step: above, the state in which the action is taken, as the agent sees it; below, the state
that it leads to, as the overseer sees it. Pictures that share an observation have frames of one colour: above, states
that are aliased for the agent; below, steps that are aliased for the overseer. A frame is grey where no other state, or
step, of the figure has the same observation. Squares on yellow are watched. Pictures show the whole state, also what
neither of the two observes; "4 states look so" counts the states that the agent cannot tell from this one.
The rule by which steps are chosen is in `flows/reporting/gallery.py`.

| number | meaning |
|---|---|
| states | non-terminal states |
| seen by the agent, by the overseer | distinct observations of the agent; overseer observations |
| aliased pairs | of steps with the same overseer observation and different true rewards |
| J* | the optimal true return of an agent that sees the state |
| W | the enforceable return: what the best reward on overseer observations guarantees (worst ties) |
| J* - W | the regret that no reward on overseer observations avoids |
| naive optimum | the true return of the optimum of the naive reward (worst ties) |
| deceptive inflation, overjustification | whether the naive optimum looks better than it is, or pays for looking good |

Returns are discounted, per episode, and exact unless marked as bounds. `keyhole certify` prints the whole certificate.
The arguments of a world are its defaults unless others are named.
"""


def gallery_page(sections: Sequence[Section], missing: Sequence[tuple[str, str]], command: str) -> str:
    """The page in Markdown.

    Args:
        sections: The worlds that were drawn.
        missing: Id and reason of each world that was not.
        command: That writes the page.
    """
    lines = [PREAMBLE.format(command=command)]
    for section in sections:
        lines += section_lines(section)
    if missing:
        lines += ["## Not drawn", "", *(f"- `{env_id}`: {reason}" for env_id, reason in missing), ""]
    return "\n".join(lines)
