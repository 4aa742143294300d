"""Routing composes with torch: compilation, parallel training, mixed precision, accumulation and torch.func."""

import os
import traceback

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import CheckpointError, checkpoint

from routing import Regions, Router, Rules, module, units

LEVELS = ("activation", "parameter", "forward_ablated")
tracing = pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # raised by torch's tracer


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 2))


def router_of(model: nn.Module, level: str, wrapper: nn.Module | None = None) -> Router:
    regions = Regions(model, {"half": units("0", slice(0, 3), out="3"), "norm": module("1")})
    rules = Rules(regions, ("x", "y"), {"x": {"half": 0.3, "norm": 0.0}, "y": {"norm": -2.0, "half": 0.0}})
    return Router(wrapper or model, rules, level)


def gradients(model: nn.Module, x: torch.Tensor, call=None) -> list[torch.Tensor]:
    model.zero_grad()
    (call or model)(x).square().sum().backward()
    return [p.grad.clone() for p in model.parameters()]


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(8, 4), torch.randint(0, 2, (8,))) for _ in range(count)]


@tracing
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_compiled_model_is_one_graph_with_the_same_gradients(level, backend):
    torch._dynamo.reset()
    model = network()
    compiled, router = torch.compile(model, backend=backend, fullgraph=True), router_of(model, level)
    for x, labels in batches(3):
        with router(labels):
            for ours, theirs in zip(gradients(model, x, compiled), gradients(model, x), strict=True):
                torch.testing.assert_close(ours, theirs)


@tracing
@pytest.mark.parametrize("level", LEVELS)
def test_a_model_compiled_before_it_is_routed_is_routed_inside_the_context_only(level):
    torch._dynamo.reset()
    model, ((x, labels),) = network(), batches(1)
    compiled, router = torch.compile(model, backend="eager"), router_of(model, level)
    plain = gradients(model, x, compiled)
    with router(labels):
        routed = gradients(model, x, compiled)
        expected = gradients(model, x)
    for ours, theirs in zip(routed, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.equal(routed[0], plain[0])
    for ours, theirs in zip(gradients(model, x, compiled), plain, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("level", LEVELS)
def test_under_autocast_values_are_bit_identical_and_gradients_near_full_precision(level):
    model, ((x, labels),) = network(), batches(1)
    router = router_of(model, level)
    with torch.autocast("cpu", torch.bfloat16):
        plain = model(x)
        with router(labels):
            if level != "forward_ablated":
                assert torch.equal(model(x), plain)
            low = gradients(model, x)
    with router(labels):
        full = gradients(model, x)
    assert plain.dtype == torch.bfloat16
    for ours, theirs in zip(low, full, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.05 * float(theirs.abs().max()))


@pytest.mark.parametrize("level", LEVELS)
def test_gradients_accumulate_over_micro_batches(level):
    model, ((x, labels),) = network(), batches(1)
    router = router_of(model, level)
    with router(labels):
        whole = gradients(model, x)
    model.zero_grad()
    for part in (slice(0, 3), slice(3, 8)):
        with router(labels[part]):
            model(x[part]).square().sum().backward()
    for ours, p in zip(whole, model.parameters(), strict=True):
        torch.testing.assert_close(ours, p.grad)


@pytest.mark.parametrize("level", LEVELS)
def test_checkpointed_layers_are_routed_if_backward_runs_inside_and_rejected_outside(level):
    model, ((x, labels),) = network(), batches(1)
    router, x = router_of(model, level), x.requires_grad_()
    with router(labels):
        stored = gradients(model, x)
        repeated = gradients(model, x, lambda x: checkpoint(model, x, use_reentrant=False))
        output = checkpoint(model, x, use_reentrant=False)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(repeated, stored, strict=True))
    with pytest.raises(CheckpointError):
        output.sum().backward()


@pytest.mark.parametrize("level", LEVELS)
def test_per_sample_gradients_of_torch_func_are_routed(level):
    """Soft labels work under vmap, and a per-sample gradient equals that of the sample alone."""
    model, ((x, labels),) = network(), batches(1)
    router, soft = router_of(model, level), nn.functional.one_hot(labels, 2).float()

    def loss(parameters, row, label):
        with router(label):
            return torch.func.functional_call(model, parameters, (row,)).square().sum()

    parameters = {name: p.detach() for name, p in model.named_parameters()}
    found = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, x, soft)
    for i in range(8):
        with router(labels[i : i + 1]):
            alone = gradients(model, x[i : i + 1])
        for gradient, expected in zip(found.values(), alone, strict=True):
            torch.testing.assert_close(gradient[i], expected)


def _worker(rank: int, file: str, x: torch.Tensor, labels: torch.Tensor, expected: dict[str, list]) -> None:
    """Route half of the batch in each of two processes."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{file}", rank=rank, world_size=2)
    try:
        model, part = network(), slice(4 * rank, 4 * rank + 4)
        parallel = DistributedDataParallel(model)
        for level in 2 * LEVELS:
            with router_of(model, level, parallel)(labels[part]):
                found = gradients(parallel, x[part])
            for ours, theirs in zip(found, expected[level], strict=True):
                torch.testing.assert_close(2 * ours, theirs)  # it averages over processes
        torch.distributed.barrier()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(
        0
    )  # at a normal exit gloo's destructor can deadlock: it holds the GIL and waits for a thread that needs it


def test_two_processes_compute_the_gradients_of_one(tmp_path):
    model, ((x, labels),) = network(), batches(1)
    expected = {}
    for level in LEVELS:
        with router_of(model, level)(labels):
            expected[level] = gradients(model, x)
    torch.multiprocessing.spawn(_worker, (str(tmp_path / "group"), x, labels, expected), nprocs=2)
