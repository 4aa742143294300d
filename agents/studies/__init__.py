"""Small supervised experiments, each with a claim that is tested on its own numbers.

A study is one file. What studies share lies beside them: data, models, training, certificates, unlearning, relearning.
"""

from agents.studies.study import PRESETS, Claim, Outcomes, Picture, Run, Study, find, load, study

__all__ = ["PRESETS", "Claim", "Outcomes", "Picture", "Run", "Study", "find", "load", "study"]
