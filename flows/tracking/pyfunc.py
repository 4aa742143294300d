"""MLflow's loader for a registered agent: it reads agent.zip and predicts actions, without pickle.

MLflow stores this module's name with the model. The model is data; the code that acts is the installed one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import agents

PARAMS = {"deploy": "", "without": "", "sample": False, "seed": 0}
"""Params of a prediction: deployment rule, comma-separated blocks to ablate, sample or take the mode, and seed."""


class AgentModel:
    """Predicts an agent's actions."""

    def __init__(self, agent: agents.Agent) -> None:
        self.agent = agent

    def predict(self, observations: Any, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """Predict actions.

        Args:
            observations: (N, *obs) agent's observations, by name for a Dict space.
            params: overrides of `PARAMS`.

        Returns:
            (N, *action) actions, (N,) int64 if they are Discrete: the most probable ones, or samples.

        Raises:
            ValueError: the agent has no such deployment rule, or its policy lacks a block to ablate.
        """
        settings = {**PARAMS, **(params or {})}
        generator = torch.Generator().manual_seed(settings["seed"]) if settings["sample"] else None
        blocks = [block for block in settings["without"].split(",") if block]
        with self.agent.deployed(settings["deploy"] or None, blocks):
            keyed = isinstance(observations, Mapping)
            return self.agent.act(dict(observations) if keyed else np.asarray(observations), generator)


def _load_pyfunc(path: str) -> AgentModel:
    """Load a model from its file; MLflow calls this function by name."""
    return AgentModel(agents.load(path))
