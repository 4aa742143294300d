import torch

from agents.learners import losses


def test_clipped_surrogate_on_hand_made_samples():
    advantages, ratio = torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.tensor([1.5, 0.5, 1.5, 0.5])
    expected = torch.tensor([-1.2, -0.5, 1.5, 0.8])
    torch.testing.assert_close(losses.clipped_surrogate(advantages, ratio, 0.2), expected)


def test_weights_are_scaled_to_mean_one_and_zeros_stay_zeros():
    assert torch.equal(losses.to_mean_one(torch.tensor([1.0, 2.0, 6.0])), torch.tensor([1.0, 2.0, 6.0]) / 3)
    assert torch.equal(losses.to_mean_one(torch.ones(3)), torch.ones(3))
    assert torch.equal(losses.to_mean_one(torch.zeros(3)), torch.zeros(3))


def test_gate_cross_entropy_is_minus_the_log_probability_of_the_verdict():
    logits = torch.tensor([0.3, -2.0])
    expected = -torch.stack([torch.sigmoid(logits[0]).log(), torch.sigmoid(-logits[1]).log()])
    torch.testing.assert_close(losses.gate_cross_entropy(logits, torch.tensor([1.0, -1.0])), expected)
