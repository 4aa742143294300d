"""Names of metrics that contain a name of the world."""

import re

OUTCOME = "eval/outcome/"


def outcome_metric(outcome: str) -> str:
    """The metric of the rate of an outcome, without the characters that MLflow does not allow in a name."""
    return OUTCOME + re.sub(r"[^\w.\- ]", "", outcome, flags=re.ASCII)
