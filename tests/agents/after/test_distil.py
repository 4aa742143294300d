"""A distilled policy acts as the deployed teacher does, and contains nothing else of it."""

import copy

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from agents import BlockPolicy, BlockUse
from agents.after import distillation
from agents.after.distillation import distil

OBSERVATIONS = Box(0, 1, (3,), np.float32)
ROWS = torch.eye(3)
WHOLE, ALONE = BlockUse(), BlockUse((1.0, 0.0))


def make(**arguments) -> BlockPolicy:
    """A teacher whose action probabilities are far from uniform."""
    torch.manual_seed(0)
    arguments = {"activation_fn": torch.nn.ReLU, "net_arch": {"pi": [16, 16], "vf": [4]}, **arguments}
    policy = BlockPolicy(OBSERVATIONS, Discrete(4), lambda progress: 1e-3, **arguments)
    for name, parameter in policy.named_parameters():
        if "action_net" in name or "adapters" in name or "head" in name or ".1." in name:
            parameter.data.normal_()
    return policy


def probabilities(policy, use=WHOLE, rows=ROWS) -> torch.Tensor:
    return policy.log_probabilities(policy.encode(rows), [use])[0].exp()


@pytest.mark.parametrize(
    ("arguments", "use"),
    [
        ({}, ALONE),
        ({}, BlockUse(without=frozenset(["gate"]))),
        ({"network": "single"}, BlockUse()),
        ({"experts": 3, "head": "per_expert"}, BlockUse((1.0, 0.0, 0.0))),
        ({"network": "ungated", "head": "frozen"}, ALONE),
        ({"network": "adapters", "level": "parameter"}, ALONE),
    ],
)
def test_the_student_has_the_teachers_probabilities_and_the_teacher_is_not_touched(arguments, use):
    teacher = make(**arguments)
    before, generator = copy.deepcopy(teacher.state_dict()), torch.get_rng_state()
    student = distil(teacher, use, ROWS, None, seed=5, updates=250, learning_rate=2e-2)
    target = probabilities(teacher, use)
    assert (probabilities(teacher.fresh(5)) - target).abs().max() > 0.15  # where the student starts
    torch.testing.assert_close(probabilities(student), target, atol=0.02, rtol=0)
    assert student.architecture == teacher.architecture
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert teacher.mlp_extractor.use == BlockUse()
    assert not {id(p) for p in student.parameters()} & {id(p) for p in teacher.parameters()}


def test_the_student_depends_on_the_seed_and_on_the_deployed_teacher_alone():
    teacher = make()
    first, second, other = (distil(teacher, ALONE, ROWS, None, seed, updates=3) for seed in (1, 1, 2))
    for block in ("forget", "gate"):
        for parameter in teacher.block_parameters(block):
            parameter.data.normal_()
    changed = distil(teacher, ALONE, ROWS, None, 1, updates=3)
    states = [policy.state_dict() for policy in (first, second, other, changed)]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])
        assert torch.equal(value, states[3][name])
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


def test_an_observation_of_weight_0_is_not_learned():
    teacher = make()
    students = [distil(teacher, ALONE, ROWS, torch.tensor([1.0, 2.0, 0.0]), seed=5, updates=40)]
    students.append(distil(teacher, ALONE, ROWS[:2], torch.tensor([2.0, 4.0]), seed=5, updates=40))
    torch.testing.assert_close(*map(probabilities, students), atol=1e-4, rtol=0)


def test_minibatches_are_drawn_in_proportion_to_the_weights(monkeypatch):
    monkeypatch.setattr(distillation, "ROWS", 2)
    teacher, weights = make(), torch.tensor([1.0, 0.0, 3.0])
    drawn = torch.cat(
        [distillation._batch(weights / 4, torch.Generator().manual_seed(seed))[0] for seed in range(2000)]
    )
    assert not (drawn == 1).any()
    assert (drawn == 2).float().mean() == pytest.approx(0.75, abs=0.03)
    student = distil(teacher, ALONE, ROWS, weights, seed=5, updates=400, learning_rate=2e-2)
    kept = [0, 2]
    torch.testing.assert_close(probabilities(student)[kept], probabilities(teacher, ALONE)[kept], atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("observations", "weights", "message"),
    [
        (None, None, "distil needs observations to act on"),
        (ROWS[:0], None, "distil needs observations to act on"),
        (ROWS, torch.ones(2), r"weights of shape \(2,\) for 3 observations"),
        (ROWS, torch.tensor([1.0, -1.0, 1.0]), "give one finite weight >= 0"),
        (ROWS, torch.zeros(3), "not all 0"),
        (ROWS, torch.tensor([1.0, torch.nan, 1.0]), "give one finite weight"),
    ],
)
def test_missing_observations_and_wrong_weights_are_refused_in_one_line(observations, weights, message):
    with pytest.raises(ValueError, match=message) as refusal:
        distil(make(), ALONE, observations, weights, seed=0)
    assert "\n" not in str(refusal.value)


def test_continuous_actions_are_refused_in_one_line():
    policy = BlockPolicy(OBSERVATIONS, Box(-1, 1, (2,)), lambda progress: 0.0, net_arch=[4])
    with pytest.raises(ValueError, match="distil needs Discrete actions"):
        distil(policy, ALONE, ROWS, None, seed=0)
