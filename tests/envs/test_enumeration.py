"""Enumeration finds the states that an episode can reach, in time linear in their number, or refuses in one line."""

import numpy as np
import pytest
from gymnasium.spaces import MultiBinary

import envs
from envs import enumeration, tables
from envs.dynamics import FunctionDynamics, TableDynamics
from envs.exact import belief_mdp, evaluation, memoryless, optimum

UNLIMITED = 2**31 - 1


class Chain(envs.POMDP):
    """A chain of cells; both actions move on, and the last cell is terminal."""

    gamma = 0.9
    overseer_labels = ("any",)
    judgement = np.zeros(1)

    def __init__(self, num_envs=1, *, depth=1000, start=0, max_episode_steps=UNLIMITED, render_mode=None):
        self.depth, self.start = depth, start
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(1), 2)

    def starts(self):
        return np.array([[self.start]]), np.ones(1)

    def transition(self, state, action):
        return state + 1

    def terminal(self, state):
        return state[:, 0] >= self.depth

    def reward(self, state, action, next_state):
        return state[:, 0] * action * 1.0

    true_reward = reward

    def observation(self, state):
        return (state % 2).astype(np.int8)

    def overseer_observation(self, state, action, next_state):
        return np.zeros(len(state), int)


class Corridor(envs.POMDP):
    """Two aliased ends around a goal; the state carries the number of steps if clocked."""

    gamma = 0.9
    overseer_labels = ("nothing", "goal")
    judgement = np.array([0.0, 1.0])
    outcomes = ("nothing", "goal")

    def __init__(self, num_envs=1, *, clocked=True, slip=0.0, max_episode_steps=6, render_mode=None):
        self.clocked, self.slip = clocked, slip
        self.noise = {"slips": (1 - slip, slip)}
        super().__init__(num_envs, max_episode_steps, render_mode, MultiBinary(2), 2)

    def starts(self):
        return np.array([[0, 0], [4, 0]]), np.array([0.25, 0.75])

    def transition(self, state, action, slips):
        moved = np.clip(state[:, 0] + np.where(slips, 0, 2 * action - 1), 0, 4)
        return np.column_stack([moved, state[:, 1] + self.clocked])

    def terminal(self, state):
        return state[:, 0] == 2

    def reward(self, state, action, next_state):
        return self.terminal(next_state) * 1.0

    def true_reward(self, state, action, next_state):
        return self.terminal(next_state) - 0.1 * action

    def observation(self, state):
        return np.column_stack([state[:, 0] == 2, state[:, 0] % 4 == 0]).astype(np.int8)

    def overseer_observation(self, state, action, next_state):
        return self.outcome(next_state)

    def outcome(self, state):
        return self.terminal(state).astype(int)


def test_enumeration_hashes_a_number_of_rows_linear_in_the_depth(monkeypatch):
    rows, hashed = [], tables.hashed
    monkeypatch.setattr(tables, "hashed", lambda array: rows.append(len(array)) or hashed(array))
    counts = []
    for depth in (500, 1000):
        rows.clear()
        enumeration.make_tables(Chain(depth=depth, max_episode_steps=2000))
        counts.append(sum(rows))
    assert counts[1] < 2.2 * counts[0]


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_a_row_set_returns_the_new_rows_in_order_and_has_each_once(batch, monkeypatch):
    monkeypatch.setattr(tables, "SMALL_BATCH", 100)  # both kinds of storage
    stream = np.random.default_rng(0).integers(0, 40, (3000, 2))
    rows = tables.RowSet(2)
    new = np.concatenate([rows.add(part) for part in np.split(stream, range(batch, 3000, batch))])
    assert np.array_equal(new, stream[tables.distinct_rows(stream)[0]])
    assert len(rows) == len(new)


def test_a_world_without_time_limit_whose_states_do_not_close_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(enumeration, "MAX_DEPTH", 50)
    with pytest.raises(
        envs.NotEnumerable, match=r"^Chain has new states 50 steps from the start and no time limit: give"
    ):
        envs.compile_world(Chain(depth=UNLIMITED))


def test_a_world_with_too_many_states_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(enumeration, "MAX_STATES", 50)
    with pytest.raises(
        envs.NotEnumerable, match=r"^Chain has at least 51 states, more than the 50 that tables may have"
    ):
        envs.compile_world(Chain(depth=99, max_episode_steps=200))


def test_a_step_counter_in_the_state_closes_at_the_time_limit_with_the_closed_form():
    found = envs.compile_world(Chain(depth=UNLIMITED, max_episode_steps=7))
    discounted = 0.9 ** np.arange(7) * np.arange(7)
    uniform = evaluation.evaluate(found, np.full((2, 2), 0.5))
    assert len(found.states) == 8
    assert not found.is_closed
    assert uniform.true_return == pytest.approx(discounted.sum() / 2, abs=1e-12)
    assert uniform.length == 7
    assert optimum.optimal(found).value == pytest.approx(discounted.sum(), abs=1e-12)
    assert belief_mdp.history_optimal(found) == pytest.approx(discounted.sum(), abs=1e-9)
    assert envs.certify(Chain(depth=UNLIMITED, max_episode_steps=7)).optimal_return == pytest.approx(discounted.sum())


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_a_state_that_carries_its_time_has_the_numbers_of_one_that_does_not(slip):
    clocked, plain = (envs.compile_world(Corridor(clocked=c, slip=slip)) for c in (True, False))
    assert plain.is_closed
    assert not clocked.is_closed
    order = tables.HashedIndex.of_rows(clocked.observations).lookup(plain.observations)
    for policy in np.random.default_rng(0).dirichlet(np.ones(2), (20, len(order))):
        by_clock = np.empty_like(policy)
        by_clock[order] = policy
        a, b = evaluation.evaluate(plain, policy), evaluation.evaluate(clocked, by_clock)
        assert a.outcomes == pytest.approx(b.outcomes, abs=1e-12)
        returns = [(e.true_return, e.proxy_return, e.length) for e in (a, b)]
        assert returns[0] == pytest.approx(returns[1], abs=1e-12)
    assert optimum.optimal(plain).value == pytest.approx(optimum.optimal(clocked).value, abs=1e-12)
    best = [memoryless.memoryless_optimal(each).stochastic for each in (plain, clocked)]
    assert best[0] == pytest.approx(best[1], abs=1e-6)
    assert belief_mdp.history_optimal(plain) == pytest.approx(belief_mdp.history_optimal(clocked), abs=1e-9)


def test_states_first_reached_at_the_time_limit_are_truncated_not_terminal():
    found = envs.compile_world(Corridor())
    last = found.states[: len(found.successor), 1] == 6
    assert last.any()
    assert np.array_equal(found.successor[last, 0, 0], np.flatnonzero(last))
    assert not found.reward[last].any()


def test_stepping_a_clocked_world_equals_stepping_by_functions(monkeypatch):
    monkeypatch.setattr("envs.pomdp.WARM_UP", 100)
    world, by_functions = Corridor(32), Corridor(32)
    by_functions._until_lookup = 10**9
    world.use_tables()
    for env in (world, by_functions):
        env.reset(seed=0)
    assert isinstance(world.dynamics, TableDynamics)
    for _ in range(40):
        actions = world.action_space.sample()
        for a, b in zip(world.step(actions)[:4], by_functions.step(actions)[:4], strict=True):
            assert np.array_equal(a, b)
    late = np.tile([4, 3], (32, 1))  # its episodes leave the tables
    for env in (world, by_functions):
        env.reset(seed=1, options={"state": late})
    assert isinstance(world.dynamics, FunctionDynamics)
    for _ in range(20):
        actions = np.ones(32, int)
        for a, b in zip(world.step(actions)[:4], by_functions.step(actions)[:4], strict=True):
            assert np.array_equal(a, b)


def test_a_state_that_tables_lack_is_stepped_by_functions():
    world = Chain(2, depth=9, max_episode_steps=20)
    world.use_tables()
    world.reset(seed=0, options={"state": np.array([[-3], [-2]])})
    _, reward, *_ = world.step(np.array([1, 1]))
    assert reward.tolist() == [-3, -2]


def test_enumeration_reports_progress_and_stops_at_an_interrupt(monkeypatch, capsys):
    lines = []
    monkeypatch.setattr(enumeration, "PROGRESS_SECONDS", 0.0)
    enumeration.make_tables(Chain(depth=3))
    assert capsys.readouterr() == ("", "")  # stderr is no terminal
    monkeypatch.setattr(enumeration, "on_progress", lines.append)
    enumeration.make_tables(Chain(depth=3))
    assert lines[0].startswith("Chain: 2 states found, up to 1 steps from the start (")

    def interrupt(line):
        raise KeyboardInterrupt

    monkeypatch.setattr(enumeration, "on_progress", interrupt)
    with pytest.raises(KeyboardInterrupt):
        envs.compile_world(Chain(depth=4))


def test_a_terminal_sees_progress(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    enumeration.print_progress("Chain: 2 states found")
    assert capsys.readouterr().err == "Chain: 2 states found\n"


class Listed(Chain):
    """A world with a keyword that cannot be hashed."""

    def __init__(self, num_envs=1, *, cells=(0,), max_episode_steps=20, render_mode=None):
        self.cells = list(cells)
        super().__init__(num_envs, depth=len(self.cells), max_episode_steps=max_episode_steps)


def test_a_world_with_a_list_as_keyword_has_tables():
    assert len(envs.compile_world(Listed(cells=[0, 1, 2])).states) == 4


class InPlace(Chain):
    def transition(self, state, action):
        state += 1
        return state


class ScalarReward(Chain):
    def reward(self, state, action, next_state):
        return 1.0


class IntegerTerminal(Chain):
    def terminal(self, state):
        return (state[:, 0] >= self.depth).astype(int)


class NanReward(Chain):
    def true_reward(self, state, action, next_state):
        return np.where(next_state[:, 0] == 5, np.nan, 0.0)


class NegativeOverseer(Chain):
    def overseer_observation(self, state, action, next_state):
        return np.where(next_state[:, 0] == 5, -1, 0)


class RareWrite(Chain):
    """Writes into its argument in one state only."""

    def reward(self, state, action, next_state):
        next_state[state[:, 0] == 7] = 3
        return state[:, 0] * 1.0


class ChangingObservation(Chain):
    calls = 0

    def observation(self, state):
        self.calls += 1
        return (state + self.calls % 2).astype(np.int8) % 2


@pytest.mark.parametrize(
    ("world", "line"),
    [
        (InPlace, "transition writes into its arguments: copy them first"),
        (RareWrite, "reward writes into its arguments"),
        (ScalarReward, "reward returns float of shape () for"),
        (IntegerTerminal, "terminal returns int64 of shape (1,): return an array of bool"),
        (NanReward, "true_reward returns a number that is not finite"),
        (NegativeOverseer, "overseer_observation returns -1 to 0, but only 1 have a name"),
        (ChangingObservation, "observation returns two results for state ["),
    ],
)
def test_a_world_whose_tables_would_be_wrong_is_refused_in_one_line(world, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refusal:
        envs.compile_world(world(depth=20, max_episode_steps=40))
    assert str(refusal.value).startswith(f"{world.__name__}: {line}")


def test_float_states_are_sampled_after_the_warm_up(monkeypatch):
    class Real(Chain):
        def starts(self):
            return np.array([[0.5]]), np.ones(1)

        def observation(self, state):
            return (state > 1).astype(np.int8)

    monkeypatch.setattr("envs.pomdp.WARM_UP", 10)
    world = Real(4, depth=9, max_episode_steps=20)
    world.reset(seed=0)
    for _ in range(5):
        world.step(np.zeros(4, int))
    assert isinstance(world.dynamics, FunctionDynamics)
    with pytest.raises(envs.NotEnumerable, match=r"^Real has states of type float64, and tables need integers"):
        envs.compile_world(world)
