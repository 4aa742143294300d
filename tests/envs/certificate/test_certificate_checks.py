"""A certificate is refused in one line if the world fails its checks or its tables are not those of the world."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.worlds.t_maze import TMaze
from flows.errors import UserError
from flows.tracking.certificates import certificate_of
from tests.envs.certificate.random_worlds import RandomWorld


class ForeignWorld(gymnasium.vector.VectorEnv):
    """A vector environment with tables of its own."""

    overseer_labels = ("a", "b")
    judgement = np.array([0.0, 1.0])

    def __init__(self, tables):
        self.tables = tables

    def tabulate(self):
        return self.tables


def corridor():
    return envs.compile_world(gymnasium.make_vec("keyhole/AliasedCorridor-v0", num_envs=1))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"start_probability": np.array([0.5, 0.4])}, "start probabilities of the tables do not sum to 1"),
        ({"noise": np.array([0.9])}, "noise probabilities of the tables do not sum to 1"),
        ({"overseer_obs": np.full((2, 2, 1), 2)}, "overseer_obs of the tables ranges from 2 to 2, outside 0 to 1"),
        ({"successor": np.full((2, 2, 1), 7)}, "successor of the tables ranges from 7 to 7"),
        ({"true_reward": np.full((2, 2, 1), np.nan)}, "true_reward of the tables has a number that is not finite"),
        ({"gamma": 1.5}, "gamma is 1.5"),
        ({"horizon": 0}, "the time limit is 0 steps"),
    ],
)
def test_invalid_tables_are_refused(change, line):
    with pytest.raises(ValueError, match=line) as refusal:
        envs.certify(ForeignWorld(corridor()._replace(**change)))
    assert str(refusal.value).count("\n") == 0


@pytest.mark.parametrize(("name", "value"), [("gamma", 0.5), ("length", 4), ("oversight_prob", 0.7)])
def test_a_world_changed_after_its_tables_were_made_is_refused_or_has_tables_of_the_change(name, value):
    world = gymnasium.make_vec("keyhole/TMaze-v0", num_envs=1, length=2).unwrapped
    setattr(world, name, value)
    if name == "oversight_prob":  # a parameter, from which tables are made
        assert envs.certify(world).by_class["state-seeing"].enforceable_return == pytest.approx(value)
    else:
        with pytest.raises(ValueError, match=r"differs between|in the tables|ranges from|observation"):
            envs.certify(world)


def test_a_world_with_discount_0_and_no_time_limit_has_a_horizon_of_one_step():
    found = envs.certify(RandomWorld(gamma=0.0, max_episode_steps=10_000_000))
    assert found.horizon == 1


def test_a_true_reward_that_the_tables_do_not_have_is_refused():
    world = gymnasium.make_vec("keyhole/TMaze-v0", num_envs=1).unwrapped
    world.true_reward = lambda state, action, next_state: 2.0 * TMaze.true_reward(world, state, action, next_state)
    with pytest.raises(ValueError, match="true_reward differs between the world and its tables"):
        envs.certify(world)


def test_a_world_that_fails_its_checks_is_refused_by_the_flow_in_one_line(monkeypatch):
    monkeypatch.setattr(TMaze, "judgement", np.array([0.0, np.nan, 1.0]))
    with pytest.raises(UserError, match=r"^no certificate of keyhole/TMaze-v0: TMaze: .*verdicts") as refusal:
        certificate_of("keyhole/TMaze-v0", {})
    assert "\n" not in str(refusal.value)
