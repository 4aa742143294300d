"""A limit of the overseer that has no memory: a kernel that replaces its observation of a step by another at random.

The kernel gives each step a probability and another label. The overseer observes the other label with that
probability, independently at each step. In the tables the distinct probabilities cut [0, 1] into the values of one
more noise, so exact numbers of limited worlds are exact.

Letters: N copies, n steps, L labels, F state features, S_A non-terminal states, A actions, Z values of the noise, M
values of the kernel's noise.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from envs.enumeration import compile_world
from envs.overseer_view import OverseerView, last_info, put_info
from envs.tables import NotEnumerable, Tables

STREAM = 3
UNSEEN = "unseen"
DIGITS = 12  # probabilities that agree to this many decimals are equal
MAX_CELLS = 50_000_000  # S_A * A * Z * M

Kernel = Callable[..., tuple[np.ndarray, np.ndarray]]
"""(label (n,) int, verdict (n,) float, outcome (n,) int, terminated (n,) bool, features (n, F) float, *, labels,
judgement, hidden, outcomes, feature_names) -> (probability (n,), new label (n,) int)."""


class OverseerLabels(NamedTuple):
    """The overseer labels of an environment, and what each looks like if the overseer misses it."""

    names: tuple[str, ...]  # (L,)
    judgement: np.ndarray  # (L,) float
    hidden: np.ndarray  # (L,) int


def hidden_labels(env: Any) -> OverseerLabels:
    """The overseer labels of an environment, with a label for a step that the overseer misses.

    Without `hidden`, a missed step looks like the first label without verdict. If every label has a verdict, the label
    "unseen" is added, which has none.
    """
    names, judgement = tuple(env.overseer_labels), np.asarray(env.judgement, float)
    declared = np.asarray(getattr(env, "hidden", ()), np.int64)
    if len(declared):
        return OverseerLabels(names, judgement, declared)
    if not np.isnan(judgement).any():
        names, judgement = (*names, UNSEEN), np.append(judgement, np.nan)
    return OverseerLabels(names, judgement, np.full(len(names), np.isnan(judgement).argmax()))


class LimitedOverseer(OverseerView):
    """An environment whose overseer observes another label at random, as a kernel determines."""

    def __init__(self, env: VectorEnv, kernel: Kernel, name: str = "") -> None:
        """Wraps an environment.

        Args:
            env: the environment; it declares `overseer_labels` and `judgement`.
            kernel: a pure function of steps, row by row: see `Kernel`. `features` are `state_features` of the state
                reached, and `hidden` is the label that each label looks like if the overseer misses it.
            name: names the kernel in messages; by default the function's name.

        Raises:
            ValueError: the environment has audits, or its overseer observes features that have no labels.
        """
        super().__init__(env, STREAM, 1 + len(limits_of(env)))
        self.kernel, self.name = kernel, name or getattr(kernel, "__name__", type(kernel).__name__)
        if getattr(env, "audit_label", None) is not None:
            raise ValueError(f"limit {self.name!r} around audits: put limits inside, world -> limits -> audits")
        if not all(hasattr(env, name) for name in ("overseer_labels", "judgement")):
            raise ValueError(f"limit {self.name!r} needs labels, but {env} declares no overseer_labels and judgement")
        if self.overseer_features:
            raise ValueError(f"limit {self.name!r} needs labels, but {env.unwrapped} observes features without tables")
        if getattr(env, "feature_names", None):
            env.unwrapped.expose_features = True  # type: ignore[attr-defined]

    @functools.cached_property
    def _labels(self) -> OverseerLabels:
        return hidden_labels(self.env)

    @property
    def described(self) -> dict[str, Any]:
        """The arguments of the wrappers by their names in reports; limits are joined in their order."""
        inner = super().described
        return inner | {"overseer": "|".join(filter(None, (inner.get("overseer"), self.name)))}

    @property
    def hidden(self) -> np.ndarray:
        """(L,) int: the label that each looks like if the overseer misses it."""
        return self._labels.hidden

    def verdict(self, overseer_obs: np.ndarray) -> np.ndarray:
        """The verdict on each overseer observation: (N,) -> (N,) float, nan for none."""
        return self.judgement[overseer_obs]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps every copy; draws for each whether the overseer observes the kernel's label."""
        obs, reward, terminated, truncated, info = self.env.step(actions)
        label = self._inner_overseer_obs(info)
        outcome, features = last_info(info, "outcome"), last_info(info, "features")
        if features is None and getattr(self.env, "feature_names", None):
            raise ValueError(f"{self.env} has feature_names, and no 'features' in the info of a step: add them")
        probability, other = self._evaluate(
            label,
            np.zeros(self.num_envs, np.int64) if outcome is None else outcome,
            terminated,
            np.zeros((self.num_envs, 0)) if features is None else features,
        )
        replaced = self._generator.random(self.num_envs) < probability
        put_info(info, "overseer_obs", np.where(replaced, other, label))
        return obs, reward, terminated, truncated, info

    def _evaluate(
        self, label: np.ndarray, outcome: np.ndarray, terminated: np.ndarray, features: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The kernel's probabilities, (n,) float in [0, 1], and labels, (n,) int."""
        probability, other = self.kernel(
            label,
            self.judgement[label],
            outcome,
            terminated,
            features,
            labels=self.overseer_labels,
            judgement=self.judgement,
            hidden=self.hidden,
            outcomes=tuple(getattr(self.env, "outcomes", ())),
            feature_names=tuple(getattr(self.env, "feature_names", ())),
        )
        probability, other = np.asarray(probability, float), np.asarray(other)
        if probability.shape != label.shape or not ((probability >= 0) & (probability <= 1)).all():
            raise ValueError(
                f"limit {self.name!r} returns probabilities of shape {probability.shape}, "
                f"{probability.min(initial=np.inf):g} to {probability.max(initial=-np.inf):g}: "
                f"return {len(label)} from 0 to 1"
            )
        count = len(self.overseer_labels)
        if other.shape != label.shape or other.dtype.kind not in "iu" or not ((other >= 0) & (other < count)).all():
            raise ValueError(
                f"limit {self.name!r} returns labels as {other.dtype} of shape {other.shape}: "
                f"return {len(label)} integers from 0 to {count - 1}"
            )
        return probability, other

    def spread(
        self, share: np.ndarray, outcome: np.ndarray, terminated: np.ndarray, features: np.ndarray
    ) -> np.ndarray:
        """The distribution over the labels of n steps with this limit, from that without it.

        Args:
            share: (n, labels of the wrapped environment), the probability of each label.
            outcome: (n,) int, as in `Kernel`; likewise the others.
            terminated: (n,) bool.
            features: (n, F) float.

        Returns:
            (n, L).
        """
        limited = np.zeros((len(share), len(self.overseer_labels)))
        for label in np.flatnonzero(share.any(0)):
            rows = np.flatnonzero(share[:, label])
            labels = np.full(len(rows), label)
            probability, other = self._evaluate(labels, outcome[rows], terminated[rows], features[rows])
            replaced = np.round(probability, DIGITS) * share[rows, label]
            limited[rows, label] += share[rows, label] - replaced
            limited[rows, other] += replaced
        return limited

    def tabulate(self) -> Tables:
        """The world's tables with one more noise, by which the overseer observes the kernel's label.

        Raises:
            NotEnumerable: the world has no tables, or the kernel has too many distinct probabilities.
        """
        return self._tables

    @functools.cached_property
    def _tables(self) -> Tables:
        tables = compile_world(self.env)
        label, successor = tables.overseer_obs.ravel(), tables.successor.ravel()
        features = self.env.state_features(tables.states)[successor]  # type: ignore[attr-defined]
        probability, other = self._evaluate(
            label, tables.outcome[successor], successor >= len(tables.successor), features
        )
        probability = np.round(probability, DIGITS)
        cuts = np.unique(np.append(probability[other != label], 1.0))
        cuts = cuts[cuts > 0]  # (M,): the upper ends of the values of the kernel's noise
        if tables.successor.size * len(cuts) > MAX_CELLS:
            raise NotEnumerable(f"limit {self.name!r} has {len(cuts)} distinct probabilities: round them for tables")
        observed = np.where(probability[:, None] >= cuts, other[:, None], label[:, None])
        shape = (*tables.successor.shape[:2], -1)

        def repeated(table: np.ndarray) -> np.ndarray:
            return np.repeat(table, len(cuts), axis=2)

        return tables._replace(
            successor=repeated(tables.successor),
            noise=np.outer(tables.noise, np.diff(cuts, prepend=0.0)).ravel(),
            reward=repeated(tables.reward),
            true_reward=repeated(tables.true_reward),
            overseer_obs=observed.reshape(shape),
            bad_act=repeated(tables.bad_act),
        )


def limits_of(env: Any) -> tuple[LimitedOverseer, ...]:
    """The limits among an environment's wrappers, itself included, the innermost first."""
    limits: tuple[LimitedOverseer, ...] = ()
    while env is not env.unwrapped:
        limits, env = ((env, *limits) if isinstance(env, LimitedOverseer) else limits), env.env
    return limits
