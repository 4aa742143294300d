"""Checks that an environment is valid for training: `findings` returns notes or raises the first fault."""

from envs.checks.vector_env import check_vector_env, findings
from envs.validation import CheckFailed

__all__ = ["CheckFailed", "check_vector_env", "findings"]
