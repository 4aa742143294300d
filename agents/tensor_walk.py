"""The walk of `agents.walk` on another device: its tables lie there, and so does the policy's.

A device that is far away is asked once a rollout and not once a step. So all observations are forwarded, met or not,
and copies that have ended stand still until the last has.
"""

import numpy as np
import torch

from agents.acting import WholeTable
from agents.walk import Path, Walk, packed
from envs import Tables

Array = np.ndarray
Tensor = torch.Tensor


class TensorWalk(Walk):
    """`Walk` whose whole episodes are walked on `device`."""

    def __init__(self, tables: Tables, copies: int, generator: np.random.Generator, device: torch.device) -> None:
        super().__init__(tables, copies, generator)
        self.device = device
        self._at = {
            name: self._tensor(getattr(tables, name))
            for name in ("observation", "successor", "reward", "true_reward", "overseer_obs", "noise")
        }

    def _tensor(self, values: Array) -> Tensor:
        whole = values.dtype.kind in "iu"
        return torch.as_tensor(values.astype(np.int64 if whole else np.float32), device=self.device)

    def episodes(self, cumulative: WholeTable) -> Path:  # type: ignore[override]
        """As `Walk.episodes`; every draw follows from the generator that both have."""
        chance = torch.Generator(self.device).manual_seed(int(self.generator.integers(2**63)))
        starts = (np.arange(self.copies) + self.generator.random(self.copies)) / self.copies
        state = self._tensor(self._starts(starts))
        live = torch.ones(self.copies, dtype=torch.bool, device=self.device)
        walked: list[tuple[Tensor, ...]] = []
        for step in range(1, self.tables.horizon + 1):
            walked.append(self._moved(state, live, cumulative.cumulative, chance, step == self.tables.horizon))
            live = live & ~walked[-1][6]
            state = torch.where(live, walked[-1][5], 0)
        *columns, on = [torch.stack(column).cpu().numpy() for column in zip(*walked, strict=True)]
        return packed([row.nonzero()[0] for row in on if row.any()], [column[on] for column in columns])

    def _moved(self, state: Tensor, live: Tensor, table: Tensor, chance: torch.Generator, last: bool) -> tuple:
        """The first nine fields of `Path` for one step of all copies, (N,) each; 0 where a copy has ended."""
        at = self._at
        observation = at["observation"][state]
        draws = torch.rand(self.copies, 1, generator=chance, device=self.device)
        action = (draws >= table[observation][:, :-1]).sum(1)
        noise = torch.multinomial(at["noise"], self.copies, replacement=True, generator=chance)
        told = (at[name][state, action, noise] for name in ("reward", "true_reward", "overseer_obs", "successor"))
        *values, reached = (torch.where(live, value, 0) for value in told)
        terminated = live & (reached >= len(at["successor"]))
        dones = live if last else terminated
        seen = (torch.where(live, column, 0) for column in (observation, action))
        return *seen, *values, reached, dones, dones & ~terminated, live
