"""A saved agent plays in its world, step by step, in the terminal: what happens, and what its overseer sees of it.

Its world is asked for only here. One that is not keyhole's own is code that the agent's file merely names: where the
file does not come from a run of this project, the user has to say that name too.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import agents
from envs import drawing
from flows.config import with_module
from flows.environments import make_env
from flows.errors import UserError, unknown_name
from flows.project import current_project
from flows.text import one_line, printable
from flows.tracking import model_registry, results
from flows.tracking.access import require_runs
from flows.tracking.model_registry import AGENT
from flows.tracking.store import Store
from routing import BLOCKS

OURS = "envs:keyhole/"


class PlayOptions(NamedTuple):
    """How an agent is to play."""

    oversight: float | None = None
    episodes: int = 1
    seed: int = 0
    deploy: str | None = None
    without: tuple[str, ...] = ()
    greedy: bool = False
    env: str | None = None


class PlayedStep(NamedTuple):
    """One step of an episode; `frame` is of the state it left from."""

    frame: Any
    action: int
    reward: float
    true_reward: float
    overseer_obs: int
    outcome: int
    ended: bool


def play(wanted: str, how: PlayOptions, gif: str | None) -> None:
    """Prints the episodes, and draws them into a GIF file if one is named. Raises UserError."""
    path, trusted = find_agent(wanted)
    agent = load_agent(path)
    check_options(agent, how, trusted)
    if gif is not None and not Path(gif).resolve().parent.is_dir():
        raise UserError(f"cannot write {gif}: no folder {Path(gif).parent}")
    world = make_agent_world(agent, how, "ansi")
    print(introduction(path, agent, how))
    total: list[tuple[float, float]] = []
    for number, episode in enumerate(episodes(agent, world, how)):
        print(f"\nepisode {number + 1}")
        for line in describe_episode(episode, world):
            print(line)
        total.append(returns(episode, world.gamma))
    if len(total) > 1:
        proxy, true = np.mean(total, 0)
        print(f"\nmean of {len(total)} episodes: return {proxy:.3f}, true return {true:.3f}")
    if gif is not None:
        _draw(agent, how, Path(gif))


def find_agent(wanted: str) -> tuple[Path, bool]:
    """The agent.zip that is meant, and whether it is of a run of this project. Raises UserError."""
    if Path(wanted).is_file():
        return Path(wanted), False
    if Path(wanted).suffix == ".zip":
        raise UserError(f"cannot read the agent {wanted}: no such file")
    store = Store(require_runs(current_project()))
    path = model_registry.find_model(store, wanted)
    if path is None:
        path = store.folder(results.find_run(store, wanted)) / AGENT
    if not path.is_file():
        raise UserError(f"{wanted} has no {AGENT}: is it a sweep, or did it not finish? `keyhole runs {wanted}`")
    return path, True


def load_agent(path: Path) -> agents.Agent:
    """The agent in that file; raises UserError if there is none."""
    try:
        return agents.load(path)
    except (agents.BadAgentError, OSError) as error:
        raise UserError(str(error)) from None


def check_options(agent: agents.Agent, how: PlayOptions, trusted: bool) -> None:
    """Raises UserError for a rule or block that the agent lacks, or a world that nobody vouches for."""
    if how.deploy is not None and how.deploy not in agent.deployments:
        raise unknown_name("deployment rule", how.deploy, agent.deployments)
    if not all(parameter.isfinite().all() for parameter in agent.policy.parameters()):
        raise UserError("the agent's weights are not all numbers: its training diverged; play another one")
    for block in how.without:
        if block not in BLOCKS:
            raise unknown_name("block", block, BLOCKS)
    if how.env is not None and with_module(how.env) != agent.env:
        raise UserError(f"the agent was trained in {agent.env!r}, not in {how.env!r}; leave out --env")
    if not (trusted or how.env or agent.env.startswith(OURS)):
        raise UserError(
            f"the agent's world {agent.env!r} is code from elsewhere; if you trust it, say --env {printable(agent.env)}"
        )


def make_agent_world(agent: agents.Agent, how: PlayOptions, render_mode: str) -> Any:
    """One copy of the agent's world; raises UserError."""
    changed = {} if how.oversight is None else {"oversight_prob": how.oversight}
    make_env(agent.env, {**agent.world, **changed}, copies=1).close()  # says in one line why it cannot be made
    try:
        return agent.make_world(1, render_mode=render_mode, **changed)
    except ValueError as error:
        raise UserError(f"this is not the agent's world: {one_line(error)}") from None


def introduction(path: Path, agent: agents.Agent, how: PlayOptions) -> str:
    """Who plays, where, and how."""
    world = {**agent.world, **({} if how.oversight is None else {"oversight_prob": how.oversight})}
    lines = [
        f"agent      {path}",
        f"trained    {agent.method} {json.dumps(dict(agent.facts))} in {agent.env.removeprefix('envs:')}",
        f"plays      with {json.dumps(world)}, {'its likeliest actions' if how.greedy else 'actions drawn'}",
        f"deployed   {how.deploy or next(iter(agent.deployments))}"
        + (f", without {' and '.join(how.without)}" if how.without else ""),
    ]
    return "\n".join(map(printable, lines))


def episodes(agent: agents.Agent, world: Any, how: PlayOptions) -> Iterator[list[PlayedStep]]:
    """The episodes one after the other; the same for the same seed."""
    generator = None if how.greedy else torch.Generator().manual_seed(how.seed)
    obs, _ = world.reset(seed=how.seed)
    with agent.deployed(how.deploy, how.without):
        for _ in range(how.episodes):
            episode: list[PlayedStep] = []
            while not episode or not episode[-1].ended:
                frame = world.render()[0]
                action = agent.act(obs, generator)
                obs, reward, terminated, truncated, info = world.step(action)
                ended = bool(terminated[0] | truncated[0])
                true, overseer_obs, outcome = (info[name][0] for name in ("true_reward", "overseer_obs", "outcome"))
                episode.append(PlayedStep(frame, int(action[0]), float(reward[0]), true, overseer_obs, outcome, ended))
            yield episode


def describe_episode(episode: Sequence[PlayedStep], world: Any) -> Iterator[str]:
    """An episode in lines: each state, what was done there, and what came of it."""
    for number, step in enumerate(episode):
        doing = _named(world.action_names, step.action)
        seen = _named(world.overseer_labels, step.overseer_obs)
        yield f"\n{step.frame}"
        yield f"step {number + 1}: {doing}; reward {step.reward:g}, truly {step.true_reward:g}; overseer sees: {seen}"
    proxy, true = returns(episode, world.gamma)
    last = episode[-1]
    verdict = world.judgement[last.overseer_obs]
    judged = "no verdict" if np.isnan(verdict) else f"verdict {verdict:g}"
    yield f"\nended with {_named(world.outcomes, last.outcome)} after {len(episode)} steps"
    yield f"return {proxy:.3f}, true return {true:.3f} (discounted by {world.gamma:g}); the overseer has {judged}"


def returns(episode: Sequence[PlayedStep], gamma: float) -> tuple[float, float]:
    """The proxy and the true return, discounted."""
    discount = gamma ** np.arange(len(episode))
    return tuple(float(discount @ [step[i] for step in episode]) for i in (2, 3))  # type: ignore[return-value]


def _named(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else str(number)


def _draw(agent: agents.Agent, how: PlayOptions, path: Path) -> None:
    """The same episodes as moving pixels."""
    from PIL import Image

    world = make_agent_world(agent, how, "rgb_array")
    frames = [Image.fromarray(step.frame) for episode in episodes(agent, world, how) for step in episode]
    if frames[0].size == (drawing.CELL, drawing.CELL):
        raise UserError(f"{agent.env} is no grid to be drawn; leave out --gif")
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=400, loop=0)
    print(f"\npicture: {path}, {len(frames)} frames")
