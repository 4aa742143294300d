"""A reward model fitted to verdicts predicts the reward of episode ends without one.

`reward_model_abstaining` rewards nothing where labels are improbable. `reward_model_pu` is for verdicts that are all
good or all bad (Elkan and Noto 2008). Others are given by arguments: `reward_model(steps)`, `reward_model(sees=flags)`.
"""

from routing.oversight.registry import method

method(
    "reward_model",
    "A reward model fitted to judged episode ends rewards the others.",
    shorthand="reward",
    reward="model",
)
method(
    "reward_model_abstaining",
    "As reward_model, but ends that a second model finds unlikely to be judged are worth 0.",
    shorthand="reward",
    reward="abstaining",
)
method(
    "reward_model_pu",
    "A positive-unlabelled model rewards unjudged ends, for verdicts that are all good or all bad.",
    shorthand="reward",
    reward="positive_unlabelled",
)
