"""Small supervised experiments, each with a claim that is tested on its own numbers.

A study is one file. What studies share lies beside them: data, models, training, certificates, unlearning, relearning.
"""

from agents.studies.study import PRESETS, Claim, Outcomes, Panel, Run, Study, find_study, load_studies, study

__all__ = ["PRESETS", "Claim", "Outcomes", "Panel", "Run", "Study", "find_study", "load_studies", "study"]
