"""A registered agent as MLflow's generic Python model: an agent.zip in, a policy that acts out. No pickle on the way.

MLflow keeps the name of this module with the model, and the model itself is data: what acts is the code installed here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import agents

PARAMS = {"deploy": "", "without": "", "sample": False, "seed": 0}
"""What a prediction can be told: a deployment rule, blocks to ablate (by commas), whether to draw actions, the seed."""


class AgentModel:
    """An agent that predicts its actions."""

    def __init__(self, agent: agents.Agent) -> None:
        self.agent = agent

    def predict(self, observations: np.ndarray, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """(N, *obs) -> (N,) int64 actions: the likeliest ones, or drawn ones."""
        how = {**PARAMS, **(params or {})}
        generator = torch.Generator().manual_seed(how["seed"]) if how["sample"] else None
        with self.agent.deployed(how["deploy"] or None, [block for block in how["without"].split(",") if block]):
            return self.agent.act(np.asarray(observations), generator)


def _load_pyfunc(path: str) -> AgentModel:
    """What MLflow calls with the model's file."""
    return AgentModel(agents.load(path))
