"""Exact evaluation and optimal policies, computed from the tables of a world."""

from envs.exact.evaluation import ExactEvaluation, Optimum, evaluate, evaluate_along, evaluate_by_state, optimal
from envs.exact.occupancy import Occupancy

__all__ = ["ExactEvaluation", "Occupancy", "Optimum", "evaluate", "evaluate_along", "evaluate_by_state", "optimal"]
