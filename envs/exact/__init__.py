"""Evaluation and optimal policies from tables."""

from envs.exact.evaluation import Evaluation, Optimum, evaluate, evaluate_along, evaluate_by_state, optimal
from envs.exact.occupancy import Course

__all__ = ["Course", "Evaluation", "Optimum", "evaluate", "evaluate_along", "evaluate_by_state", "optimal"]
