"""Effect of each option of the learner on tables on the true return, changed one at a time.

    python -m benchmarks.options [--steps 400000] [--seeds 3] [--only NAME ...]

prints the table of docs/learner.md: the exact true return as deployed, mean and standard deviation over seeds, and the
CPU-seconds of training, mean over all runs of the row. CPU-seconds are specific to the machine and its load.
"""

import argparse
import sys
from collections.abc import Iterator
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch

import agents
from benchmarks.harness.paired import cpu_seconds
from flows.config import TrainConfig
from routing import find

ROUTED = "gradient_routing_weighted"
CELLS = ((ROUTED, 0.03), (ROUTED, 0.1), ("filtering", 0.3), ("oracle", 0.1))
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "bf16 products": {"precision": "bf16"},
    "whole episodes of 2048 copies": {"whole_episodes": True, "n_envs": 2048},
    "step size falls to 0 after 70 %": {"decay_from": 0.7},
    "entropy bonus falls to .01": {"final_ent_coef": 0.01},
    "entropy bonus .1": {"ent_coef": 0.1},
    "one epoch": {"n_epochs": 1},
    "512 copies": {"n_envs": 512},
    "step size .008": {"learning_rate": 0.008},
}


class VariantResult(NamedTuple):
    """Result of one run."""

    true_return: float  # as the method is deployed
    cpu: float  # CPU-seconds of training


def train_variant(method: str, oversight: float, seed: int, steps: int, **changes) -> VariantResult:
    """Train one run with changed training options and evaluate its first deployment rule."""
    options = {"method": method, "oversight": oversight, "steps": steps, "training": changes}
    config = TrainConfig.model_validate(options)
    settings = config.training.model_dump()
    env = agents.make_vec_env(config.env, settings.pop("n_envs"), oversight_prob=oversight)
    model = agents.build(env, method, seed, **settings)
    start = cpu_seconds()
    model.learn(steps)
    cpu = cpu_seconds() - start
    evaluate, _ = agents.make_evaluator(config.env, seed, oversight_prob=oversight)
    (final,) = evaluate.each(model.policy, [agents.use_of(find(method).deployments[0])])
    return VariantResult(final.true_return, cpu)


def table_rows(steps: int, seeds: int, only: list[str]) -> Iterator[str]:
    """Yield the lines of the Markdown table, each when its runs are done."""
    yield "| changed | " + " | ".join(f"{method} p={p:g}" for method, p in CELLS) + " | CPU-s a run |"
    yield "|---" * (len(CELLS) + 2) + "|"
    for name, changes in VARIANTS.items():
        if only and name not in only:
            continue
        cells = [[train_variant(*cell, seed, steps, **changes) for seed in range(seeds)] for cell in CELLS]
        returns = [_mean_and_deviation([run.true_return for run in runs]) for runs in cells]
        yield f"| {name} | {' | '.join(returns)} | {mean(run.cpu for runs in cells for run in runs):.1f} |"


def _mean_and_deviation(returns: list[float]) -> str:
    return f"{mean(returns):.3f} ± {stdev(returns):.3f}" if len(returns) > 1 else f"{returns[0]:.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400_000, help="environment steps of each run (default 400000)")
    parser.add_argument("--seeds", type=int, default=3, help="runs per cell, with seeds 0, 1, ... (default 3)")
    parser.add_argument("--only", nargs="+", default=[], choices=VARIANTS, metavar="NAME", help="rows to compute")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for row in table_rows(options.steps, options.seeds, options.only):
        print(row, flush=True)
        print(f"{row.split('|')[1].strip()}: done", file=sys.stderr)


if __name__ == "__main__":
    main()
