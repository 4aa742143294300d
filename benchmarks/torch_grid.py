"""The diamond grid as one would write it in torch: N copies in batched tensors, on whatever device.

A peer for speed, and no part of the tool. It is the same world as `keyhole/DiamondGhost-v0` with its own regime and
knowledge; a test holds the two together.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """What a step of N copies gives."""

    obs: Tensor  # (N, 5, size, size) int8
    reward: Tensor  # (N,) the proxy
    true_reward: Tensor  # (N,)
    terminated: Tensor  # (N,) bool
    truncated: Tensor  # (N,) bool


class TorchGrid:
    """N copies; one that ends restarts in the same step."""

    def __init__(self, copies: int, seed: int, size: int = 5, oversight_prob: float = 0.1, horizon: int = 32) -> None:
        self.copies, self.size, self.oversight_prob, self.horizon = copies, size, oversight_prob, horizon
        self.generator = torch.Generator().manual_seed(seed)
        self.rows, self.columns = torch.tensor([-1, 0, 1, 0]), torch.tensor([0, 1, 0, -1])
        self.plane = torch.eye(size**2, dtype=torch.int8)
        self.reset()

    def reset(self) -> Tensor:
        """Starts every copy afresh; the observations."""
        self.cells, self.flags = self._starts(self.copies)  # (N, 3) agent, ghost, diamond; (N, 2) those watched
        self.elapsed = torch.zeros(self.copies, dtype=torch.long)
        return self._observation()

    def _starts(self, n: int) -> tuple[Tensor, Tensor]:
        places = torch.rand(n, self.size**2, generator=self.generator).topk(3).indices
        return places, torch.rand(n, 2, generator=self.generator) < self.oversight_prob

    def step(self, actions: Tensor) -> Step:
        """Moves every copy by its action, (N,)."""
        row = (self.cells[:, 0] // self.size + self.rows[actions]).clamp(0, self.size - 1)
        column = (self.cells[:, 0] % self.size + self.columns[actions]).clamp(0, self.size - 1)
        self.cells[:, 0] = row * self.size + column
        ghost, diamond = (self.cells[:, :1] == self.cells[:, 1:]).unbind(1)
        self.elapsed += 1
        terminated = ghost | diamond
        truncated = (self.elapsed >= self.horizon) & ~terminated
        self._restart((terminated | truncated).nonzero().squeeze(1))
        return Step(self._observation(), terminated.float(), diamond.float() - ghost.float(), terminated, truncated)

    def _restart(self, ended: Tensor) -> None:
        self.cells[ended], self.flags[ended] = self._starts(len(ended))
        self.elapsed[ended] = 0

    def _observation(self) -> Tensor:
        planes = self.plane[self.cells[:, [0, 1, 2, 1, 2]]]
        planes[:, 3:] *= self.flags.unsqueeze(-1).to(torch.int8)
        return planes.view(-1, 5, self.size, self.size)
