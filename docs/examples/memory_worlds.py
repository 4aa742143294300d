"""Train agents without memory, with frames and with an LSTM in three worlds in which memory is worth something.

python docs/examples/memory_worlds.py            prints the table of docs/memory.md (three seeds)
python docs/examples/memory_worlds.py 1          one seed
"""

import sys
from typing import Any

import numpy as np

import agents
import envs
from envs.exact.memoryless import memoryless_optimal

HIDDEN = "example/HiddenVelocities-v0"
EPISODES = 512  # of a sampled evaluation
EXACT = {"n_steps": 8, "width": 16, "activation": "tanh"}
LSTM = {"algorithm": "ppo", "n_steps": 16, "batch_size": 512, "width": 16, "learning_rate": 0.005, "ent_coef": 0.01}
POLE = {"algorithm": "ppo", "n_steps": 128, "batch_size": 256, "n_epochs": 6, "width": 32, "gamma": 0.98}
MAZE: dict[str, Any] = {"length": 2, "oversight_prob": 0.3, "max_episode_steps": 8}
Case = tuple[str, str, dict[str, Any], str, int, int, dict[str, Any]]
CASES: list[Case] = [  # world, environment, its arguments, memory, copies, steps, settings
    ("T-maze", "envs:keyhole/TMaze-v0", MAZE, "none", 256, 40_000, EXACT | {"learning_rate": 0.012}),
    ("T-maze", "envs:keyhole/TMaze-v0", MAZE, "frames(3)", 256, 40_000, EXACT | {"learning_rate": 0.012}),
    ("T-maze", "envs:keyhole/TMaze-v0", MAZE, "lstm(8)", 64, 24_000, LSTM | {"gamma": 0.9}),
    ("corridor", "envs:keyhole/AliasedCorridor-v0", {}, "none", 256, 300_000, EXACT),
    ("corridor", "envs:keyhole/AliasedCorridor-v0", {}, "frames(2)", 256, 300_000, EXACT | {"activation": "relu"}),
    ("corridor", "envs:keyhole/AliasedCorridor-v0", {}, "frames(2)", 256, 300_000, EXACT),
    ("corridor", "envs:keyhole/AliasedCorridor-v0", {}, "lstm(8)", 64, 60_000, LSTM | {"activation": "tanh"}),
    ("CartPole, no velocities", HIDDEN, {}, "none", 16, 200_000, POLE),
    ("CartPole, no velocities", HIDDEN, {}, "frames(3)", 16, 200_000, POLE),
    ("CartPole, no velocities", HIDDEN, {}, "lstm(32)", 16, 200_000, POLE),
]


def hide_velocities() -> None:
    """Registers a CartPole of 200 steps whose agent observes positions alone."""
    envs.overseen(
        HIDDEN,
        "CartPole-v1",
        overseer_view=lambda step: step.terminated.astype(int),
        judgement=[np.nan, -1.0],
        agent_view=lambda obs: obs[:, [0, 2]],
        gamma=0.99,
        max_episode_steps=200,
    )


def best(env: str, arguments: dict[str, Any], memory: str) -> float | None:
    """The optimum of agents with this memory: exact tables, or the certificate's if they remember everything."""
    if env == HIDDEN:
        return None
    if memory.startswith("lstm"):
        return envs.certify(agents.make_world(env, 1, **arguments)).remembering_return
    world = agents.make_world(env, 1, **arguments, memory=memory)
    return memoryless_optimal(envs.compile_world(world)).stochastic


def train(case: Case, seed: int) -> tuple[float, float]:
    """Trains one agent on the true reward; returns its true return and its episodes' length."""
    _, env, arguments, memory, copies, steps, settings = case
    world = agents.make_vec_env(env, copies, **arguments, memory=memory)
    method = "proxy" if env == HIDDEN else "oracle"  # the proxy reward of CartPole is the true one
    model = agents.build(world, method, seed, memory=memory, **settings).learn(steps)
    found = agents.make_evaluator(env, seed, EPISODES, **arguments, memory=memory)[0](model.policy)
    return found.true_return, found.episode_length


def row(case: Case, seeds: int) -> str:
    """A line of the table: mean and range over seeds, of the true return or, for CartPole, of an episode's length."""
    world, env, arguments, memory, _, steps, settings = case
    values = np.array([train(case, seed)[env == HIDDEN] for seed in range(seeds)])
    limit, digits = best(env, arguments, memory), 1 if env == HIDDEN else 3
    bound = "200 steps" if limit is None else f"{limit:.3f}"
    trained = f"{values.mean():.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"
    return f"| {world} | `{memory}` | {settings.get('activation', 'relu')} | {steps:,} | {bound} | {trained} |"


if __name__ == "__main__":
    hide_velocities()
    print("| world | memory | activation | steps | best possible | trained: mean (range) |\n|---|---|---|---|---|---|")
    for case in CASES:
        print(row(case, int(sys.argv[1]) if len(sys.argv) > 1 else 3), flush=True)
