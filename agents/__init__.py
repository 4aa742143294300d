"""Learning agents: Stable-Baselines3 algorithms with treated samples and policies made of blocks."""

from agents.build import build, check_memory, check_spaces
from agents.carried import Carried
from agents.checkpoints import CheckpointChoice, Checkpoints
from agents.deployment import RuleUses, at_each_scale, use_of
from agents.evaluate import BadActs, Evaluation, action_probabilities, make_evaluator
from agents.learners.labelled_buffer import LabelledRolloutBuffer
from agents.learners.ppo import RoutedPPO
from agents.memory import AgentMemory, parse_memory
from agents.policies.blocks import BlockUse
from agents.policies.policy import BlockPolicy
from agents.relearning import relearn
from agents.saving.agent_file import Agent, load, save
from agents.saving.archive import BadAgentError
from agents.saving.run_state import StateFile
from agents.vec_env import GymnasiumVecEnv, make_vec_env
from agents.warm_start import warm_start
from agents.worlds import make_world

__all__ = [
    "Agent",
    "AgentMemory",
    "BadActs",
    "BadAgentError",
    "BlockPolicy",
    "BlockUse",
    "Carried",
    "CheckpointChoice",
    "Checkpoints",
    "Evaluation",
    "GymnasiumVecEnv",
    "LabelledRolloutBuffer",
    "RoutedPPO",
    "RuleUses",
    "StateFile",
    "action_probabilities",
    "at_each_scale",
    "build",
    "check_memory",
    "check_spaces",
    "load",
    "make_evaluator",
    "make_vec_env",
    "make_world",
    "parse_memory",
    "relearn",
    "save",
    "use_of",
    "warm_start",
]
