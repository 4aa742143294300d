"""Proximal policy optimisation with sample weights and gradient masks.

With unit weights and masks this is Stable-Baselines3's PPO, bit for bit. `train` and `_update` are its `train`; each
change is marked. Parts of PPO could couple again what routing separates, so:
- weights are scaled to mean 1 within a minibatch, so a filter does not change the step size;
- filtered samples are dropped before advantages are normalised;
- a block that no sample of the minibatch trains has no gradient at all, because Adam moves on a gradient of zeros;
- clipping the global gradient norm couples blocks: `max_grad_norm=None` turns it off.
The action head and the critic learn from every sample that is not filtered out.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.utils import explained_variance

from agents.learners import losses
from agents.learners.buffer import RoutedRolloutBuffer, RoutedSamples
from agents.learners.nan_guard import check_finite
from agents.policies.policy import BlockPolicy, Evaluated
from routing import BLOCKS, find


class RoutedPPO(PPO):
    """PPO under an oversight method.

    Args:
        policy: as PPO's; a `BlockPolicy`.
        env: as PPO's; a `GymnasiumVecEnv`.
        method: name in `routing.METHODS` of the method that computes weights, masks and rewards.
        gate_coef: weight of the gate's own loss on judged steps, where the method has one.
        routed_baseline: subtract the critic's value on samples routed by their outcome too; None takes the method's
            default.
        final_ent_coef: weight of the entropy bonus at the end of training, approached geometrically; None keeps
            `ent_coef`.
        max_grad_norm: clip of the global gradient norm; None for none.
        **kwargs: as PPO's.

    Raises:
        ValueError: the method is unknown.
    """

    policy: BlockPolicy
    rollout_buffer: RoutedRolloutBuffer

    def __init__(
        self,
        policy: type[BlockPolicy],
        env,
        *,
        method: str = "naive",
        gate_coef: float = 1.0,
        final_ent_coef: float | None = None,
        routed_baseline: bool | None = None,
        max_grad_norm: float | None = 0.5,
        **kwargs: Any,
    ) -> None:
        self.method = method
        self.treat = find(method).make(kwargs.get("seed") or 0)
        self.gate_coef, self.final_ent_coef = gate_coef, final_ent_coef
        self.routed_baseline = find(method).baseline if routed_baseline is None else routed_baseline
        norm = math.inf if max_grad_norm is None else max_grad_norm
        super().__init__(policy, env, max_grad_norm=norm, **kwargs)

    def _setup_model(self) -> None:
        if self.env is not None:  # a model loaded without an environment only acts and needs no overseer
            world, spec = self.env.env, find(self.method)  # type: ignore[attr-defined]
            self.rollout_buffer_class = RoutedRolloutBuffer
            self.rollout_buffer_kwargs = {
                "method": self.treat,
                "overseer": spec.overseer(world.judgement, world.oversight_prob),
                "baseline": self.routed_baseline,
                "flags": world.flags,
            }
        super()._setup_model()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "rollout_buffer_class", "rollout_buffer_kwargs"]

    def _update_info_buffer(self, infos: list[dict], dones: np.ndarray | None = None) -> None:
        """Also record the overseer's view: collect_rollouts calls this after each step, before `rollout_buffer.add`."""
        super()._update_info_buffer(infos, dones)
        self.rollout_buffer.record_overseer_view(self.env, dones)  # type: ignore[arg-type]

    def world_snapshot(self) -> dict[str, Any]:
        """Return the state of the environment's copies; raises SnapshotUnsupported if it has no snapshot."""
        return self.env.snapshot()  # type: ignore[union-attr]

    def world_restore(self, state: dict[str, Any]) -> None:
        """Restore the state that `world_snapshot` returned."""
        self.env.restore(state)  # type: ignore[union-attr]

    def train(self) -> None:
        """Update the policy from the rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        for name, value in self.rollout_buffer.metrics.items():  # changed from SB3 2.9 (1 of 9): the overseer's metrics
            self.logger.record(name, value)
        terms: list[dict[str, float]] = []
        for _ in range(self.n_epochs):
            for batch in self._minibatches():
                if len(batch.weights):  # changed from SB3 2.9 (2 of 9): all samples may be filtered out
                    terms.append(self._update(batch, clip_range))
            self._n_updates += 1
        for name in {name: None for term in terms for name in term}:  # a minibatch without verdicts has no gate loss
            self.logger.record(f"train/{name}", np.mean([term[name] for term in terms if name in term]))
        values, returns = self.rollout_buffer.values.flatten(), self.rollout_buffer.returns.flatten()
        self.logger.record("train/explained_variance", explained_variance(values, returns))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _minibatches(self) -> Iterator[RoutedSamples]:
        """The minibatches of one epoch."""
        return self.rollout_buffer.get(self.batch_size)

    def _evaluate(self, batch: RoutedSamples) -> Evaluated:
        """Values, log-probabilities and entropies of the minibatch under the current policy."""
        # changed from SB3 2.9 (3 of 9): masks route the gradient of each sample
        return self.policy.evaluate_actions(batch.observations, batch.actions.long().flatten(), batch.masks)

    def _update(self, batch: RoutedSamples, clip_range: float) -> dict[str, float]:
        """One optimiser step on one minibatch; returns the terms of its loss."""
        values, log_prob, entropy = self._evaluate(batch)
        advantages = batch.advantages
        if self.normalize_advantage and len(advantages) > 1:
            # changed from SB3 2.9 (4 of 9): mean and deviation are those of baselined samples
            advantages = losses.normalise(advantages, batch.baselined)
        ratio = torch.exp(log_prob - batch.old_log_prob)
        weights = batch.weights / batch.weights.mean()  # changed from SB3 2.9 (5 of 9): each sample's loss is weighted
        policy_loss = (losses.clipped_surrogate(advantages, ratio, clip_range) * weights).mean()
        value_loss = (losses.squared_error(values.flatten(), batch.returns) * weights).mean()
        assert entropy is not None  # a categorical distribution has one
        entropy_loss = -(entropy * weights).mean()
        # changed from SB3 2.9 (6 of 9): the entropy bonus may follow a schedule
        loss = policy_loss + self.entropy_weight() * entropy_loss + self.vf_coef * value_loss
        terms = {"policy_gradient_loss": policy_loss, "value_loss": value_loss, "entropy_loss": entropy_loss}
        gate_loss = self._gate_loss(batch)
        if gate_loss is not None:  # changed from SB3 2.9 (7 of 9): the gate has its own loss
            loss = loss + self.gate_coef * gate_loss
            terms["gate_loss"] = gate_loss
        terms["approx_kl"] = ((ratio - 1) - torch.log(ratio)).mean()
        self._step_optimizer(loss, batch.masks, gate_loss is not None)
        return {name: term.item() for name, term in terms.items()}

    def entropy_weight(self) -> float:
        """Weight of the entropy bonus at this point of the run."""
        if self.final_ent_coef is None:
            return self.ent_coef
        return self.ent_coef**self._current_progress_remaining * self.final_ent_coef ** (
            1 - self._current_progress_remaining
        )

    def _gate_loss(self, batch: RoutedSamples) -> torch.Tensor | None:
        """Mean cross-entropy of the gate over the judged steps of the minibatch; None if there are none."""
        labelled = batch.labels != 0
        if not (find(self.method).gate_loss and labelled.any()):
            return None
        logits = self.policy.gate_logits(batch.observations[labelled])
        return losses.gate_cross_entropy(logits, batch.labels[labelled]).mean()

    def _step_optimizer(self, loss: torch.Tensor, masks: torch.Tensor, gate_trained: bool) -> None:
        """One optimiser step that leaves blocks which no sample trains unchanged."""
        check_finite(loss, self.policy, self._n_updates)  # changed from SB3 2.9 (8 of 9): a loss of nan is an error
        self.policy.optimizer.zero_grad()
        loss.backward()
        self._drop_masked_gradients(masks, gate_trained)  # changed from SB3 2.9 (9 of 9): Adam moves on zeros
        if math.isfinite(self.max_grad_norm):
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()

    def _drop_masked_gradients(self, masks: torch.Tensor, gate_trained: bool) -> None:
        trained = masks.any(0).tolist()
        trained[-1] |= gate_trained
        for name in (name for name, any_sample in zip(BLOCKS, trained, strict=True) if not any_sample):
            for parameter in self.policy.block_parameters(name):
                parameter.grad = None
