"""Evaluation and optimal policies from tables."""

from envs.exact.evaluation import ExactEvaluation, Optimum, evaluate, evaluate_along, evaluate_by_state, optimal
from envs.exact.occupancy import Occupancy

__all__ = ["ExactEvaluation", "Occupancy", "Optimum", "evaluate", "evaluate_along", "evaluate_by_state", "optimal"]
