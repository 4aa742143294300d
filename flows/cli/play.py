"""Plays episodes of a saved agent in its world and prints each step with the overseer's observation.

The world is built only here. The agent's file names the module of a world that is not keyhole's own, and building the
world imports that module. Unless the file belongs to a run of this project, the user must therefore name it as well.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import agents
from agents.saving.memory_limit import limited_memory
from envs import drawing
from envs.codebook import feature_labels
from envs.observations import rows
from flows.config import with_module
from flows.environments import environment_error, make_env
from flows.errors import UserError, unknown_name
from flows.project import current_project
from flows.shell import shell_command
from flows.text import one_line, printable
from flows.tracking import model_registry, results
from flows.tracking.access import require_runs
from flows.tracking.model_registry import AGENT
from flows.tracking.store import Store

OURS = re.compile(r"envs:keyhole/[\w.-]+")
MEMORY = 4 * 2**30  # bytes that a world of ours may allocate: its size is that in a file
MAX_STEPS = 100_000  # of an episode: its time limit is that in a file
LINE = 1000  # characters of the agent's description
MOST_NUMBERS = 64  # of an observation that is printed
PLAYED = ("overseer_labels", "judgement", "outcomes", "gamma")  # attributes of a world that are shown


class PlayOptions(NamedTuple):
    """Options of `keyhole play`."""

    oversight: float | None = None
    episodes: int = 1
    seed: int = 0
    deploy: str | None = None
    without: tuple[str, ...] = ()
    greedy: bool = False
    env: str | None = None


class PlayedStep(NamedTuple):
    """One step of an episode; `frame` shows the state before the step, or the observation if it cannot be drawn."""

    frame: Any
    action: Any
    """int, or an array"""
    reward: float
    true_reward: float
    overseer_obs: Any
    """a number, or features (F,)"""
    outcome: int
    ended: bool


def play_agent(name: str, options: PlayOptions, gif: str | None) -> None:
    """Prints episodes of the agent `name`, and writes them as a GIF if `gif` is a path.

    Raises:
        UserError: The agent, its world or an option is invalid.
    """
    path, trusted = find_agent(name)
    agent = load_agent(path)
    check_options(agent, options, trusted)
    if gif is not None and not Path(gif).resolve().parent.is_dir():
        raise UserError(f"cannot write {gif}: no folder {Path(gif).parent}")
    world = make_agent_world(agent, options, "ansi")
    print(introduction(path, agent, options))
    totals: list[tuple[float, float]] = []
    for number, episode in enumerate(episodes(agent, world, options)):
        print(f"\nepisode {number + 1}")
        for line in describe_episode(episode, world):
            print(line)
        totals.append(returns(episode, world.gamma))
    if len(totals) > 1:
        proxy, true = np.mean(totals, 0)
        print(f"\nmean of {len(totals)} episodes: return {proxy:.3f}, true return {true:.3f}")
    if gif is not None:
        _draw(agent, options, Path(gif))


def find_agent(name: str) -> tuple[Path, bool]:
    """Finds the agent.zip of a file name, a registered model or a run.

    Returns:
        The path, and whether it belongs to a run of this project.

    Raises:
        UserError: There is no such agent.
    """
    if os.path.isfile(name):  # Path.is_file raises an exception for a name that is too long
        return Path(name), False
    if Path(name).suffix == ".zip":
        raise UserError(f"cannot read the agent {name}: no such file")
    store = Store(require_runs(current_project()))
    path = model_registry.find_model(store, name)
    if path is None:
        path = store.folder(results.find_run(store, name)) / AGENT
    if not path.is_file():
        see = shell_command("show", name, project=store.project)
        raise UserError(f"{name} has no {AGENT}: it is a sweep or did not finish; see {see}")
    return path, True


def load_agent(path: Path) -> agents.Agent:
    """Loads the agent from a file; raises UserError if the file is not an agent."""
    try:
        return agents.load(path)
    except (agents.BadAgentError, OSError) as error:
        raise UserError(str(error)) from None


def check_options(agent: agents.Agent, options: PlayOptions, trusted: bool) -> None:
    """Raises UserError for an unknown rule or block, an agent that cannot act, or an untrusted environment."""
    if options.deploy is not None and options.deploy not in agent.deployments:
        raise unknown_name("deployment rule", options.deploy, agent.deployments)
    if not all(parameter.isfinite().all() for parameter in agent.policy.parameters()):
        raise UserError("the agent's weights contain nan or inf: its training diverged; play another agent")
    for block in options.without:
        if block not in agent.policy.blocks:
            raise unknown_name("block", block, agent.policy.blocks)
    if options.env is not None and with_module(options.env) != agent.env:
        raise UserError(f"the agent was trained in {agent.env!r}, not in {options.env!r}; leave out --env")
    if trusted or options.env:
        return
    if not OURS.fullmatch(agent.env):
        raise UserError(
            f"the agent's environment {agent.env!r} is not keyhole's own; "
            f"if you trust its code, pass --env {printable(agent.env)}"
        )
    overseer = str(agent.world.get("overseer", ""))
    if ":" in overseer:
        raise UserError(
            f"the limits {printable(overseer)} of the agent's overseer are not all keyhole's own; "
            f"if you trust their code, pass --env {printable(agent.env)}"
        )


def make_agent_world(agent: agents.Agent, options: PlayOptions, render_mode: str) -> Any:
    """Builds one copy of the agent's world, without a render mode that it lacks; raises UserError if that fails."""
    changed = {} if options.oversight is None else {"oversight_prob": options.oversight}
    with limited_memory(MEMORY) if OURS.fullmatch(agent.env) else nullcontext():
        plain = make_env(agent.env, {**agent.world, **changed}, copies=1)  # raises the UserError of a failure
        renders = render_mode in (plain.metadata.get("render_modes") or ())
        plain.close()
        try:
            world = agent.make_world(1, **({"render_mode": render_mode} if renders else {}), **changed)
        except ValueError as error:
            raise UserError(f"the environment does not match the agent: {one_line(error, limit=LINE)}") from None
        except (Exception, SystemExit) as error:
            raise environment_error(agent.env, error) from None
    missing = [name for name in PLAYED if getattr(world, name, None) is None]
    if missing:
        raise UserError(f"environment {agent.env!r} cannot be played: it lacks {', '.join(missing)}; see envs.POMDP")
    return world


def introduction(path: Path, agent: agents.Agent, options: PlayOptions) -> str:
    """Describes the agent, its world and how it is played."""
    world = {**agent.world, **({} if options.oversight is None else {"oversight_prob": options.oversight})}
    lines = [
        f"agent      {path}",
        f"trained    {agent.method} {json.dumps(dict(agent.facts))} in {agent.env.removeprefix('envs:')}",
        f"plays      with {json.dumps(world)}, {'most likely actions' if options.greedy else 'sampled actions'}",
        f"deployed   {options.deploy or next(iter(agent.deployments))}"
        + (f", without {' and '.join(options.without)}" if options.without else ""),
    ]
    return "\n".join(printable(line[:LINE]) for line in lines)


def episodes(agent: agents.Agent, world: Any, options: PlayOptions) -> Iterator[list[PlayedStep]]:
    """Yields the episodes; equal seeds give equal episodes.

    Raises:
        UserError: The agent cannot act, or an episode does not end.
    """
    generator = None if options.greedy else torch.Generator().manual_seed(options.seed)
    obs, _ = world.reset(seed=options.seed)
    carried = agents.Carried(agent.policy, 1)
    with agent.deployed(options.deploy, options.without):
        for _ in range(options.episodes):
            episode: list[PlayedStep] = []
            while not episode or not episode[-1].ended:
                frame = _frame(agent.env, world, obs)
                action = act_or_explain(agent, obs, generator, carried)
                obs, reward, terminated, truncated, info = world.step(action)
                ended = bool(terminated[0] | truncated[0])
                carried.restart(terminated | truncated)
                true, overseer_obs, outcome = (info[name][0] for name in ("true_reward", "overseer_obs", "outcome"))
                taken = int(action[0]) if action.ndim == 1 else action[0]
                episode.append(PlayedStep(frame, taken, float(reward[0]), true, overseer_obs, outcome, ended))
                if len(episode) == MAX_STEPS and not ended:
                    raise UserError(
                        f"the episode has not ended after {MAX_STEPS} steps; play an agent with a time limit"
                    )
            yield episode


def _frame(env: str, world: Any, obs: Any) -> Any:
    """What the world renders, or else the observation; raises UserError if rendering fails."""
    if world.render_mode is None:
        return "observation " + described_observation(rows(obs, 0))
    try:
        return world.render()[0]
    except (Exception, SystemExit) as error:
        raise environment_error(env, error) from None


def described_observation(obs: Any) -> str:
    """Describes one observation in a line: its numbers, or the shape of an array with many."""
    if isinstance(obs, dict):
        return ", ".join(f"{name} {described_observation(part)}" for name, part in obs.items())
    values = np.asarray(obs)
    if values.size > MOST_NUMBERS:
        return f"{values.dtype} of shape {values.shape}, mean {values.mean():.3g}"
    return one_line(np.array2string(values, precision=3, suppress_small=True), limit=LINE)


def act_or_explain(
    agent: agents.Agent, obs: Any, generator: torch.Generator | None, carried: agents.Carried | None = None
) -> np.ndarray:
    """The agent's actions; raises UserError if the weights, which are finite, overflow."""
    try:
        return agent.act(obs, generator, carried)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the agent cannot act: {one_line(error, limit=200)}") from None


def describe_episode(episode: Sequence[PlayedStep], world: Any) -> Iterator[str]:
    """Yields the lines that describe an episode: each state, the action, the rewards and the outcome."""
    for number, step in enumerate(episode):
        action = _described_action(world, step.action)
        observation = overseer_text(world, step.overseer_obs)
        yield f"\n{step.frame}"
        rewards = f"reward {step.reward:g}, true reward {step.true_reward:g}"
        yield f"step {number + 1}: {action}; {rewards}; overseer sees: {observation}"
    proxy, true = returns(episode, world.gamma)
    last = episode[-1]
    overseer_obs = np.asarray(last.overseer_obs)[None]
    verdict = (world.verdict(overseer_obs) if hasattr(world, "verdict") else world.judgement[overseer_obs])[0]
    judgement = "no verdict" if np.isnan(verdict) else f"verdict {verdict:g}"
    yield f"\nended with {name_of(world.outcomes, last.outcome)} after {len(episode)} steps"
    yield f"return {proxy:.3f}, true return {true:.3f} (discounted by {world.gamma:g}); overseer: {judgement}"


def returns(episode: Sequence[PlayedStep], gamma: float) -> tuple[float, float]:
    """The discounted proxy return and true return."""
    discount = gamma ** np.arange(len(episode))
    return tuple(float(discount @ [step[i] for step in episode]) for i in (2, 3))  # type: ignore[return-value]


def _described_action(world: Any, action: Any) -> str:
    """The name of an action, or its numbers."""
    if isinstance(action, int):
        return name_of(getattr(world, "action_names", ()), action)
    return described_observation(action)


def overseer_text(world: Any, overseer_obs: Any) -> str:
    """The label of an overseer observation, or its features by name."""
    if np.ndim(overseer_obs):
        return feature_labels(world.overseer_features, overseer_obs[None])[0]
    return name_of(world.overseer_labels, overseer_obs)


def name_of(names: Sequence[str], number: int) -> str:
    """The name with a number; the number itself where there is none."""
    return names[number] if number < len(names) else str(number)


def _draw(agent: agents.Agent, options: PlayOptions, path: Path) -> None:
    """Writes the same episodes as a GIF."""
    from PIL import Image

    world = make_agent_world(agent, options, "rgb_array")
    if world.render_mode is None:
        raise UserError(f"{agent.env} cannot be drawn: it has no render mode rgb_array; leave out --gif")
    frames = [Image.fromarray(step.frame) for episode in episodes(agent, world, options) for step in episode]
    if frames[0].size == (drawing.CELL, drawing.CELL):
        raise UserError(f"{agent.env} cannot be drawn: it has no grid layout; leave out --gif")
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=400, loop=0)
    print(f"\nanimation: {path}, {len(frames)} frames")
