"""Looking at a policy while it trains, and choosing among its checkpoints as a deployment rule says."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from agents.learners.nan_guard import check_finite_parameters
from agents.saving.run_state import StateFile
from routing import Deployment

Metrics = dict[str, float]
RECORDED = (
    "rollout/ep_rew_mean",
    "rollout/ep_len_mean",
    "train/policy_gradient_loss",
    "train/value_loss",
    "train/entropy_loss",
    "train/gate_loss",
    "train/approx_kl",
)


class LatestValues(KVWriter):
    """Stable-Baselines3's logger, as the numbers it printed last."""

    def __init__(self) -> None:
        self.values: Metrics = {}

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        self.values.update({name: float(key_values[name]) for name in RECORDED if name in key_values})

    def close(self) -> None:
        pass


class Checkpoints(BaseCallback):
    """Calls `visit(steps, metrics)` before the first update, evenly along the run, and after the last update.

    The metrics are the learner's latest, and the overseer's since the checkpoint before. The state of the run goes to
    `file` after each, and the run goes on from what is there when it begins.
    """

    def __init__(
        self, steps: int, count: int, visit: Callable[[int, Metrics], None], file: StateFile | None = None
    ) -> None:
        super().__init__()
        self.file = file
        self.due = np.linspace(0, steps, count + 1)
        self.visited, self.visit = 0, visit
        self.latest = LatestValues()
        self.verdicts: list[np.ndarray] = []

    def _init_callback(self) -> None:
        self.model.set_logger(Logger(folder=None, output_formats=[self.latest]))

    def _on_step(self) -> bool:
        return True

    def snapshot(self) -> dict[str, Any]:
        return {"visited": self.visited, "latest": self.latest.values, "verdicts": self.verdicts}

    def restore(self, state: dict[str, Any]) -> None:
        self.visited, self.verdicts = state["visited"], state["verdicts"]
        self.latest.values.update(state["latest"])
        self.num_timesteps = self.model.num_timesteps

    def _on_training_start(self) -> None:
        if self.file is not None:
            self.file.restore(self.model, self)  # type: ignore[arg-type]

    def _on_rollout_start(self) -> None:
        check_finite_parameters(self.model.policy, self.model._n_updates)
        visited = self.num_timesteps >= self.due[min(self.visited, len(self.due) - 1)]
        if visited:
            self._visit()
        if self.file is not None and (visited or self.file.due):
            self.file.save(self.model, self)  # type: ignore[arg-type]

    def _on_rollout_end(self) -> None:
        self.verdicts.append(self.model.rollout_buffer.verdicts)  # type: ignore[attr-defined]

    def _on_training_end(self) -> None:
        self._visit()

    def _visit(self) -> None:
        metrics = dict(self.latest.values)
        if self.verdicts:
            metrics |= self.model.rollout_buffer.metrics  # type: ignore[attr-defined]
            verdicts = np.concatenate(self.verdicts)
            if len(verdicts):
                metrics["oversight/labelled_return"] = float(verdicts.mean())
        self.verdicts.clear()
        self.visited = int(np.searchsorted(self.due, self.num_timesteps, side="right"))
        self.visit(self.num_timesteps, metrics)


class CheckpointChoice:
    """The checkpoint that one deployment rule has chosen so far."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.step, self.best = -1, -np.inf
        self.parameters: Mapping[str, Any] = {}

    def snapshot(self) -> dict[str, Any]:
        return {"step": self.step, "best": self.best, "parameters": self.parameters}

    def restore(self, state: dict[str, Any]) -> None:
        self.step, self.best, self.parameters = state["step"], state["best"], state["parameters"]

    def consider(self, step: int, metrics: Metrics, parameters: Mapping[str, Any]) -> None:
        """Take this checkpoint if it is the best by what the rule reads; without a rule, always."""
        signal = self.deployment.selects_by
        value = np.inf if signal is None else metrics.get(signal, -np.inf)
        if value > self.best or signal is None or self.step < 0:
            self.step, self.best, self.parameters = step, value, copy.deepcopy(dict(parameters))
