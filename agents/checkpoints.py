"""Evaluates a policy at checkpoints of its training, and selects checkpoints by deployment rules."""

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
    """Output format of Stable-Baselines3's logger that stores the latest value of each recorded metric."""

    def __init__(self) -> None:
        self.values: Metrics = {}

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Store the values whose names are in `RECORDED`."""
        self.values.update({name: float(key_values[name]) for name in RECORDED if name in key_values})

    def close(self) -> None:
        """Do nothing: there is no file."""


class Checkpoints(BaseCallback):
    """Calls `visit(steps, metrics)` before the first update, evenly along the run, and after the last update.

    The metrics are the learner's latest values, and the overseer's since the previous checkpoint.

    Args:
        steps: length of the run, in steps over all copies.
        count: number of checkpoints after the first.
        visit: receives the number of steps done and the metrics.
        file: where the state of the run is saved after each checkpoint, and restored from when training starts.
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
        """Return the progress of the checkpoints as plain data."""
        return {"visited": self.visited, "latest": self.latest.values, "verdicts": self.verdicts}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `snapshot` returned; the model is restored before."""
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
        self.verdicts.append(self.model.verdicts)  # type: ignore[attr-defined]

    def _on_training_end(self) -> None:
        self._visit()

    def _visit(self) -> None:
        metrics = dict(self.latest.values)
        if self.verdicts:
            metrics |= self.model.oversight_metrics  # type: ignore[attr-defined]
            verdicts = np.concatenate(self.verdicts)
            if len(verdicts):
                metrics["oversight/labelled_return"] = float(verdicts.mean())
        self.verdicts.clear()
        self.visited = int(np.searchsorted(self.due, self.num_timesteps, side="right"))
        self.visit(self.num_timesteps, metrics)


class CheckpointChoice:
    """The checkpoint that one deployment rule has selected so far.

    Args:
        deployment: the rule; its `selects_by` names the metric to maximise, None selects the latest checkpoint.

    Attributes:
        step: steps done at the selected checkpoint; -1 before the first.
        best: value of the metric there.
        parameters: the policy's state dict there.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.step, self.best = -1, -np.inf
        self.parameters: Mapping[str, Any] = {}

    def snapshot(self) -> dict[str, Any]:
        """Return the selection as plain data."""
        return {"step": self.step, "best": self.best, "parameters": self.parameters}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `snapshot` returned."""
        self.step, self.best, self.parameters = state["step"], state["best"], state["parameters"]

    def consider(self, step: int, metrics: Metrics, parameters: Mapping[str, Any]) -> None:
        """Select this checkpoint if its metric is the best so far, or if the rule or the run has no metric yet.

        Args:
            step: steps done.
            metrics: of the checkpoint.
            parameters: the policy's state dict; it is copied.
        """
        signal = self.deployment.selects_by
        value = np.inf if signal is None else metrics.get(signal, -np.inf)
        if value > self.best or signal is None or self.best == -np.inf:
            self.step, self.best, self.parameters = step, value, copy.deepcopy(dict(parameters))
