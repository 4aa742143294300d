"""sb3-contrib's RecurrentPPO with sample weights and gradient masks.

Without an overseer, or with unit weights and masks, this is RecurrentPPO, bit for bit. `RoutedPPO.train` is
RecurrentPPO's `train` too: both compute the same loss, here on the steps of padded sequences that are real. Filtered
steps train nothing, but they stay in their sequences, because later states of the policy depend on them.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from agents.learners import losses
from agents.learners.ppo import RoutedPPO
from agents.learners.recurrent_buffer import RoutedRecurrentBuffer, Sequences, untreated_sequences
from agents.learners.routed_buffer import RoutedRolloutBuffer, RoutedSamples
from agents.policies.policy import Evaluated
from agents.policies.recurrent import RecurrentBlockPolicy


class RoutedRecurrentPPO(RoutedPPO, RecurrentPPO):  # type: ignore[misc]  # types of PPO's and its batch_size differ
    """RecurrentPPO under an oversight method.

    Args:
        policy: as RecurrentPPO's. Methods that mask gradients need a `RecurrentBlockPolicy`.
        env: as RoutedPPO's.
        *args, **kwargs: as RecurrentPPO's and RoutedPPO's.
    """

    policy: RecurrentBlockPolicy
    library: ClassVar[type[OnPolicyAlgorithm]] = RecurrentPPO
    treated_buffer: ClassVar[type[RoutedRolloutBuffer]] = RoutedRecurrentBuffer
    policy_aliases = {**RecurrentPPO.policy_aliases, "RecurrentBlockPolicy": RecurrentBlockPolicy}  # noqa: RUF012  (Stable-Baselines3's own declaration)

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.overseer_env:
            self._make_buffer()  # RecurrentPPO makes its own whatever `rollout_buffer_class` is

    def _make_buffer(self) -> None:
        cores = self.policy.lstm_actor
        kind: Any = RoutedRecurrentBuffer if self.overseer_env else RecurrentRolloutBuffer
        self.rollout_buffer = kind(
            self.n_steps,
            self.observation_space,
            self.action_space,
            (self.n_steps, cores.num_layers, self.n_envs, cores.hidden_size),
            self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
            **(self.rollout_buffer_kwargs if self.overseer_env else {}),
        )

    def memory_snapshot(self) -> Any:
        """Return the states of the policy's cores in each copy as plain data."""
        assert self._last_lstm_states is not None  # _setup_model made them
        return [list(states) for states in self._last_lstm_states]

    def memory_restore(self, state: Any) -> None:
        """Restore the states that `memory_snapshot` returned."""
        actor, critic = (tuple(tensor.to(self.device) for tensor in states) for states in state)
        self._last_lstm_states = RNNStates(actor, critic)  # type: ignore[assignment]

    def _minibatches(self) -> Iterator[RoutedSamples]:
        batches: Any = self.rollout_buffer.get(self.batch_size)
        return batches if self.overseer_env else map(untreated_sequences, batches)

    def _evaluate(self, batch: RoutedSamples) -> Evaluated:
        sequences: Sequences = batch.observations  # type: ignore[assignment]
        inputs = (sequences.observations, self.taken(sequences.actions), sequences.states, sequences.episode_starts)
        if batch.masks is None or not isinstance(self.policy, RecurrentBlockPolicy):
            found = Evaluated(*self.policy.evaluate_actions(*inputs))
        else:
            masks = batch.masks.new_ones(len(sequences.episode_starts), batch.masks.shape[1])
            masks[sequences.rows] = batch.masks  # other steps have no loss
            found = self.policy.evaluate_actions(*inputs, masks)
        return Evaluated(*(None if column is None else column[sequences.rows] for column in found))  # type: ignore[arg-type]

    def _retain_log_odds(self, batch: RoutedSamples, samples: torch.Tensor) -> torch.Tensor:
        sequences: Sequences = batch.observations  # type: ignore[assignment]
        inputs = sequences.observations, sequences.states, sequences.episode_starts
        return self.policy.retain_log_odds_along(*inputs)[sequences.rows][samples]

    def _value_loss(self, values: torch.Tensor, returns: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """As RecurrentPPO writes it, whose gradient is rounded differently than PPO's; weighted, the same loss."""
        if bool((weights == 1).all()):
            return ((returns - values) ** 2).mean()
        return losses.mean_squared_error(values, returns, weights)
