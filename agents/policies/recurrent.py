"""Policies in which each block remembers: sb3-contrib's recurrent actor-critic policy, made of blocks.

Every expert, the gate and the critic have a core, an LSTM on the features, with a state of its own. The layers of a
block read the output of its core alone, so a mask of a sample scales the gradient of that sample's loss in the layers
and in the core, through all earlier steps of the sequence.

Letters: B samples, F features, C cores of the actor, W units of each core, n sequences of L steps.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from gymnasium.spaces import flatdim
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn
from torch.nn.functional import pad

from agents.memory import SUPPORTED, unsupported
from agents.policies.blocks import MLP, BlockExtractor, Network, Widths
from agents.policies.policy import BlockPolicy, Evaluated
from routing.selectors import Part

State = tuple[torch.Tensor, ...]  # hidden and cell states of the cores, (C, n, W) each


class Cores(nn.Module):
    """LSTMs side by side, with the interface of one `nn.LSTM`.

    Args:
        blocks: their names.
        inputs: F.
        width: W.
        rows: C; rows of a state that belong to no core stay 0.
    """

    def __init__(self, blocks: Sequence[str], inputs: int, width: int, rows: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = inputs, width, rows
        self.cores = nn.ModuleDict({name: nn.LSTM(inputs, width) for name in blocks})

    def forward(self, features: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """(L, n, F), state -> (L, n, W of each core), state after the last step."""
        outputs, hidden, cell = [], [], []
        for row, core in enumerate(self.cores.values()):
            output, (h, c) = core(features, (state[0][row : row + 1], state[1][row : row + 1]))
            outputs.append(output)
            hidden.append(h)
            cell.append(c)
        unused = (0, 0, 0, 0, 0, self.num_layers - len(self.cores))
        return torch.cat(outputs, 2), (pad(torch.cat(hidden), unused), pad(torch.cat(cell), unused))


class ColumnMLP(MLP):
    """An `MLP` that reads some columns of its input: the output of its block's core."""

    columns = slice(None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[:, self.columns])


class RecurrentExtractor(BlockExtractor):
    """Experts and a gate that read the outputs of C cores, (B, C W), and a critic that reads its own, (B, W)."""

    def _build_actor(self, inputs: int, widths: Widths, network: Network) -> dict[str, Part | Sequence[Part]]:
        parts = super()._build_actor(inputs, widths, network)
        readers: list[Any] = [*self.networks().values(), *([] if self.gate is None else [self.gate[0]])]  # type: ignore[index]
        for number, reader in enumerate(readers):
            reader.columns = slice(number * inputs, (number + 1) * inputs)
        return parts


class RecurrentBlockPolicy(BlockPolicy, RecurrentActorCriticPolicy):
    """A `BlockPolicy` whose blocks each have an LSTM, for `RecurrentPPO`.

    Args:
        *args, **kwargs: as BlockPolicy's. Network "gated", "ungated" or "single", level "activation", precision "fp32".
        lstm_hidden_size: W.

    Raises:
        ValueError: as BlockPolicy, or a network, a level or a precision is not supported.
    """

    mlp_extractor: RecurrentExtractor  # type: ignore[assignment]
    lstm_actor: Cores  # type: ignore[assignment]
    lstm_critic: Cores  # type: ignore[assignment]

    def __init__(self, *args: Any, lstm_hidden_size: int = 64, **kwargs: Any) -> None:
        super().__init__(*args, lstm_hidden_size=lstm_hidden_size, **kwargs)
        self.lstm_actor = Cores(self.blocks, self.features_dim, lstm_hidden_size, len(self.blocks))
        self.lstm_critic = Cores(["critic"], self.features_dim, lstm_hidden_size, len(self.blocks))
        self.lstm_hidden_state_shape = (len(self.blocks), 1, lstm_hidden_size)
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer = self.optimizer_class(trained, lr=rate, **self.optimizer_kwargs)  # type: ignore[call-arg]

    @property
    def memory(self) -> str:
        """The memory as a user writes it."""
        return f"lstm({self.lstm_output_dim})"

    def _build_mlp_extractor(self) -> None:
        for name in SUPPORTED:
            if fault := unsupported(self.memory, name, getattr(self, name)):
                raise ValueError(fault)
        super()._build_mlp_extractor()  # checks net_arch; its extractor is replaced
        network = partial(ColumnMLP, activation=self.activation_fn, precision=self.precision)
        self.mlp_extractor = RecurrentExtractor(
            self.lstm_output_dim,
            self.net_arch,  # type: ignore[arg-type]  # a dictionary by now
            network,
            self.architecture,
            flatdim(self.action_space),
        )

    def _get_constructor_parameters(self) -> dict:
        return {**super()._get_constructor_parameters(), "lstm_hidden_size": self.lstm_output_dim}

    @staticmethod
    def _process_sequence(
        features: torch.Tensor, lstm_states: State, episode_starts: torch.Tensor, lstm: Any
    ) -> tuple[torch.Tensor, Any]:
        """Run cores along sequences, in one call where episodes start in the first steps only, as they do in training.

        Args:
            features: (n L, F), sequence by sequence.
            lstm_states: before the first step.
            episode_starts: (n L,), 1 where an episode starts, else 0.
            lstm: the cores.

        Returns:
            The outputs, (n L, W of each core), and the states after the last step.
        """
        starts = episode_starts.reshape(lstm_states[0].shape[1], -1)
        if (starts[:, 1:] != 0).any():
            return RecurrentActorCriticPolicy._process_sequence(features, lstm_states, episode_starts, lstm)  # type: ignore[arg-type]
        continues = (1.0 - starts[:, 0]).view(1, -1, 1)
        sequences = features.reshape(len(starts), -1, lstm.input_size).swapaxes(0, 1)
        outputs, after = lstm(sequences, tuple(continues * state for state in lstm_states))
        return torch.flatten(outputs.transpose(0, 1), end_dim=1), after

    def forward(  # type: ignore[override]
        self, obs: torch.Tensor, lstm_states: RNNStates, episode_starts: torch.Tensor, deterministic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, RNNStates]:
        """Act; inside `acting_by` another use of the blocks acts in some copies.

        Returns:
            Actions (N, *action), values (N, 1), log-probabilities (N,) and the states after the step.
        """
        if self._acting is not None:
            use, copies = self._acting
            self.mlp_extractor.use_in_part = use, torch.as_tensor(copies, device=self.device).unsqueeze(1)
        try:
            return RecurrentActorCriticPolicy.forward(self, obs, lstm_states, episode_starts, deterministic)
        finally:
            self.mlp_extractor.use_in_part = None

    def evaluate_actions(  # type: ignore[override]
        self,
        obs: PyTorchObs,
        actions: torch.Tensor,
        lstm_states: RNNStates,
        episode_starts: torch.Tensor,
        masks: torch.Tensor | None = None,
    ) -> Evaluated:
        """Evaluate actions along sequences.

        Args:
            obs: (n L, *obs).
            actions: (n L, *action).
            lstm_states: before the first step of each sequence.
            episode_starts: (n L,).
            masks: (n L, M), as `BlockPolicy.evaluate_actions` takes them; None routes nothing.
        """
        features, critic_features = super()._actor_and_critic_features(obs)
        outputs, _ = self._process_sequence(features, lstm_states.pi, episode_starts, self.lstm_actor)
        of_critic, _ = self._process_sequence(critic_features, lstm_states.vf, episode_starts, self.lstm_critic)
        distribution = self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(outputs, masks))
        values = self.value_net(self.mlp_extractor.forward_critic(of_critic))
        return Evaluated(values, distribution.log_prob(actions), distribution.entropy())

    def retain_log_odds_along(
        self, obs: PyTorchObs, lstm_states: RNNStates, episode_starts: torch.Tensor
    ) -> torch.Tensor:
        """(n L,) log-odds of the first expert against all others in the gate, along sequences."""
        features = super()._actor_and_critic_features(obs)[0]
        outputs, _ = self._process_sequence(features, lstm_states.pi, episode_starts, self.lstm_actor)
        return self.mlp_extractor.retain_log_odds(outputs)

    def _actor_and_critic_features(self, obs: PyTorchObs) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C W) and (B, W): outputs of the cores for observations at the start of an episode."""
        features, critic_features = super()._actor_and_critic_features(obs)
        starts = features.new_ones(len(features))
        empty = features.new_zeros(self.lstm_hidden_state_shape[0], len(features), self.lstm_output_dim)
        outputs, _ = self._process_sequence(features, (empty, empty), starts, self.lstm_actor)
        of_critic, _ = self._process_sequence(critic_features, (empty, empty), starts, self.lstm_critic)
        return outputs, of_critic

    def encode(self, obs: PyTorchObs) -> torch.Tensor:
        """Raise ValueError: action probabilities depend on the whole episode, not on features of one observation."""
        raise ValueError(f"a policy with memory {self.memory} is no table of observations; evaluate it by sampling")

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters of the critic, with those of its core."""
        return chain(super().critic_parameters(), self.lstm_critic.parameters())

    def block_parameters(self, name: str) -> Iterator[nn.Parameter]:
        """Iterate over the parameters of a block, with those of its core."""
        core = self.lstm_actor.cores[name].parameters() if name in self.lstm_actor.cores else ()
        return chain(super().block_parameters(name), core)
