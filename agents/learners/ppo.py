"""Proximal policy optimisation with sample weights and gradient masks.

Without an overseer, or with unit weights and masks, this is Stable-Baselines3's PPO, bit for bit. `train` and the
methods that it calls are PPO's `train` in parts; each change is marked. Parts of PPO could couple again what routing
separates, so:
- weights are scaled to mean 1 within a minibatch, so a filter does not change the step size, unless the method's
  treatment scales the loss;
- filtered samples are dropped before advantages are normalised;
- a block that no sample of the minibatch trains has no gradient at all, because Adam moves on a gradient of zeros;
- clipping the global gradient norm couples blocks: `max_grad_norm=None` turns it off.
A shared action head learns from every sample that is not filtered out, the critic from those that the treatment names.
"""

import inspect
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import chain
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Dict, Discrete
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import explained_variance, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from agents.acting import acting_coins
from agents.channel import Channel
from agents.learners import losses
from agents.learners.nan_guard import check_finite_loss
from agents.learners.routed_buffer import (
    Routed,
    RoutedDictRolloutBuffer,
    RoutedRolloutBuffer,
    RoutedSamples,
    untreated_samples,
)
from agents.policies.policy import BlockPolicy, Evaluated
from agents.vec_env import GymnasiumVecEnv, find_overseer
from envs.observations import rows
from envs.snapshot import require_snapshots
from routing import SplitAdam, find

PROXY = "proxy"  # the method that treats nothing
LIMITS_SEED = 0x11A17  # added to a run's seed, for the limits of the overseer
log = logging.getLogger(__name__)


class Losses(NamedTuple):
    """The loss of a minibatch and its terms."""

    terms: dict[str, float]  # by the name under which they are logged
    approx_kl: np.ndarray  # () float32, estimate of KL(acting policy || current policy)


class RoutedPPO(PPO):
    """PPO under an oversight method.

    Args:
        policy: as PPO's. Methods that mask gradients need a `BlockPolicy`.
        env: as PPO's. A `GymnasiumVecEnv` with an overseer, also under wrappers, is treated by `method`; any other
            environment is not treated.
        *args, **kwargs: as PPO's; `max_grad_norm` may be None for no clipping.
        method: the method, as `routing.find` reads it, that computes each sample's treatment; None is "naive".
        gate_coef: weight of the gate's own loss, where the method has one.
        final_ent_coef: weight of the entropy bonus at the end of training, approached geometrically; None keeps
            `ent_coef`.
        whole_episodes: must be False; `RoutedReinforce` updates on whole episodes.

    Raises:
        ValueError: the method is unknown or needs blocks that the policy lacks; a rollout buffer is given for an
            environment with an overseer; VecNormalize normalises rewards that an overseer judges; or `whole_episodes`.
    """

    policy: BlockPolicy
    rollout_buffer: Routed
    library: ClassVar[type[OnPolicyAlgorithm]] = PPO  # whose arguments and attributes the learner has
    treated_buffer: ClassVar[type[RoutedRolloutBuffer]] = RoutedRolloutBuffer
    updates_on_whole_episodes = False  # whether `whole_episodes` may be true
    steps_on_whole_rollouts = False  # whether each optimiser step reads all samples, whatever `batch_size` is
    fuses_adam = False  # Stable-Baselines3's Adam is not fused, and sums in another order
    policy_aliases = {**PPO.policy_aliases, "BlockPolicy": BlockPolicy}  # noqa: RUF012  (Stable-Baselines3's own declaration)

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env,
        *args: Any,
        method: str | None = None,
        gate_coef: float = 1.0,
        final_ent_coef: float | None = None,
        whole_episodes: bool = False,
        **kwargs: Any,
    ) -> None:
        arguments = inspect.signature(self.library).bind(policy, env, *args, **kwargs).arguments
        if arguments.get("max_grad_norm", 0.0) is None:
            arguments["max_grad_norm"] = math.inf
        overseen = isinstance(env, VecEnv) and find_overseer(env) is not None
        if overseen and (arguments.get("rollout_buffer_class") or arguments.get("rollout_buffer_kwargs")):
            raise ValueError(
                "rollout_buffer_class and rollout_buffer_kwargs conflict with the overseer of the environment, which "
                "needs RoutedRolloutBuffer; omit both"
            )
        if whole_episodes and not self.updates_on_whole_episodes:
            raise ValueError(f"{type(self).__name__} updates on n_steps steps; use reinforce for whole episodes")
        if not overseen and env is not None and method not in (None, PROXY):
            log.warning("the environment has no overseer, so method %r changes nothing", method)
        self.method = method or "naive"
        self.treat = find(self.method).make(arguments.get("seed") or 0)
        self._method_of_treat = self.method
        self.gate_coef, self.final_ent_coef = gate_coef, final_ent_coef
        self.whole_episodes = whole_episodes
        self.library.__init__(self, **arguments)

    @property
    def overseer_env(self) -> GymnasiumVecEnv | None:
        """The environment with an overseer, under any wrappers; None without one."""
        return find_overseer(self.env)

    @property
    def oversight_metrics(self) -> dict[str, float]:
        """Metrics of oversight and routing of the last rollout; empty without an overseer."""
        return self.rollout_buffer.metrics if self.overseer_env else {}

    @property
    def verdicts(self) -> np.ndarray:
        """Verdicts on the episode ends of the last rollout, (E,) float; empty without an overseer."""
        return self.rollout_buffer.verdicts if self.overseer_env else np.zeros(0)

    @property
    def labels_used(self) -> int:
        """Number of verdicts read since training started."""
        return self.rollout_buffer.labels_used if self.overseer_env else 0

    @labels_used.setter
    def labels_used(self, count: int) -> None:
        if self.overseer_env:
            self.rollout_buffer.labels_used = count

    @property
    def overseer_limits(self) -> dict[str, Any]:
        """The limits of the overseer that have a history, by name."""
        return self.rollout_buffer.channel.limits if self.overseer_env else {}

    def _setup_model(self) -> None:
        if self._method_of_treat != self.method:  # `load` replaced the saved method
            self.treat, self._method_of_treat = find(self.method).make(self.seed or 0), self.method
        self._choose_buffer()
        super()._setup_model()
        if self.overseer_env:
            self._check_blocks()

    def _choose_buffer(self) -> None:
        """Use the buffer that stores the overseer's view if there is an overseer, else PPO's."""
        adapter = self.overseer_env
        self.coins = None if adapter is None else acting_coins(find(self.method), adapter.num_envs, self.seed or 0)
        if adapter is None:
            if self._routes():
                self.rollout_buffer_class = (
                    DictRolloutBuffer if isinstance(self.observation_space, Dict) else RolloutBuffer
                )
                self.rollout_buffer_kwargs = {}
            return
        normalize = unwrap_vec_normalize(self.env)  # type: ignore[arg-type]  # with an overseer there is a VecEnv
        if normalize is not None and normalize.norm_reward:
            raise ValueError("VecNormalize changes the rewards that the overseer judges; pass norm_reward=False")
        world = adapter.env
        keyed = isinstance(self.observation_space, Dict)
        self.rollout_buffer_class = RoutedDictRolloutBuffer if keyed else self.treated_buffer
        self.rollout_buffer_kwargs = {
            "treat": self.treat,
            "overseer": find(self.method).overseer(world.judgement, world.oversight_prob),  # type: ignore[attr-defined]
            "channel": Channel(world, (self.seed or 0) + LIMITS_SEED),
            "flags": world.flags,  # type: ignore[attr-defined]
            "columns": find(self.method).blocks,
        }

    def _routes(self) -> bool:
        """Whether the class of the rollout buffer is one of ours."""
        return self.rollout_buffer_class is not None and issubclass(self.rollout_buffer_class, Routed)

    def _check_blocks(self) -> None:
        """Raise ValueError if a part of the method needs a gate that the policy lacks."""
        method = find(self.method)
        gated = isinstance(self.policy, BlockPolicy) and self.policy.mlp_extractor.gate is not None
        if "gate" in method.only("gate_loss").part.needs and not gated:
            raise ValueError(
                f"method {self.method!r} trains a gate, which {type(self.policy).__name__} lacks; "
                "use BlockPolicy with a gated network"
            )
        if self.coins is not None:
            if not isinstance(self.policy, BlockPolicy):
                raise ValueError(
                    f"method {self.method!r} acts by its deployed policy, which {type(self.policy).__name__} has no "
                    "blocks for; use BlockPolicy"
                )
            self.coins.use.check(self.policy.architecture)

    def set_env(self, env, force_reset: bool = True) -> None:
        """Replace the environment, as PPO does; the buffer then stores the view of the new environment's overseer."""
        labels_used, overseen_before = self.labels_used, self.overseer_env is not None
        super().set_env(env, force_reset)
        if overseen_before or self.overseer_env:
            self._choose_buffer()
            self._make_buffer()
            self.labels_used = labels_used

    def _make_buffer(self) -> None:
        assert self.rollout_buffer_class is not None  # _choose_buffer or _setup_model chose it
        self.rollout_buffer = self.rollout_buffer_class(  # type: ignore[assignment]  # PPO's, without an overseer
            self.n_steps,
            self.observation_space,
            self.action_space,
            device=self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
            **self.rollout_buffer_kwargs,
        )

    def _excluded_save_params(self) -> list[str]:
        excluded = [*super()._excluded_save_params(), "coins"]
        if self._routes():  # its arguments belong to the environment
            return [*excluded, "rollout_buffer_class", "rollout_buffer_kwargs"]
        return excluded

    def _update_info_buffer(self, infos: list[dict], dones: np.ndarray | None = None) -> None:
        """Also record the overseer's view: collect_rollouts calls this after each step, before `rollout_buffer.add`."""
        super()._update_info_buffer(infos, dones)
        adapter = self.overseer_env
        if adapter is not None:
            self.rollout_buffer.record_overseer_view(adapter, dones)  # type: ignore[arg-type]
        if self.coins is not None:
            self.coins.toss(np.asarray(dones))

    def collect_rollouts(self, env, callback, rollout_buffer, n_rollout_steps: int) -> bool:
        """Collect a rollout as PPO does; the deployed policy acts in some copies, if the method has it act."""
        self._record_progress()
        acting = nullcontext() if self.coins is None else self.policy.acting_by(self.coins.use, self.coins.deployed)
        with acting:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def _record_progress(self) -> None:
        """Give the buffer the share of the run's steps that are done."""
        if self.overseer_env:
            self.rollout_buffer.progress = min(self.num_timesteps / max(self._total_timesteps, 1), 1.0)

    def world_snapshot(self) -> dict[str, Any]:
        """Return the state of the environment's copies; raises SnapshotUnsupported if it has no snapshot."""
        return require_snapshots(self.env).snapshot()

    def world_restore(self, state: dict[str, Any]) -> None:
        """Restore the state that `world_snapshot` returned."""
        require_snapshots(self.env).restore(state)

    def memory_snapshot(self) -> Any:
        """Return the state of the policy's memory in each copy as plain data; None if the policy has none."""
        return None

    def memory_restore(self, state: Any) -> None:
        """Restore the state that `memory_snapshot` returned."""

    def known_observations(self) -> torch.Tensor | None:
        """Return (n, *obs) observations that the policy acts on: those of the last rollout; None of a Dict space."""
        if isinstance(self.observation_space, Dict):
            return None
        observations = self.rollout_buffer.observations
        return torch.as_tensor(observations.reshape(-1, *self.observation_space.shape))  # type: ignore[misc]

    def train(self) -> None:
        """Update the policy from the rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        clip_range_vf = self._clip_range_vf()
        self._check_masks()
        self._relabel()
        for name, value in self.oversight_metrics.items():  # changed from SB3 2.9 (1 of 10): the overseer's metrics
            self.logger.record(name, value)
        terms: list[dict[str, float]] = []
        for epoch in range(self.n_epochs):
            approx_kls: list[np.ndarray] = []
            for batch in self._minibatches():
                if not len(batch.weights):  # changed from SB3 2.9 (2 of 10): all samples may be filtered out
                    continue
                found = self._update(batch, clip_range, clip_range_vf)
                terms.append(found.terms)
                approx_kls.append(found.approx_kl)
                if self._exceeds_target_kl(found.approx_kl):
                    break
            self._n_updates += 1
            if approx_kls and self._exceeds_target_kl(approx_kls[-1]):
                if self.verbose >= 1:
                    print(f"Early stopping at step {epoch} due to reaching max kl: {approx_kls[-1]:.2f}")
                break
        self._record_terms(terms, approx_kls)
        values, returns = self.rollout_buffer.values.flatten(), self.rollout_buffer.returns.flatten()
        self.logger.record("train/explained_variance", explained_variance(values, returns))
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", torch.exp(self.policy.log_std).mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
        if clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", clip_range_vf)

    def _record_terms(self, terms: list[dict[str, float]], approx_kls: list[np.ndarray]) -> None:
        for name in {name: None for term in terms for name in term}:  # a minibatch without verdicts has no gate loss
            values = [term[name] for term in terms if name in term]
            self.logger.record(f"train/{name}", values[-1] if name == "loss" else np.mean(values))
        if approx_kls:
            self.logger.record("train/approx_kl", np.mean(approx_kls))

    def _clip_range_vf(self) -> float | None:
        if self.clip_range_vf is None:
            return None
        return self.clip_range_vf(self._current_progress_remaining)  # type: ignore[operator]

    def _exceeds_target_kl(self, approx_kl: np.ndarray) -> bool:
        return self.target_kl is not None and bool(approx_kl > 1.5 * self.target_kl)

    def _check_masks(self) -> None:
        """Raise ValueError if the method masks gradients in a policy without blocks."""
        if self.overseer_env and not isinstance(self.policy, BlockPolicy) and (self.rollout_buffer.masks != 1).any():
            raise ValueError(
                f"method {self.method!r} masks gradients of blocks, which {type(self.policy).__name__} lacks; "
                "use BlockPolicy"
            )

    @torch.no_grad()
    def _relabel(self) -> None:
        """Evaluate old log-probabilities under the masks of each sample, if they choose the policy that it trains.

        The ratio is 1 before the update, as if the chosen policy had acted. No weight corrects for the policy that did
        act, as in conditional training: the clipped ratio to it would keep the chosen policy near it.
        """
        if not (self.overseer_env and isinstance(self.policy, BlockPolicy) and self.policy.architecture.relabels):
            return
        buffer = self.rollout_buffer
        for step in range(buffer.buffer_size):
            observations = obs_as_tensor(rows(buffer.observations, step), self.device)
            actions, masks = map(buffer.to_torch, (buffer.actions[step], buffer.masks[step]))
            found = self.policy.evaluate_actions(observations, self.taken(actions), masks)
            buffer.log_probs[step] = found.log_prob.cpu().numpy()

    def taken(self, actions: torch.Tensor) -> torch.Tensor:
        """Convert actions of the buffer, (B, action_dim), to those that the policy evaluates, (B, *action)."""
        return actions.long().flatten() if isinstance(self.action_space, Discrete) else actions.float()

    def _minibatches(self) -> Iterator[RoutedSamples]:
        """The minibatches of one epoch."""
        batches = self.rollout_buffer.get(self.batch_size)
        return batches if self.overseer_env else map(untreated_samples, batches)  # type: ignore[arg-type]

    def _evaluate(self, batch: RoutedSamples) -> Evaluated:
        """Values, log-probabilities and entropies of the minibatch under the current policy."""
        actions = self.taken(batch.actions)
        if batch.masks is None or not isinstance(self.policy, BlockPolicy):
            return Evaluated(*self.policy.evaluate_actions(batch.observations, actions))
        # changed from SB3 2.9 (3 of 10): masks route the gradient of each sample
        masks = None if self._routes_nothing(batch.masks) else batch.masks
        return self.policy.evaluate_actions(batch.observations, actions, masks)

    def _routes_nothing(self, masks: torch.Tensor) -> bool:
        """Whether masks are 1 at a level at which such masks change no bit, so that the router's time can be saved."""
        architecture = self.policy.architecture
        activations = architecture.level == "activation" and not (
            architecture.conditioned or self.policy.learns_features
        )
        return activations and bool((masks == 1).all())

    def _update(self, batch: RoutedSamples, clip_range: float, clip_range_vf: float | None = None) -> Losses:
        """One optimiser step on one minibatch, unless the KL divergence exceeds its target."""
        loss, terms, log_ratio = self._terms(batch, clip_range, clip_range_vf)
        with torch.no_grad():
            approx_kl = torch.mean((torch.exp(log_ratio) - 1) - log_ratio).cpu().numpy()
        if not self._exceeds_target_kl(approx_kl):
            unrouted = self._gradients_without_masks(
                batch.masks, lambda masks: self._terms(batch._replace(masks=masks), clip_range, clip_range_vf)[0]
            )
            self._step_optimizer(loss, batch.masks, bool(batch.critic.any()), "gate_loss" in terms, unrouted)
        return Losses({name: term.item() for name, term in terms.items()}, approx_kl)

    def _terms(
        self, batch: RoutedSamples, clip_range: float, clip_range_vf: float | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """The loss of a minibatch, its terms by name, and the logarithm of each sample's ratio, (B,)."""
        values, log_prob, entropy = self._evaluate(batch)
        values = values.flatten()
        advantages = batch.advantages
        if self.normalize_advantage and len(advantages) > 1:
            # changed from SB3 2.9 (4 of 10): the method normalises; by default over baselined samples
            advantages = find(self.method).advantage(advantages, batch.baselined)
        ratio = torch.exp(log_prob - batch.old_log_prob)
        weights = losses.to_mean_one(batch.weights)  # changed from SB3 2.9 (5 of 10): each sample's loss is weighted
        policy_loss = (losses.clipped_surrogate(advantages, ratio, clip_range) * weights).mean()
        if clip_range_vf is not None:
            change = torch.clamp(values - batch.old_values, -clip_range_vf, clip_range_vf)
            values = batch.old_values + change
        value_loss = self._value_loss(values, batch.returns, losses.to_mean_one(batch.critic))
        entropy_loss = -((-log_prob if entropy is None else entropy) * weights).mean()
        # changed from SB3 2.9 (6 of 10): the entropy bonus may follow a schedule, and the loss has a factor
        loss = policy_loss + self.entropy_weight() * entropy_loss + self.vf_coef * value_loss
        loss = loss * batch.scale
        terms = {"policy_gradient_loss": policy_loss, "value_loss": value_loss, "entropy_loss": entropy_loss}
        targeted = batch.gate != 0
        if targeted.any():  # changed from SB3 2.9 (7 of 10): the gate has its own loss
            logits = self._retain_log_odds(batch, targeted)
            terms["gate_loss"] = losses.gate_cross_entropy(logits, batch.gate[targeted]).mean()
            loss = loss + self.gate_coef * terms["gate_loss"]
        terms |= {"clip_fraction": torch.mean((torch.abs(ratio - 1) > clip_range).float()), "loss": loss}
        return loss, terms, log_prob.detach() - batch.old_log_prob

    def _value_loss(self, values: torch.Tensor, returns: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return losses.mean_squared_error(values, returns, weights)

    def _retain_log_odds(self, batch: RoutedSamples, samples: torch.Tensor) -> torch.Tensor:
        """Log-odds of the first expert in the gate for some samples, (B,) bool."""
        return self.policy.retain_log_odds(rows(batch.observations, samples))

    def _gradients_without_masks(
        self, masks: torch.Tensor | None, loss_under: Callable[[torch.Tensor], torch.Tensor]
    ) -> list[torch.Tensor | None] | None:
        """The gradients of the loss under unit masks, for an optimiser that reads them; None if there are no masks.

        Args:
            masks: (B, M) of the minibatch.
            loss_under: computes the loss under masks (B, M).
        """
        optimizer = self.policy.optimizer
        if not isinstance(optimizer, SplitAdam) or masks is None or bool((masks == 1).all()):
            return None
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        found = torch.autograd.grad(loss_under(torch.ones_like(masks)), trained, allow_unused=True)
        gradients = dict(zip(trained, found, strict=True))
        return [gradients.get(parameter) for parameter in parameters]

    def entropy_weight(self) -> float:
        """Weight of the entropy bonus at this point of the run."""
        if self.final_ent_coef is None:
            return self.ent_coef
        return self.ent_coef**self._current_progress_remaining * self.final_ent_coef ** (
            1 - self._current_progress_remaining
        )

    def _step_optimizer(
        self,
        loss: torch.Tensor,
        masks: torch.Tensor | None,
        critic_trained: bool,
        gate_trained: bool,
        unrouted: list[torch.Tensor | None] | None,
    ) -> None:
        """One optimiser step. A block that no sample trains stays unchanged, and so does the critic.

        Args:
            loss: scalar.
            masks: (B, M).
            critic_trained: whether a sample trains the critic.
            gate_trained: whether a sample has a target of the gate.
            unrouted: gradients under unit masks, for the second moment of `SplitAdam`; None: no split.
        """
        check_finite_loss(
            loss, self.policy, self._n_updates
        )  # changed from SB3 2.9 (8 of 10): a loss of nan is an error
        self.policy.optimizer.zero_grad()
        loss.backward()
        if masks is not None and isinstance(self.policy, BlockPolicy):
            # changed from SB3 2.9 (9 of 10): Adam moves on a gradient of zeros
            trained = masks.any(0).tolist()
            trained[-1] |= gate_trained
            blocks = zip(self.policy.architecture.columns, trained, strict=True)
            still = [self.policy.block_parameters(name) for name, any_sample in blocks if not any_sample]
            for parameter in chain(*still, () if critic_trained else self.policy.critic_parameters()):
                parameter.grad = None
        if math.isfinite(self.max_grad_norm):  # changed from SB3 2.9 (10 of 10): clipping may be off
            norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            if unrouted is not None:  # by the same factor
                factor = (self.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
                unrouted = [None if gradient is None else gradient * factor for gradient in unrouted]
        if unrouted is None:
            self.policy.optimizer.step()
        else:
            assert isinstance(self.policy.optimizer, SplitAdam)
            self.policy.optimizer.split_step(unrouted)
