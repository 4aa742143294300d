"""Lets a user step through a world by keys, in the place of the agent or of its overseer.

As the agent, the user reads the agent's observation and the proxy reward and chooses the actions. As the overseer, the
user reads overseer observations and verdicts of the steps of a policy. True rewards, outcomes and bad acts are printed
only when the episode has ended.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete

import agents
from flows.cli.action_keys import action_keys, key_text
from flows.cli.keys import END, ENTER, Keys, reading_keys
from flows.cli.play import (
    PlayOptions,
    act_or_explain,
    check_options,
    find_agent,
    introduction,
    load_agent,
    make_agent_world,
    returns,
)
from flows.cli.play_episode import Episode, tables_if_any
from flows.cli.play_text import (
    action_names,
    print_labels,
    print_left,
    print_observation,
    print_overseen,
    print_seen_by_agent,
    print_seen_by_overseer,
    print_truth,
)
from flows.cli.settings import parse_arguments
from flows.config import with_module
from flows.environments import environment_error, make_env
from flows.errors import UserError
from flows.sweep.checks import check_environment
from flows.text import printable
from flows.user_code import raised_by_user

AGENT = "agent"
HELP, RESTART, QUIT = "?", "r", "q"
TO_THE_END, STEP = "e", (" ", ENTER)
YES, NO = "y", "n"
MAX_RUN = 10_000  # steps that one key makes


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
    with _explaining(env_id):  # a limit of the overseer may refuse the world
        env.reset(seed=seed)
        env.step(env.action_space.sample())
    title = printable(" ".join([name, *(f"{key}={value}" for key, value in parsed.items())]))
    with _explaining(env_id):
        if role == AGENT:
            play_as_agent(env, seed, title)
        else:
            print(title)
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
    carried = agents.Carried(agent.policy, 1)

    def act(obs: Any, starts: bool) -> np.ndarray:
        if starts:
            carried.restart(np.ones(1, bool))
        return act_or_explain(agent, obs, generator, carried)

    print(introduction(path, agent, options))
    with _explaining(agent.env), agent.deployed(options.deploy, options.without):
        play_as_overseer(env, options.seed, act, "the agent")


@contextmanager
def _explaining(env_id: str) -> Iterator[None]:
    """Makes one line of an exception of the environment, and replaces the message of Ctrl-C, which is about runs."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped") from None
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) or raised_by_user(error):
            raise environment_error(env_id, error) from None
        raise


def play_as_agent(env: Any, seed: int, title: str) -> None:
    """Lets the user choose the actions in an environment until the input ends.

    Args:
        env: One copy of an environment.
        seed: Of the episodes.
        title: Is printed first, if the environment can be played.

    Raises:
        UserError: The actions cannot be chosen by keys.
    """
    space = env.single_action_space
    if not isinstance(space, Discrete):
        raise UserError(f"the actions of the environment are {space}; only Discrete actions can be chosen by keys")
    names = action_names(env, int(space.n))
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
    tables = tables_if_any(env)  # before anything is printed: a limit of the overseer may refuse a state
    print(f"{title}\nYou are the agent. You see what it observes, and the proxy reward. Keys:\n{help_text}")
    episode = Episode(env, seed, tables)
    if tables is None:
        print("The environment has no tables, so states that look alike are not counted.")
    with reading_keys() as keys:
        print_observation(episode)
        while (key := _next_key(keys, help_text, actions)) != QUIT:
            if key == RESTART:
                print_left(episode, show_proxy=True)
                episode.restart()
                print("\nanother episode")
            elif episode.ended:
                print(f"the episode has ended; {RESTART} starts another one, {QUIT} quits")
                continue
            else:
                act = episode.take(np.array([space.start + actions[key]]))
                print(f"\n{names[actions[key]]}: proxy reward {act.step.reward:g}")
            if episode.ended:
                print_seen_by_agent(episode, names)
                print_truth(episode, names)
                print(f"\n{RESTART} starts another episode, {QUIT} quits", flush=True)
            else:
                print_observation(episode)
        print_left(episode, show_proxy=True)


def play_as_overseer(env: Any, seed: int, act: Callable[[Any, bool], np.ndarray] | None, policy: str) -> None:
    """Shows the user overseer observations and verdicts, and the truth at the end of each episode.

    Args:
        env: One copy of an environment.
        seed: Of the environment, the limits of its overseer and the random policy.
        act: Maps the agent's observation, (1, *obs), and whether an episode starts to its action; None for the
            uniformly random policy.
        policy: Names the policy.
    """
    env.action_space.seed(seed)
    choose = act or (lambda obs, starts: env.action_space.sample())
    space = env.single_action_space
    names = action_names(env, int(space.n)) if isinstance(space, Discrete) else ()
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
    print_labels(env)
    episode, guesses = Episode(env, seed), []
    with reading_keys() as keys:
        while (key := _next_key(keys, help_text, (TO_THE_END, *STEP))) != QUIT:
            if key == RESTART:
                print_left(episode)
                episode.restart()
                print("\nanother episode", flush=True)
                continue
            if episode.ended:
                episode.restart()
                print("\nanother episode")
            for _ in range(MAX_RUN if key == TO_THE_END else 1):
                print_overseen(len(episode.acts) + 1, episode.take(choose(episode.obs, not episode.acts)), env)
                if episode.ended:
                    break
            if episode.ended:
                guess = _guess(keys)
                print_seen_by_overseer(episode)
                print_truth(episode, names)
                guesses += _judged_guess(guess, episode)
                if guesses:
                    print(f"your guesses: {sum(guesses)} of {len(guesses)} right")
                print(f"\nspace, enter or {RESTART} starts another episode, {QUIT} quits", flush=True)
        print_left(episode)


def _next_key(keys: Keys, help_text: str, known: Container[str]) -> str:
    """The next key that has a meaning; QUIT at the end of the input. Prints the keys on request."""
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
