"""Small random worlds, and the figures of their agents by brute force over all deterministic policies."""

import itertools

import numpy as np
from gymnasium.spaces import MultiBinary
from scipy import optimize

import envs


class RandomWorld(envs.POMDP):
    """Three states, one terminal state and a coin; everything else is drawn from a seed."""

    outcomes = ("end",)

    def __init__(
        self,
        num_envs=1,
        *,
        seed=0,
        labels=3,
        views=2,
        actions=2,
        certain=False,
        gamma=0.9,
        coin=0.3,
        max_episode_steps=3,
        render_mode=None,
    ):
        self.seed, self.labels, self.views, self.actions = seed, labels, views, actions
        self.certain, self.gamma, self.coin = certain, gamma, coin
        rng = np.random.default_rng(seed)
        self.next = rng.integers(0, 4, (3, actions, 1 if certain else 2))
        self.worth = rng.normal(size=(4, actions, 4)).round(1)
        self.shown = rng.integers(0, labels, (4, actions, 4)) if labels < 32 else np.arange(32).reshape(4, 2, 4)
        self.seen = rng.integers(0, views, 4) if views < 4 else np.arange(4)
        self.overseer_labels = tuple(map(str, range(labels)))
        self.judgement = np.where(rng.random(labels) < 0.5, rng.normal(size=labels), np.nan)
        self.noise = {} if certain else {"coin": (coin, 1 - coin)}
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(4), actions)

    def starts(self):
        return np.array([[0], [1], [2]]), np.array([0.5, 0.3, 0.2])

    def transition(self, state, action, coin=0):
        return self.next[state[:, 0], action, coin][:, None]

    def terminal(self, state):
        return state[:, 0] == 3

    def reward(self, state, action, next_state):
        return np.ones(len(state))

    def true_reward(self, state, action, next_state):
        return self.worth[state[:, 0], action, next_state[:, 0]]

    def observation(self, state):
        return np.eye(4, dtype=np.int8)[self.seen[state[:, 0]]]

    def overseer_observation(self, state, action, next_state):
        return self.shown[state[:, 0], action, next_state[:, 0]]


def step_components(world, tables):
    """(S_A, A, Z, 2 + L): true reward, believed reward and one-hot overseer observation of each step."""
    verdict = world.judgement[tables.overseer_obs]
    believed = np.where(np.isnan(verdict), tables.reward, verdict)
    one_hot = np.eye(len(world.overseer_labels))[tables.overseer_obs]
    return np.concatenate([tables.true_reward[..., None], believed[..., None], one_hot], -1)


def distinct(vectors):
    return np.array(list({tuple(v): v for v in np.round(vectors, 12)}.values()))


def all_history_policies(world, tables, observation):
    """(P, 2 + L): the components of every deterministic policy of the history of `observation`, (S_A,)."""
    components = step_components(world, tables)

    def after(weights, steps_left):
        """The attainable sums of the steps left, of state weights {state: probability} before observing."""
        groups = {}
        for state, p in weights.items():
            groups.setdefault(observation[state], {})[state] = p
        total = np.zeros((1, components.shape[-1]))
        for group in groups.values():
            options = np.concatenate([act(group, a, steps_left) for a in range(tables.n_actions)])
            total = distinct((total[:, None] + options[None]).reshape(-1, total.shape[1]))
        return total

    def act(group, action, steps_left):
        received, following = np.zeros(components.shape[-1]), {}
        for (state, p), (z, q) in itertools.product(group.items(), enumerate(tables.noise)):
            received = received + p * q * components[state, action, z]
            successor = tables.successor[state, action, z]
            if successor < len(tables.successor) and q > 0:
                following[successor] = following.get(successor, 0) + p * q
        return received[None] + (tables.gamma * after(following, steps_left - 1) if steps_left > 1 else 0)

    return after(dict(zip(tables.start.tolist(), tables.start_probability.tolist(), strict=True)), tables.horizon)


def all_memoryless_policies(world, tables):
    """(P, 2 + L): the components of every deterministic policy of the present observation."""
    components, found = step_components(world, tables), []
    for policy in itertools.product(range(tables.n_actions), repeat=len(tables.observations)):
        weights, total = np.bincount(tables.start, tables.start_probability, len(tables.states)), 0
        for step in range(tables.horizon):
            following = np.zeros(len(tables.states))
            for state, (z, q) in itertools.product(range(len(tables.successor)), enumerate(tables.noise)):
                action, mass = policy[tables.observation[state]], weights[state] * q
                total = total + tables.gamma**step * mass * components[state, action, z]
                following[tables.successor[state, action, z]] += mass
            weights = following
        found.append(total)
    return np.array(found)


def enforceable_by_search(policies):
    """The enforceable return under worst ties: the best of the worst returns at counts that a reward singles out."""
    kinds = {}
    for policy in policies:
        key = tuple(np.round(policy[2:], 9))
        kinds[key] = min(kinds.get(key, np.inf), policy[0])
    counts, worst = np.array(list(kinds)), np.array(list(kinds.values()))
    return next(float(worst[i]) for i in np.argsort(-worst) if is_singled_out(counts, i))


def is_singled_out(counts, i):
    """Whether a reward exists for which these counts are better than all others, as a linear program."""
    others = np.delete(counts, i, 0)
    n = counts.shape[1]
    if not len(others):
        return True
    solution = optimize.linprog(
        np.append(np.zeros(n), -1),
        A_ub=np.column_stack((others - counts[i], np.ones(len(others)))),
        b_ub=np.zeros(len(others)),
        bounds=[(-1, 1)] * n + [(None, 1)],
        method="highs",
    )
    return -solution.fun > 1e-7


def naive_by_search(policies):
    """The believed return of the naive optimum, and its true return under worst ties."""
    best = policies[:, 1].max()
    return best, policies[policies[:, 1] >= best - 1e-9, 0].min()


def alias_gap_by_linear_program(policies):
    """The largest difference in true return of two mixtures of policies with equal counts."""
    n, true, counts = len(policies), policies[:, 0], policies[:, 2:].T
    equal = np.vstack([np.hstack([counts, -counts]), np.repeat(np.eye(2), n, 1)])
    limit = np.append(np.zeros(len(counts)), [1, 1])
    return -optimize.linprog(np.append(-true, true), A_eq=equal, b_eq=limit, method="highs").fun
