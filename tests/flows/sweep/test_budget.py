"""A sweep states its rollouts, optimiser steps, time and disk space before it starts."""

import re
import time

import pytest

from flows.config import CompareConfig, TrainConfig
from flows.sweep.budget import estimate, run_budget
from flows.tracking.provenance import run_params


@pytest.mark.parametrize(
    ("settings", "rollout", "rollouts", "updates"),
    [
        ({"steps": 40_000}, 32_768, 2, 8),
        ({"steps": 32_768}, 32_768, 1, 4),
        ({"steps": 32_769}, 32_768, 2, 8),
        ({"steps": 40_000, "learner": "ppo"}, 8_192, 5, 40),
        ({"steps": 100, "learner": "ppo", "training": {"n_envs": 3, "n_steps": 5, "batch_size": 4}}, 15, 7, 112),
    ],
)
def test_rollouts_and_optimiser_steps_are_counted(settings, rollout, rollouts, updates):
    budget = run_budget(TrainConfig(**settings))
    assert (budget.rollout, budget.rollouts, budget.updates) == (rollout, rollouts, updates)


@pytest.mark.parametrize("learner", ["reinforce", "ppo"])
def test_the_counts_are_those_of_training(learner):
    import agents

    config = TrainConfig(
        env="keyhole/TMaze-v0", steps=100, learner=learner,
        training={"n_envs": 3, "n_steps": 5, "batch_size": 5, "n_epochs": 2, "width": 4},
    )  # fmt: skip
    settings = config.training.model_dump()
    env = agents.make_vec_env(config.env, settings.pop("n_envs"))
    model = agents.build(env, "naive", 0, algorithm=learner, **settings)
    steps = []
    step = model.policy.optimizer.step
    model.policy.optimizer.step = lambda *args, **kwargs: (steps.append(1), step(*args, **kwargs))[1]
    model.learn(config.steps)
    budget = run_budget(config)
    assert len(steps) == budget.updates
    assert model.num_timesteps == budget.rollouts * budget.rollout


def test_few_rollouts_are_warned_of():
    assert "40,000 steps are only 2 rollouts of 32,768 steps" in run_budget(TrainConfig(steps=40_000)).warning
    assert "8,000 steps are only 1 rollout of 32,768 steps" in run_budget(TrainConfig(steps=8_000)).warning
    assert run_budget(TrainConfig(steps=10 * 32_768)).warning == ""


@pytest.mark.parametrize("training", [{}, {"n_envs": 64}, {"n_steps": 8}, {"whole_episodes": True}])
def test_the_number_of_copies_that_is_named_gives_enough_rollouts(training):
    few = TrainConfig(steps=8_000, training=training)
    (copies,) = re.findall(r"--n-envs (\d+)$", run_budget(few).warning)
    enough = TrainConfig(steps=8_000, training={**training, "n_envs": int(copies)})
    assert run_budget(enough).warning == ""


def test_no_number_of_copies_is_named_if_none_gives_enough():
    assert run_budget(TrainConfig(steps=100)).warning.endswith("or lower --n-steps or --n-envs")


def test_the_time_is_estimated_from_similar_earlier_runs(store):
    config = CompareConfig(env="keyhole/BoatRace-v0", steps=1_000, seeds=1, oversight=(0.1,), workers=1)
    assert "a stated rate" in estimate(config, 2, store).basis
    (run, _) = config.runs()
    with store.run("run", run_params(run), run.tags) as record:
        (record.folder / "agent.zip").write_bytes(bytes(1000))
        time.sleep(0.05)
    found = estimate(config, 2, store)
    info = store.client.get_run(record.run_id).info
    assert found.seconds == pytest.approx(10 + 2 * (info.end_time - info.start_time) / 1000)
    assert found.bytes == 2000
    assert "1 earlier run" in found.basis
    assert "a stated rate" in estimate(config.model_copy(update={"steps": 100_000}), 2, store).basis


def test_a_dry_run_prints_the_size_of_a_sweep_and_writes_nothing(keyhole, checkout):
    words = ["--env", "keyhole/TMaze-v0", "--steps", "40000", "--seeds", "2", "--oversight", "0.1"]
    code, out, err = keyhole("compare", "--dry-run", *words)
    assert code == 0
    assert out.startswith("4 runs of 40,000 steps each, 2 side by side\neach run: 2 rollouts of 32,768 steps, 8 optim")
    assert "expected: " in out
    assert err.startswith("keyhole: warning: 40,000 steps are only 2 rollouts")
    assert [path.name for path in checkout.iterdir()] == [".git"]


def test_a_dry_run_rejects_what_a_sweep_rejects(keyhole):
    code, out, err = keyhole("compare", "--dry-run", "--methods", "naiv")
    assert (code, out) == (2, "")
    assert "did you mean 'naive'" in err
