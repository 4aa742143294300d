"""The learner: Stable-Baselines3, with treatments of samples and policies made of blocks."""

from agents.archive import BadAgentError
from agents.blocks import Use
from agents.build import build
from agents.checkpoints import Checkpoints, Choice
from agents.evaluate import Evaluation, action_probabilities, make_evaluator
from agents.policy import BlockPolicy
from agents.ppo import RoutedPPO
from agents.saving import Agent, load, save
from agents.state import StateFile
from agents.vec_env import GymnasiumVecEnv, make_vec_env

__all__ = [
    "Agent",
    "BadAgentError",
    "BlockPolicy",
    "Checkpoints",
    "Choice",
    "Evaluation",
    "GymnasiumVecEnv",
    "RoutedPPO",
    "StateFile",
    "Use",
    "action_probabilities",
    "build",
    "load",
    "make_evaluator",
    "make_vec_env",
    "save",
]
