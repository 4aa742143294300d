"""An environment that takes no oversight_prob is audited instead, however its constructor is written."""

import gymnasium
import pytest

import envs
from envs.worlds.hide_errors import HideErrors
from envs.worlds.t_maze import TMaze

gymnasium.register("odd/AnyKeyword-v0", vector_entry_point=lambda **keywords: HideErrors(**keywords))
gymnasium.register("odd/PassesOn-v0", vector_entry_point=lambda **keywords: TMaze(**keywords))


@pytest.mark.parametrize(
    ("env_id", "takes"),
    [
        ("keyhole/DiamondGhost-v0", True),
        ("envs:keyhole/TMaze-v0", True),
        ("keyhole/HideErrors-v0", False),
        ("odd/AnyKeyword-v0", False),
        ("odd/PassesOn-v0", True),
        ("CartPole-v1", False),
    ],
)
def test_oversight_prob_is_an_argument_or_means_audits(env_id, takes):
    assert envs.takes_oversight_prob(env_id) is takes


@pytest.mark.parametrize("env_id", ["keyhole/HideErrors-v0", "odd/AnyKeyword-v0"])
def test_such_an_environment_is_audited(env_id):
    world = envs.make_vec(env_id, 2, oversight_prob=0.25)
    assert isinstance(world, envs.Audits)
    assert world.oversight_prob == 0.25
    assert not isinstance(envs.make_vec(env_id, 2), envs.Audits)


def test_queries_take_the_place_of_random_audits():
    asks = lambda env: envs.Queried(env, 0.1)  # noqa: E731
    assert isinstance(envs.make_vec("keyhole/HideErrors-v0", 2, oversight_prob=0, asks=asks), envs.Queried)
    with pytest.raises(ValueError, match=r"set oversight 0\.25 to 0"):
        envs.make_vec("keyhole/HideErrors-v0", 2, oversight_prob=0.25, asks=asks)
