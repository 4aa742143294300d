"""Policy gradient at the cost of the distinct observations, however many steps were walked.

In a world of tables a memoryless policy is a table of action probabilities. It is computed once for each observation
that is met, the walk looks it up, and the loss of all samples is gathered in one coefficient for each distinct pair of
observation and mask, and action: the gradient is the one of the samples, exactly. With one epoch this is REINFORCE
with a critic's baseline (Williams 1992); more epochs are PPO without minibatches, for the clipped loss of all samples
of one observation and action depends on their positive and their negative advantages alone.

In a world without tables the same class trains as `OnePassPPO`, by forward passes for each sample.
"""

import logging
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch

import envs
from agents.learners import losses
from agents.learners.buffer import RoutedRolloutBuffer
from agents.learners.one_pass_ppo import OnePassPPO
from agents.onednn import by_onednn
from agents.policies.policy import log_softmax
from agents.tabular.device_rollout import DeviceRollout
from agents.tabular.grouping import GroupedSamples, group_samples, pad_rows, take_rows
from agents.tabular.policy_table import LazyTable, WholeTable
from agents.tabular.rollout import TableRollout, Trajectories
from routing import find

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """`Gathered` as tensors, with what the policy reads."""

    inputs: torch.Tensor  # (P, features)
    log_prob: torch.Tensor  # (P, A) of the policy that acted
    masks: torch.Tensor
    gains: torch.Tensor
    losses: torch.Tensor
    visits: torch.Tensor
    returns: torch.Tensor
    good: torch.Tensor
    bad: torch.Tensor


class RoutedReinforce(OnePassPPO):
    """`RoutedPPO` on distinct observations. Its arguments are RoutedPPO's; `batch_size` is not used with tables.

    Args:
        whole_episodes: between updates, walk one whole episode with each copy, `n_steps` not used; otherwise `n_steps`
            steps, which cut episodes short that go on after the update.
        by_tables: look distinct observations up, where the world has tables; otherwise train as without.
    """

    tables: envs.Tables

    def __init__(self, *args, whole_episodes: bool = False, by_tables: bool = True, **kwargs) -> None:
        self.whole_episodes, self.by_tables = whole_episodes, by_tables
        super().__init__(*args, **kwargs)

    def _setup_model(self) -> None:
        super()._setup_model()
        self.tabular = self.by_tables and self.env is not None and self._found_tables()
        if self.tabular:
            chance = np.random.default_rng(self.seed)
            if self.device.type == "cpu":
                self.walk = TableRollout(self.tables, self.n_envs, chance)
            else:
                self.walk = DeviceRollout(self.tables, self.n_envs, chance, self.device)
            self.inputs = torch.as_tensor(self.tables.observations, device=self.device).flatten(1)

    def _found_tables(self) -> bool:
        try:
            self.tables = envs.compile_world(self.env.env)  # type: ignore[union-attr]
        except envs.NotEnumerable as reason:
            log.warning("one forward pass for each sample, for %s", reason)
            return False
        return True

    def learn(self, *args, **kwargs):
        """As PPO's; float32 products by oneDNN where it is the faster."""
        with by_onednn() if self.policy.precision == "fp32" else nullcontext():
            return super().learn(*args, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "tables", "walk", "inputs", "path", "table"]

    def world_snapshot(self) -> dict[str, Any]:
        return self.walk.snapshot() if self.tabular else super().world_snapshot()

    def world_restore(self, state: dict[str, Any]) -> None:
        if self.tabular:
            self.walk.restore(state)
        else:
            super().world_restore(state)

    def collect_rollouts(self, env, callback, rollout_buffer, n_rollout_steps: int) -> bool:
        """Walk by table look-up, and treat what was met."""
        if not self.tabular:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        self.table = self._table()
        with torch.autocast(self.device.type, enabled=False):  # contexts in it share what they have rounded
            self.path = self._walked(n_rollout_steps)
        self.num_timesteps += int(self.path.live.sum())
        callback.update_locals(locals())
        if not callback.on_step():
            return False
        self._fill(rollout_buffer, self.path)
        callback.on_rollout_end()
        return True

    def _walked(self, steps: int) -> Trajectories:
        return self.walk.episodes(self.table) if self.whole_episodes else self.walk.steps(steps, self.table)

    def _table(self) -> LazyTable | WholeTable:
        """What the policy does where."""
        if self.device.type == "cpu":
            return LazyTable(self.policy, self.inputs, self.tables.n_actions)
        return WholeTable(self.policy, self.inputs)

    def _fill(self, buffer: RoutedRolloutBuffer, path: Trajectories) -> None:
        """Put the walk into the buffer as if it had been stepped, and have it treated."""
        values = self._values(path)
        ended = max(int(path.dones.sum()), 1)
        assert self.ep_info_buffer is not None  # learn() has made it
        self.ep_info_buffer.append({"r": path.reward.sum() / ended, "l": path.live.sum() / ended})
        buffer.buffer_size, buffer.n_envs = path.reward.shape
        buffer.reset()
        buffer.overseer_obs, buffer.true_reward, buffer.dones = path.overseer_obs, path.true_reward, path.dones
        buffer.raw_reward, buffer.live = path.reward, path.live
        buffer.endings = [self.tables.view[path.reached[path.dones]]]
        buffer.episode_starts[1:] = path.dones[:-1]
        buffer.values = values[path.observation] * path.live
        ahead = np.zeros(path.reward.shape, np.float32)
        ahead[path.timeouts] = values[self.tables.observation[path.reached[path.timeouts]]]
        buffer.rewards = (path.reward + self.gamma * ahead).astype(np.float32)
        over = path.dones[-1] | ~path.live[-1]
        last = np.zeros(len(over), np.float32)
        last[~over] = values[self.tables.observation[path.onward[~over]]]
        buffer.compute_returns_and_advantage(torch.as_tensor(last), over)

    @torch.no_grad()
    def _values(self, path: Trajectories) -> np.ndarray:
        """(O,) the critic's values where the walk has been or would go on from; 0 elsewhere."""
        values = np.zeros(len(self.inputs), np.float32)
        going_on = path.onward[path.live[-1] & ~path.dones[-1]]
        needed = self.table.known.copy()
        needed[self.tables.observation[np.append(path.reached[path.timeouts], going_on)]] = True
        rows = pad_rows(np.flatnonzero(needed))
        latent = self.policy.mlp_extractor.forward_critic(self.policy.rounded(take_rows(self.inputs, rows).float()))
        values[rows] = self.policy.value_net(latent).squeeze(-1).cpu()
        return values

    def train(self) -> None:
        """Update the policy from the rollout, all of it at once in each epoch."""
        if not self.tabular:
            return super().train()
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        for name, value in self.rollout_buffer.metrics.items():
            self.logger.record(name, value)
        kept = self.rollout_buffer.weights > 0
        if kept.any():
            batch = self._batch(kept)
            for _ in range(self.n_epochs):
                terms = self._step(batch, clip_range)
            for name, value in terms.items():
                self.logger.record(f"train/{name}", value)
        self._n_updates += self.n_epochs
        return None

    def _batch(self, kept: np.ndarray) -> Batch:
        """The kept samples (T, N), gathered; rows that make the number even have no weight."""
        found = self._gathered(kept)
        rows = pad_rows(np.arange(len(found.observation)))
        masks, *sums = (self._columns(x[rows]) for x in found[1:])
        for column in sums:
            column[len(found.observation) :] = 0
        observation = found.observation[rows]
        log_prob = self._columns(self.table.log_prob[observation])
        return Batch(self.policy.rounded(take_rows(self.inputs, observation).float()), log_prob, masks, *sums)

    def _columns(self, x: np.ndarray) -> torch.Tensor:
        """As float32; of a matrix, the columns lie together: they are few and long."""
        return torch.as_tensor(np.asfortranarray(x), dtype=torch.float32, device=self.device)

    def _gathered(self, kept: np.ndarray) -> GroupedSamples:
        """The kept samples (T, N), their advantages normalised over all of them."""
        buffer = self.rollout_buffer
        advantages = torch.as_tensor(buffer.advantages[kept])
        if self.normalize_advantage:
            advantages = losses.normalise(advantages, torch.as_tensor(buffer.baselined[kept]))
        return group_samples(
            self.path.observation[kept],
            buffer.masks[kept],
            self.path.action[kept],
            advantages.numpy().astype(np.float64),
            buffer.weights[kept].astype(np.float64),
            buffer.returns[kept].astype(np.float64),
            buffer.labels[kept],
            self.tables.n_actions,
        )

    def _step(self, batch: Batch, clip_range: float) -> dict[str, float]:
        """One optimiser step; the terms of the loss."""
        total = batch.visits.sum()
        latent = self.policy.mlp_extractor.forward_actor(batch.inputs, batch.masks)
        log_prob = log_softmax(self.policy.action_net(latent))
        ratio = torch.exp(log_prob - batch.log_prob)
        surrogate = batch.gains * ratio.clamp(max=1 + clip_range) + batch.losses * ratio.clamp(min=1 - clip_range)
        values = self.policy.value_net(self.policy.mlp_extractor.forward_critic(batch.inputs)).squeeze(-1)
        terms = {
            "policy_gradient_loss": -surrogate.sum() / total,
            "value_loss": (batch.visits * values.square() - 2 * batch.returns * values).sum() / total,
            "entropy_loss": (batch.visits[:, None] * log_prob.exp() * log_prob).sum() / total,
        }
        loss = terms["policy_gradient_loss"] + self.entropy_weight() * terms["entropy_loss"]
        loss = loss + self.vf_coef * terms["value_loss"]
        labelled = batch.good + batch.bad > 0
        gate_trained = find(self.method).gate_loss and bool(labelled.any())
        if gate_trained:
            terms["gate_loss"] = self._gate_term(batch, labelled)
            loss = loss + self.gate_coef * terms["gate_loss"]
        self._descend(loss, batch.masks, gate_trained)
        return {name: term.item() for name, term in terms.items()}

    def _gate_term(self, batch: Batch, labelled: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the gate over the judged samples."""
        rows = pad_rows(labelled.nonzero().squeeze(1).cpu().numpy())
        good, bad = take_rows(batch.good, rows), take_rows(batch.bad, rows)
        good[int(labelled.sum()) :] = bad[int(labelled.sum()) :] = 0
        logits = self.policy.mlp_extractor.gate_logits(take_rows(batch.inputs, rows))
        softplus = torch.nn.functional.softplus
        return (good * softplus(-logits) + bad * softplus(logits)).sum() / (good + bad).sum()
