"""What gradient routing costs: one forward and backward pass of 3 layers of 256 units on 16 384 examples, one thread.

Every way is timed in turn, round after round, in seconds of this process. What counts is the ratio of its fastest round
to the unrouted pass's, for whatever else the machine does only ever adds. The last rows are what routing would cost
in other ways.
"""

import time
from collections.abc import Callable

import torch
from torch import nn

from routing import Regions, Router, Rules, module, routed_linear, scale_grad, units
from routing.backward.two_pass import join

WIDTH, DEPTH, BATCH, ROUNDS, LABELS = 256, 3, 16_384, 15, ("seen", "unseen")
HALF = slice(0, WIDTH // 2)

Layer = Callable[[nn.Linear, torch.Tensor], torch.Tensor]


def network() -> nn.Sequential:
    return nn.Sequential(*(layer for _ in range(DEPTH) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())))


def by_layer(model: nn.Sequential, x: torch.Tensor, layer: Layer) -> Callable[[], torch.Tensor]:
    """A forward pass whose linear layers are computed by `layer`."""

    def forward() -> torch.Tensor:
        h = x
        for linear, activation in zip(model[::2], model[1::2], strict=True):  # type: ignore[call-overload]
            h = activation(layer(linear, h))
        return h

    return forward


def by_router(model: nn.Sequential, x: torch.Tensor, labels: torch.Tensor, parts: dict, level: str):
    """A forward pass of the model as it is, inside a router's context."""
    rules = Rules(Regions(model, parts), LABELS, {"seen": dict.fromkeys(parts, 0.0)})
    router = Router(model, rules, level)

    def forward() -> torch.Tensor:
        with router(labels):
            return model(x)

    return forward


def ways() -> dict[str, Callable[[], torch.Tensor]]:
    """Name -> forward pass."""
    torch.manual_seed(0)
    model, x, weight = network(), torch.randn(BATCH, WIDTH, requires_grad=True), torch.rand(BATCH)
    labels, column = torch.randint(0, 2, (BATCH,)), weight[:, None]
    whole = {f"layer {i}": module(str(2 * i)) for i in range(DEPTH)}
    half = {f"layer {i}": units(str(2 * i), HALF, out=str(2 * i + 2)) for i in range(DEPTH - 1)}

    def twin(layer: nn.Linear, h: torch.Tensor) -> torch.Tensor:
        upstream = nn.functional.linear(h, layer.weight.detach(), layer.bias.detach())
        return join(upstream, scale_grad(layer(h.detach()), weight))

    def detached(layer: nn.Linear, h: torch.Tensor) -> torch.Tensor:
        y = layer(h)
        return column * y + (1 - column) * y.detach()

    def routed(rows: torch.Tensor | None, cols: torch.Tensor | None) -> Layer:
        return lambda layer, h: routed_linear(h, layer.weight, layer.bias, rows, cols)

    return {
        "unrouted": lambda: model(x),
        "scale_grad on every layer": by_layer(model, x, lambda layer, h: scale_grad(layer(h), weight)),
        "routed_linear, rows": by_layer(model, x, routed(weight, None)),
        "routed_linear, columns": by_layer(model, x, routed(None, weight)),
        "routed_linear, rows and columns": by_layer(model, x, routed(weight, weight.clone())),
        "Router, activation, every layer": by_router(model, x, labels, whole, "activation"),
        "Router, parameter, every layer": by_router(model, x, labels, whole, "parameter"),
        "Router, parameter, half the units": by_router(model, x, labels, half, "parameter"),
        "Router, forward_ablated, every layer": by_router(model, x, labels, whole, "forward_ablated"),
        "(other way) m*h + (1-m)*h.detach()": by_layer(model, x, detached),
        "(other way) every layer evaluated twice": by_layer(model, x, twin),
    }


def per_example(examples: int) -> Callable[[], None]:
    """A gradient of its own for each example, weighed and summed."""
    model, x, weight = network(), torch.randn(examples, WIDTH), torch.rand(examples)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters, row: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, parameters, (row,)).square().mean()

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0))

    def run() -> None:
        for gradient in gradients(parameters, x).values():
            torch.tensordot(weight, gradient, 1)

    return run


def forward_and_backward(forward: Callable[[], torch.Tensor]) -> Callable[[], None]:
    return lambda: forward().square().mean().backward()


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    forwards = ways()
    times: dict[str, list[float]] = {name: [] for name in forwards}
    for _ in range(ROUNDS):
        for name, forward in forwards.items():
            times[name].append(seconds(forward_and_backward(forward)))
    few = BATCH // 64
    times["(other way) a gradient for each example"] = [64 * seconds(per_example(few)) for _ in range(2)]
    base = min(times["unrouted"])
    print(f"{DEPTH} layers of {WIDTH}, batch {BATCH}, one thread, fastest of {ROUNDS} rounds")
    for name, taken in times.items():
        print(f"{name:<44}{min(taken) * 1e3:>9.0f} ms{min(taken) / base:>8.2f}x")


if __name__ == "__main__":
    main()
