"""A treated rollout buffer whose minibatches are sequences, for policies with a recurrent state.

A step that the method filtered out trains nothing, but stays in its sequence: later states depend on it.
"""

from typing import NamedTuple

import numpy as np
import torch
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.type_aliases import RecurrentRolloutBufferSamples, RNNStates

from agents.learners.routed_buffer import RoutedRolloutBuffer, RoutedSamples, untreated_samples


class Sequences(NamedTuple):
    """n sequences of at most L steps, padded with zeros, one after the other."""

    observations: torch.Tensor  # (n L, *obs)
    actions: torch.Tensor  # (n L, action_dim)
    states: RNNStates  # before the first step of each sequence
    episode_starts: torch.Tensor  # (n L,)
    rows: torch.Tensor  # (B,) int, the steps that train


def untreated_sequences(batch: RecurrentRolloutBufferSamples) -> RoutedSamples:
    """Extend a minibatch of sb3-contrib's own buffer by the treatment of an environment without an overseer."""
    rows = (batch.mask > 1e-8).nonzero().squeeze(1)  # as RecurrentPPO has it
    sequences = Sequences(batch.observations, batch.actions, batch.lstm_states, batch.episode_starts, rows)
    trained = (column[rows] for column in (batch.actions, *batch[2:6]))
    return untreated_samples(RoutedSamples(sequences, *trained, *[None] * 5))  # type: ignore[arg-type]


class RoutedRecurrentBuffer(RoutedRolloutBuffer, RecurrentRolloutBuffer):  # type: ignore[misc]  # `get` of both
    """T steps of N copies, treated by an oversight method, with the states of the policy.

    The fields of its minibatches have the steps that train; `observations` has the `Sequences` that they are part of.
    """

    def _get_samples(self, batch_inds: np.ndarray, env_change: np.ndarray, env=None) -> RoutedSamples:  # type: ignore[override]
        # changed from sb3-contrib 2.9 (1 of 1): filtered steps train nothing, the treatment is appended, and sequences
        # are padded by one look-up
        begins = (self.episode_starts[batch_inds] + env_change[batch_inds]).ravel() > 0
        begins[0] = True
        first = np.flatnonzero(begins)
        lengths = np.diff(np.append(first, len(batch_inds)))
        steps = np.arange(lengths.max())
        real = (steps < lengths[:, None]).ravel()
        at = batch_inds[np.minimum(first[:, None] + steps, len(batch_inds) - 1).ravel()]
        rows = np.flatnonzero(real & (self.weights[at, 0] > 0))
        trained = at[rows]

        def padded(column: np.ndarray) -> torch.Tensor:
            values = column[at]
            values[~real] = 0
            return self.to_torch(values)

        def state(*columns: np.ndarray) -> tuple[torch.Tensor, ...]:
            return tuple(self.to_torch(column[batch_inds[first]].swapaxes(0, 1)).contiguous() for column in columns)

        sequences = Sequences(
            padded(self.observations),
            padded(self.actions),
            RNNStates(
                state(self.hidden_states_pi, self.cell_states_pi), state(self.hidden_states_vf, self.cell_states_vf)
            ),
            padded(self.episode_starts).flatten(),
            self.to_torch(rows),
        )
        return RoutedSamples(
            sequences,  # type: ignore[arg-type]
            self.to_torch(self.actions[trained]),
            self.to_torch(self.values[trained, 0]),
            self.to_torch(self.log_probs[trained, 0]),
            self.to_torch(self.advantages[trained, 0]),
            self.to_torch(self.returns[trained, 0]),
            weights=self.to_torch(self.weights[trained, 0]),
            masks=self.to_torch(self.masks[trained]),
            critic=self.to_torch(self.critic_weights[trained, 0]),
            gate=self.to_torch(self.gate[trained, 0]),
            baselined=self.to_torch(self.baselined[trained, 0]),
            scale=self.scale,
        )
