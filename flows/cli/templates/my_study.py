"""A study: does a linear model that learned from more data predict better?

Change the question, the arms, the data and the claim. State the source of the experiment here, and what is smaller.
"""

import torch

from agents.studies import Claim, Panel, Run, study


@study(
    question="Does a linear model that learned from four times the data predict better?",
    reference="",  # the published number and its source, for the report
    arms={"little": {"count": 16}, "much": {"count": 64}},  # name -> arguments in which the arm differs
    quick={"steps": 100},  # arguments of both sizes: `--preset quick` and `--preset full`
    full={"steps": 1000},
    claims=(
        Claim(
            "the error with much data is at most 0.8 times that with little",
            lambda seed: seed["much"]["error"] / seed["little"]["error"],  # one number of each seed
            at_most=0.8,
        ),
    ),
    panels=(Panel("error", "mean squared error"), Panel("error", "mean squared error", over="steps")),
)
def my_study(run: Run, *, count: int, steps: int) -> dict[str, float]:
    """Makes one run: an arm with one seed. Random generators are seeded with `run.seed` before."""
    truth = torch.randn(8, 1)
    inputs, test = torch.randn(64, 8), torch.randn(256, 8)  # drawn alike in both arms, so that seeds are paired
    inputs = inputs[:count]
    targets = inputs @ truth + torch.randn(64, 1)[:count]
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    error = torch.tensor(float("nan"))
    for step in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
        if step % 10 == 0 or step == steps - 1:
            with torch.no_grad():
                error = torch.nn.functional.mse_loss(model(test), test @ truth)
            run.record(step, {"error": error.item()})  # a curve
            run.progress(step / steps)
    return {"error": error.item()}  # the read-outs
