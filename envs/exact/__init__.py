"""Exact evaluation and optimal policies, computed from the tables of a world."""

from envs.exact.bad_acts import BadActs, BadActTable
from envs.exact.evaluation import ExactEvaluation, evaluate, evaluate_along, evaluate_by_state
from envs.exact.occupancy import Occupancy
from envs.exact.optimum import Optimum, optimal

__all__ = [
    "BadActTable",
    "BadActs",
    "ExactEvaluation",
    "Occupancy",
    "Optimum",
    "evaluate",
    "evaluate_along",
    "evaluate_by_state",
    "optimal",
]
