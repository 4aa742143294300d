"""Tables of a memoryless policy's action probabilities by observation, for worlds with tables."""

import numpy as np
import torch
from torch import Tensor

from agents.policies.blocks import BlockUse
from agents.policies.policy import BlockPolicy
from agents.tabular.grouping import pad_rows, take_rows


class LazyTable:
    """Cumulative action probabilities of a policy, computed when an observation first occurs.

    Args:
        policy: over A discrete actions.
        inputs: (O, *obs), the distinct observations.
        n_actions: A.
        use: of the policy's blocks.

    Attributes:
        known: (O,) bool, observations whose probabilities are computed.
        log_prob: (O, A) float32, log-probabilities of known observations.
    """

    def __init__(
        self,
        policy: BlockPolicy,
        inputs: torch.Tensor,
        n_actions: int,
        use: BlockUse = BlockUse(),  # noqa: B008
    ) -> None:
        self.policy, self.inputs, self.use = policy, inputs, use
        self.known = np.zeros(len(inputs), bool)
        self.table = np.empty((len(inputs), n_actions))
        self.log_prob = np.empty((len(inputs), n_actions), np.float32)
        self._last = np.empty(len(inputs), np.int64)  # position at which an observation last occurred

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """(n,) int -> (A, n) cumulative probabilities."""
        unknown = observation[~self.known[observation]]
        if len(unknown):
            self._compute(self._distinct(unknown))
        return self.table.take(observation, 0).T

    def _distinct(self, observation: np.ndarray) -> np.ndarray:
        order = np.arange(len(observation))
        self._last[observation] = order
        return observation[self._last[observation] == order]

    def _compute(self, observation: np.ndarray) -> None:
        features = self.policy.encode(take_rows(self.inputs, pad_rows(observation)))
        log_prob = self.policy.log_probabilities(features, [self.use])[0].cpu().numpy()[: len(observation)]
        self.log_prob[observation] = log_prob
        self.table[observation] = np.cumsum(np.exp(log_prob, dtype=np.float64), 1)
        self.known[observation] = True


class TwoTables:
    """Tables of two policies one below the other: rows of O and more are of the second.

    Args:
        first, second: tables on the same O observations.
    """

    def __init__(self, first: LazyTable, second: LazyTable) -> None:
        self.first, self.second = first, second

    @property
    def known(self) -> np.ndarray:
        """(O,) bool, observations whose probabilities are computed for either policy."""
        return self.first.known | self.second.known

    @property
    def log_prob(self) -> np.ndarray:
        """(2 O, A) float32, log-probabilities of known observations."""
        return np.concatenate([self.first.log_prob, self.second.log_prob])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(n,) int -> (A, n) cumulative probabilities."""
        count = len(self.first.known)
        second = rows >= count
        found = np.empty((self.first.table.shape[1], len(rows)))
        found[:, ~second], found[:, second] = self.first(rows[~second]), self.second(rows[second] - count)
        return found


class WholeTable:
    """Action probabilities of a policy on every observation; the counterpart of `LazyTable` on a device.

    Args:
        policy: over A discrete actions.
        inputs: (O, *obs), the distinct observations.

    Attributes:
        on_device: (O, A) log-probabilities.
        cumulative: (O, A) cumulative probabilities, on the device.
        log_prob: (O, A) float32 log-probabilities, on the host.
        known: (O,) bool, all true.
    """

    def __init__(self, policy: BlockPolicy, inputs: Tensor) -> None:
        self.on_device = policy.log_probabilities(policy.encode(inputs))[0]  # (O, A)
        self.cumulative = self.on_device.exp().cumsum(1)
        self.log_prob = self.on_device.cpu().numpy()
        self.known = np.ones(len(inputs), bool)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """(n,) int -> (A, n) cumulative probabilities."""
        return self.cumulative[torch.as_tensor(observation, device=self.cumulative.device)].double().cpu().numpy().T
