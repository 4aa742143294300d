"""Rollout buffer that requests verdicts from the overseer and applies the method before returns are computed.

Stable-Baselines3 adds the bootstrap at time-outs to rewards before they reach the buffer. With a critic of its own, the
buffer adds the bootstraps of all time-outs of a rollout in one forward pass instead. A method reads and replaces the
raw reward. It never changes the bootstrap, which is the critic's estimate of the return that follows.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import Space
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, RolloutBufferSamples

from agents.channel import Channel
from agents.tabular.rollout import Trajectories
from agents.vec_env import GymnasiumVecEnv
from envs.channels import is_image
from envs.observations import rows
from routing import Feedback, Overseer, Rollout, Treat, View, judged

SAMPLED = ("weights", "masks", "critic_weights", "gate", "baselined")  # (T, N, ...), of which minibatches are drawn


class RoutedSamples(NamedTuple):
    """A minibatch: Stable-Baselines3's fields, then each sample's treatment."""

    observations: torch.Tensor  # (B, *obs)
    actions: torch.Tensor  # (B, action_dim)
    old_values: torch.Tensor  # (B,)
    old_log_prob: torch.Tensor  # (B,)
    advantages: torch.Tensor  # (B,)
    returns: torch.Tensor  # (B,)
    weights: torch.Tensor  # (B,)
    masks: torch.Tensor | None  # (B, M); None: nothing is routed
    critic: torch.Tensor  # (B,) weight in the critic's loss
    gate: torch.Tensor  # (B,) target of the gate, positive: retain, negative: forget, 0: none
    baselined: torch.Tensor  # (B,) bool, whether the critic's value was subtracted
    scale: float = 1.0  # of the loss


def untreated_samples(batch: RolloutBufferSamples | DictRolloutBufferSamples) -> RoutedSamples:
    """Extend a minibatch of Stable-Baselines3's own buffer by the treatment of an environment without an overseer."""
    ones = torch.ones_like(batch.returns)
    return RoutedSamples(
        batch.observations,  # type: ignore[arg-type]  # tensors by name, for a Dict space
        batch.actions,
        batch.old_values,
        batch.old_log_prob,
        batch.advantages,
        batch.returns,
        weights=ones,
        masks=None,
        critic=ones,
        gate=torch.zeros_like(ones),
        baselined=torch.ones_like(ones, dtype=torch.bool),
    )


class Routed(RolloutBuffer):
    """T steps of N copies, treated by an oversight method: the base of the two rollout buffers.

    Treatments read images in [0, 1], and observations of a Dict space as flat vectors, (F,).

    Args:
        *args, **kwargs: as RolloutBuffer's.
        treat: computes the treatment of a rollout.
        overseer: computes the feedback on a rollout.
        channel: the overseer's side of the environment, with its limits.
        flags: (*obs,) bool, entries of an observation that show the agent what the overseer will see; not read if the
            space is a Dict.
        columns: names of the columns of masks.

    Attributes:
        labels_used: verdicts read since the buffer was made.
        critic: (n, *obs), by name for a Dict space, -> (n,) values, for the bootstrap at time-outs; None if rewards
            include it already.
        progress: share of the run's steps that were done before the rollout.
    """

    def __init__(
        self,
        *args,
        treat: Treat,
        overseer: Overseer,
        channel: Channel,
        flags: np.ndarray,
        columns: tuple[str, ...],
        **kwargs,
    ):
        self.treat, self.overseer, self.channel, self.flags, self.columns = treat, overseer, channel, flags, columns
        self.labels_used, self.progress = 0, 0.0
        self.critic: Callable[[Any], np.ndarray] | None = None
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Empty the buffer."""
        super().reset()
        shape = (self.buffer_size, self.n_envs)
        self.overseer_obs = np.zeros(shape, dtype=np.int64)
        self.audited: np.ndarray | None = None
        self.states_read: dict[str, np.ndarray] = {}  # of outcome and features, each (T, N, ...)
        self.bad_act: np.ndarray | None = None  # (T, N) kind of bad act, only where the environment is stepped
        self.feedback: Feedback | None = None  # on this rollout
        self.whole_episodes = False
        self.true_reward = np.zeros(shape, dtype=np.float64)
        self.raw_reward = np.zeros(shape, dtype=np.float64)
        self.dones = np.zeros(shape, dtype=bool)
        self.live = np.ones(shape, dtype=bool)
        self.timeouts = np.zeros(shape, dtype=bool)
        self.endings: list[np.ndarray] = []
        self.reached: Callable[[], np.ndarray] = self._reached_by_stepping
        self._view_recorded = False

    def record_overseer_view(self, env: GymnasiumVecEnv, dones: np.ndarray) -> None:
        """Store the overseer's view of the step that the next `add` stores.

        Args:
            env: the environment after the step.
            dones: (N,) bool, whether the step ended an episode.

        Raises:
            RuntimeError: the view of the step before was recorded and its `add` is missing.
        """
        if self._view_recorded:
            raise RuntimeError("two overseer views without an add between them; record one view before each add")
        self._view_recorded = True
        self._record_overseer_obs(env)
        self._record_bad_act(env)
        self.true_reward[self.pos] = env.true_reward
        self.raw_reward[self.pos] = env.raw_reward
        self.endings.append(rows(env.reached, dones))
        self._last_reached = env.reached
        self.dones[self.pos], self.timeouts[self.pos] = dones, env.timeouts

    def _record_overseer_obs(self, env: GymnasiumVecEnv) -> None:
        """Store what the overseer observed in the step: numbers or features, audits, and what its limits read."""
        shape = (self.buffer_size, self.n_envs)
        if self.pos == 0:
            seen = np.asarray(env.overseer_obs)
            self.overseer_obs = np.zeros((*shape, *seen.shape[1:]), np.float64 if seen.ndim > 1 else np.int64)
            self.audited = None if env.audited is None else np.zeros(shape, bool)
        self.overseer_obs[self.pos] = env.overseer_obs
        if self.audited is not None:
            self.audited[self.pos] = env.audited
        for name in ("outcome", "features") if self.channel.reads_states else ():
            values = getattr(env, name)
            if values is not None:
                stored = self.states_read.setdefault(name, np.zeros((*shape, *values.shape[1:]), values.dtype))
                stored[self.pos] = values

    def _record_bad_act(self, env: GymnasiumVecEnv) -> None:
        if env.bad_act is None:
            return
        if self.bad_act is None:
            self.bad_act = np.zeros((self.buffer_size, self.n_envs), np.int8)
        self.bad_act[self.pos] = env.bad_act

    def _reached_by_stepping(self) -> np.ndarray:
        """(T, N, *obs) agent's observation of the state that each step reached, before any reset."""
        reached = np.concatenate([self._read(self.observations, 2)[1:], self._read(self._last_reached)[None]])
        reached = reached.astype(self._read(self._last_reached).dtype)
        reached[self.dones] = self._all_endings()
        return reached

    def _all_endings(self) -> np.ndarray:
        """(E, *obs) agent's observation of each episode's last state, as treatments read it."""
        return np.concatenate([self._read(ending) for ending in self.endings])

    def _read(self, observations: Any, axes: int = 1) -> np.ndarray:
        """Observations (n, *obs), or with other leading axes, as treatments read them: images in [0, 1]."""
        return observations / np.float32(255) if is_image(self.observation_space) else observations

    def add(self, *args, **kwargs) -> None:
        """Store a step, as RolloutBuffer does.

        Raises:
            RuntimeError: the overseer's view of the step was not recorded; labels would belong to other steps.
        """
        if not self._view_recorded:
            raise RuntimeError("a step was added without its overseer view; record one view before each add")
        self._view_recorded = False
        super().add(*args, **kwargs)

    def fill_from(
        self,
        rollout: Trajectories,
        endings: np.ndarray,
        values: np.ndarray,
        timeout_values: np.ndarray,
        reached: Callable[[], np.ndarray],
        states_read: dict[str, np.ndarray],
        whole: bool,
    ) -> None:
        """Store a whole rollout as if the environment had been stepped.

        Args:
            rollout: T steps of N copies; T may differ from `n_steps`.
            endings: (E, *obs) agent's observation of each episode's last state.
            values: (T, N) the critic's values of the observations.
            timeout_values: (n,) the critic's values of the states reached at time-outs.
            reached: computes (T, N, *obs) agent's observation of the state that each step reached.
            states_read: outcome (T, N) and features (T, N, F), if limits of the overseer read them.
            whole: the columns hold whole episodes, which do not continue those of the last rollout.
        """
        self.buffer_size, self.n_envs = rollout.reward.shape
        self.reset()
        self.overseer_obs, self.true_reward, self.dones = rollout.overseer_obs, rollout.true_reward, rollout.dones
        self.raw_reward, self.live = rollout.reward, rollout.live
        self.endings = [endings]
        self.reached, self.states_read, self.whole_episodes = lambda: self._read(reached(), 2), states_read, whole
        self.episode_starts[1:] = rollout.dones[:-1]
        self.values = values
        bootstrap = np.zeros(rollout.reward.shape, np.float32)
        bootstrap[rollout.timeouts] = timeout_values
        self.rewards = (rollout.reward + self.gamma * bootstrap).astype(np.float32)

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        """Treat the rollout, then estimate advantages from the treated rewards.

        Args:
            last_values: (N,) values of the observations after the last step.
            dones: (N,) bool, whether the last step ended an episode.
        """
        view = View(self.overseer_obs, self.true_reward, self.dones, audited=self.audited, live=self.live)
        feedback = self.overseer(self.channel.view(view._replace(whole=self.whole_episodes, **self.states_read)))
        self.feedback = feedback
        endings = self._all_endings()
        flags = self.flags if self.flags.shape == endings.shape[1:] else np.zeros(endings.shape[1:], bool)
        rollout = Rollout(self.raw_reward, endings, flags, feedback, self.live, progress=self.progress)
        observed = self.channel.features(self.overseer_obs)
        treatment = self.treat(rollout._replace(overseer_obs=observed, reached=self.reached))
        self.rewards += (treatment.rewards - self.raw_reward).astype(np.float32)
        if self.critic is not None and self.timeouts.any():
            at_timeouts = [rows(ending, timeout[done]) for ending, timeout, done in self._ends_by_step()]
            self.rewards[self.timeouts] += self.gamma * self.critic(joined(at_timeouts))
        self.weights = treatment.weights.astype(np.float32) * self.live
        self.masks = treatment.masks.astype(np.float32)
        self.critic_weights = self.weights * treatment.critic.astype(np.float32)
        self.gate = treatment.gate.astype(np.float32)
        self.baselined, self.scale = treatment.baselined, treatment.scale
        self._record_metrics(feedback)
        super().compute_returns_and_advantage(last_values, dones)
        after_cut = last_values.clone().cpu().numpy().flatten() * ~dones
        self.advantages = np.where(self.baselined, self.advantages, self._plain_returns(after_cut))

    def _ends_by_step(self) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """The endings (n, *obs) of each step, and which copies timed out and ended in it, (N,) bool each."""
        return zip(self.endings, self.timeouts, self.dones, strict=True)

    def _plain_returns(self, after_cut: np.ndarray) -> np.ndarray:
        """(T, N) discounted sum of treated rewards; (N,) values of what follows where the rollout cuts an episode."""
        ahead = after_cut.astype(np.float32)
        returns = np.empty_like(self.rewards)
        for t in reversed(range(self.buffer_size)):
            ahead = self.rewards[t] + self.gamma * ~self.dones[t] * ahead
            returns[t] = ahead
        return returns

    def _record_metrics(self, feedback: Feedback) -> None:
        """Store the verdicts on this rollout's episode ends, and the metrics of oversight and routing."""
        scores = feedback.seen[feedback.dones]
        self.verdicts = scores[judged(scores)]
        self.labels_used += len(self.verdicts)
        mean_masks = self.masks[self.live].mean(0)
        self.metrics = {
            "oversight/labels_used": float(self.labels_used),
            "oversight/seen_fraction": len(self.verdicts) / max(len(scores), 1),
            **{f"routing/mask_mean/{name}": float(m) for name, m in zip(self.columns, mean_masks, strict=True)},
            **self._weight_metrics(),
        }

    def _weight_metrics(self) -> dict[str, float]:
        """Effective sample size, (sum w)^2 / (n sum w^2), and largest weight; empty if all weights are equal."""
        weights = self.weights[self.live]
        largest = weights.max(initial=0)
        if weights.min(initial=np.inf) >= largest:
            return {}
        size = weights.sum(dtype=np.float64) ** 2 / (len(weights) * np.square(weights, dtype=np.float64).sum())
        return {"oversight/effective_sample_size": float(size), "oversight/largest_weight": float(largest)}

    def get(self, batch_size: int | None = None) -> Iterator[RoutedSamples]:  # type: ignore[override]
        """Yield minibatches in random order, without the samples that the method filtered out."""
        if not self.generator_ready:
            self._flatten(*SAMPLED)
        return super().get(batch_size)  # type: ignore[return-value]

    def whole(self) -> RoutedSamples:
        """Return all samples that were not filtered out, copy by copy. Called instead of `get`."""
        self._flatten(*SAMPLED)
        self._flatten("observations", "actions", "values", "log_probs", "advantages", "returns")
        return self._get_samples(np.arange(len(self.weights)))

    def _flatten(self, *names: str) -> None:
        for name in names:
            values = self.__dict__[name]
            if isinstance(values, dict):
                self.__dict__[name] = {key: self.swap_and_flatten(value) for key, value in values.items()}
            else:
                self.__dict__[name] = self.swap_and_flatten(values)

    def _get_samples(self, batch_inds: np.ndarray, env=None) -> RoutedSamples:  # type: ignore[override]
        # changed from SB3 2.9 (1 of 1): filtered samples are dropped and the treatment is appended
        selected = batch_inds[self.weights[batch_inds, 0] > 0]
        samples = super()._get_samples(selected)
        return RoutedSamples(
            *samples,
            weights=self.to_torch(self.weights[selected, 0]),
            masks=self.to_torch(self.masks[selected]),
            critic=self.to_torch(self.critic_weights[selected, 0]),
            gate=self.to_torch(self.gate[selected, 0]),
            baselined=self.to_torch(self.baselined[selected, 0]),
            scale=self.scale,
        )


class RoutedRolloutBuffer(Routed):
    """T steps of N copies with array observations."""


class RoutedDictRolloutBuffer(Routed, DictRolloutBuffer):  # type: ignore[misc]  # samples carry their treatment
    """T steps of N copies with observations of a Dict space."""

    def _read(self, observations: Any, axes: int = 1) -> np.ndarray:
        return flattened(self.observation_space, observations, axes)


def joined(observations: Sequence[Any]) -> Any:
    """Concatenate batches of observations, by name if they are dictionaries."""
    if isinstance(observations[0], dict):
        return {key: np.concatenate([batch[key] for batch in observations]) for key in observations[0]}
    return np.concatenate(observations)


def flattened(space: Space, observations: Mapping[str, np.ndarray], axes: int) -> np.ndarray:
    """Flatten the parts of a Dict, (..., *part) with `axes` leading axes -> (..., F) float32, images in [0, 1]."""
    parts = []
    for name, part in space.spaces.items():  # type: ignore[attr-defined]
        values = observations[name].astype(np.float32) / (255 if is_image(part) else 1)
        parts.append(values.reshape(*values.shape[:axes], math.prod(values.shape[axes:])))
    return np.concatenate(parts, axes)
