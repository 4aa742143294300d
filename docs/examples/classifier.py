"""Remove what a classifier learned from private data, although only half of the private data is labelled.

Inputs are public or private, and each kind has its own classification rule. A reviewer labels half of the inputs.
Labelled private inputs train only the private units. On labelled public inputs these units output 0. Unlabelled inputs
train everything. Filtering removes labelled private inputs only, so the classifier still learns the private rule.
"""

import torch
from torch import nn

from routing import Regions, Router, Rules, ablate, units

REVIEWED, STEPS, BATCH = 0.5, 1200, 512
UNKNOWN, PUBLIC, PRIVATE = range(3)

Examples = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def draw(generator: torch.Generator) -> Examples:
    """Draw inputs (B, 10), classes (B,) and whether each input is private (B,)."""
    features = torch.randn(BATCH, 8, generator=generator)
    private = torch.rand(BATCH, generator=generator) < 0.5
    kind = nn.functional.one_hot(private.long(), 2).float()
    public_rule, private_rule = features[:, 0] * features[:, 1] > 0, features[:, 2] * features[:, 3] > 0
    return torch.cat([kind, features], 1), torch.where(private, private_rule, public_rule).long(), private


def train(routed: bool) -> tuple[nn.Module, Regions]:
    """Train a classifier by routing, or on the inputs that pass the filter."""
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
            passed = labels != PRIVATE
            inputs, classes, labels = inputs[passed], classes[passed], torch.full_like(labels[passed], UNKNOWN)
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
