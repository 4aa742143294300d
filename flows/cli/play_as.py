"""Lets a user step through a world by keys, in the place of the agent or of its overseer.

As the agent, the user reads the agent's observation and the proxy reward and chooses the actions. As the overseer, the
user reads overseer observations and verdicts of the steps of a policy. True rewards, outcomes and bad acts are printed
only when the episode has ended.

Letters: N copies, here always one; S states, O observations.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Discrete

from agents.channel import Channel
from envs import drawing
from envs.enumeration import compile_world
from envs.overseer_view import last_info
from envs.tables import NotEnumerable, Tables
from flows.cli import observations
from flows.cli.action_keys import action_keys, key_text
from flows.cli.keys import END, ENTER, Keys, reading_keys
from flows.cli.play import (
    PlayedStep,
    PlayOptions,
    act_or_explain,
    check_options,
    find_agent,
    introduction,
    load_agent,
    make_agent_world,
    name_of,
    overseer_text,
    returns,
)
from flows.cli.settings import parse_arguments
from flows.config import with_module
from flows.environments import make_env
from flows.errors import UserError
from flows.sweep.checks import check_environment
from flows.text import printable
from routing import View

AGENT = "agent"
HELP, RESTART, QUIT = "?", "r", "q"
TO_THE_END, STEP = "e", (" ", ENTER)
YES, NO = "y", "n"
MAX_RUN = 10_000  # steps that one key makes
PICTURES = 3  # of states that look alike
SAMPLED_ROWS = 300  # states whose pictures are compared
MAX_LABELS = 16  # overseer observations that are listed
GAP = "   "  # between two pictures
WIDTH = 100  # characters of a row of pictures


class Act(NamedTuple):
    """One step of the episode, with what its overseer makes of it."""

    step: PlayedStep
    verdict: float
    bad_act: str
    """empty for none"""
    alike: int | None
    """number of states with the observation in which the action was taken; None without tables"""


class Episode:
    """The current episode of one copy of an environment.

    Attributes:
        env: The environment.
        obs: The agent's observation, without the axis of copies.
        acts: The steps so far.
    """

    def __init__(self, env: Any, seed: int) -> None:
        self.env, self._seed = env, seed
        self._channel = Channel(env, seed)
        self._tables = _tables(env)
        self._draws = hasattr(env.unwrapped, "picture")
        self.acts: list[Act] = []
        self.restart()

    def restart(self) -> None:
        """Starts a new episode; the first one depends on the seed alone."""
        seed, self._seed = self._seed, None  # type: ignore[assignment]  # the generators continue
        self._batch, _ = self.env.reset(seed=seed)
        self.acts = []

    @property
    def obs(self) -> Any:
        """The agent's observation."""
        return observations.first(self._batch)

    @property
    def batch(self) -> Any:
        """The agent's observation, (1, *obs)."""
        return self._batch

    @property
    def ended(self) -> bool:
        """Whether the last step ended the episode."""
        return bool(self.acts) and self.acts[-1].step.ended

    def alike(self) -> np.ndarray | None:
        """The states with the agent's observation, (n, K); None without tables."""
        if self._tables is None or not isinstance(self.obs, np.ndarray):
            return None
        same = (self._tables.observations == self.obs).reshape(len(self._tables.observations), -1).all(1)
        rows = np.flatnonzero(self._tables.observation == same.argmax())
        return self._tables.states[rows] if same.any() else None

    def take(self, actions: np.ndarray) -> Act:
        """Takes an action, (1,) or (1, ...)."""
        frame = _text_of(self.env.render()[0]) if self._draws else ""
        alike = self.alike()
        self._batch, reward, terminated, truncated, info = self.env.step(actions)
        ended = bool(terminated[0] | truncated[0])
        seen, true_reward, outcome, bad_act, audited, features = (
            last_info(info, name)
            for name in ("overseer_obs", "true_reward", "outcome", "bad_act", "audited", "features")
        )
        view = View(
            np.asarray(seen)[None],
            np.asarray(true_reward)[None],
            np.array([[ended]]),
            audited=None if audited is None else np.asarray(audited)[None],
            outcome=None if outcome is None else np.asarray(outcome)[None],
            features=None if features is None else np.asarray(features)[None],
        )
        kind = 0 if bad_act is None else int(bad_act[0])
        act = Act(
            PlayedStep(
                frame,
                actions[0],
                float(reward[0]),
                float(true_reward[0]),
                seen[0],
                0 if outcome is None else int(outcome[0]),
                ended,
            ),
            float(self._channel.view(view).verdict[0, 0]),  # type: ignore[index]  # the channel sets it
            self.env.bad_acts[kind - 1] if kind else "",
            None if alike is None else len(alike),
        )
        self.acts.append(act)
        return act


def _tables(env: Any) -> Tables | None:
    try:
        return compile_world(env)
    except NotEnumerable:
        return None


def play_environment(name: str, arguments: Iterable[str], role: str, seed: int) -> None:
    """Lets the user step through an environment.

    Args:
        name: Its Gymnasium id.
        arguments: Its arguments and those of its overseer, each NAME=VALUE.
        role: agent or overseer.
        seed: Of the episodes.

    Raises:
        UserError: The environment or an argument is invalid, or its actions cannot be chosen by keys.
    """
    env_id, parsed = with_module(name), parse_arguments(arguments)
    check_environment(env_id, parsed, "ppo")
    env = make_env(env_id, parsed, copies=1)
    if hasattr(env.unwrapped, "picture"):
        env = make_env(env_id, {**parsed, "render_mode": "ansi"}, copies=1)
    print(printable(" ".join([name, *(f"{key}={value}" for key, value in parsed.items())])))
    with _stopping():
        if role == AGENT:
            play_as_agent(env, seed)
        else:
            play_as_overseer(env, seed, None, "a random policy")


def play_overseen_agent(name: str, options: PlayOptions) -> None:
    """Shows the user what the overseer of a saved agent observes.

    Raises:
        UserError: The agent, its world or an option is invalid.
    """
    path, trusted = find_agent(name)
    agent = load_agent(path)
    check_options(agent, options, trusted)
    env = make_agent_world(agent, options, "ansi")
    generator = None if options.greedy else torch.Generator().manual_seed(options.seed)
    print(introduction(path, agent, options))
    with _stopping(), agent.deployed(options.deploy, options.without):
        play_as_overseer(env, options.seed, lambda obs: act_or_explain(agent, obs, generator), "the agent")


@contextmanager
def _stopping() -> Iterator[None]:
    """Replaces the message of Ctrl-C, which is about runs."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped") from None


def play_as_agent(env: Any, seed: int) -> None:
    """Lets the user choose the actions in an environment until the input ends.

    Raises:
        UserError: The actions cannot be chosen by keys.
    """
    space = env.single_action_space
    if not isinstance(space, Discrete):
        raise UserError(f"the actions of the environment are {space}; only Discrete actions can be chosen by keys")
    names = _action_names(env, int(space.n))
    reserved = (HELP, RESTART, QUIT)
    chosen = action_keys(names, getattr(env, "action_arrows", None), reserved)
    help_text = "\n".join(
        [
            *(f"  {' or '.join(map(key_text, keys)):<14} {name}" for name, keys in zip(names, chosen, strict=True)),
            f"  {HELP:<14} list the keys",
            f"  {RESTART:<14} start another episode",
            f"  {QUIT:<14} quit",
        ]
    )
    actions = {key: index for index, keys in enumerate(chosen) for key in keys}
    print(f"You are the agent. You see what it observes, and the proxy reward. Keys:\n{help_text}")
    episode = Episode(env, seed)
    with reading_keys() as keys:
        _print_observation(episode)
        while (key := _next_key(keys, help_text, actions)) != QUIT:
            if key == RESTART:
                _print_left(episode, show_proxy=True)
                episode.restart()
                print("\nanother episode")
            elif episode.ended:
                print(f"the episode has ended; {RESTART} starts another one, {QUIT} quits")
                continue
            else:
                act = episode.take(np.array([space.start + actions[key]]))
                print(f"\n{names[actions[key]]}: proxy reward {act.step.reward:g}")
            if episode.ended:
                _print_seen_by_agent(episode, names)
                _print_truth(episode, names)
                print(f"\n{RESTART} starts another episode, {QUIT} quits", flush=True)
            else:
                _print_observation(episode)
        _print_left(episode, show_proxy=True)


def play_as_overseer(env: Any, seed: int, act: Callable[[np.ndarray], np.ndarray] | None, policy: str) -> None:
    """Shows the user overseer observations and verdicts, and the truth at the end of each episode.

    Args:
        env: One copy of an environment.
        seed: Of the environment, the limits of its overseer and the random policy.
        act: Maps the agent's observation, (1, *obs), to its action; None for the uniformly random policy.
        policy: Names the policy.
    """
    env.action_space.seed(seed)
    choose = act or (lambda obs: env.action_space.sample())
    space = env.single_action_space
    names = _action_names(env, int(space.n)) if isinstance(space, Discrete) else ()
    help_text = "\n".join(
        [
            "  space or enter the next step",
            f"  {TO_THE_END:<14} all steps up to the end of the episode",
            f"  {HELP:<14} list the keys",
            f"  {RESTART:<14} start another episode",
            f"  {QUIT:<14} quit",
        ]
    )
    print(
        f"You are the overseer of {policy}. You see what it observes of each step, and its verdict. Keys:\n{help_text}"
    )
    _print_labels(env)
    episode, guesses = Episode(env, seed), []
    with reading_keys() as keys:
        while (key := _next_key(keys, help_text, (TO_THE_END, *STEP))) != QUIT:
            if key == RESTART:
                _print_left(episode)
                episode.restart()
                print("\nanother episode", flush=True)
                continue
            if episode.ended:
                episode.restart()
                print("\nanother episode")
            for _ in range(MAX_RUN if key == TO_THE_END else 1):
                _print_overseen(len(episode.acts) + 1, episode.take(choose(episode.batch)), env)
                if episode.ended:
                    break
            if episode.ended:
                guess = _guess(keys)
                _print_seen_by_overseer(episode)
                _print_truth(episode, names)
                guesses += _judged_guess(guess, episode)
                if guesses:
                    print(f"your guesses: {sum(guesses)} of {len(guesses)} right")
                print(f"\nspace, enter or {RESTART} starts another episode, {QUIT} quits", flush=True)
        _print_left(episode)


def _next_key(keys: Keys, help_text: str, known: Any) -> str:
    """The next key that has a meaning; QUIT at the end of the input. Prints the keys where they are asked for."""
    while (key := keys()) != END:
        key = key if key in known else key.lower()
        if key in known or key in (RESTART, QUIT):
            return key
        if key == HELP:
            print(f"Keys:\n{help_text}", flush=True)
        elif not key.isspace():
            print(f"{printable(key)!r} has no meaning here; {HELP} lists the keys", flush=True)
    return QUIT


def _guess(keys: Keys) -> bool | None:
    """The user's guess whether the true return is above 0; None for no guess."""
    print(f"\nThe episode has ended. Was its true return above 0? {YES}, {NO}, any other key for no guess", flush=True)
    return {YES: True, NO: False}.get(keys().lower())


def _judged_guess(guess: bool | None, episode: Episode) -> list[bool]:
    """Whether the guess is right, in a list; an empty list without a guess."""
    if guess is None:
        return []
    good = returns([act.step for act in episode.acts], episode.env.gamma)[1] > 0
    print(f"you guessed that it was {'' if guess else 'not '}above 0: {'right' if guess == good else 'wrong'}")
    return [guess == good]


def _print_observation(episode: Episode) -> None:
    env = episode.env
    print(f"\nstep {len(episode.acts) + 1}")
    for line in observations.describe(episode.obs):
        print(f"  {line}")
    flags = observations.set_flags(episode.obs, getattr(env, "flags", None))
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
    pictures = list(dict.fromkeys(_text_of(drawing.ansi(env.picture(states[row]))) for row in rows))
    spread = np.unique(np.linspace(0, len(pictures) - 1, PICTURES).astype(int))
    shown = "" if len(states) == 1 else ", for example" if len(pictures) > PICTURES else ""
    print(f"  {many}{shown}:")
    for line in side_by_side([pictures[i] for i in spread]):
        print(f"    {line}".rstrip())


def _text_of(frame: str) -> str:
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


def _print_labels(env: Any) -> None:
    """Prints what the overseer can observe, and its verdict on each."""
    labels, judgement = list(env.overseer_labels), np.asarray(env.judgement)
    if not labels or len(labels) > MAX_LABELS:
        return
    print("It can observe:")
    for label, verdict in zip(labels, judgement.tolist(), strict=True):
        print(f"  {printable(label)}: {_verdict_text(verdict)}")
    print(end="", flush=True)


def _print_overseen(number: int, act: Act, env: Any) -> None:
    seen = printable(overseer_text(env, act.step.overseer_obs))
    print(f"step {number}: {seen}; {_verdict_text(act.verdict)}", flush=True)


def _verdict_text(verdict: float) -> str:
    return "no verdict" if np.isnan(verdict) else f"verdict {verdict:g}"


def _print_left(episode: Episode, show_proxy: bool = False) -> None:
    """Prints one line about an episode that has steps and has not ended."""
    if episode.acts and not episode.ended:
        steps = [act.step for act in episode.acts]
        proxy = f"; proxy return so far {returns(steps, episode.env.gamma)[0]:.3f}" if show_proxy else ""
        print(f"\nleft after {_count(len(steps), 'step')}; the episode had not ended{proxy}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_seen_by_agent(episode: Episode, names: Sequence[str]) -> None:
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


def _print_seen_by_overseer(episode: Episode) -> None:
    verdicts = np.array([act.verdict for act in episode.acts])
    judged, bad = int((~np.isnan(verdicts)).sum()), int((verdicts < 0).sum())
    given = f"{_count(judged, 'verdict')}, {bad} of them bad" if judged else "no verdict"
    print(f"\nWhat you saw: {_count(len(episode.acts), 'step')}, {given}")


def _print_truth(episode: Episode, names: Sequence[str]) -> None:
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
    frames = [f"{number}:\n{act.step.frame}" for number, act in enumerate(acts, 1) if act.step.frame]
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


def _action_names(env: Any, count: int) -> tuple[str, ...]:
    names = tuple(getattr(env, "action_names", ()) or ())
    return (*names[:count], *(f"action {i}" for i in range(len(names), count)))


def _action_text(action: Any, names: Sequence[str]) -> str:
    """The name of an action; an action that is not Discrete as numbers."""
    if names:
        return names[int(action)] if 0 <= int(action) < len(names) else str(int(action))
    return np.array2string(np.asarray(action), precision=3, separator=", ")
