"""Table rollouts on another device, where the world's tables and the policy are.

A rollout transfers data once and not at every step. So all observations go through the networks, whether they occur or
not, and in rollouts of whole episodes a copy that has ended waits until the last one ends.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from agents.tabular.policy_table import WholeTable
from agents.tabular.rollout import TableRollout, Trajectories, pack_episodes
from envs import Tables


class DeviceRollout(TableRollout):
    """`TableRollout` on `device`. Between rollouts the state of the copies is on the host.

    Args:
        tables: of the world.
        n_envs: N, number of copies.
        generator: seeds the draws on the device.
        device: where the rollout is computed.
    """

    def __init__(self, tables: Tables, n_envs: int, generator: np.random.Generator, device: torch.device) -> None:
        super().__init__(tables, n_envs, generator)
        self.device = device
        names = ("observation", "successor", "reward", "true_reward", "overseer_obs", "noise", "start")
        self._device_tables = {name: self._tensor(getattr(tables, name)) for name in names}
        self._device_start_cdf = torch.as_tensor(self._start_cdf / self._start_cdf[-1], device=device)

    def _tensor(self, values: np.ndarray) -> Tensor:
        integer = values.dtype.kind in "iu"
        return torch.as_tensor(values.astype(np.int64 if integer else np.float32), device=self.device)

    def steps(self, count: int, cumulative: WholeTable) -> Trajectories:  # type: ignore[override]
        """As `TableRollout.steps`; the generator's state determines every draw."""
        generator, all_live = self._device_generator(), self._all_live()
        state, elapsed = self._tensor(self.state), self._tensor(self.elapsed)
        steps: list[tuple[Tensor, ...]] = []
        for _ in range(count):
            elapsed = elapsed + 1
            time_up = elapsed >= self.tables.horizon
            steps.append(self._step_on_device(state, all_live, cumulative.cumulative, generator, time_up))
            reached, dones = steps[-1][6:8]
            state = torch.where(dones, self._draw_starts(generator), reached)
            elapsed = torch.where(dones, 0, elapsed)
        self.state, self.elapsed = state.cpu().numpy(), elapsed.cpu().numpy()
        return Trajectories(*[*_to_host(steps), self.state])

    def episodes(self, cumulative: WholeTable) -> Trajectories:  # type: ignore[override]
        """As `TableRollout.episodes`; the generator's state determines every draw."""
        generator, live = self._device_generator(), self._all_live()
        starts = (np.arange(self.n_envs) + self.generator.random(self.n_envs)) / self.n_envs
        state = self._tensor(self._starts(starts))
        steps: list[tuple[Tensor, ...]] = []
        for step in range(1, self.tables.horizon + 1):
            time_up = live if step == self.tables.horizon else ~self._all_live()
            steps.append(self._step_on_device(state, live, cumulative.cumulative, generator, time_up))
            live = live & ~steps[-1][7]
            state = torch.where(live, steps[-1][6], 0)
        *columns, live_steps = _to_host(steps)
        live_copies = [row.nonzero()[0] for row in live_steps if row.any()]
        return pack_episodes(live_copies, [column[live_steps] for column in columns])

    def _device_generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self.seed())

    def seed(self) -> int:
        """Draw a seed for a generator on the device."""
        return int(self.generator.integers(2**63))

    def _all_live(self) -> Tensor:
        return torch.ones(self.n_envs, dtype=torch.bool, device=self.device)

    def _draw_starts(self, generator: torch.Generator) -> Tensor:
        """(N,) states drawn from the start distribution."""
        draws = torch.rand(self.n_envs, generator=generator, device=self.device, dtype=torch.float64)
        return self._device_tables["start"][torch.searchsorted(self._device_start_cdf[:-1], draws, right=True)]

    def _step_on_device(
        self, state: Tensor, live: Tensor, table: Tensor, generator: torch.Generator, time_up: Tensor
    ) -> tuple:
        """The first ten fields of `Trajectories` for one step of all copies, (N,) each; 0 where a copy has ended.

        `time_up`: (N,) bool, copies that reach the time limit with this step.
        """
        tables = self._device_tables
        observation = tables["observation"][state]
        draws = torch.rand(self.n_envs, 1, generator=generator, device=self.device)
        action = (draws >= table[observation][:, :-1]).sum(1)
        noise = torch.multinomial(tables["noise"], self.n_envs, replacement=True, generator=generator)
        names = ("reward", "true_reward", "overseer_obs", "successor")
        results = (tables[name][state, action, noise] for name in names)
        *values, reached = (torch.where(live, value, 0) for value in results)
        terminated = live & (reached >= len(tables["successor"]))
        dones = terminated | (live & time_up)
        _, n_actions, n_noise = tables["successor"].shape
        transition = (state * n_actions + action) * n_noise + noise
        before = (torch.where(live, column, 0) for column in (transition, observation, action))
        return *before, *values, reached, dones, dones & ~terminated, live


def _to_host(steps: Sequence[tuple[Tensor, ...]]) -> list[np.ndarray]:
    """Each column of all steps, (T, N), on the host."""
    return [torch.stack(column).cpu().numpy() for column in zip(*steps, strict=True)]
