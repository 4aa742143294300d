"""Fixtures over the registered worlds and variants of their arguments."""

import gymnasium
import pytest

import envs

IDS = [name for name in gymnasium.registry if name.startswith("keyhole/")]
VARIANTS = [(name, {}) for name in IDS] + [
    ("keyhole/DiamondGhost-v0", {"size": 3, "regime": "iid_episode"}),
    ("keyhole/DiamondGhost-v0", {"size": 3, "oversight_prob": 0.4, "knowledge": "noisy"}),
    ("keyhole/DiamondGhost-v0", {"size": 3, "regime": "iid_episode", "knowledge": "noisy"}),
    ("keyhole/DiamondGhost-v0", {"size": 2, "ghosts": 2, "oversight_prob": 0.4}),
    ("keyhole/TMaze-v0", {"length": 2, "knowledge": "aware"}),
    ("keyhole/TMaze-v0", {"knowledge": "noisy", "oversight_prob": 0.5, "length": 3, "max_episode_steps": 9}),
    ("keyhole/DiamondVault-v0", {"action_log": True}),
    ("keyhole/DiamondVault-v0", {"cameras": 2}),
    ("keyhole/AbsentSupervisor-v0", {"knowledge": "blind", "oversight_prob": 0.3}),
    ("keyhole/HideErrors-v0", {"p": 0.1, "p_H": 0.9}),
    ("keyhole/VerboseLog-v0", {"p_D": 0.1}),
    ("keyhole/FoggyGrid-v0", {"size": 2, "view": 1, "drift": 0.3}),
]
LARGEST = [("keyhole/DiamondGhost-v0", {}), ("keyhole/FoggyGrid-v0", {})]


@pytest.fixture(params=VARIANTS, ids=lambda variant: " ".join(map(str, [variant[0], *variant[1].values()])))
def variant(request):
    """The id and the keywords of a world."""
    return request.param


@pytest.fixture
def make(variant):
    """A function that makes num_envs copies of the world."""
    name, keywords = variant
    return lambda num_envs=1, **more: gymnasium.make_vec(name, num_envs=num_envs, **{**keywords, **more})


@pytest.fixture(
    scope="session",
    params=[v for v in VARIANTS if v not in LARGEST],
    ids=lambda v: " ".join(map(str, [v[0], *v[1].values()])),
)
def small_certificate(request):
    """The certificate of every world except the two largest."""
    name, keywords = request.param
    return envs.certify(gymnasium.make_vec(name, num_envs=1, **keywords))
