"""Stock PPO in a world whose overseer sees some episode ends: bad behaviour is learned in an expert that is removed.

The proxy reward is 1 for reaching a diamond or a ghost. The overseer distinguishes them but sees few episode ends. Good
episodes train the retain expert, bad ones the forget expert, and all others both. The retain expert is deployed alone.
"""

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents import BlockPolicy, LabelledRolloutBuffer, make_evaluator, make_vec_env
from routing import Feedback, Regions, Router, Rules, episode_labels, module

ENV, STEPS, COPIES = "envs:keyhole/DiamondGhost-v0", 64, 64
WORLD = {"size": 3, "oversight_prob": 0.3}
UNKNOWN, GOOD, BAD = range(3)


class Overseer(BaseCallback):
    """Records the verdict on each step and labels each step by the verdict on its episode end."""

    def _on_step(self) -> bool:
        self.score[self.model.rollout_buffer.pos] = self.judgement[self.training_env.overseer_obs]
        self.dones[self.model.rollout_buffer.pos] = self.locals["dones"]
        return True

    def _on_training_start(self) -> None:
        self.judgement = self.training_env.env.judgement
        self.score, self.dones = np.zeros((STEPS, COPIES)), np.zeros((STEPS, COPIES), bool)

    def label(self, buffer: LabelledRolloutBuffer) -> np.ndarray:
        verdicts = episode_labels(Feedback(self.score, self.dones))
        return np.select([verdicts > 0, verdicts < 0], [GOOD, BAD], UNKNOWN)


def main(steps: int = 60_000) -> dict[str, float]:
    overseer = Overseer()
    model = PPO(
        BlockPolicy,
        make_vec_env(ENV, COPIES, **WORLD),
        n_steps=STEPS,
        n_epochs=6,
        batch_size=2048,
        learning_rate=1e-3,
        ent_coef=0.02,
        gamma=0.97,
        seed=0,
        policy_kwargs={"network": "ungated", "net_arch": {"pi": [64, 64], "vf": [64, 64]}},
        rollout_buffer_class=LabelledRolloutBuffer,
        rollout_buffer_kwargs={"label": overseer.label},
        device="cpu",
    )
    experts = {name: module(f"mlp_extractor.experts.{name}") for name in ("retain", "forget")}
    rules = Rules(
        Regions(model.policy, experts),
        ("unknown", "good", "bad"),
        {"good": {"forget": 0.0}, "bad": {"retain": 0.0}},
    )
    model.rollout_buffer.router = Router(model.policy, rules, level="parameter")
    model.learn(steps, callback=overseer)
    evaluate, _ = make_evaluator(ENV, 0, **WORLD)
    results = {"both experts": evaluate(model.policy).true_return}
    for name, scales in (("retain alone", (1.0, 0.0)), ("forget alone", (0.0, 1.0))):
        with model.policy.deployed(scales):
            results[name] = evaluate(model.policy).true_return
    for name, value in results.items():
        print(f"{name:<16}true return {value:.2f}")
    return results


if __name__ == "__main__":
    main()
