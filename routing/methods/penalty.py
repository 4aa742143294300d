"""Penalties for what is seen: the baselines that routing is to be compared with.

`penalty(d)` replaces the reward of a step that is judged bad by d times its verdict. `unbiased_penalty` chooses d so
that a bad act that is seen with probability p is worth -1 in expectation. `capped_penalty` also limits the proxy reward
of a step to what honest work pays, 1, so that what is unseen pays no more than that.
"""

from routing.oversight.registry import method

method(
    "penalty",
    "A bad verdict counts as a dose of penalty, penalty(2) twice; other rewards are as in naive.",
    shorthand="reward",
    reward="penalty",
)
method(
    "unbiased_penalty",
    "A bad verdict counts (2-p)/p times, so that a bad act of proxy reward 1 is worth -1 on average.",
    reward="unbiased_penalty",
)
method(
    "capped_penalty",
    "A bad verdict counts 5 times, and the proxy reward without a verdict is at most 1.",
    shorthand="reward",
    reward="penalty(5,1)",
)
