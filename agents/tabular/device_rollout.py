"""The walk of `agents.walk` on another device: its tables lie there, and so does the policy's.

A device that is far away is asked once a rollout and not once a step. So all observations are forwarded, met or not,
and where whole episodes are walked, copies that have ended stand still until the last has.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from agents.tabular.policy_table import WholeTable
from agents.tabular.rollout import TableRollout, Trajectories, pack_episodes
from envs import Tables


class DeviceRollout(TableRollout):
    """`Walk` on `device`: between two rollouts the copies are here, all that happens in one happens there."""

    def __init__(self, tables: Tables, copies: int, generator: np.random.Generator, device: torch.device) -> None:
        super().__init__(tables, copies, generator)
        self.device = device
        told = ("observation", "successor", "reward", "true_reward", "overseer_obs", "noise", "start")
        self._at = {name: self._tensor(getattr(tables, name)) for name in told}
        self._law_there = torch.as_tensor(self._law / self._law[-1], device=device)

    def _tensor(self, values: np.ndarray) -> Tensor:
        whole = values.dtype.kind in "iu"
        return torch.as_tensor(values.astype(np.int64 if whole else np.float32), device=self.device)

    def steps(self, count: int, cumulative: WholeTable) -> Trajectories:  # type: ignore[override]
        """As `Walk.steps`; every draw follows from the generator that both have."""
        chance, everyone = self._chance(), self._everyone()
        state, elapsed = self._tensor(self.state), self._tensor(self.elapsed)
        walked: list[tuple[Tensor, ...]] = []
        for _ in range(count):
            elapsed = elapsed + 1
            late = elapsed >= self.tables.horizon
            walked.append(self._moved(state, everyone, cumulative.cumulative, chance, late))
            reached, dones = walked[-1][5:7]
            state = torch.where(dones, self._drawn_starts(chance), reached)
            elapsed = torch.where(dones, 0, elapsed)
        self.state, self.elapsed = state.cpu().numpy(), elapsed.cpu().numpy()
        return Trajectories(*[*_brought(walked), self.state])

    def episodes(self, cumulative: WholeTable) -> Trajectories:  # type: ignore[override]
        """As `Walk.episodes`; every draw follows from the generator that both have."""
        chance, live = self._chance(), self._everyone()
        starts = (np.arange(self.copies) + self.generator.random(self.copies)) / self.copies
        state = self._tensor(self._starts(starts))
        walked: list[tuple[Tensor, ...]] = []
        for step in range(1, self.tables.horizon + 1):
            late = live if step == self.tables.horizon else ~self._everyone()
            walked.append(self._moved(state, live, cumulative.cumulative, chance, late))
            live = live & ~walked[-1][6]
            state = torch.where(live, walked[-1][5], 0)
        *columns, on = _brought(walked)
        return pack_episodes([row.nonzero()[0] for row in on if row.any()], [column[on] for column in columns])

    def _chance(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self.seed())

    def seed(self) -> int:
        """The next one, for draws on the device."""
        return int(self.generator.integers(2**63))

    def _everyone(self) -> Tensor:
        return torch.ones(self.copies, dtype=torch.bool, device=self.device)

    def _drawn_starts(self, chance: torch.Generator) -> Tensor:
        """(N,) states, by the law of the starts."""
        draws = torch.rand(self.copies, generator=chance, device=self.device, dtype=torch.float64)
        return self._at["start"][torch.searchsorted(self._law_there[:-1], draws, right=True)]

    def _moved(self, state: Tensor, live: Tensor, table: Tensor, chance: torch.Generator, late: Tensor) -> tuple:
        """The first nine fields of `Path` for one step of all copies, (N,) each; 0 where a copy has ended.

        `late`: whose time is up with this step.
        """
        at = self._at
        observation = at["observation"][state]
        draws = torch.rand(self.copies, 1, generator=chance, device=self.device)
        action = (draws >= table[observation][:, :-1]).sum(1)
        noise = torch.multinomial(at["noise"], self.copies, replacement=True, generator=chance)
        told = (at[name][state, action, noise] for name in ("reward", "true_reward", "overseer_obs", "successor"))
        *values, reached = (torch.where(live, value, 0) for value in told)
        terminated = live & (reached >= len(at["successor"]))
        dones = terminated | (live & late)
        seen = (torch.where(live, column, 0) for column in (observation, action))
        return *seen, *values, reached, dones, dones & ~terminated, live


def _brought(walked: Sequence[tuple[Tensor, ...]]) -> list[np.ndarray]:
    """Each column of all steps, (T, N), from the device."""
    return [torch.stack(column).cpu().numpy() for column in zip(*walked, strict=True)]
