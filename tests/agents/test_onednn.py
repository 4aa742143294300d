"""oneDNN's products of float32 matrices are computed in float32."""

import pytest
import torch
from torch import nn

from agents import onednn


def test_products_of_onednn_and_their_gradients_differ_by_rounding():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(37, 64), nn.ReLU(), nn.Linear(64, 3))
    inputs, found = torch.randn(300, 37), []
    for by in (onednn.use_onednn, torch.enable_grad):
        network.zero_grad()
        with by():
            output = network(inputs)
            output.square().sum().backward()
        found.append([output.detach(), *(parameter.grad.clone() for parameter in network.parameters())])
    for ours, plain in zip(*found, strict=True):
        assert (ours - plain).norm() < 1e-5 * plain.norm()


def test_the_setting_is_unchanged_on_a_processor_that_rounds_to_bfloat16(monkeypatch):
    before = torch.backends.mkldnn.matmul.fp32_precision
    monkeypatch.setattr(onednn, "_keeps_float32", lambda: False)
    with onednn.use_onednn():
        assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_the_setting_is_reset_after_an_error():
    before = torch.backends.mkldnn.matmul.fp32_precision
    with pytest.raises(KeyError), onednn.use_onednn():
        raise KeyError
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_the_trial_distinguishes_bfloat16_from_float32():
    a, b = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ b.double()
    rounded = a.bfloat16().double() @ b.bfloat16().double()
    assert (rounded - exact).norm() > 100 * onednn.ROUNDING * exact.norm()
    assert (a @ b - exact).norm() < onednn.ROUNDING / 10 * exact.norm()
