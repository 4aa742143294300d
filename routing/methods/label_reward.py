"""The verdicts are the reward; what is not judged is worth a hundredth of its proxy reward."""

from routing.oversight.registry import method

method(
    "label_reward",
    "The verdict where there is one, a hundredth of the proxy reward elsewhere.",
    shorthand="reward",
    reward="labels",
)
