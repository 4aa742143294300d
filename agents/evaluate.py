"""Estimates the true return of a deployed policy: exactly in an enumerated world, from sampled episodes elsewhere.

Returns are stratified by whether the start state is watched. The start is drawn before the agent acts, so the strata
are free of the selection bias that "episodes whose end the overseer saw" would have.

The believed return sums what a naive overseer takes for the reward of each step: its verdict, or the proxy reward where
it gives none.

Bad acts are those that the world declares, and they are split by whether its overseer monitors them: see
`envs.monitoring`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs

import envs
from agents.actions import draw_actions
from agents.carried import Carried
from agents.memory import LSTM, NONE, parse_memory
from agents.onednn import use_onednn
from agents.policies.blocks import BlockUse
from agents.policies.policy import BlockPolicy
from agents.worlds import MEMORY, make_world
from envs.certificate import misestimation
from envs.certificate.planning import believed_reward
from envs.exact.bad_acts import BadActs, BadActTable
from envs.limited import limits_of
from envs.monitoring import ObservedSteps, StepMonitor
from envs.overseer_view import last_info
from routing import parse_limits
from routing.oversight.limits import MEMORYLESS, WORLD

NAN = float("nan")
MAX_PREFIXES = 2_000  # of episodes: above, over- and underestimation of a policy are not computed
ROWS = 4096  # observations in one forward pass: the activations stay in a processor's cache


class Evaluation(NamedTuple):
    """Expected values per episode; returns are discounted by the world's gamma."""

    true_return: float
    true_return_seen: float  # nan where no episode starts watched
    true_return_unseen: float  # nan where every episode starts watched
    proxy_return: float
    episode_length: float
    believed_return: float = NAN  # nan in an environment without verdicts
    overestimation: float = NAN  # of an episode's return: E max(believed - true, 0); nan where it is not computed
    underestimation: float = NAN  # E max(true - believed, 0)
    outcomes: Mapping[str, float] = {}  # outcome -> probability that an episode ends with it; empty without outcomes
    bad_acts: BadActs | None = None  # None in an environment that declares none
    true_return_stderr: float = NAN  # standard error of a sampled true return; nan where it is exact or of one episode


class Evaluator(Protocol):
    """Evaluates policies in one world."""

    def __call__(self, policy: ActorCriticPolicy) -> Evaluation:
        """Evaluate the policy as it is deployed now."""

    def each(self, policy: BlockPolicy, uses: Sequence[BlockUse]) -> list[Evaluation]:
        """Evaluate the policy in each of these uses."""


def make_evaluator(env_id: str, seed: int, episodes: int = 512, **env_kwargs) -> tuple[Evaluator, bool]:
    """Make an evaluator of policies in one world.

    With memory lstm(W) among the arguments it samples episodes in any world: the policy is no table of observations.

    Args:
        env_id: Gymnasium id.
        seed: of the sampled episodes; every call samples the same episodes.
        episodes: number of episodes to sample where the world cannot be enumerated.
        **env_kwargs: arguments of the environment.

    Returns:
        The evaluator, and whether it is exact.
    """
    if parse_memory(env_kwargs.get(MEMORY, NONE)).kind == LSTM:
        return SampledEvaluator(env_id, seed, episodes, **env_kwargs), False
    try:
        return ExactEvaluator(env_id, **env_kwargs), True
    except envs.NotEnumerable:
        return SampledEvaluator(env_id, seed, episodes, **env_kwargs), False


def evaluated_world(env_id: str, copies: int, overseer: str = "", **env_kwargs) -> VectorEnv:
    """Make the world that an agent is evaluated in: without audits and limits of the overseer, which it cannot observe.

    Args:
        env_id: Gymnasium id.
        copies: N.
        overseer: limits of the overseer. One that changes the world itself stays.
        **env_kwargs: arguments of the environment.
    """
    asks = "|".join(bound.name for bound in parse_limits(overseer) if bound.part.kind == WORLD)
    if not asks and not envs.takes_oversight_prob(env_id):
        env_kwargs.pop("oversight_prob", None)
    return make_world(env_id, copies, overseer=asks, **env_kwargs)


def make_monitor(world: VectorEnv, env_id: str, overseer: str = "", **env_kwargs) -> StepMonitor:
    """Make the monitor of an evaluated world: its overseer with the audits and limits that the world itself is without.

    Args:
        world: of `evaluated_world` with the other arguments.
        env_id: Gymnasium id.
        overseer: limits of the overseer. Those with a history are left out.
        **env_kwargs: arguments of the environment.
    """
    audits = 0.0 if envs.takes_oversight_prob(env_id) else env_kwargs.pop("oversight_prob", None) or 0.0
    memoryless = "|".join(bound.name for bound in parse_limits(overseer) if bound.part.kind == MEMORYLESS)
    limits = limits_of(make_world(env_id, 1, overseer=memoryless, **env_kwargs)) if memoryless else ()
    return StepMonitor(world, limits, audits)


def action_probabilities(policy: ActorCriticPolicy, observations: PyTorchObs) -> torch.Tensor:
    """(n, *obs) -> (n, A) of a policy over discrete actions."""
    with torch.no_grad():
        return policy.get_distribution(observations).distribution.probs  # type: ignore[union-attr]


class ExactEvaluator:
    """Evaluates from the tables of the world, without sampling error.

    Args:
        env_id: Gymnasium id.
        **env_kwargs: arguments of the environment.

    Raises:
        envs.NotEnumerable: the world has no tables, or too many states.
    """

    def __init__(self, env_id: str, **env_kwargs) -> None:
        world: Any = evaluated_world(env_id, 1, **env_kwargs)
        self.tables = envs.compile_world(world)
        self.believed = believed_reward(world, self.tables)
        self.occupancy = envs.exact.Occupancy.of(self.tables, self.believed)
        self.observations = torch.as_tensor(self.tables.observations).float()
        self.is_one_sided = misestimation.is_one_sided(self.believed - self.tables.true_reward)
        self.bad_acts = self._bad_act_table(make_monitor(world, env_id, **env_kwargs)) if world.bad_acts else None
        self.counts_prefixes = not self.is_one_sided and self._errors(self._random_policy()) is not None

    def _bad_act_table(self, monitor: StepMonitor) -> BadActTable:
        return BadActTable.of(self.occupancy, monitor.world.bad_acts, monitor.tabulated(self.tables))

    def __call__(self, policy: ActorCriticPolicy) -> Evaluation:
        with use_onednn():
            probabilities = [action_probabilities(policy, rows) for rows in self._observations_on_device(policy)]
        return self._evaluation(torch.cat(probabilities))

    def each(self, policy: BlockPolicy, uses: Sequence[BlockUse]) -> list[Evaluation]:
        with use_onednn():
            chunks = [
                policy.log_probabilities(policy.encode(rows), uses) for rows in self._observations_on_device(policy)
            ]
        return [self._evaluation(torch.cat(log_probability).exp()) for log_probability in zip(*chunks, strict=True)]

    def _observations_on_device(self, policy: ActorCriticPolicy) -> tuple[torch.Tensor, ...]:
        """All observations on the policy's device, in chunks of (n, *obs)."""
        self.observations = self.observations.to(policy.device)
        return self.observations.split(ROWS if policy.device.type == "cpu" else len(self.observations))

    def _evaluation(self, probabilities: torch.Tensor) -> Evaluation:
        policy = probabilities.double().cpu().numpy()
        exact = envs.exact.evaluate_along(self.occupancy, policy, self.bad_acts)
        errors = (NAN, NAN)
        if self.is_one_sided:
            errors = misestimation.one_sided_errors(exact.believed_return - exact.true_return)
        elif self.counts_prefixes:
            errors = self._errors(policy) or errors
        return Evaluation(
            exact.true_return,
            exact.true_return_seen,
            exact.true_return_unseen,
            exact.proxy_return,
            exact.length,
            exact.believed_return,
            *errors,
            exact.outcomes,
            exact.bad_acts,
        )

    def _errors(self, policy: np.ndarray) -> misestimation.Misestimation | None:
        """The estimation errors of a policy (O, A) whose prefixes of episodes are few, else None."""
        plan = policy[self.tables.observation][None]
        return misestimation.misestimation_of(self.tables, self.believed, plan, MAX_PREFIXES)

    def _random_policy(self) -> np.ndarray:
        """(O, A): it has every prefix that another policy can have."""
        return np.ones((len(self.tables.observations), self.tables.n_actions)) / self.tables.n_actions


class SampledEvaluator:
    """Evaluates from the first episode of each of many copies.

    Args:
        env_id: Gymnasium id.
        seed: of the episodes; every call samples the same episodes.
        episodes: number of episodes.
        **env_kwargs: arguments of the environment.
    """

    def __init__(self, env_id: str, seed: int, episodes: int, **env_kwargs) -> None:
        self.env = evaluated_world(env_id, episodes, **env_kwargs)
        self.seed, self.episodes = seed, episodes
        self.monitor = make_monitor(self.env, env_id, **env_kwargs)
        if self.monitor.limits and getattr(self.env, "feature_names", ()):
            self.env.unwrapped.expose_features = True  # type: ignore[attr-defined]

    def each(self, policy: BlockPolicy, uses: Sequence[BlockUse]) -> list[Evaluation]:
        evaluations = []
        for use in uses:
            with policy.deployed(*use):
                evaluations.append(self(policy))
        return evaluations

    def __call__(self, policy: ActorCriticPolicy) -> Evaluation:
        generator = torch.Generator().manual_seed(self.seed)
        obs, info = self.env.reset(seed=self.seed)
        watched = np.asarray(info["watched"])
        live, discount = np.ones(self.episodes, dtype=bool), 1.0
        carried = Carried(policy, self.episodes)
        true, proxy, believed, length = np.zeros((4, self.episodes))
        ended = np.zeros(self.episodes, np.int64)  # the outcome of each episode
        counts = SampledBadActs(self.monitor, self.episodes) if getattr(self.env, "bad_acts", ()) else None
        while live.any():
            actions = draw_actions(policy, carried.distribution(policy.obs_to_tensor(obs)[0]), generator)
            obs, reward, terminated, truncated, info = self.env.step(actions)
            true += live * discount * info["true_reward"]
            proxy += live * discount * reward
            believed += live * discount * self._believed_reward(reward, info)
            ended = np.where(live, info.get("outcome", 0), ended)
            if counts is not None:
                counts.add(info, terminated, live, discount)
            length += live
            live &= ~(terminated | truncated)
            carried.restart(terminated | truncated)
            discount *= self.env.gamma  # type: ignore[attr-defined]
        strata = _mean(true[watched]), _mean(true[~watched])
        return Evaluation(
            true.mean(),
            *strata,
            proxy.mean(),
            length.mean(),
            believed.mean(),
            np.maximum(believed - true, 0).mean(),
            np.maximum(true - believed, 0).mean(),
            self._outcome_rates(ended) if "outcome" in info else {},
            None if counts is None else counts.means(float(true.mean())),
            float(true.std(ddof=1) / math.sqrt(self.episodes)) if self.episodes > 1 else NAN,
        )

    def _believed_reward(self, reward: np.ndarray, info: Mapping[str, np.ndarray]) -> np.ndarray:
        """The verdict on each step, or the proxy reward where there is none; nan without verdicts, (N,)."""
        if "overseer_obs" not in info or not hasattr(self.env, "judgement"):
            return np.full(self.episodes, NAN)
        world: Any = self.env
        observed = info["overseer_obs"]
        verdict = world.verdict(observed) if hasattr(world, "verdict") else world.judgement[observed]
        return np.where(np.isnan(verdict), reward, verdict)

    def _outcome_rates(self, outcome: np.ndarray) -> dict[str, float]:
        """Outcome -> the share of the episodes, (N,) int, that end with it."""
        names = getattr(self.env, "outcomes", ())
        shares = np.bincount(outcome, minlength=len(names)) / self.episodes
        return dict(zip(names, shares.tolist(), strict=False))


class SampledBadActs:
    """Counts the bad acts and bad verdicts of the first episode of each of N copies.

    Verdicts are not drawn: each step adds its probability of a bad verdict.
    """

    def __init__(self, monitor: StepMonitor, episodes: int) -> None:
        self.monitor, self.kinds = monitor, tuple(monitor.world.bad_acts)
        self.monitored, self.unmonitored, self.verdicts, self.lost = np.zeros((4, episodes))
        self.of_kind = np.zeros((len(self.kinds), episodes))

    def add(self, info: dict[str, Any], terminated: np.ndarray, live: np.ndarray, discount: float) -> None:
        """Add a step.

        Args:
            info: of the step.
            terminated: (N,) bool.
            live: (N,) bool, the copies still in their first episode.
            discount: of the step.

        Raises:
            ValueError: the info has no bad acts.
        """
        kind = last_info(info, "bad_act")
        if kind is None:
            raise ValueError(f"{self.monitor.world} has bad_acts, and no 'bad_act' in the info of a step: add it")
        steps = self._observed(info, terminated)
        bad_verdict = self.monitor.bad_verdict(steps)
        bad = live & (kind > 0)
        self.monitored += bad & (bad_verdict > 0)
        self.unmonitored += bad & (bad_verdict <= 0)
        self.verdicts += live * bad_verdict
        self.lost += bad * discount * steps.true_reward
        for number, count in enumerate(self.of_kind, 1):
            count += live & (kind == number)

    def _observed(self, info: dict[str, Any], terminated: np.ndarray) -> ObservedSteps:
        n = len(terminated)
        absent = {"overseer_obs": np.zeros(n, int), "outcome": np.zeros(n, int), "audited": np.zeros(n, bool)}
        absent |= {"features": np.zeros((n, 0))}
        found = {name: last_info(info, name) for name in absent}
        columns = {name: absent[name] if value is None else np.asarray(value) for name, value in found.items()}
        label, outcome, audited, features = columns.values()
        return ObservedSteps(label, last_info(info, "true_reward"), outcome, terminated, features, audited)

    def means(self, true_return: float) -> BadActs:
        """Average over the episodes, of which `true_return` is the mean discounted true return."""
        monitored, unmonitored = float(self.monitored.mean()), float(self.unmonitored.mean())
        return BadActs(
            monitored + unmonitored,
            monitored,
            unmonitored,
            float(self.verdicts.mean()),
            true_return - float(self.lost.mean()),
            dict(zip(self.kinds, self.of_kind.mean(1).tolist(), strict=True)),
        )


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else float("nan")
