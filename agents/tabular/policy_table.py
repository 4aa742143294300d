"""A memoryless policy in a world of tables is a table itself: what it does on each observation."""

import numpy as np
import torch
from torch import Tensor

from agents.policies.policy import BlockPolicy
from agents.tabular.grouping import pad_rows, take_rows


class LazyTable:
    """Cumulative action probabilities of a policy, computed when an observation is first met."""

    def __init__(self, policy: BlockPolicy, inputs: torch.Tensor, n_actions: int) -> None:
        self.policy, self.inputs = policy, inputs
        self.known = np.zeros(len(inputs), bool)
        self.table = np.empty((len(inputs), n_actions))
        self.log_prob = np.empty((len(inputs), n_actions), np.float32)
        self._last = np.empty(len(inputs), np.int64)  # where an observation was last named

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """(n,) int -> (A, n)."""
        fresh = observation[~self.known[observation]]
        if len(fresh):
            self._learn(self._distinct(fresh))
        return self.table.take(observation, 0).T

    def _distinct(self, observation: np.ndarray) -> np.ndarray:
        order = np.arange(len(observation))
        self._last[observation] = order
        return observation[self._last[observation] == order]

    def _learn(self, fresh: np.ndarray) -> None:
        features = take_rows(self.inputs, pad_rows(fresh)).float()
        log_prob = self.policy.log_probabilities(features)[0].cpu().numpy()[: len(fresh)]
        self.log_prob[fresh] = log_prob
        self.table[fresh] = np.cumsum(np.exp(log_prob, dtype=np.float64), 1)
        self.known[fresh] = True


class WholeTable:
    """Action probabilities of a policy on every observation; the counterpart of `LazyTable`."""

    def __init__(self, policy: BlockPolicy, inputs: Tensor) -> None:
        self.on_device = policy.log_probabilities(inputs.float())[0]  # (O, A)
        self.cumulative = self.on_device.exp().cumsum(1)
        self.log_prob = self.on_device.cpu().numpy()
        self.known = np.ones(len(inputs), bool)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """(n,) int -> (A, n) cumulative probabilities."""
        return self.cumulative[torch.as_tensor(observation, device=self.cumulative.device)].double().cpu().numpy().T
