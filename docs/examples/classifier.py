"""What a classifier learned of private data is taken out, though only half of that data was known to be private.

Inputs are public or private, and each kind has a rule of its own for the class. A reviewer labels half of them. Known
private ones train the private units alone; on known public ones those units are silent; the rest trains everything.
Filtering, which can only leave out what is known, teaches the private rule all the same.
"""

import torch
from torch import nn

from routing import Regions, Router, Rules, ablate, units

REVIEWED, STEPS, BATCH = 0.5, 1200, 512
UNKNOWN, PUBLIC, PRIVATE = range(3)

Examples = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def draw(generator: torch.Generator) -> Examples:
    """Inputs (B, 10), classes (B,), and which are private (B,)."""
    features = torch.randn(BATCH, 8, generator=generator)
    private = torch.rand(BATCH, generator=generator) < 0.5
    kind = nn.functional.one_hot(private.long(), 2).float()
    public_rule, private_rule = features[:, 0] * features[:, 1] > 0, features[:, 2] * features[:, 3] > 0
    return torch.cat([kind, features], 1), torch.where(private, private_rule, public_rule).long(), private


def train(routed: bool) -> tuple[nn.Module, Regions]:
    """A classifier trained by routing, or on what a filter leaves."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 2))
    halves = {"public": units("0", slice(0, 48), out="2"), "private": units("0", slice(48, 64), out="2")}
    regions = Regions(model, halves)
    rules = Rules(regions, ("unknown", "public", "private"), {"public": {"private": 0.0}, "private": {"public": 0.0}})
    router = Router(model, rules, level="parameter", overrides={"private": "forward_ablated"})
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(STEPS):
        inputs, classes, private = draw(generator)
        reviewed = torch.rand(BATCH, generator=generator) < REVIEWED
        labels = torch.where(reviewed, torch.where(private, PRIVATE, PUBLIC), UNKNOWN)
        if not routed:
            kept = labels != PRIVATE
            inputs, classes, labels = inputs[kept], classes[kept], torch.full_like(labels[kept], UNKNOWN)
        with router(labels):
            loss = nn.functional.cross_entropy(model(inputs), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, regions


def accuracy(model: nn.Module) -> dict[str, float]:
    inputs, classes, private = draw(torch.Generator().manual_seed(1))
    right = (model(inputs).argmax(1) == classes).float()
    return {"public": float(right[~private].mean()), "private": float(right[private].mean())}


def main() -> dict[str, dict[str, float]]:
    filtered, _ = train(routed=False)
    model, regions = train(routed=True)
    results = {"filtered": accuracy(filtered), "routed": accuracy(model)}
    ablate(regions, "private")
    results["routed, private units ablated"] = accuracy(model)
    for name, result in results.items():
        print(f"{name:<32}" + "   ".join(f"{kind} {value:.2f}" for kind, value in result.items()))
    return results


if __name__ == "__main__":
    main()
