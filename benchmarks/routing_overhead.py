"""Cost of gradient routing in one forward and backward pass: 3 layers of 256 units, 16 384 examples, one thread.

All implementations are timed in turn, round after round, in CPU-seconds of this process. The printed ratio compares the
fastest round of each with the fastest unrouted round, because other load on the machine can only add time. The last
rows are alternative implementations, for comparison.
"""

import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.blocks import DEPTH, WIDTH, build_mlp
from routing import Regions, Router, Rules, module, routed_linear, scale_grad, units
from routing.backward.two_pass import join

BATCH, ROUNDS, LABELS = 16_384, 15, ("seen", "unseen")
HALF = slice(0, WIDTH // 2)

Layer = Callable[[nn.Linear, torch.Tensor], torch.Tensor]


def forward_by_layer(model: nn.Sequential, x: torch.Tensor, layer: Layer) -> Callable[[], torch.Tensor]:
    """A forward pass whose linear layers are computed by `layer`."""

    def forward() -> torch.Tensor:
        h = x
        for linear, activation in zip(model[::2], model[1::2], strict=True):  # type: ignore[call-overload]
            h = activation(layer(linear, h))
        return h

    return forward


def forward_in_router(model: nn.Sequential, x: torch.Tensor, labels: torch.Tensor, parts: dict, level: str):
    """A forward pass of the unmodified model in a router's context."""
    rules = Rules(Regions(model, parts), LABELS, {"seen": dict.fromkeys(parts, 0.0)})
    router = Router(model, rules, level)

    def forward() -> torch.Tensor:
        with router(labels):
            return model(x)

    return forward


def forward_passes() -> dict[str, Callable[[], torch.Tensor]]:
    """The implementations to compare: name -> forward pass."""
    model, x, weight = build_mlp(), torch.randn(BATCH, WIDTH, requires_grad=True), torch.rand(BATCH)
    labels, column = torch.randint(0, 2, (BATCH,)), weight[:, None]
    whole = {f"layer {i}": module(str(2 * i)) for i in range(DEPTH)}
    half = {f"layer {i}": units(str(2 * i), HALF, out=str(2 * i + 2)) for i in range(DEPTH - 1)}

    def evaluated_twice(layer: nn.Linear, h: torch.Tensor) -> torch.Tensor:
        upstream = nn.functional.linear(h, layer.weight.detach(), layer.bias.detach())
        return join(upstream, scale_grad(layer(h.detach()), weight))

    def detached(layer: nn.Linear, h: torch.Tensor) -> torch.Tensor:
        y = layer(h)
        return column * y + (1 - column) * y.detach()

    def routed(rows: torch.Tensor | None, cols: torch.Tensor | None) -> Layer:
        return lambda layer, h: routed_linear(h, layer.weight, layer.bias, rows, cols)

    return {
        "unrouted": lambda: model(x),
        "scale_grad on every layer": forward_by_layer(model, x, lambda layer, h: scale_grad(layer(h), weight)),
        "routed_linear, rows": forward_by_layer(model, x, routed(weight, None)),
        "routed_linear, columns": forward_by_layer(model, x, routed(None, weight)),
        "routed_linear, rows and columns": forward_by_layer(model, x, routed(weight, weight.clone())),
        "Router, activation, every layer": forward_in_router(model, x, labels, whole, "activation"),
        "Router, parameter, every layer": forward_in_router(model, x, labels, whole, "parameter"),
        "Router, parameter, half the units": forward_in_router(model, x, labels, half, "parameter"),
        "Router, forward_ablated, every layer": forward_in_router(model, x, labels, whole, "forward_ablated"),
        "(alternative) m*h + (1-m)*h.detach()": forward_by_layer(model, x, detached),
        "(alternative) every layer evaluated twice": forward_by_layer(model, x, evaluated_twice),
    }


def per_example_gradients(examples: int) -> Callable[[], None]:
    """Compute one gradient per example, weight and sum them."""
    model, x, weight = build_mlp(), torch.randn(examples, WIDTH), torch.rand(examples)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters, row: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, parameters, (row,)).square().mean()

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0))

    def run() -> None:
        for gradient in gradients(parameters, x).values():
            torch.tensordot(weight, gradient, 1)

    return run


def forward_and_backward(forward: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """A forward pass followed by the backward pass of its mean square."""
    return lambda: forward().square().mean().backward()


def cpu_time_of_call(run: Callable[[], object]) -> float:
    """CPU-seconds of one call in this process."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Print the fastest time and the ratio to the unrouted pass for each implementation."""
    torch.set_num_threads(1)
    forwards = forward_passes()
    times: dict[str, list[float]] = {name: [] for name in forwards}
    for _ in range(ROUNDS):
        for name, forward in forwards.items():
            times[name].append(cpu_time_of_call(forward_and_backward(forward)))
    few = BATCH // 64
    per_example = [64 * cpu_time_of_call(per_example_gradients(few)) for _ in range(2)]
    times["(alternative) one gradient per example"] = per_example
    base = min(times["unrouted"])
    print(f"{DEPTH} layers of {WIDTH}, batch {BATCH}, one thread, fastest of {ROUNDS} rounds")
    for name, measured in times.items():
        print(f"{name:<44}{min(measured) * 1e3:>9.0f} ms{min(measured) / base:>8.2f}x")


if __name__ == "__main__":
    main()
