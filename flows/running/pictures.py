"""Draws the figures of a run. A figure that cannot be drawn costs the run nothing but that figure."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agents import BlockPolicy
from flows.reporting.run_figures import learning_curve_figure, policy_figure
from flows.user_code import error_line

CURVE, POLICY = "learning_curve.png", "policy.png"
logger = logging.getLogger(__name__)


def draw_figures(
    curve: Sequence[tuple[int, dict[str, float]]], policy: BlockPolicy, world: Any, title: str, folder: Path
) -> list[str]:
    """Draws the learning curve and the policy into a run's folder; returns the names of missing files.

    Args:
        curve: Steps and metrics of each checkpoint.
        policy: The trained policy.
        world: The environment.
        title: Title of both figures.
        folder: The run's folder.
    """
    figures: dict[str, Callable[[], Any]] = {
        CURVE: lambda: learning_curve_figure(curve, title, folder / CURVE),
        POLICY: lambda: policy_figure(policy, world, title, folder / POLICY),
    }
    return [name for name, draw in figures.items() if not _drawn(name, draw, folder)]


def _drawn(name: str, draw: Callable[[], Any], folder: Path) -> bool:
    try:
        draw()
    except Exception as error:  # an environment of a user may lack what a figure shows
        (folder / name).unlink(missing_ok=True)
        logger.warning("%s cannot be drawn: %s; the run keeps its results", name, error_line(error))
        return False
    return True
