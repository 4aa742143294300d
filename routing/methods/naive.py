"""Naive oversight: the verdict replaces the proxy reward where there is one; all samples train the whole policy.

An unseen ghost earns the same reward as a diamond, and an agent that observes whether it is watched learns this.
During training the policy passes through good behaviour, so stopping early would keep some of it. The stopping rule is
decisive: the overseer can read its own verdicts but not the true return.
"""

from routing.oversight.registry import method

method(
    "naive",
    "The verdict is the reward where there is one, the proxy reward elsewhere.",
    reward="verdict",
    deploy="whole+early_stopping+best_checkpoint",
)
