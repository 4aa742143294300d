"""An array that somebody still looks at is never written over."""

import gymnasium
import numpy as np

import envs  # noqa: F401  (registers)
from envs.recycled import MOST, Recycled


def test_an_array_is_given_out_again_only_when_nobody_holds_it_or_a_view_of_it():
    blank = Recycled((4, 3), np.int8)
    first = blank()
    assert blank() is not first
    view, address = first[1:, :2], first.ctypes.data
    del first
    assert blank().ctypes.data != address
    del view
    assert blank().ctypes.data == address


def test_more_arrays_than_are_kept_are_all_different():
    blank = Recycled((2,), np.int64)
    held = [blank() for _ in range(3 * MOST)]
    for i, array in enumerate(held):
        array[:] = i
    assert [array[0] for array in held] == list(range(3 * MOST))


def test_observations_that_are_kept_stay_what_they_were():
    world = gymnasium.make_vec("keyhole/DiamondGhost-v0", num_envs=64, size=3, oversight_prob=0.5)
    world.use_tables()
    obs, _ = world.reset(seed=0)
    kept, copies = [], []
    actions = np.random.default_rng(0).integers(0, 4, (60, 64))
    for action in actions:
        obs, *_, info = world.step(action)
        kept += [obs, info["reached"]]
        copies += [obs.copy(), info["reached"].copy()]
    assert all(np.array_equal(then, now) for then, now in zip(copies, kept, strict=True))
