"""What `keyhole play --as` prints of an episode while it lasts and when it has ended."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from envs import drawing
from flows.cli import observations
from flows.cli.play import name_of, overseer_text, returns
from flows.cli.play_episode import Act, Episode
from flows.text import printable

PICTURES = 3  # of states that look alike
SAMPLED_ROWS = 300  # states whose pictures are compared
MAX_LABELS = 16  # overseer observations that are listed
GAP = "   "  # between two pictures
WIDTH = 100  # characters of a row of pictures


def print_observation(episode: Episode) -> None:
    """Prints the agent's observation, the flags that are set, and the states that look alike."""
    env, obs = episode.env, observations.first(episode.obs)
    print(f"\nstep {len(episode.acts) + 1}")
    for line in observations.describe(obs):
        print(f"  {line}")
    flags = observations.set_flags(obs, getattr(env, "flags", None))
    if flags is not None:
        print(f"  flags of the overseer that are set: {flags}")
    states = episode.alike()
    if states is not None:
        _print_alike(env, states)
    print(end="", flush=True)


def _print_alike(env: Any, states: np.ndarray) -> None:
    """Prints the number of states that look like this one, and pictures of a few."""
    many = "no other state looks like this one" if len(states) == 1 else f"{len(states):,} states look like this one"
    if not hasattr(env.unwrapped, "picture"):
        print(f"  {many}")
        return
    rows = np.unique(np.linspace(0, len(states) - 1, SAMPLED_ROWS).astype(int))
    pictures = list(dict.fromkeys(_without_empty_cell(drawing.ansi(env.picture(states[row]))) for row in rows))
    spread = np.unique(np.linspace(0, len(pictures) - 1, PICTURES).astype(int))
    shown = "" if len(states) == 1 else ", for example" if len(pictures) > PICTURES else ""
    print(f"  {many}{shown}:")
    for line in side_by_side([pictures[i] for i in spread]):
        print(f"    {line}".rstrip())


def _without_empty_cell(frame: str) -> str:
    """A text picture; one that consists of a caption without its empty cell."""
    return frame.removeprefix(f" {drawing.FLOOR}\n")


def side_by_side(pictures: Sequence[str], width: int = WIDTH) -> Iterator[str]:
    """Yields the lines of text pictures, as many in a row as fit into the width, with an empty line between rows."""
    rows: list[list[list[str]]] = []
    for block in (picture.split("\n") for picture in pictures):
        if rows and sum(_width(other) + len(GAP) for other in rows[-1]) + _width(block) <= width:
            rows[-1].append(block)
        else:
            rows.append([block])
    for number, row in enumerate(rows):
        if number:
            yield ""
        for lines in zip_longest(*row, fillvalue=""):
            yield GAP.join(line.ljust(_width(block)) for line, block in zip(lines, row, strict=True)).rstrip()


def _width(lines: Sequence[str]) -> int:
    return max(map(len, lines))


def print_labels(env: Any) -> None:
    """Prints what the overseer can observe, and its verdict on each."""
    labels, judgement = list(env.overseer_labels), np.asarray(env.judgement)
    if not labels or len(labels) > MAX_LABELS:
        return
    print("It can observe:")
    for label, verdict in zip(labels, judgement.tolist(), strict=True):
        print(f"  {printable(label)}: {_verdict_text(verdict)}")
    print(end="", flush=True)


def print_overseen(number: int, act: Act, env: Any) -> None:
    """Prints the overseer observation of a step, and the verdict."""
    seen = printable(overseer_text(env, act.step.overseer_obs))
    print(f"step {number}: {seen}; {_verdict_text(act.verdict)}", flush=True)


def _verdict_text(verdict: float) -> str:
    return "no verdict" if np.isnan(verdict) else f"verdict {verdict:g}"


def print_left(episode: Episode, show_proxy: bool = False) -> None:
    """Prints one line about an episode that has steps and has not ended."""
    if episode.acts and not episode.ended:
        steps = [act.step for act in episode.acts]
        proxy = f"; proxy return so far {returns(steps, episode.env.gamma)[0]:.3f}" if show_proxy else ""
        print(f"\nleft after {_count(len(steps), 'step')}; the episode had not ended{proxy}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_seen_by_agent(episode: Episode, names: Sequence[str]) -> None:
    """Prints the proxy rewards of an episode that has ended, and how many states looked alike."""
    proxy = returns([act.step for act in episode.acts], episode.env.gamma)[0]
    print(f"\nThe episode has ended after {_count(len(episode.acts), 'step')}. What you saw:")
    counts = [() if act.alike is None else (f"{act.alike:,} alike",) for act in episode.acts]
    _print_table(
        ["step", "action", "proxy reward", *(["states"] if all(counts) else [])],
        [
            (str(n), _action_text(act.step.action, names), f"{act.step.reward:g}", *(count if all(counts) else ()))
            for n, (act, count) in enumerate(zip(episode.acts, counts, strict=True), 1)
        ],
    )
    print(f"  proxy return {proxy:.3f}")


def print_seen_by_overseer(episode: Episode) -> None:
    """Prints the number of verdicts of an episode that has ended."""
    verdicts = np.array([act.verdict for act in episode.acts])
    judged, bad = int((~np.isnan(verdicts)).sum()), int((verdicts < 0).sum())
    given = f"{_count(judged, 'verdict')}, {bad} of them bad" if judged else "no verdict"
    print(f"\nWhat you saw: {_count(len(episode.acts), 'step')}, {given}")


def print_truth(episode: Episode, names: Sequence[str]) -> None:
    """Prints what was true of each step, the pictures of the states, and the returns."""
    env, acts = episode.env, episode.acts
    proxy, true = returns([act.step for act in acts], env.gamma)
    print("What was true:")
    declares = bool(getattr(env, "bad_acts", ()))
    head = ["step", "action", "proxy reward", "true reward", "overseer observation", "verdict"]
    rows = [
        (
            str(number),
            _action_text(act.step.action, names),
            f"{act.step.reward:g}",
            f"{act.step.true_reward:g}",
            printable(overseer_text(env, act.step.overseer_obs)),
            "-" if np.isnan(act.verdict) else f"{act.verdict:g}",
            *([act.bad_act] if declares else []),
        )
        for number, act in enumerate(acts, 1)
    ]
    _print_table([*head, *(["bad act"] if declares else [])], rows)
    frames = [
        f"{number}:\n{_without_empty_cell(act.step.frame)}" for number, act in enumerate(acts, 1) if act.step.frame
    ]
    if frames:
        print("  The state before each step:")
        for line in side_by_side(frames):
            print(f"    {line}".rstrip())
    bad = [act.bad_act for act in acts if act.bad_act]
    outcomes = getattr(env, "outcomes", ())
    print(
        f"  proxy return {proxy:.3f}, true return {true:.3f} (discounted by {env.gamma:g})"
        + (f"; outcome: {name_of(outcomes, acts[-1].step.outcome)}" if outcomes else "")
        + (f"; bad acts: {len(bad)}" + (f" ({', '.join(dict.fromkeys(bad))})" if bad else "") if declares else "")
    )


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def action_names(env: Any, count: int) -> tuple[str, ...]:
    """The name of each action; one without a name, or with a number as its name, is "action 3"."""
    names = tuple(getattr(env, "action_names", ()) or ())[:count]
    named = (f"action {name}" if name.isdigit() else name for name in names)
    return (*named, *(f"action {i}" for i in range(len(names), count)))


def _action_text(action: Any, names: Sequence[str]) -> str:
    """The name of an action; an action that is not Discrete as numbers."""
    if names:
        return names[int(action)] if 0 <= int(action) < len(names) else str(int(action))
    return np.array2string(np.asarray(action), precision=3, separator=", ")
