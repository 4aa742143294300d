"""A memoryless policy in a world of tables is a table itself: what it does on each observation."""

import numpy as np
import torch

from agents.gather import evened
from agents.policy import BlockPolicy

Array = np.ndarray
Tensor = torch.Tensor


class LazyTable:
    """Cumulative action probabilities of a policy, computed when an observation is first met."""

    def __init__(self, policy: BlockPolicy, inputs: torch.Tensor, n_actions: int) -> None:
        self.policy, self.inputs = policy, inputs
        self.known = np.zeros(len(inputs), bool)
        self.table = np.empty((len(inputs), n_actions))
        self.log_prob = np.empty((len(inputs), n_actions), np.float32)

    def __call__(self, observation: Array) -> Array:
        """(N,) int -> (N, A)."""
        fresh = observation[~self.known[observation]]
        if len(fresh):
            fresh = np.unique(fresh)
            log_prob = self.policy.log_probabilities(self.inputs[evened(fresh)].float())[0].cpu().numpy()[: len(fresh)]
            self.log_prob[fresh] = log_prob
            self.table[fresh] = np.cumsum(np.exp(log_prob, dtype=np.float64), 1)
            self.known[fresh] = True
        return self.table[observation]


class WholeTable:
    """Action probabilities of a policy on every observation; the counterpart of `LazyTable`."""

    def __init__(self, policy: BlockPolicy, inputs: Tensor) -> None:
        self.on_device = policy.log_probabilities(inputs.float())[0]  # (O, A)
        self.cumulative = self.on_device.exp().cumsum(1)
        self.log_prob = self.on_device.cpu().numpy()
        self.known = np.ones(len(inputs), bool)

    def __call__(self, observation: Array) -> Array:
        """(n,) int -> (n, A) cumulative probabilities."""
        return self.cumulative[torch.as_tensor(observation, device=self.cumulative.device)].double().cpu().numpy()
