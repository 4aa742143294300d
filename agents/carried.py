"""Acts along episodes with any policy: carries the state of a recurrent one from step to step."""

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs


def is_recurrent(policy: ActorCriticPolicy) -> bool:
    """Whether a policy is one of sb3-contrib's recurrent ones, whose actions depend on earlier observations."""
    return hasattr(policy, "lstm_hidden_state_shape")


class Carried:
    """The action distributions of a policy in N copies of an environment, step by step.

    Args:
        policy: with or without a recurrent state.
        copies: N. An episode starts in each of them.
    """

    def __init__(self, policy: ActorCriticPolicy, copies: int) -> None:
        self.policy = policy
        self.started = np.ones(copies, bool)
        self.state: tuple[torch.Tensor, ...] = ()
        if is_recurrent(policy):
            rows, _, width = policy.lstm_hidden_state_shape  # type: ignore[misc]
            self.state = (torch.zeros(rows, copies, width, device=policy.device),) * 2

    def distribution(self, observations: PyTorchObs) -> Distribution:
        """(N, *obs) of the next step, by name for a Dict space -> distribution over the actions of each copy."""
        with torch.no_grad():
            if not self.state:
                return self.policy.get_distribution(observations)
            starts = torch.as_tensor(self.started, dtype=torch.float32, device=self.policy.device)
            recurrent: Any = self.policy
            found, self.state = recurrent.get_distribution(observations, self.state, starts)
        self.started = np.zeros_like(self.started)
        return found

    def restart(self, ended: np.ndarray) -> None:
        """Forget the episodes of the copies in which one ended, (N,) bool, after the last step."""
        self.started = self.started | ended
