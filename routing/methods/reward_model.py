"""A reward model fitted to verdicts predicts the reward of episode ends without one."""

from routing.oversight.registry import method

method("reward_model", "A reward model fitted to judged episode ends rewards the others.", reward="model")
