"""Pessimism about what is unseen: the worst verdict so far (Parisi et al. 2024, arXiv 2402.06819), or a lower bound.

The lower bound is the least prediction of an ensemble of reward models (Coste et al. 2023, arXiv 2310.02743).
"""

from routing.oversight.registry import method

method(
    "pessimistic",
    "A positive proxy reward without a verdict counts as the worst verdict so far (minimax).",
    reward="minimax",
)
method(
    "pessimistic_ensemble",
    "As reward_model, with the least prediction of five models.",
    shorthand="reward",
    reward="lower_bound",
)
