import gymnasium
import numpy as np
import torch

import envs
from benchmarks.torch_grid import TorchGrid

WORLD, COPIES = "envs:keyhole/DiamondGhost-v0", 4096


def test_the_torch_grid_has_the_transitions_of_the_world():
    grid, world = TorchGrid(COPIES, seed=1), gymnasium.make_vec(WORLD, num_envs=COPIES)
    states = np.column_stack((grid.cells, grid.flags, grid.flags)).astype(np.int64)
    observations, _ = world.reset(seed=0, options={"state": states})
    np.testing.assert_array_equal(grid._observation(), observations)
    running = np.ones(COPIES, bool)  # copies in their first episode: later ones have different random starts
    for actions in np.random.default_rng(0).integers(4, size=(32, COPIES)):
        observations, reward, terminated, truncated, info = world.step(actions)
        step = grid.step(torch.as_tensor(actions))
        for expected, found in zip((reward, info["true_reward"], terminated, truncated), step[1:], strict=True):
            np.testing.assert_array_equal(found.numpy()[running], expected[running])
        running &= ~(terminated | truncated)
        np.testing.assert_array_equal(step.obs.numpy()[running], observations[running])
    assert not running.any()


def test_mean_returns_of_the_torch_grid_agree_with_the_exact_values():
    tables = envs.compile_world(gymnasium.make_vec(WORLD, num_envs=1))
    exact = envs.exact.evaluate(tables, np.full((len(tables.observations), 4), 0.25))
    grid, rng = TorchGrid(20_000, seed=0), np.random.default_rng(0)
    running, proxy, returns = torch.ones(20_000, dtype=torch.bool), *torch.zeros(2, 20_000)
    for t in range(32):  # the first episode of each copy only: a fixed time window would favour short episodes
        step = grid.step(torch.as_tensor(rng.integers(4, size=20_000)))
        returns += running * step.true_reward * 0.97**t
        proxy += running * step.reward
        running &= ~(step.terminated | step.truncated)
    exact_proxy = exact.outcomes["diamond"] + exact.outcomes["ghost"]
    assert abs(proxy.mean() - exact_proxy) < 4 * proxy.std() / 20_000**0.5
    assert abs(returns.mean() - exact.true_return) < 4 * returns.std() / 20_000**0.5


def test_the_torch_grid_draws_starts_from_the_distribution_of_the_world():
    grid, world = TorchGrid(COPIES, seed=2), gymnasium.make_vec(WORLD, num_envs=COPIES)
    states = world.unwrapped.initial(COPIES)
    counts = np.stack([np.bincount(cells, minlength=25) for cells in grid.cells.numpy().T])
    assert np.abs(counts - COPIES / 25).max() < 5 * np.sqrt(COPIES / 25)
    assert (np.sort(grid.cells, 1)[:, 1:] != np.sort(grid.cells, 1)[:, :-1]).all()
    assert abs(grid.flags.float().mean() - states[:, 3:5].mean()) < 0.03
