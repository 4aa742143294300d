import torch

from agents.learners import losses


def test_clipped_surrogate_on_hand_made_samples():
    advantages, ratio = torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.tensor([1.5, 0.5, 1.5, 0.5])
    expected = torch.tensor([-1.2, -0.5, 1.5, 0.8])
    torch.testing.assert_close(losses.clipped_surrogate(advantages, ratio, 0.2), expected)


def test_normalise_with_all_baselined_is_the_standard_normalisation():
    advantages = torch.tensor([1.0, 2.0, 6.0])
    expected = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    assert torch.equal(losses.normalise(advantages, torch.ones(3, dtype=torch.bool)), expected)


def test_normalise_only_scales_samples_without_a_baseline():
    advantages, baselined = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([True, True, False])
    torch.testing.assert_close(losses.normalise(advantages, baselined)[2], torch.tensor(5 / 2**0.5))


def test_gate_cross_entropy_is_minus_the_log_probability_of_the_verdict():
    logits = torch.tensor([0.3, -2.0])
    expected = -torch.stack([torch.sigmoid(logits[0]).log(), torch.sigmoid(-logits[1]).log()])
    torch.testing.assert_close(losses.gate_cross_entropy(logits, torch.tensor([1.0, -1.0])), expected)
