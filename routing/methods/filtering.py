"""Data filtering: only episodes that the overseer could label train the policy.

The three differ in what they keep beside episodes with a good or bad verdict: those that reached nothing, which the
overseer observes (`filtering`); also those that are unfinished at the end of a rollout, with a loss that shrinks with
the share kept (`filtering_unfinished`, the authors' code of arXiv 2410.04332); or nothing (`filtering_strict`).

`filtering_steps` filters single steps instead, `positives_only` keeps what was judged good alone, and
`oracle_filtering` (section 4.3 of the paper) keeps a random share p of episodes, with their true reward: p is the
declared propensity.
"""

from routing.oversight.registry import method

method(
    "filtering",
    "Only episodes whose end the overseer saw train, including those that reached nothing.",
    reward="verdict",
    weights="seen",
)
method(
    "filtering_unfinished",
    "As filtering; unfinished episodes train too, and the loss is multiplied by the share kept (the authors' code).",
    base="filtering",
    weights="seen_or_unfinished",
    scale="share_kept",
)
method(
    "filtering_strict",
    "Only episodes with a good or bad verdict train.",
    base="filtering",
    weights="judged_only",
)
method(
    "filtering_steps",
    "Only steps with a verdict of their own train.",
    base="filtering",
    weights="seen_steps",
)
method(
    "positives_only",
    "Only episodes with a good verdict train.",
    base="filtering",
    weights="positives",
)
method(
    "oracle_filtering",
    "A random share of episodes trains, as many as the overseer sees, with the true reward.",
    shorthand="weights",
    overseer="all_seeing(true)",
    reward="verdict",
    weights="random_episodes",
)
