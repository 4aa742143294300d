"""REINFORCE and PPO updates whose cost scales with the number of distinct observations, not of steps.

In an enumerated world a memoryless policy is a table of action probabilities. Each observation that occurs goes through
the networks once, and the rollout looks its probabilities up. The losses of all samples are summed into one coefficient
for each distinct pair of observation and mask, and action; the gradient equals that of the samples exactly. With one
epoch this is REINFORCE with a critic's baseline (Williams 1992). With more epochs it is PPO without minibatches: the
clipped loss of all samples of one observation and action depends only on the sums of their positive and of their
negative advantages.

In a world without tables the class trains as `OnePassPPO`, by forward passes for each sample.
"""

import logging
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch

import envs
from agents.learners.one_pass_ppo import OnePassPPO
from agents.learners.routed_buffer import RoutedRolloutBuffer
from agents.onednn import use_onednn
from agents.policies.blocks import BlockUse
from agents.policies.policy import LEAST_LOG_PROB, BlockPolicy, log_softmax
from agents.tabular.device_rollout import DeviceRollout
from agents.tabular.grouping import GroupedSamples, group_samples, pad_rows, take_rows
from agents.tabular.policy_table import LazyTable, TwoTables, WholeTable
from agents.tabular.rollout import TableRollout, Trajectories
from routing import find

log = logging.getLogger(__name__)
LEAST_TOTAL = torch.finfo(torch.float32).tiny  # where no sample trains the critic, its loss is 0


class Batch(NamedTuple):
    """`GroupedSamples` as tensors, with the policy's inputs."""

    inputs: torch.Tensor  # (P, features)
    log_prob: torch.Tensor  # (P, A) of the policy that acted
    masks: torch.Tensor  # (P, M)
    positive_advantages: torch.Tensor  # (P, A)
    negative_advantages: torch.Tensor  # (P, A)
    visits: torch.Tensor  # (P,)
    critic_visits: torch.Tensor  # (P,)
    returns: torch.Tensor  # (P,)
    good: torch.Tensor  # (P,) number of samples that the gate is to give to the retain expert
    bad: torch.Tensor  # (P,) number of samples that it is to give to the others
    old_values: torch.Tensor | None = None  # (P,) of the critic when the policy acted; only to clip values
    counts: torch.Tensor | None = None  # (P, A) number of samples; only to stop at a target KL divergence


class RoutedReinforce(OnePassPPO):
    """`RoutedPPO` on distinct observations.

    Args:
        *args, **kwargs: as RoutedPPO's; `batch_size` has no effect in a world with tables. With `whole_episodes` each
            copy rolls out one whole episode between two updates, and `n_steps` has no effect. Without, each copy rolls
            out `n_steps` steps, and an episode that the update cuts continues after it.
        by_tables: use the world's tables if it has any; False trains as if it had none.
    """

    tables: envs.Tables
    updates_on_whole_episodes = True
    steps_on_whole_rollouts = True
    fuses_adam = True

    def __init__(self, *args, by_tables: bool = True, **kwargs) -> None:
        self.by_tables = by_tables
        super().__init__(*args, **kwargs)

    def _setup_model(self) -> None:
        super()._setup_model()
        self._choose_tables()

    def set_env(self, env, force_reset: bool = True) -> None:
        """Replace the environment, as RoutedPPO does, and its tables."""
        super().set_env(env, force_reset)
        self._choose_tables()

    def _choose_tables(self) -> None:
        self.tabular = self.by_tables and self._direct and self._reads_observations_only() and self._load_tables()
        if self.tabular and self.coins is not None and self.device.type != "cpu":
            log.warning("acting=deployed looks up on the CPU only, so each sample has its own forward pass")
            self.tabular = False
        if self.tabular:
            generator = np.random.default_rng(self.seed)
            if self.device.type == "cpu":
                self.table_rollout = TableRollout(self.tables, self.n_envs, generator, self.coins)
            else:
                self.table_rollout = DeviceRollout(self.tables, self.n_envs, generator, self.device)
            self.inputs = torch.as_tensor(self.tables.observations, device=self.device)  # (O, *obs)

    def _reads_observations_only(self) -> bool:
        """Whether the policy is a table: blocks on features without parameters, and draws without a state."""
        tabular = isinstance(self.policy, BlockPolicy) and not self.policy.learns_features
        if not tabular:
            log.warning("the policy is not blocks on fixed features, so each sample has its own forward pass")
        return tabular

    def _load_tables(self) -> bool:
        """Whether the world has tables."""
        try:
            self.tables = envs.compile_world(self.env.env)  # type: ignore[union-attr]
        except envs.NotEnumerable as reason:
            log.warning("each sample has its own forward pass: %s", reason)
            return False
        return True

    def learn(self, *args, **kwargs):
        """Train as PPO's `learn` does, with float32 products by oneDNN where it is faster."""
        blocks = isinstance(self.policy, BlockPolicy)
        with use_onednn() if blocks and self.policy.precision == "fp32" else nullcontext():
            return super().learn(*args, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        return [
            *super()._excluded_save_params(),
            "tables",
            "table_rollout",
            "inputs",
            "trajectories",
            "looked_up",
            "table",
            "values",
        ]

    def world_snapshot(self) -> dict[str, Any]:
        """Return the state of the copies; raises SnapshotUnsupported if the environment has no snapshot."""
        return self.table_rollout.snapshot() if self.tabular else super().world_snapshot()

    def world_restore(self, state: dict[str, Any]) -> None:
        """Restore the state that `world_snapshot` returned."""
        if self.tabular:
            self.table_rollout.restore(state)
        else:
            super().world_restore(state)

    def known_observations(self) -> torch.Tensor | None:
        """Return (n, *obs) observations that the policy acts on: all that the world has, if it has tables."""
        return self.inputs.float() if self.tabular else super().known_observations()

    def collect_rollouts(self, env, callback, rollout_buffer, n_rollout_steps: int) -> bool:
        """Roll out by table look-up, and treat the rollout; returns False if the callback stops training."""
        # changed from SB3 2.9 (1 of 1): with tables, the whole body
        if not self.tabular:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        self._record_progress()
        self.table = self._make_table()
        with torch.autocast(self.device.type, enabled=False):  # inner contexts share its cache of rounded weights
            rolled_out = self._roll_out(n_rollout_steps)
        self.looked_up = rolled_out.observation  # (T, N) rows of the table
        self.trajectories = rolled_out._replace(observation=self._observation_of(rolled_out.observation))
        self.num_timesteps += int(self.trajectories.live.sum())
        callback.update_locals(locals())
        if not callback.on_step():
            return False
        self._fill_buffer(rollout_buffer, self.trajectories)
        callback.on_rollout_end()
        return True

    def _roll_out(self, steps: int) -> Trajectories:
        if self.whole_episodes:
            return self.table_rollout.episodes(self.table)
        return self.table_rollout.steps(steps, self.table)

    def _make_table(self) -> LazyTable | WholeTable | TwoTables:
        """Action probabilities of the policy by observation."""
        if self.device.type != "cpu":
            return WholeTable(self.policy, self.inputs)
        if self.coins is None:
            return LazyTable(self.policy, self.inputs, self.tables.n_actions)
        return TwoTables(
            *(LazyTable(self.policy, self.inputs, self.tables.n_actions, use) for use in (BlockUse(), self.coins.use))
        )

    def _observation_of(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the table of action probabilities, int -> indices of tables.observations, of the same shape."""
        return rows if self.coins is None else rows % len(self.inputs)

    def _fill_buffer(self, buffer: RoutedRolloutBuffer, rollout: Trajectories) -> None:
        """Store the rollout as if the environment had been stepped, and treat it."""
        values = self.values = self._values(rollout)
        ended = max(int(rollout.dones.sum()), 1)
        assert self.ep_info_buffer is not None  # learn() creates it
        self.ep_info_buffer.append({"r": rollout.reward.sum() / ended, "l": rollout.live.sum() / ended})
        endings = self.tables.view[rollout.reached[rollout.dones]]
        timeout_values = values[self.tables.observation[rollout.reached[rollout.timeouts]]]
        buffer.fill_from(
            rollout,
            endings,
            values[rollout.observation] * rollout.live,
            timeout_values,
            lambda: self.tables.view[rollout.reached],
            self._states_read(rollout) if buffer.channel.reads_states else {},
            self.whole_episodes,
        )
        done = rollout.dones[-1] | ~rollout.live[-1]
        last_values = np.zeros(len(done), np.float32)
        last_values[~done] = values[self.tables.observation[rollout.next_state[~done]]]
        buffer.compute_returns_and_advantage(torch.as_tensor(last_values), done)

    def _states_read(self, rollout: Trajectories) -> dict[str, np.ndarray]:
        """Outcome and features of the state that each step reached, for the limits of the overseer."""
        read = {"outcome": self.tables.outcome[rollout.reached]}
        world: Any = self.env.env  # type: ignore[union-attr]
        if getattr(world, "feature_names", ()):
            read["features"] = world.state_features(self.tables.states)[rollout.reached]
        return read

    @torch.no_grad()
    def _values(self, rollout: Trajectories) -> np.ndarray:
        """(O,) the critic's values of observations in the rollout and after its cut episodes; 0 elsewhere."""
        values = np.zeros(len(self.inputs), np.float32)
        continuing = rollout.next_state[rollout.live[-1] & ~rollout.dones[-1]]
        needed = self.table.known.copy()
        needed[self.tables.observation[np.append(rollout.reached[rollout.timeouts], continuing)]] = True
        rows = pad_rows(np.flatnonzero(needed))
        latent = self.policy.mlp_extractor.forward_critic(
            self.policy.rounded(self.policy.encode(take_rows(self.inputs, rows)))
        )
        values[rows] = self.policy.value_net(latent).squeeze(-1).cpu()
        return values

    def train(self) -> None:
        """Update the policy from the rollout; each epoch is one step on all samples."""
        # changed from SB3 2.9 (1 of 1): with tables, the whole body
        if not self.tabular:
            return super().train()
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        for name, value in self.rollout_buffer.metrics.items():
            self.logger.record(name, value)
        selected = self.rollout_buffer.weights > 0
        if selected.any():
            batch = self._batch(selected)
            for _ in range(self.n_epochs):
                terms = self._step(batch, clip_range)
                self._n_updates += 1
                if self._exceeds_target_kl(np.asarray(terms.get("approx_kl", 0.0))):
                    break
            for name, value in terms.items():
                self.logger.record(f"train/{name}", value)
        else:
            self._n_updates += self.n_epochs
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
        return None

    def _batch(self, selected: np.ndarray) -> Batch:
        """The selected samples, (T, N) bool, grouped, with advantages normalised over all of them.

        Rows that only pad the size have no weight.
        """
        buffer = self.rollout_buffer
        advantages = torch.as_tensor(buffer.advantages[selected])
        if self.normalize_advantage:
            advantages = find(self.method).advantage(advantages, torch.as_tensor(buffer.baselined[selected]))
        weights = buffer.weights[selected].astype(np.float64)
        grouped = self._group(selected, advantages.numpy().astype(np.float64), weights)
        rows = pad_rows(np.arange(len(grouped.observation)))
        masks, *sums = (self._columns(x[rows]) for x in grouped[1:])
        for column in sums:
            column[len(grouped.observation) :] = 0
        observation = grouped.observation[rows]
        looked_up, observation = observation, self._observation_of(observation)
        inputs = self.policy.rounded(self.policy.encode(take_rows(self.inputs, observation)))
        if self.policy.architecture.relabels:
            log_prob = self._log_prob(inputs, masks)
        else:
            log_prob = self._columns(self.table.log_prob[looked_up])
        old_values = None if self.clip_range_vf is None else self._columns(self.values[observation])
        counts = None if self.target_kl is None else self._counts(selected, rows)
        return Batch(inputs, log_prob, masks, *sums)._replace(old_values=old_values, counts=counts)

    @torch.no_grad()
    def _log_prob(self, inputs: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """(P, A) log-probabilities of all actions under masks; see `RoutedPPO._relabel`."""
        latent = self.policy.mlp_extractor.forward_actor(inputs, masks)
        return log_softmax(self.policy.action_net(latent)).clamp(min=LEAST_LOG_PROB)

    def _counts(self, selected: np.ndarray, rows: np.ndarray) -> torch.Tensor:
        """(P, A) number of selected samples in each row of the batch, by action; 0 in rows that only pad the size."""
        ones = np.ones(int(selected.sum()))
        grouped = self._group(selected, ones, ones)
        counts = self._columns(grouped.positive_advantages[rows])  # sums of weight times advantage, here of ones
        counts[len(grouped.observation) :] = 0
        return counts

    def _columns(self, x: np.ndarray) -> torch.Tensor:
        """As a float32 tensor in column-major order: matrices have few, long columns."""
        return torch.as_tensor(np.asfortranarray(x), dtype=torch.float32, device=self.device)

    def _group(self, selected: np.ndarray, advantages: np.ndarray, weights: np.ndarray) -> GroupedSamples:
        buffer = self.rollout_buffer
        return group_samples(
            self.looked_up[selected],
            buffer.masks[selected],
            self.trajectories.action[selected],
            advantages,
            weights,
            buffer.critic_weights[selected].astype(np.float64),
            buffer.returns[selected].astype(np.float64),
            buffer.gate[selected],
            self.tables.n_actions,
        )

    def _step(self, batch: Batch, clip_range: float) -> dict[str, float]:
        """One optimiser step; returns the terms of the loss."""
        loss, terms = self._loss(batch, clip_range)
        if not self._exceeds_target_kl(terms["approx_kl"].cpu().numpy() if "approx_kl" in terms else np.asarray(0.0)):
            unrouted = self._gradients_without_masks(
                batch.masks, lambda masks: self._loss(batch._replace(masks=masks), clip_range)[0]
            )
            critic_trained = bool(batch.critic_visits.any())
            self._step_optimizer(loss, batch.masks, critic_trained, "gate_loss" in terms, unrouted)
        return {name: term.item() for name, term in terms.items()}

    def _loss(self, batch: Batch, clip_range: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of a batch, and its terms by name."""
        total, critic_total = batch.visits.sum(), batch.critic_visits.sum().clamp(min=LEAST_TOTAL)
        latent = self.policy.mlp_extractor.forward_actor(batch.inputs, batch.masks)
        log_prob = log_softmax(self.policy.action_net(latent))
        ratio = torch.exp(log_prob - batch.log_prob)
        surrogate = batch.positive_advantages * ratio.clamp(max=1 + clip_range)
        surrogate = surrogate + batch.negative_advantages * ratio.clamp(min=1 - clip_range)
        values = self.policy.value_net(self.policy.mlp_extractor.forward_critic(batch.inputs)).squeeze(-1)
        clip_range_vf = self._clip_range_vf()
        if clip_range_vf is not None and batch.old_values is not None:
            values = batch.old_values + torch.clamp(values - batch.old_values, -clip_range_vf, clip_range_vf)
        terms = {
            "policy_gradient_loss": -surrogate.sum() / total,
            "value_loss": (batch.critic_visits * values.square() - 2 * batch.returns * values).sum() / critic_total,
            "entropy_loss": (batch.visits[:, None] * log_prob.exp() * log_prob).sum() / total,
        }
        loss = terms["policy_gradient_loss"] + self.entropy_weight() * terms["entropy_loss"]
        loss = (loss + self.vf_coef * terms["value_loss"]) * self.rollout_buffer.scale
        targeted = batch.good + batch.bad > 0
        if targeted.any():
            terms["gate_loss"] = self._gate_term(batch, targeted)
            loss = loss + self.gate_coef * terms["gate_loss"]
        if batch.counts is not None:
            divergence = (ratio.detach() - 1) - (log_prob.detach() - batch.log_prob)
            terms["approx_kl"] = (batch.counts * divergence).sum() / batch.counts.sum()
        return loss, terms

    def _gate_term(self, batch: Batch, targeted: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the gate over the samples that have a target."""
        rows = pad_rows(targeted.nonzero().squeeze(1).cpu().numpy())
        good, bad = take_rows(batch.good, rows), take_rows(batch.bad, rows)
        good[int(targeted.sum()) :] = bad[int(targeted.sum()) :] = 0
        logits = self.policy.mlp_extractor.retain_log_odds(take_rows(batch.inputs, rows))
        softplus = torch.nn.functional.softplus
        return (good * softplus(-logits) + bad * softplus(logits)).sum() / (good + bad).sum()
