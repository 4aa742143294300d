import gymnasium
import numpy as np
import torch

import envs
from benchmarks.torch_grid import TorchGrid

WORLD, COPIES = "envs:keyhole/DiamondGhost-v0", 4096


def test_the_torch_grid_moves_as_the_world_does():
    grid, world = TorchGrid(COPIES, seed=1), gymnasium.make_vec(WORLD, num_envs=COPIES)
    started = np.column_stack((grid.cells, grid.flags, grid.flags)).astype(np.int64)
    seen, _ = world.reset(seed=0, options={"state": started})
    np.testing.assert_array_equal(grid._observation(), seen)
    going = np.ones(COPIES, bool)
    for actions in np.random.default_rng(0).integers(4, size=(32, COPIES)):
        ours = world.step(actions)
        theirs = grid.step(torch.as_tensor(actions))
        told = (ours[1], ours[4]["true_reward"], ours[2], ours[3])
        for one, other in zip(told, theirs[1:], strict=True):
            np.testing.assert_array_equal(one[going], other.numpy()[going])
        going &= ~(ours[2] | ours[3])  # after their first end the two draw starts of their own
        np.testing.assert_array_equal(ours[0][going], theirs.obs.numpy()[going])
    assert not going.any()


def test_episodes_of_the_torch_grid_are_worth_what_the_tables_say():
    tables = envs.compile_world(gymnasium.make_vec(WORLD, num_envs=1))
    exact = envs.exact.evaluate(tables, np.full((len(tables.observations), 4), 0.25))
    grid, rng = TorchGrid(20_000, seed=0), np.random.default_rng(0)
    going, proxy, returns = torch.ones(20_000, dtype=torch.bool), *torch.zeros(2, 20_000)
    for t in range(32):  # of the first episode of each copy: long ones are as likely to be counted as short ones
        step = grid.step(torch.as_tensor(rng.integers(4, size=20_000)))
        returns += going * step.true_reward * 0.97**t
        proxy += going * step.reward
        going &= ~(step.terminated | step.truncated)
    met = exact.outcomes["diamond"] + exact.outcomes["ghost"]
    assert abs(proxy.mean() - met) < 4 * proxy.std() / 20_000**0.5
    assert abs(returns.mean() - exact.true_return) < 4 * returns.std() / 20_000**0.5


def test_the_torch_grid_watches_and_places_as_the_world_draws_starts():
    grid, world = TorchGrid(COPIES, seed=2), gymnasium.make_vec(WORLD, num_envs=COPIES)
    drawn = world.unwrapped.initial(COPIES)
    placed = np.stack([np.bincount(cells, minlength=25) for cells in grid.cells.numpy().T])
    assert np.abs(placed - COPIES / 25).max() < 5 * np.sqrt(COPIES / 25)
    assert (np.sort(grid.cells, 1)[:, 1:] != np.sort(grid.cells, 1)[:, :-1]).all()
    assert abs(grid.flags.float().mean() - drawn[:, 3:5].mean()) < 0.03
