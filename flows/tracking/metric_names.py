"""Names of metrics that contain a name of the world, and of those of studies."""

import re

OUTCOME = "eval/outcome/"
BAD_ACT = "eval/bad_acts/kind/"
READOUT = "readout/"  # of a run of a study
CURVE = "curve/"


def outcome_metric(outcome: str) -> str:
    """The metric of the rate of an outcome."""
    return OUTCOME + _allowed(outcome)


def bad_act_metric(kind: str) -> str:
    """The metric of the number of bad acts of a kind."""
    return BAD_ACT + _allowed(kind)


def _allowed(name: str) -> str:
    """A name without the characters that MLflow does not allow in the name of a metric."""
    return re.sub(r"[^\w.\- ]", "", name, flags=re.ASCII)
