"""A transformer block learns a second language in new units and forgets it when they are removed.

The text switches between two languages, each with its own rule for the next word. The block is trained on the first
language, then expanded. Labels are per token: the second language trains only the new units, which output 0 on the
first. Removing them leaves a block that predicts the first language as before and not the second.
"""

import torch
from torch import nn

from routing import Regions, Router, Rules, contract, expand, module, params, units

WORDS, LENGTH, BATCH, WIDTH, HIDDEN, NEW = 8, 12, 64, 32, 64, 32  # words of each language
FIRST, SECOND = 0, 1
FOLLOWS = torch.stack([torch.arange(1, 9) % 8, torch.arange(3, 11) % 8 + 8]).flatten()  # word -> the next


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(2 * WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down, self.head = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH), nn.Linear(WIDTH, 2 * WORDS)
        self.register_buffer("future", torch.ones(LENGTH, LENGTH).triu(1).bool())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, T) to logits of the next word (B, T, words)."""
        x = self.embedding(tokens) + self.position(torch.arange(LENGTH).expand_as(tokens))
        y = self.norm_1(x)
        x = x + self.attention(y, y, y, attn_mask=self.future, need_weights=False)[0]
        return self.head(x + self.down(self.up(self.norm_2(x)).relu()))


def draw(generator: torch.Generator, second: float) -> torch.Tensor:
    """Draw text (B, T + 1) with random jumps; a jump is to the second language with probability `second`."""
    shape = (BATCH, LENGTH + 1)
    words = torch.randint(0, WORDS, shape, generator=generator)
    words = words + WORDS * (torch.rand(shape, generator=generator) < second)
    jumps = torch.rand(shape, generator=generator) < 0.2
    for t in range(1, LENGTH + 1):
        words[:, t] = torch.where(jumps[:, t], words[:, t], FOLLOWS[words[:, t - 1]])
    return words


def train(model: nn.Module, router: Router, second: float, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        text = draw(generator, second)
        tokens, targets = text[:, :-1], text[:, 1:]
        with router((tokens >= WORDS).long()):  # (B, T): the language of each token
            loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def accuracy(model: nn.Module) -> dict[str, float]:
    """Compute the accuracy of the most probable next word, by language."""
    tokens = draw(torch.Generator().manual_seed(1), 0.5)[:, :-1]
    right = (model(tokens).argmax(-1) == FOLLOWS[tokens]).float()
    return {"first": float(right[tokens < WORDS].mean()), "second": float(right[tokens >= WORDS].mean())}


def main() -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    model, results = Block(), {}
    everything = Rules(Regions(model, {"all": params("*")}), ("first", "second"))
    train(model, Router(model, everything, "parameter"), second=0.0, steps=150)
    results["trained on the first"] = accuracy(model)
    new = expand(model, "up", NEW, out="down")
    others = [module(name) for name in ("embedding", "position", "attention", "norm_1", "norm_2", "head")]
    old = [*others, units("up", slice(0, HIDDEN), out="down"), params("down.bias")]
    regions = Regions(model, {"old": old, "new": new})
    rules = Rules(regions, ("first", "second"), {"second": {"old": 0.0}, "first": {"new": 0.0}})
    train(model, Router(model, rules, "parameter", {"new": "forward_ablated"}), second=0.5, steps=300)
    results["expanded, trained on both"] = accuracy(model)
    contract(regions, "new")
    results["contracted"] = accuracy(model)
    for name, result in results.items():
        print(f"{name:<28}" + "   ".join(f"{language} {value:.2f}" for language, value in result.items()))
    return results


if __name__ == "__main__":
    main()
